/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_end.c - how connections end: half-close, shutdown, reset, close with unread data, EPIPE and SIGPIPE. */
#include "oracle.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

static volatile sig_atomic_t pipes; /* SIGPIPEs seen */
static void on_pipe(int sig)
{
	pipes += sig == SIGPIPE;
}

static void say_error(int fd)
{
	int error = -1;

	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}));
	say("SO_ERROR is %s", error ? strerrorname_np(error) : "0");
}

/* What a socket that has seen its end still answers; twice, since some answers are given once. */
static void ask_all(int fd, unsigned err)
{
	char buf[16];

	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | err);
	for (int i = 0; i < 2; i++) {
		TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT | MSG_PEEK));
		TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
		TRY(send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
	}
	say_error(fd);
	TRY(shutdown(fd, SHUT_WR));
	TRY(shutdown(fd, SHUT_RDWR));
}

/* ---- both directions closed one after the other ---- */

static void halves_server(void)
{
	char buf[8];
	int fd = serve_warm();

	TRY(shutdown(fd, SHUT_WR));
	TRY(shutdown(fd, SHUT_WR));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	poll_is(fd, ALL, POLLOUT);
	tell("half");
	get(fd, 50000, 1, 0);
	TRY(recv(fd, buf, 8, 0));
	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	TRY(recv(fd, buf, 8, 0));
	TRY(close(fd));
}

static void halves_client(void)
{
	char buf[8];
	int fd = connect_warm();

	await("half");
	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP);
	TRY(recv(fd, buf, 8, 0));
	TRY(recv(fd, buf, 8, MSG_PEEK));
	put(fd, 50000, 1, 0);
	TRY(shutdown(fd, SHUT_WR));
	TRY(recv(fd, buf, 8, 0));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	TRY(close(fd));
}

/* ---- SHUT_RD: what has come can be read, and what comes as well ---- */

static void shut_rd_server(void)
{
	char buf[16];
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 10);
	TRY(shutdown(fd, SHUT_RD));
	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP);
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	tell("more");
	await("sent");
	unread_is(fd, 5);
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	put(fd, 100, 2, 0);
	await("closed");
	TRY(close(fd));
}

static void shut_rd_client(void)
{
	int fd = connect_warm();

	put(fd, 10, 1, 0);
	tell("sent");
	await("more");
	put(fd, 5, 1, 0);
	tell("sent");
	get(fd, 100, 2, 0);
	TRY(close(fd));
	tell("closed");
}

/* ---- SHUT_RDWR: a later send of the peer is answered by a reset ---- */

static void shut_both_server(void)
{
	int fd = serve_warm();

	put(fd, 1000, 2, 0);
	TRY(shutdown(fd, SHUT_RDWR));
	tell("shut");
	await("asked");
	ask_all(fd, POLLERR);
	TRY(close(fd));
}

static void shut_both_client(void)
{
	uint64_t sum;
	int fd = connect_warm();

	await("shut");
	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP);
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	ask_all(fd, POLLERR);
	tell("asked");
	TRY(close(fd));
}

/* What the reset answers is no input, and what was there before is. */
static void shut_unheard_server(void)
{
	char buf[20];
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 10);
	TRY(shutdown(fd, SHUT_RDWR));
	tell("shut");
	await("sent");
	ask_all(fd, POLLERR);
	unread_is(fd, 10);
	TRY(recv(fd, buf, 5, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(close(fd));
}

static void shut_unheard_client(void)
{
	int fd = connect_warm();

	put(fd, 10, 1, 0);
	tell("sent");
	await("shut");
	TRY(shutdown(fd, SHUT_RD));
	TRY(send(fd, "some more", 9, MSG_NOSIGNAL));
	tell("sent");
	TRY(close(fd));
}

/* shutdown by another thread or process ends a blocked recv; here: by the child */
static void shut_blocked_server(void)
{
	char buf[8];
	int fd = serve_warm();
	pid_t pid = fork_part();

	if (pid == 0) {
		await("sleeping?");
		usleep(30000); /* so that the other one sleeps, most likely: it gets the same if not */
		exit(shutdown(fd, SHUT_RD));
	}
	tell("go");
	TRY(recv(fd, buf, 8, 0));
	join_child(pid);
	put(fd, 1, 2, 0);
	TRY(close(fd));
}

static void shut_blocked_client(void)
{
	int fd = connect_warm();

	await("go");
	tell("sleeping?");
	get(fd, 1, 2, 0);
	TRY(close(fd));
}

/* ---- reset by SO_LINGER with time 0; the peer had read everything, or not ---- */

static void reset_server(void)
{
	struct linger now = {.l_onoff = 1};
	int fd = serve_warm();

	put(fd, 100, 2, 0);
	meet("before");
	TRY(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	TRY(close(fd));
	tell("reset");
}

static void reset_client(void)
{
	int unread = *(const int *)the_case->arg;
	int fd = connect_warm();

	unread_is(fd, 100);
	get(fd, (size_t)(100 - unread), 2, 0);
	meet("before");
	await("reset");
	ask_all(fd, POLLERR);
	TRY(close(fd));
}

/* The same, while the peer sleeps in recv. */
static void reset_asleep_client(void)
{
	char buf[8];
	int fd = connect_warm();

	get(fd, 100, 2, 0);
	meet("before");
	TRY(recv(fd, buf, 8, 0));
	await("reset");
	ask_all(fd, 0);
	TRY(close(fd));
}

/* ---- reset in the middle of a long send: that returns what has gone, and the next call hears of the reset ---- */

#define LONG_LEN (64 << 20)

static void midsend_server(void)
{
	struct linger now = {.l_onoff = 1};
	int fd = serve_warm();

	await("sends");
	get(fd, 1000000, 1, 0);
	TRY(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	TRY(close(fd));
	await("asked");
}

/* By less room than it needs, as the kernel allows: no more is written, and it has been said. */
static void say_error_in_part(int fd)
{
	unsigned char room[8] = "........";
	socklen_t len = 1;

	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, room, &len));
	say("SO_ERROR in %u: %u, and behind it %.7s", (unsigned)len, room[0], (char *)room + 1);
}

static void midsend_client(void)
{
	char *buf = calloc(1, LONG_LEN), c;
	int next = *(const int *)the_case->arg;
	int fd = connect_warm();

	fill(buf, 1000000, 1, 0);
	tell("sends");
	long n = send(fd, buf, LONG_LEN, 0);
	HOLDS(n >= 1000000 && n < LONG_LEN);
	if (next == 1)
		TRY(recv(fd, &c, 1, 0));
	else if (next == 2)
		say_error_in_part(fd);
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	TRY(recv(fd, &c, 1, 0));
	say_error(fd);
	tell("asked");
	TRY(close(fd));
	free(buf);
}

/* ---- close with unread data: the peer is reset, and loses what it had not read? The kernel says. ---- */

static void unread_server(void)
{
	int to_peer = *(const int *)the_case->arg;
	int fd = serve_warm();

	put(fd, (size_t)to_peer, 2, 0);
	await("sent");
	unread_is(fd, 10);
	get(fd, 3, 1, 0);
	TRY(close(fd));
	tell("closed");
}

static void unread_client(void)
{
	int from_peer = *(const int *)the_case->arg;
	int fd = connect_warm();

	put(fd, 10, 1, 0);
	unread_is(fd, from_peer);
	tell("sent");
	await("closed");
	ask_all(fd, POLLERR);
	TRY(close(fd));
}

/* ---- what was sent before close, exit or _exit arrives, all of it, and then the end ---- */

#define LAST_WORDS 1000000

static void last_words_server(void)
{
	int how = *(const int *)the_case->arg;
	pid_t pid = fork_part();

	if (pid) {
		join_child(pid);
		return;
	}
	int fd = serve_warm();
	for (unsigned i = 0; i < LAST_WORDS / 1000; i++)
		put(fd, 1000, 2, i * 1000);
	if (how == 0)
		TRY(close(fd));
	if (how == 1)
		_exit(3);
	exit(4);
}

static void last_words_client(void)
{
	char buf[8];
	int fd = connect_warm();

	get(fd, LAST_WORDS, 2, 0);
	TRY(recv(fd, buf, 8, 0));
	TRY(close(fd));
}

/* A close that lingers. */
static void linger_server(void)
{
	struct linger wait = {.l_onoff = 1, .l_linger = 5};
	int fd = serve_warm();

	TRY(setsockopt(fd, SOL_SOCKET, SO_LINGER, &wait, sizeof wait));
	put(fd, 50000, 2, 0);
	tell("sent");
	TRY(close(fd));
}

static void linger_client(void)
{
	uint64_t sum;
	int fd = connect_warm();

	await("sent");
	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	TRY(close(fd));
}

/* ---- EPIPE and SIGPIPE ---- */

static void say_pipes(void)
{
	say("SIGPIPE: %d", (int)pipes);
	pipes = 0;
}

static void sigpipe_server(void)
{
	struct iovec iov = {"xyz", 3};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = serve_warm();

	signal(SIGPIPE, on_pipe);
	await("closed");
	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP);
	TRY(send(fd, "x", 1, 0)); /* the kernel takes it; the answer is a reset */
	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	TRY(send(fd, "x", 1, 0));
	say_pipes();
	TRY(send(fd, "x", 1, 0));
	say_pipes();
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	say_pipes();
	TRY(write(fd, "x", 1));
	TRY(writev(fd, &iov, 1));
	TRY(pwritev2(fd, &iov, 1, -1, 0));
	say_pipes();
	TRY(sendto(fd, "x", 1, 0, NULL, 0));
	TRY(sendmsg(fd, &msg, 0));
	say_pipes();
	TRY(sendmsg(fd, &msg, MSG_NOSIGNAL));
	TRY(write(fd, "", 0));
	TRY(send(fd, "", 0, 0));
	say_pipes();
	TRY(recv(fd, (char[1]){0}, 1, 0));
	TRY(close(fd));
}

static void closing_client(void)
{
	int fd = connect_warm();

	TRY(close(fd));
	tell("closed");
}

/* The default action ends the process. */
static void pipe_kills_server(void)
{
	pid_t pid = fork_part();

	if (pid == 0) {
		int fd = serve_warm();
		await("closed");
		poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP);
		TRY(write(fd, "x", 1));
		poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
		TRY(write(fd, "x", 1));
		exit(0);
	}
	join_child(pid);
}

/* shutdown(SHUT_WR) makes EPIPE without any peer's doing. */
static void own_pipe_server(void)
{
	int fd = serve_warm();

	signal(SIGPIPE, on_pipe);
	TRY(shutdown(fd, SHUT_WR));
	TRY(write(fd, "x", 1));
	say_pipes();
	signal(SIGPIPE, SIG_IGN);
	TRY(write(fd, "x", 1));
	say_pipes();
	await("closed");
	TRY(close(fd));
}

static const int zero = 0, one = 1, two = 2, some = 40, many = 5000;

/* ---- both sides are behind when both have ended: every octet still comes, in order ---- */

static void behind_to_the_end(int fd, unsigned out, unsigned in)
{
	uint64_t sent = 0, got = 0;

	for (int i = 0; i < 600; i++) {
		put(fd, 1000, out, sent);
		sent += 1000;
		if (i % 3) {
			get(fd, 500, in, got);
			got += 500;
		}
	}
	TRY(shutdown(fd, SHUT_WR));
	tell("ended");
	await("ended");
	get(fd, (size_t)(sent - got), in, got);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void behind_server(void)
{
	behind_to_the_end(serve_one(), 2, 1);
}

static void behind_client(void)
{
	behind_to_the_end(connect_one(), 1, 2);
}

const struct oracle_case oracle_cases[] = {
	{"halves", halves_server, halves_client, 0, NULL},
	{"shut_rd", shut_rd_server, shut_rd_client, 0, NULL},
	{"shut_rdwr", shut_both_server, shut_both_client, 0, NULL},
	{"shut_unheard", shut_unheard_server, shut_unheard_client, 0, NULL},
	{"shut_while_blocked", shut_blocked_server, shut_blocked_client, 0, NULL},
	{"reset", reset_server, reset_client, 0, &zero},
	{"reset_unread", reset_server, reset_client, 0, &some},
	{"reset_asleep", reset_server, reset_asleep_client, 0, NULL},
	{"reset_sending", midsend_server, midsend_client, 0, &zero},
	{"reset_sending_read", midsend_server, midsend_client, 0, &one},
	{"reset_sending_asked", midsend_server, midsend_client, 0, &two},
	{"close_unread", unread_server, unread_client, 0, &zero},
	{"close_unread_both", unread_server, unread_client, 0, &many},
	{"last_words_close", last_words_server, last_words_client, 0, &zero},
	{"last_words__exit", last_words_server, last_words_client, 0, &one},
	{"last_words_exit", last_words_server, last_words_client, 0, &two},
	{"linger", linger_server, linger_client, 0, NULL},
	{"sigpipe", sigpipe_server, closing_client, 0, NULL},
	{"sigpipe_kills", pipe_kills_server, closing_client, CASE_KILLED, NULL},
	{"sigpipe_own", own_pipe_server, closing_client, 0, NULL},
	{"behind", behind_server, behind_client, CASE_NOWARM, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
