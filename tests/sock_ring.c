/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_ring.c - sockets that the kernel works on by itself: io_uring, and Linux' asynchronous I/O. Where they are not allowed the calls are made plainly. */
#include "oracle.h"

#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 40
#define WAITING 1000
#define BEFORE 300 /* of them are read before */

/* ---- a ring, one operation at a time ---- */

static _Thread_local struct {
	int fd;
	_Atomic unsigned *sq_tail, *cq_head;
	unsigned *sq_mask, *cq_mask, *sq_array;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
} ring = {.fd = -1};

static char *map(size_t len, off_t what)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, what);

	MUST(p == MAP_FAILED ? -1 : 0);
	return p;
}

static void make_ring(void)
{
	struct io_uring_params p = {0};

	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (ring.fd < 0)
		return;
	char *sq = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	char *cq = map(p.cq_off.cqes + p.cq_entries * sizeof *ring.cqe, IORING_OFF_CQ_RING);
	ring.sqe = (void *)map(p.sq_entries * sizeof *ring.sqe, IORING_OFF_SQES);
	ring.sq_tail = (void *)(sq + p.sq_off.tail);
	ring.sq_mask = (void *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (void *)(sq + p.sq_off.array);
	ring.cq_head = (void *)(cq + p.cq_off.head);
	ring.cq_mask = (void *)(cq + p.cq_off.ring_mask);
	ring.cqe = (void *)(cq + p.cq_off.cqes);
}

static long by_ring(int op, int fd, void *buf, size_t len)
{
	if (ring.fd < 0)
		return op == IORING_OP_SEND ? send(fd, buf, len, 0) : recv(fd, buf, len, MSG_WAITALL);
	unsigned tail = atomic_load(ring.sq_tail), head = atomic_load(ring.cq_head);

	ring.sqe[tail & *ring.sq_mask] = (struct io_uring_sqe){.opcode = (unsigned char)op,
		.fd = fd,
		.addr = (uintptr_t)buf,
		.len = (unsigned)len,
		.msg_flags = op == IORING_OP_RECV ? MSG_WAITALL : 0};
	ring.sq_array[tail & *ring.sq_mask] = tail & *ring.sq_mask;
	atomic_store(ring.sq_tail, tail + 1);
	MUST(syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	long res = ring.cqe[head & *ring.cq_mask].res;
	atomic_store(ring.cq_head, head + 1);
	return res;
}

static long by_aio(int op, int fd, void *buf, size_t len)
{
	static aio_context_t ctx;
	static int refused;
	struct iocb cb = {.aio_lio_opcode = op == IORING_OP_SEND ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = (unsigned)fd,
		.aio_buf = (uintptr_t)buf,
		.aio_nbytes = len};
	struct iocb *list[] = {&cb};
	struct io_event ev;

	if (!ctx && !refused)
		refused = syscall(SYS_io_setup, 4, &ctx) < 0;
	if (refused)
		return op == IORING_OP_SEND ? send(fd, buf, len, 0) : recv(fd, buf, len, MSG_WAITALL);
	MUST(syscall(SYS_io_submit, ctx, 1, list));
	MUST(syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL));
	return ev.res;
}

/* ---- what lies unread in memory when it begins comes first ---- */

typedef long by(int op, int fd, void *buf, size_t len);

static void exactly(by *way, int fd, size_t len, unsigned stream, uint64_t pos)
{
	char buf[WAITING], good[WAITING];

	fill(good, len, stream, pos);
	for (size_t n = 0; n < len;) {
		long m = way(IORING_OP_RECV, fd, buf + n, len - n);
		if (m <= 0) {
			say("FALSE: %ld", m);
			return;
		}
		n += (size_t)m;
	}
	if (memcmp(buf, good, len))
		say("FALSE: other octets at %llu", (unsigned long long)pos);
}

static void work(int fd, by *way)
{
	char buf[50];

	exactly(way, fd, WAITING - BEFORE, 1, BEFORE);
	for (unsigned i = 0; i < ROUNDS; i++) {
		fill(buf, sizeof buf, 2, i);
		if (way(IORING_OP_SEND, fd, buf, sizeof buf) != sizeof buf)
			say("FALSE: send");
		exactly(way, fd, 50, 1, WAITING + i);
		put(fd, 20, 3, i); /* and plainly in between */
		get(fd, 20, 4, i);
	}
	say("at the end %ld", way(IORING_OP_RECV, fd, buf, 1));
	TRY(close(fd));
}

static int with_octets_waiting(void)
{
	int fd = serve_warm();

	await("sent");
	unread_is(fd, WAITING);
	get(fd, BEFORE, 1, 0);
	return fd;
}

static void ring_server(void)
{
	int fd = with_octets_waiting();

	make_ring();
	work(fd, by_ring);
}

static void aio_server(void)
{
	work(with_octets_waiting(), by_aio);
}

static void first_server(void)
{
	make_ring();
	work(with_octets_waiting(), by_ring);
}

static void busy_client(void)
{
	int fd = connect_warm();

	put(fd, WAITING, 1, 0);
	tell("sent");
	for (unsigned i = 0; i < ROUNDS; i++) {
		get(fd, 50, 2, i);
		put(fd, 50, 1, WAITING + i);
		get(fd, 20, 3, i);
		put(fd, 20, 4, i);
	}
	TRY(close(fd));
}

/* ---- a ring that is refused changes nothing ---- */

static void refused_server(void)
{
	struct io_uring_params p = {.flags = ~0u};
	int fd = serve_warm();

	HOLDS(syscall(SYS_io_uring_setup, 4, &p) == -1);
	HOLDS(syscall(SYS_io_uring_setup, 0, NULL) == -1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		get(fd, 50000, 1, i);
		put(fd, 50000, 2, i);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void refused_client(void)
{
	int fd = connect_warm();

	for (unsigned i = 0; i < ROUNDS; i++) {
		put(fd, 50000, 1, i);
		get(fd, 50000, 2, i);
	}
	TRY(close(fd));
}

/* ---- two threads make a ring each: what the second one's does comes behind what lies in memory while the first one makes his */

#define MANY 24	   /* connections, so that it takes its time */
#define AHEAD 3000 /* octets on each that the client has not read */
#define BY_RING 50 /* and behind them */

static int many[MANY];

/* The last connections first: the others may be in the kernel already. */
static void send_by_ring(int from, int step)
{
	char buf[BY_RING];

	fill(buf, sizeof buf, 2, AHEAD);
	for (int i = MANY - 1 - from; i >= 0; i -= step)
		if (by_ring(IORING_OP_SEND, many[i], buf, sizeof buf) != sizeof buf)
			say("FALSE: send");
}

static void serve_many(void)
{
	int port, lfd = listen_on("127.0.0.1", MANY, &port);

	tell_number(port);
	for (int i = 0; i < MANY; i++)
		warm_up(many[i] = (int)MUST(accept(lfd, NULL, NULL)));
	for (int i = 0; i < MANY; i++)
		put(many[i], AHEAD, 2, 0);
}

static void end_many(void)
{
	tell("sent");
	for (int i = 0; i < MANY; i++) {
		TRY(read(many[i], (char[1]){0}, 1));
		TRY(close(many[i]));
	}
}

static pthread_barrier_t both;

static void *half(void *arg)
{
	pthread_barrier_wait(&both);
	make_ring();
	send_by_ring(arg != NULL, 2);
	return NULL;
}

static void two_server(void)
{
	serve_many();
	pthread_barrier_init(&both, NULL, 2);
	pthread_t t = start_thread(half, NULL);
	half(many);
	pthread_join(t, NULL);
	end_many();
}

/* ---- a handler leaves by siglongjmp when its thread has to do with rings for the first time: another thread's works all the same */

static sigjmp_buf out;
static pthread_t jumper;
static atomic_int begins;

static void jumps(int sig)
{
	siglongjmp(out, sig);
}

static void *strikes(void *arg)
{
	(void)arg;
	while (!atomic_load(&begins))
		;
	MUST(pthread_kill(jumper, SIGUSR1) ? -1 : 0);
	make_ring();
	send_by_ring(0, 1);
	return NULL;
}

static void jump_server(void)
{
	struct sigaction sa = {.sa_handler = jumps};

	MUST(sigaction(SIGUSR1, &sa, NULL));
	serve_many();
	jumper = pthread_self();
	pthread_t t = start_thread(strikes, NULL);
	if (!sigsetjmp(out, 1)) {
		atomic_store(&begins, 1);
		syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0); /* of a ring that is not there: the kernel does not sleep */
		for (;;)
			pause();
	}
	pthread_join(t, NULL);
	end_many();
}

static void many_client(void)
{
	int port = (int)await_number();

	for (int i = 0; i < MANY; i++)
		warm_up(many[i] = (int)MUST(connect_to("127.0.0.1", port)));
	await("sent");
	for (int i = 0; i < MANY; i++) {
		get(many[i], AHEAD + BY_RING, 2, 0);
		TRY(close(many[i]));
	}
}

const struct oracle_case oracle_cases[] = {
	{"uring", ring_server, busy_client, 0, NULL},
	{"uring_first", first_server, busy_client, CASE_KERNEL, NULL},
	{"uring_refused", refused_server, refused_client, 0, NULL},
	{"uring_two", two_server, many_client, 0, NULL},
	{"uring_jump", jump_server, many_client, 0, NULL},
	{"aio", aio_server, busy_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
