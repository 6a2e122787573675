/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_raw.c - calls on sockets and descriptors by number: syscall(). */
#include "oracle_udp.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROUNDS 40
#define RAW(name, ...) syscall(SYS_##name, ##__VA_ARGS__)
#define MASK 8 /* octets of the kernel's signal mask */

/* ---- payload ---- */

static struct iovec iov[2];
static struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
static struct mmsghdr many[2];

static void pieces(char *buf)
{
	iov[0] = (struct iovec){buf, 4};
	iov[1] = (struct iovec){buf + 4, 6};
	for (int i = 0; i < 2; i++)
		many[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
}

static long in_by(int fd, char *buf, int way)
{
	switch (way) {
	case 0:
		return RAW(read, fd, buf, 10);
	case 1:
		return RAW(readv, fd, iov, 2);
	case 2:
		return RAW(preadv2, fd, iov, 2, -1L, -1L, 0);
	case 3:
		return RAW(recvfrom, fd, buf, 10, MSG_WAITALL, NULL, NULL);
	case 4:
		return RAW(recvmsg, fd, &msg, MSG_WAITALL);
	default:
		return RAW(recvmmsg, fd, many, 2, MSG_WAITALL, NULL) == 2 ? (long)many[0].msg_len + many[1].msg_len : -1;
	}
}

static long out_by(int fd, char *buf, int way)
{
	switch (way) {
	case 0:
		return RAW(write, fd, buf, 10);
	case 1:
		return RAW(writev, fd, iov, 2);
	case 2:
		return RAW(pwritev2, fd, iov, 2, -1L, -1L, 0);
	case 3:
		return RAW(sendto, fd, buf, 10, MSG_NOSIGNAL, NULL, 0);
	case 4:
		return RAW(sendmsg, fd, &msg, 0);
	default:
		return RAW(sendmmsg, fd, many, 2, 0) == 2 ? (long)many[0].msg_len + many[1].msg_len : -1;
	}
}

static void data_server(void)
{
	char buf[10], good[10];
	int fd = serve_warm();

	no_delay(fd);
	pieces(buf);
	for (unsigned i = 0; i < 6 * ROUNDS; i++) {
		memset(buf, 0, sizeof buf);
		fill(good, 10, 1, 10 * i);
		if (in_by(fd, buf, i % 6) != 10 || memcmp(buf, good, 10))
			say("FALSE: in by way %u", i % 6);
		fill(buf, 10, 2, 10 * i);
		if (out_by(fd, buf, i % 6) != 10)
			say("FALSE: out by way %u", i % 6);
	}
	TRY(RAW(readv, fd, iov, 100000));
	TRY(RAW(write, fd, NULL, 10));
	TRY(RAW(read, fd, buf, 0));
	TRY(RAW(read, fd, buf, 10));
	TRY(RAW(close, fd));
	TRY(RAW(read, fd, buf, 10));
	TRY(RAW(close, fd));
}

static void data_client(void)
{
	int fd = connect_warm();

	for (unsigned i = 0; i < 6 * ROUNDS; i++) {
		put(fd, 10, 1, 10 * i);
		get(fd, 10, 2, 10 * i);
	}
	TRY(close(fd));
}

/* ---- waiting ---- */

static int woken_by(int fd, int ep, int way)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec ts = {.tv_sec = 5};
	struct timeval tv = {.tv_sec = 5};
	struct epoll_event ev;
	sigset_t none;
	fd_set set;
	const struct {
		const void *mask;
		size_t size;
	} masked = {&none, MASK};

	sigemptyset(&none);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	switch (way) {
	case 0:
		return (int)RAW(poll, &p, 1, 5000);
	case 1:
		return (int)RAW(ppoll, &p, 1, &ts, &none, MASK) == 1 && ts.tv_sec < 5;
	case 2:
		return (int)RAW(select, fd + 1, &set, NULL, NULL, &tv) == 1 && tv.tv_sec < 5;
	case 3:
		return (int)RAW(pselect6, fd + 1, &set, NULL, NULL, &ts, &masked) == 1 && ts.tv_sec < 5;
	case 4:
		return (int)RAW(epoll_wait, ep, &ev, 1, 5000);
	case 5:
		return (int)RAW(epoll_pwait, ep, &ev, 1, 5000, &none, MASK);
	default:
		return (int)RAW(epoll_pwait2, ep, &ev, 1, &ts, &none, MASK) == 1 && ts.tv_sec == 5;
	}
}

/* What only the kernel's calls know: a time that cannot be written, a mask of another size. */
static void wait_oddly(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec ts = {.tv_nsec = 20000000};
	struct timespec *fixed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct epoll_event ev;
	sigset_t none;

	sigemptyset(&none);
	*fixed = ts;
	MUST(mprotect(fixed, 4096, PROT_READ));
	TRY(RAW(ppoll, &p, 1, fixed, NULL, 0));
	TRY(RAW(ppoll, &p, 1, &ts, NULL, 0));
	HOLDS(ts.tv_sec == 0 && ts.tv_nsec == 0);
	TRY(RAW(ppoll, &p, 1, &ts, &none, 128));
	TRY(RAW(ppoll, &p, 1, (void *)1, NULL, 0));
	ts.tv_nsec = 1000000000;
	TRY(RAW(ppoll, &p, 1, &ts, NULL, 0));
	TRY(RAW(epoll_pwait, fd, &ev, 1, 0, NULL, 0));
}

/* What is not there, where the kernel would look. */
static void wait_nowhere(int fd, int ep)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct {
		const void *mask;
		size_t size;
	} masked = {none, MASK};
	struct epoll_event ev;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	TRY(RAW(ppoll, &p, 1, none, NULL, 0));
	TRY(RAW(ppoll, &p, 1, NULL, none, MASK));
#ifdef SYS_select
	TRY(RAW(select, fd + 1, &set, NULL, NULL, none));
#endif
	TRY(RAW(pselect6, fd + 1, &set, NULL, NULL, none, NULL));
	TRY(RAW(pselect6, fd + 1, &set, NULL, NULL, NULL, &masked));
	TRY(RAW(pselect6, fd + 1, &set, NULL, NULL, NULL, none));
	TRY(RAW(epoll_pwait, ep, &ev, 1, 0, none, MASK));
	TRY(RAW(epoll_pwait2, ep, &ev, 1, none, NULL, 0));
	TRY(RAW(epoll_pwait2, ep, &ev, 1, NULL, none, MASK));
	MUST(munmap(none, 4096));
}

static void wait_server(void)
{
	int fd = serve_warm(), ep = (int)RAW(epoll_create1, EPOLL_CLOEXEC);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 1};

	no_delay(fd);
	TRY(RAW(epoll_ctl, ep, EPOLL_CTL_ADD, fd, &ev));
	TRY(RAW(epoll_ctl, ep, EPOLL_CTL_ADD, fd, &ev));
	for (unsigned i = 0; i < 7 * ROUNDS; i++) {
		if (woken_by(fd, ep, i % 7) != 1)
			say("FALSE: waiting by way %u", i % 7);
		get(fd, 10, 1, 10 * i);
		put(fd, 10, 2, 10 * i);
	}
	wait_oddly(fd);
	wait_nowhere(fd, ep);
	TRY(RAW(epoll_pwait, ep, &ev, 1, 0, "0123456", 7));
	TRY(RAW(epoll_ctl, ep, EPOLL_CTL_DEL, fd, NULL));
	TRY(RAW(close, ep));
	tell("go");
	TRY(RAW(read, fd, &ev, 1));
	TRY(RAW(close, fd));
}

static void wait_client(void)
{
	int fd = connect_warm();

	for (unsigned i = 0; i < 7 * ROUNDS; i++) {
		put(fd, 10, 1, 10 * i);
		get(fd, 10, 2, 10 * i);
	}
	await("go");
	TRY(close(fd));
}

/* ---- descriptors ---- */

static void numbers_server(void)
{
	int fd = serve_warm(), n = 0, on = 1, null = (int)MUST(open("/dev/null", O_RDWR | O_CLOEXEC));
	char c;

	TRY(RAW(fcntl, fd, F_SETFL, O_NONBLOCK));
	TRY(RAW(read, fd, &c, 1));
	on = 0;
	TRY(RAW(ioctl, fd, FIONBIO, &on));
	send_me(20);
	TRY(RAW(ioctl, fd, FIONREAD, &n));
	say("%d unread", n);
	TRY(RAW(dup3, fd, 60, O_CLOEXEC));
	TRY(RAW(dup2, 60, 61));
	TRY(RAW(fcntl, fd, F_DUPFD_CLOEXEC, 62));
	HOLDS(RAW(dup, fd) > fd);
	TRY(RAW(close, fd));
	get(60, 5, 1, 0);
	get(61, 5, 1, 5);
	get(62, 10, 1, 10);
	TRY(RAW(dup3, null, 61, O_CLOEXEC)); /* a number of the socket is a file's now */
	TRY(RAW(write, 61, "x", 1));
	TRY(RAW(read, 61, &c, 1));
	TRY(RAW(close_range, 61, 62, 0));
	TRY(RAW(read, 62, &c, 1));
	send_me(10);
	get(60, 10, 1, 20);
	TRY(RAW(close_range, 60, 60, CLOSE_RANGE_CLOEXEC));
	close_yours();
	TRY(RAW(read, 60, &c, 1));
	TRY(RAW(close, 60));
}

/* ---- connections ---- */

#define ADDRESS(a, port)                                                                                                       \
	struct sockaddr_in a = {                                                                                               \
		.sin_family = AF_INET, .sin_port = htons((uint16_t)(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};        \
	socklen_t len = sizeof a

static void made_server(void)
{
	ADDRESS(me, 0);
	int on = 1, type = 0, lfd = (int)MUST(RAW(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	TRY(RAW(setsockopt, lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	TRY(RAW(bind, lfd, &me, len));
	TRY(RAW(listen, lfd, 5));
	MUST(getsockname(lfd, (struct sockaddr *)&me, &len));
	tell_number(ntohs(me.sin_port));
	int fd = (int)MUST(RAW(accept4, lfd, NULL, NULL, SOCK_CLOEXEC));
	warm_up(fd);
	for (unsigned i = 0; i < ROUNDS; i++) {
		get(fd, 10, 1, i);
		put(fd, 10, 2, i);
	}
	len = sizeof type;
	TRY(RAW(getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &len));
	HOLDS(type == SOCK_STREAM);
	TRY(RAW(shutdown, fd, SHUT_WR));
	TRY(RAW(read, fd, &type, 1));
	TRY(RAW(close, fd));
	fd = (int)MUST(RAW(accept, lfd, NULL, NULL)); /* and once more by the older call */
	warm_up(fd);
	put(fd, 10, 2, 0);
	TRY(RAW(read, fd, &type, 1));
	TRY(RAW(close, fd));
	TRY(RAW(close, lfd));
}

static void made_client(void)
{
	ADDRESS(to, await_number());
	char c;

	for (int turn = 0; turn < 2; turn++) {
		int fd = (int)MUST(RAW(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		TRY(RAW(connect, fd, &to, len));
		warm_up(fd);
		for (unsigned i = 0; !turn && i < ROUNDS; i++) {
			put(fd, 10, 1, i);
			get(fd, 10, 2, i);
		}
		if (turn)
			get(fd, 10, 2, 0);
		else
			TRY(RAW(recvfrom, fd, &c, 1, 0, NULL, NULL));
		TRY(RAW(close, fd));
	}
}

/* ---- files ---- */

static void files_server(void)
{
	static char buf[5000];
	int fd = serve_warm(), file = (int)MUST(memfd_create("oracle", MFD_CLOEXEC)), p[2];
	off_t at = 1000;

	fill(buf, sizeof buf, 2, 0);
	MUST(write(file, buf, sizeof buf));
	put(fd, 1000, 2, 0);
	TRY(RAW(sendfile, fd, file, &at, 9000));
	say("at %ld", (long)at);
	MUST(pipe2(p, O_CLOEXEC));
	send_me(3000);
	long n = 0;
	while (n < 3000) {
		long m = MUST(RAW(splice, fd, NULL, p[1], NULL, 3000 - n, 0));
		for (long k = 0; k < m;)
			k += MUST(read(p[0], buf + n + k, (size_t)(m - k)));
		n += m;
	}
	say("sum %016llx", (unsigned long long)sum_bytes(0, buf, 3000));
	close_yours();
	TRY(RAW(close, fd));
}

static void files_client(void)
{
	int fd = connect_warm();

	get(fd, 5000, 2, 0);
	put(fd, (size_t)await_number(), 1, 0);
	tell("sent");
	TRY(await_number());
	TRY(close(fd));
	tell("closed");
}

/* ---- datagrams ---- */

static void dgram_server(void)
{
	struct addr client, from;
	char buf[100];
	int fd = udp_serve(&client);

	for (unsigned i = 0; i < ROUNDS; i++) {
		from.len = sizeof from.ss;
		long n = MUST(RAW(recvfrom, fd, buf, sizeof buf, 0, &from.sa, &from.len));
		if (n != (long)i || !addr_equal(&from, &client))
			say("FALSE: %ld octets", n);
		MUST(RAW(sendto, fd, buf, n, 0, &from.sa, from.len));
	}
	pieces(buf);
	tell("two");
	TRY(RAW(recvmmsg, fd, many, 2, 0, NULL));
	say("%u and %u octets", many[0].msg_len, many[1].msg_len);
	TRY(RAW(recvfrom, fd, buf, sizeof buf, MSG_DONTWAIT, NULL, NULL));
	TRY(RAW(close, fd));
}

static void dgram_client(void)
{
	struct addr server;
	char buf[100] = {0}, back[100];
	int fd = udp_call(&server);

	for (unsigned i = 0; i < ROUNDS; i++) {
		memset(buf, (int)i, sizeof buf);
		MUST(RAW(sendto, fd, buf, i, 0, &server.sa, server.len));
		if (RAW(recvfrom, fd, back, sizeof back, 0, NULL, NULL) != (long)i || memcmp(back, buf, i))
			say("FALSE: answer %u", i);
	}
	pieces(buf);
	await("two");
	for (int i = 0; i < 2; i++) {
		many[i].msg_hdr.msg_name = &server.sa;
		many[i].msg_hdr.msg_namelen = server.len;
	}
	TRY(RAW(sendmmsg, fd, many, 2, 0));
	TRY(RAW(close, fd));
}

const struct oracle_case oracle_cases[] = {
	{"data", data_server, data_client, 0, NULL},
	{"wait", wait_server, wait_client, 0, NULL},
	{"numbers", numbers_server, sender_client, 0, NULL},
	{"made", made_server, made_client, 0, NULL},
	{"files", files_server, files_client, 0, NULL},
	{"datagrams", dgram_server, dgram_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
