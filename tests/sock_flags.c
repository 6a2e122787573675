/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_flags.c - MSG_PEEK, WAITALL, DONTWAIT, TRUNC, MORE; on a warm connection and while it may move. */
#include "oracle.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Looks at exactly the bytes [pos, pos + len) of stream 1, and at no more. */
static void peek_range(int fd, size_t len, uint64_t pos)
{
	unsigned char buf[8192], good[8192];
	ssize_t n = recv(fd, buf, sizeof buf, MSG_PEEK);

	fill(good, len, 1, pos);
	if (n != (ssize_t)len || memcmp(buf, good, len))
		say("FALSE: peek at %llu gives %zd of %zu bytes, or others", (unsigned long long)pos, n, len);
}

/* ---- peek at every offset of a message ---- */

static void peek_server(void)
{
	int fd = serve_warm();
	char buf[64];

	for (unsigned i = 0; i < 20; i++) {
		await("sent");
		for (unsigned off = 0; off < 50; off++) {
			peek_range(fd, 50 - off, off);
			if (recv(fd, buf, 50 - off, MSG_PEEK | MSG_WAITALL) != 50 - (int)off)
				say("FALSE: peek and waitall");
			get(fd, 1, 1, off);
		}
		if (recv(fd, buf, 1, MSG_PEEK | MSG_DONTWAIT) != -1 || errno != EAGAIN)
			say("FALSE: more than was sent");
		put(fd, 1, 2, 0);
	}
	await("closed");
	TRY(recv(fd, buf, 1, MSG_PEEK));
	TRY(recv(fd, buf, 1, MSG_PEEK));
	TRY(close(fd));
}

static void peek_client(void)
{
	int fd = connect_warm();

	for (unsigned i = 0; i < 20; i++) {
		put(fd, 50, 1, 0);
		tell("sent");
		get(fd, 1, 2, 0);
	}
	TRY(close(fd));
	tell("closed");
}

/* ---- a reader that is always behind: whenever the stream moves, unread bytes lie on both sides of that point ---- */

#define BEHIND_TURNS 800
#define BEHIND_MAX 600

static void behind_server(void)
{
	int fd = serve_one(), n;
	uint64_t sent = 0, got = 0;
	char buf[BEHIND_MAX];

	for (unsigned i = 0; i < BEHIND_TURNS; i++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		await("sent");
		sent += 1 + i % 37;
		size_t unread = (size_t)(sent - got);
		if (poll(&p, 1, 5000) != 1 || p.revents != POLLIN)
			say("FALSE: poll in turn %u", i);
		if (recv(fd, buf, unread, MSG_PEEK | MSG_WAITALL) != (ssize_t)unread)
			say("FALSE: peek and waitall in turn %u", i);
		if (ioctl(fd, FIONREAD, &n) || n != (int)unread)
			say("FALSE: FIONREAD is %d, not %zu, in turn %u", n, unread, i);
		peek_range(fd, unread, got);
		size_t take = unread > BEHIND_MAX - 40 ? unread : i % 3 ? 1 + i % 7 : 20 + i % 5;
		take = take < unread ? take : unread;
		if (i % 2)
			get(fd, take, 1, got);
		else if (recv(fd, buf, take, MSG_WAITALL) != (ssize_t)take)
			say("FALSE: waitall in turn %u", i);
		got += take;
		put(fd, 1, 2, i);
	}
	get(fd, (size_t)(sent - got), 1, got);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

static void behind_client(void)
{
	uint64_t sent = 0;
	int fd = connect_one();

	no_delay(fd);
	for (unsigned i = 0; i < BEHIND_TURNS; i++) {
		put(fd, 1 + i % 37, 1, sent);
		sent += 1 + i % 37;
		tell("sent");
		get(fd, 1, 2, i);
	}
	TRY(close(fd));
}

/* ---- a peek that waits for more than there is, while the sender goes down and stays there ---- */

#define IN_VIEW 500
#define IN_PIPE 50

static void wait_to_see_server(void)
{
	char buf[2 * IN_VIEW];
	int fd = serve_warm();

	await("sent");
	unread_is(fd, IN_VIEW);
	tell("look");
	TRY(recv(fd, buf, IN_VIEW + IN_PIPE + 1, MSG_PEEK | MSG_WAITALL));
	say("sum %016llx", (unsigned long long)sum_bytes(0, buf, IN_VIEW + IN_PIPE + 1));
	TRY(recv(fd, buf, sizeof buf, 0));
	say("sum %016llx", (unsigned long long)sum_bytes(0, buf, IN_VIEW + IN_PIPE + 1));
	TRY(close(fd));
}

static void wait_to_see_client(void)
{
	char piece[IN_PIPE];
	int p[2], fd = connect_warm();

	no_delay(fd);
	MUST(pipe(p));
	fill(piece, sizeof piece, 1, IN_VIEW);
	MUST(write(p[1], piece, sizeof piece));
	put(fd, IN_VIEW, 1, 0);
	tell("sent");
	await("look");
	TRY(splice(p[0], NULL, fd, NULL, IN_PIPE, 0));
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL); /* who looks again and again meanwhile shall be seen to */
	put(fd, 1, 1, IN_VIEW + IN_PIPE);
	TRY(read(fd, piece, 1));
	TRY(close(fd));
}

/* ---- MSG_WAITALL ---- */

static void waitall_server(void)
{
	char buf[100000];
	int fd = serve_warm();

	tell("go");
	TRY(recv(fd, buf, 30, MSG_WAITALL)); /* comes in two pieces */
	tell("go");
	TRY(recv(fd, buf, sizeof buf, MSG_WAITALL)); /* in many */
	say("sum %016llx", (unsigned long long)sum_bytes(0, buf, sizeof buf));
	await("five");
	unread_is(fd, 5);
	TRY(recv(fd, buf, 30, MSG_WAITALL | MSG_DONTWAIT));
	TRY(recv(fd, buf, 30, MSG_WAITALL | MSG_DONTWAIT));
	tell("go");
	TRY(recv(fd, buf, 30, MSG_WAITALL)); /* seven, and the end */
	TRY(recv(fd, buf, 30, MSG_WAITALL));
	TRY(close(fd));
}

static void waitall_client(void)
{
	int fd = connect_warm();

	await("go");
	put(fd, 10, 1, 0);
	usleep(20000); /* whether the reader sees this gap or not, it gets the same */
	put(fd, 20, 1, 10);
	await("go");
	for (unsigned i = 0; i < 100; i++)
		put(fd, 1000, 1, i * 1000);
	put(fd, 5, 1, 0);
	tell("five");
	await("go");
	put(fd, 7, 1, 0);
	TRY(close(fd));
}

/* ---- MSG_DONTWAIT ---- */

static void dontwait_server(void)
{
	char buf[64], *big = calloc(1, 1 << 20);
	int fd = serve_warm();
	uint64_t total = 0;
	ssize_t n;

	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY(recv(fd, buf, 0, MSG_DONTWAIT));
	while ((n = send(fd, big, 1 << 20, MSG_DONTWAIT)) > 0)
		total += (uint64_t)n;
	TRY(send(fd, big, 1, MSG_DONTWAIT));
	HOLDS(total >= 1000000);
	meet("full");
	tell_number((long)total);
	await("read");
	poll_is(fd, POLLOUT, POLLOUT);
	TRY(send(fd, buf, 1, MSG_DONTWAIT));
	TRY(close(fd));
	tell("closed");
	free(big);
}

static void dontwait_client(void)
{
	char buf[65536];
	int fd = connect_warm();

	meet("full");
	for (long total = await_number(); total > 0;)
		total -= MUST(recv(fd, buf, sizeof buf, 0));
	tell("read");
	TRY(recv(fd, buf, sizeof buf, 0));
	await("closed");
	poll_is(fd, POLLRDHUP, POLLRDHUP);
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY(close(fd));
}

/* ---- MSG_TRUNC: for TCP, bytes are thrown away instead of copied ---- */

static void trunc_server(void)
{
	char buf[64] = "untouched";
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 100);
	TRY(recv(fd, buf, 30, MSG_TRUNC));
	say("buf is %.9s", buf);
	TRY(recv(fd, NULL, 10, MSG_TRUNC));
	TRY(recv(fd, buf, 20, MSG_TRUNC | MSG_PEEK));
	get(fd, 60, 1, 40);
	TRY(recv(fd, buf, 30, MSG_TRUNC | MSG_DONTWAIT));
	TRY(close(fd));
}

static void trunc_client(void)
{
	char buf[1];
	int fd = connect_warm();

	put(fd, 100, 1, 0);
	tell("sent");
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

/* ---- MSG_MORE and TCP_CORK: it all arrives, in order ---- */

static void more_server(void)
{
	int fd = serve_warm();

	for (unsigned i = 0; i < 20; i++) {
		get(fd, 60, 1, 0);
		put(fd, 1, 2, 0);
	}
	get(fd, 3000, 1, 0);
	put(fd, 1, 2, 0);
	get(fd, 10, 1, 0); /* promised more, then closed */
	char buf[1];
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

static void more_client(void)
{
	char buf[3000];
	int on = 1, off = 0, fd = connect_warm();

	fill(buf, sizeof buf, 1, 0);
	for (unsigned i = 0; i < 20; i++) {
		if (send(fd, buf, 20, MSG_MORE) != 20 || send(fd, buf + 20, 30, MSG_MORE) != 30 ||
			send(fd, buf + 50, 10, 0) != 10)
			say("FALSE: send");
		get(fd, 1, 2, 0);
	}
	TRY(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on));
	for (unsigned i = 0; i < 30; i++)
		MUST(write(fd, buf + i * 100, 100));
	TRY(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off));
	get(fd, 1, 2, 0);
	TRY(send(fd, buf, 10, MSG_MORE));
	TRY(close(fd));
}

/* ---- flags that mean nothing here, or nothing good ---- */

static void odd_server(void)
{
	char buf[64], control[64];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 40);
	TRY(recv(fd, buf, 10, MSG_NOSIGNAL | MSG_CMSG_CLOEXEC));
	TRY(recvmsg(fd, &msg, MSG_PEEK | MSG_CMSG_CLOEXEC));
	say("control %zu, MSG_TRUNC %d", msg.msg_controllen, !!(msg.msg_flags & MSG_TRUNC));
	TRY(recv(fd, buf, 10, MSG_ERRQUEUE));
	TRY(recv(fd, buf, 10, MSG_OOB));
	TRY(recv(fd, buf, 10, MSG_WAITFORONE));
	get(fd, 20, 1, 20);
	tell("read");
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

static void odd_client(void)
{
	char buf[64];
	int fd = connect_warm();

	fill(buf, sizeof buf, 1, 0);
	TRY(send(fd, buf, 10, MSG_CONFIRM));
	TRY(send(fd, buf + 10, 10, MSG_DONTROUTE));
	TRY(send(fd, buf + 20, 20, MSG_EOR));
	tell("sent");
	await("read");
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"peek", peek_server, peek_client, 0, NULL},
	{"behind", behind_server, behind_client, CASE_NOWARM, NULL},
	{"wait_to_see", wait_to_see_server, wait_to_see_client, 0, NULL},
	{"waitall", waitall_server, waitall_client, 0, NULL},
	{"dontwait", dontwait_server, dontwait_client, 0, NULL},
	{"trunc", trunc_server, trunc_client, 0, NULL},
	{"more", more_server, more_client, 0, NULL},
	{"odd", odd_server, odd_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
