/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_attack.c - calls that programs make seldom: calls that fail and must change nothing, flags, huge vectors, cancellation, limits. */
#include "oracle.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int shared_fd;

/* Both directions carry what they should. */
static void still_whole(int fd)
{
	put(fd, 500, is_server ? 1 : 2, 0);
	get(fd, 500, is_server ? 2 : 1, 0);
}

/* A part: whatever the other part has done to its end, the connection is whole. */
static void whole_part(void)
{
	int fd = is_server ? serve_warm() : connect_warm();

	await("go");
	still_whole(fd);
	TRY(close(fd));
}

/* ---- calls that fail ---- */

static void connect_twice_client(void)
{
	int fd = connect_warm();
	struct sockaddr_in to;
	socklen_t len = sizeof to;

	MUST(getpeername(fd, (struct sockaddr *)&to, &len));
	TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
	tell("go");
	still_whole(fd);
	TRY(close(fd));
}

static void connect_accepted_server(void)
{
	int fd = serve_warm();
	struct sockaddr_in to;
	socklen_t len = sizeof to;

	MUST(getpeername(fd, (struct sockaddr *)&to, &len));
	TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
	TRY(connect(fd, (struct sockaddr *)&to, 3));
	tell("go");
	still_whole(fd);
	TRY(close(fd));
}

static void dup3_server(void)
{
	int fd = serve_warm(), file = (int)MUST(open("/dev/null", O_RDWR));

	TRY(dup3(file, fd, 1));
	tell("go");
	still_whole(fd);
	TRY(close(fd));
}

static void dup2_limit_server(void)
{
	int fd = serve_warm(), file = (int)MUST(open("/dev/null", O_RDWR));
	struct rlimit was, rl;

	MUST(dup2(fd, 60));
	MUST(close(fd));
	MUST(getrlimit(RLIMIT_NOFILE, &was));
	rl = was;
	rl.rlim_cur = 50;
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	TRY(dup2(file, 60));
	MUST(setrlimit(RLIMIT_NOFILE, &was));
	tell("go");
	still_whole(60);
	TRY(close(60));
}

static void msgname_server(void)
{
	int fd = serve_warm();
	char buf[10];
	struct iovec iov = {buf, sizeof buf};
	struct sockaddr_in name;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_name = &name, .msg_namelen = (socklen_t)-1};

	send_me(10);
	TRY(sendmsg(fd, &m, 0));
	TRY(recvmsg(fd, &m, 0));
	unread_is(fd, 10);
	close_yours();
	TRY(close(fd));
}

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
	char buf[64];

	shared_fd = serve_one();
	MUST(pipe(pipe_fd));
	MUST(pipe(note_fd));
	pthread_t t = start_thread(splicer, NULL);
	for (unsigned i = 0; i < 240; i++) {
		for (ssize_t n = 0; n < 64;)
			n += MUST(read(note_fd[0], buf + n, sizeof buf - (size_t)n));
		put(shared_fd, 64, 77, i);
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

/* ---- numbers: poll takes as many as the limit ---- */

static void poll_limit_server(void)
{
	static struct pollfd p[201];
	int fd = serve_warm();
	struct rlimit rl;

	MUST(getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = 200;
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	for (int i = 0; i < 201; i++)
		p[i].fd = -1;
	p[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	TRY(poll(p, 200, 50));
	send_me(5);
	poll_is(fd, POLLIN, POLLIN);
	TRY(poll(p, 200, 50));
	TRY(poll(p, 201, 50));
	close_yours();
	TRY(close(fd));
}

static void peek_off_server(void)
{
	int fd = serve_warm(), off = 3;
	char buf[20] = {0}, good[20];

	fill(good, sizeof good, 1, 0);
	send_me(20);
	unread_is(fd, 20);
	TRY(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off));
	TRY(recv(fd, buf, 4, MSG_PEEK));
	HOLDS(!memcmp(buf, good + 3, 4));
	TRY(recv(fd, buf, 4, MSG_PEEK));
	HOLDS(!memcmp(buf, good + 7, 4));
	TRY(recv(fd, buf, 4, 0));
	TRY(recv(fd, buf, 4, MSG_PEEK));
	HOLDS(!memcmp(buf, good + 11, 4));
	close_yours();
	TRY(close(fd));
}

/* With one thread there is nothing to unshare. */
static void unshare_server(void)
{
	int fd = serve_warm();

	TRY(close_range(70, 90, CLOSE_RANGE_UNSHARE));
	TRY(close(fd));
	tell("closed");
	await("seen");
}

static void unshare_client(void)
{
	int fd = connect_warm();
	char c;

	await("closed");
	TRY(read(fd, &c, 1));
	tell("seen");
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"connect_twice", whole_part, connect_twice_client, 0, NULL},
	{"connect_accepted", connect_accepted_server, whole_part, 0, NULL},
	{"dup3_bad_flags", dup3_server, whole_part, 0, NULL},
	{"dup2_over_limit", dup2_limit_server, whole_part, 0, NULL},
	{"msg_name", msgname_server, sender_client, 0, NULL},
	{"writev_huge", writev_huge_server, writev_huge_client, 0, NULL},
	{"readv_huge", readv_huge_server, sender_client, 0, NULL},
	{"rwf_flags", flagged_server, flagged_client, 0, NULL},
	{"write_nothing", nothing_server, nothing_client, 0, NULL},
	{"recv_nothing", recv_nothing_server, sender_client, 0, NULL},
	{"sendfile_special", sendfile_server, sendfile_client, 0, NULL},
	{"splicing_thread", splice_server, splice_client, CASE_NOWARM, NULL},
	{"poll_limit", poll_limit_server, sender_client, 0, NULL},
	{"peek_off", peek_off_server, sender_client, 0, NULL},
	{"unshare_files", unshare_server, unshare_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
