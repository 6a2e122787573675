/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_bypass.c - calls that may go around a ring: huge and empty arrays, flags, files of all kinds, splice. */
#include "oracle.h"

#include <aio.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int shared_fd;

/* ---- vectors ---- */

#define PIECE (4u << 20)

static void *room(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	MUST(p == MAP_FAILED ? -1 : 0);
	return p;
}

static void writev_huge_server(void)
{
	int fd = serve_warm();
	static struct iovec iov[IOV_MAX];
	void *zeros = room(PIECE);

	for (int i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){zeros, PIECE};
	put(fd, 100, 1, 0);
	set_nonblock(fd, 1);
	long n = MUST(writev(fd, iov, IOV_MAX));
	set_nonblock(fd, 0);
	tell_number(n);
	put(fd, 100, 1, 100);
	TRY(close(fd));
}

static void writev_huge_client(void)
{
	int fd = connect_warm();
	static char buf[65536];
	long n = await_number();

	get(fd, 100, 1, 0);
	while (n > 0)
		n -= MUST(recv(fd, buf, n < (long)sizeof buf ? (size_t)n : sizeof buf, 0));
	get(fd, 100, 1, 100);
	TRY(close(fd));
}

static void readv_huge_server(void)
{
	int fd = serve_warm();
	size_t half = (size_t)3 << 29;
	struct iovec iov[2] = {{room(half), half}, {room(half), half}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	send_me(100);
	TRY(readv(fd, iov, 2));
	send_me(100);
	TRY(recvmsg(fd, &m, 0));
	send_me(100);
	TRY(preadv2(fd, iov, 2, -1, 0));
	close_yours();
	TRY(close(fd));
}

static void flagged_server(void)
{
	static const int flags[] = {RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT};
	int fd = serve_warm();
	char buf[100];
	struct iovec iov = {buf, sizeof buf};

	for (uint64_t i = 0; i < 4; i++) {
		put(fd, 100, 1, 200 * i);
		fill(buf, sizeof buf, 1, 200 * i + 100);
		say("flag %x", (unsigned)flags[i]);
		if (TRY(pwritev2(fd, &iov, 1, -1, flags[i])) < 0)
			put(fd, 100, 1, 200 * i + 100);
		await("send");
		if (TRY(preadv2(fd, &iov, 1, -1, flags[i])) < 0)
			get(fd, 100, 2, 100 * i);
	}
	TRY(close(fd));
}

static void flagged_client(void)
{
	int fd = connect_warm();

	no_delay(fd);
	for (uint64_t i = 0; i < 4; i++) {
		get(fd, 200, 1, 200 * i);
		put(fd, 100, 2, 100 * i);
		tell("send");
	}
	TRY(close(fd));
}

/* writev() of nothing does not even look at the socket; write() does. */
static void nothing_server(void)
{
	int fd = serve_warm();
	char c;
	struct iovec none = {&c, 0};
	struct msghdr m = {.msg_iov = &none, .msg_iovlen = 1};

	signal(SIGPIPE, SIG_IGN);
	TRY(shutdown(fd, SHUT_WR));
	TRY(writev(fd, &none, 0));
	TRY(writev(fd, &none, 1));
	TRY(pwritev2(fd, &none, 1, -1, 0));
	TRY(write(fd, &c, 0));
	TRY(send(fd, &c, 0, 0));
	TRY(sendmsg(fd, &m, 0));
	TRY(close(fd));
}

static void nothing_client(void)
{
	uint64_t sum;
	int fd = connect_warm();

	HOLDS(get_to_eof(fd, &sum) == 0);
	TRY(close(fd));
}

/* recv() of nothing waits for something. */
static void recv_nothing_server(void)
{
	int fd = serve_warm();
	struct timeval tv = {.tv_usec = 200000};
	char c;

	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	int64_t before = now_ms();
	TRY(recv(fd, &c, 0, 0));
	HOLDS(now_ms() - before >= 190);
	before = now_ms();
	TRY(recv(fd, &c, 0, MSG_PEEK | MSG_WAITALL));
	HOLDS(now_ms() - before >= 190);
	send_me(3);
	TRY(recv(fd, &c, 0, 0));
	TRY(recv(fd, &c, 0, MSG_WAITALL));
	unread_is(fd, 3);
	close_yours();
	TRY(close(fd));
}

/* ---- files that are not regular ---- */

static void sendfile_server(void)
{
	int fd = serve_warm(), zero = (int)MUST(open("/dev/zero", O_RDONLY)),
	    proc = (int)MUST(open("/proc/self/comm", O_RDONLY));

	put(fd, 100, 1, 0);
	tell_number(TRY(sendfile(fd, zero, NULL, 1000)));
	tell_number(TRY(sendfile(fd, proc, NULL, 5)));
	put(fd, 100, 1, 100);
	TRY(close(fd));
}

static void sendfile_client(void)
{
	int fd = connect_warm();
	char buf[1000];

	get(fd, 100, 1, 0);
	for (int i = 0; i < 2; i++) {
		long n = await_number();
		if (n > 0)
			TRY(recv(fd, buf, (size_t)n, MSG_WAITALL));
	}
	get(fd, 100, 1, 100);
	TRY(close(fd));
}

/* ---- one thread splices out of the socket, another answers: all the while the connection may be upgraded ---- */

static int pipe_fd[2], note_fd[2];

/* The kernel holds the pipe while it waits for the socket: so who splices also reads the pipe. */
static void *splicer(void *arg)
{
	char buf[65536];
	ssize_t n;

	(void)arg;
	while ((n = splice(shared_fd, NULL, pipe_fd[1], NULL, sizeof buf, 0)) > 0) {
		n = MUST(read(pipe_fd[0], buf, (size_t)n));
		MUST(write(note_fd[1], buf, (size_t)n));
	}
	return NULL;
}

static void splice_server(void)
{
	char buf[WARM_LEN];

	shared_fd = serve_one();
	MUST(pipe(pipe_fd));
	MUST(pipe(note_fd));
	pthread_t t = start_thread(splicer, NULL);
	for (unsigned i = 0; i < warm_messages(); i++) {
		for (ssize_t n = 0; n < WARM_LEN;)
			n += MUST(read(note_fd[0], buf + n, sizeof buf - (size_t)n));
		put(shared_fd, WARM_LEN, WARM_STREAM, i);
	}
	await("closed");
	pthread_join(t, NULL);
	TRY(close(shared_fd));
}

static void splice_client(void)
{
	int fd = connect_warm();

	TRY(close(fd));
	tell("closed");
}

/* ---- POSIX aio: threads of the C library's */

static ssize_t done(struct aiocb *cb)
{
	const struct aiocb *const list[] = {cb};

	while (aio_error(cb) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	return aio_return(cb);
}

static void aio_server(void)
{
	char in[100], out[100], good[100];
	int fd = serve_warm();
	struct aiocb r = {.aio_fildes = fd, .aio_buf = in, .aio_nbytes = sizeof in, .aio_lio_opcode = LIO_READ},
		     w = {.aio_fildes = fd, .aio_buf = out, .aio_nbytes = sizeof out, .aio_lio_opcode = LIO_WRITE},
		     *both[] = {&w, NULL};

	no_delay(fd);
	for (unsigned i = 0; i < 20; i++) {
		fill(out, sizeof out, 2, 100 * i);
		fill(good, sizeof good, 1, 100 * i);
		MUST(i % 2 ? aio_write(&w) : lio_listio(LIO_WAIT, both, 2, NULL));
		HOLDS(done(&w) == sizeof out);
		for (size_t at = 0; at < sizeof in; at += (size_t)MUST(done(&r))) {
			r.aio_buf = in + at;
			r.aio_nbytes = sizeof in - at;
			MUST(aio_read(&r));
		}
		HOLDS(!memcmp(in, good, sizeof in));
	}
	TRY(close(fd));
}

static void aio_client(void)
{
	int fd = connect_warm();

	no_delay(fd);
	for (unsigned i = 0; i < 20; i++) {
		put(fd, 100, 1, 100 * i);
		get(fd, 100, 2, 100 * i);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"writev_huge", writev_huge_server, writev_huge_client, 0, NULL},
	{"readv_huge", readv_huge_server, sender_client, 0, NULL},
	{"rwf_flags", flagged_server, flagged_client, 0, NULL},
	{"write_nothing", nothing_server, nothing_client, 0, NULL},
	{"recv_nothing", recv_nothing_server, sender_client, 0, NULL},
	{"sendfile_special", sendfile_server, sendfile_client, 0, NULL},
	{"splicing_thread", splice_server, splice_client, CASE_NOWARM, NULL},
	{"aio", aio_server, aio_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
