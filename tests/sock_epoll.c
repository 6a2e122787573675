/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_epoll.c - epoll: level, edge, oneshot; masks at each stage of life; re-arming; one stream in every mode while it may move. */
#include "oracle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALL (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI)
#define SOON 3000 /* ms that an event which must come may take */

static int new_set(void)
{
	return (int)MUST(epoll_create1(EPOLL_CLOEXEC));
}

static void control(int ep, int op, int fd, unsigned events)
{
	struct epoll_event ev = {.events = events, .data.u64 = UINT64_C(0x123456789abcdef0)};

	MUST(epoll_ctl(ep, op, fd, &ev));
}

/* One wait; what it reports of the one member. */
static void wait_says(int ep, int timeout)
{
	struct epoll_event ev[4] = {{0}};
	int n = epoll_wait(ep, ev, 4, timeout);

	say("%d %s%s", n, event_names(ev[0].events),
		n == 1 && ev[0].data.u64 != UINT64_C(0x123456789abcdef0) ? " FALSE data" : "");
}

/* ---- level: masks at each stage ---- */

static void stages_server(void)
{
	char buf[8];
	int fd = serve_warm(), ep = new_set(), none = new_set(), hup = new_set();

	control(ep, EPOLL_CTL_ADD, fd, ALL | EPOLLRDNORM | EPOLLWRNORM);
	control(none, EPOLL_CTL_ADD, fd, 0);
	control(hup, EPOLL_CTL_ADD, fd, EPOLLRDHUP);
	epoll_is(ep, EPOLLOUT | EPOLLWRNORM);
	epoll_is(none, 0);
	tell("idle");
	await("sent");
	epoll_is(ep, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
	epoll_is(ep, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
	epoll_is(none, 0);
	epoll_is(hup, 0);
	get(fd, 5, 1, 0);
	epoll_is(ep, EPOLLOUT | EPOLLWRNORM);
	tell("read");
	await("half");
	epoll_is(hup, EPOLLRDHUP);
	epoll_is(ep, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP);
	TRY(read(fd, buf, 8));
	epoll_is(none, 0);
	TRY(shutdown(fd, SHUT_WR));
	epoll_is(none, EPOLLHUP);
	epoll_is(hup, EPOLLRDHUP | EPOLLHUP);
	epoll_is(ep, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP | EPOLLHUP);
	TRY(close(fd));
	epoll_is(ep, 0);
	close(ep);
	close(none);
	close(hup);
}

static void stages_client(void)
{
	char buf[8];
	int fd = connect_warm();

	await("idle");
	put(fd, 5, 1, 0);
	tell("sent");
	await("read");
	TRY(shutdown(fd, SHUT_WR));
	tell("half");
	TRY(read(fd, buf, 8));
	TRY(close(fd));
}

/* A reset is ERR and HUP, asked for or not. */
static void reset_server(void)
{
	int fd = serve_warm(), ep = new_set(), none = new_set();

	control(ep, EPOLL_CTL_ADD, fd, ALL | EPOLLET);
	control(none, EPOLL_CTL_ADD, fd, 0);
	wait_says(ep, SOON);
	meet("before");
	wait_says(ep, SOON);
	await("reset");
	epoll_is(none, EPOLLERR | EPOLLHUP);
	TRY(read(fd, (char[1]){0}, 1));
	epoll_is(none, EPOLLHUP);
	wait_says(ep, 0);
	TRY(close(fd));
	close(ep);
	close(none);
}

static void reset_client(void)
{
	struct linger now = {.l_onoff = 1};
	int fd = connect_warm();

	meet("before");
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	TRY(close(fd));
	tell("reset");
}

/* ---- a driver: the client sends n bytes each time it is told a number, and ends at 0 ---- */

static void sender_client(void)
{
	int fd = connect_warm();
	uint64_t pos = 0;

	no_delay(fd);
	for (long n; (n = await_number()) > 0; pos += (uint64_t)n) {
		put(fd, (size_t)n, 1, pos);
		tell("sent");
	}
	TRY(close(fd));
	tell("closed");
}

static void send_me(long n)
{
	tell_number(n);
	await("sent");
}

static void close_yours(void)
{
	tell_number(0);
	await("closed");
}

/* ---- edge: a fresh edge for every write, none without ---- */

static void edge_server(void)
{
	int fd = serve_warm(), ep = new_set();

	control(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
	wait_says(ep, 0);
	send_me(5);
	wait_says(ep, SOON);
	wait_says(ep, 0);
	send_me(5); /* nothing was read: an edge all the same */
	wait_says(ep, SOON);
	wait_says(ep, 50);
	send_me(5);
	send_me(5); /* two writes before the wait are one event */
	wait_says(ep, SOON);
	wait_says(ep, 0);
	get(fd, 3, 1, 0); /* reading a part makes no edge */
	wait_says(ep, 0);
	get(fd, 17, 1, 3);
	wait_says(ep, 0);
	send_me(5);
	get(fd, 5, 1, 20); /* read before the wait: the edge finds nothing left */
	wait_says(ep, 50);
	close_yours();
	wait_says(ep, SOON);
	wait_says(ep, 0);
	TRY(shutdown(fd, SHUT_WR));
	wait_says(ep, SOON);
	wait_says(ep, 0);
	TRY(close(fd));
	close(ep);
}

/* With EPOLLOUT as well, what is always there is reported with each edge. */
static void edge_out_server(void)
{
	int fd = serve_warm(), ep = new_set();

	control(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET);
	wait_says(ep, SOON);
	wait_says(ep, 50);
	send_me(5);
	wait_says(ep, SOON);
	wait_says(ep, 50);
	TRY(write(fd, "x", 1)); /* our own write is none */
	wait_says(ep, 50);
	get(fd, 5, 1, 0);
	wait_says(ep, 50);
	close_yours();
	wait_says(ep, SOON);
	TRY(close(fd));
	close(ep);
}

/* sender_client whose end is reset by our unread byte: it reads it first. */
static void reading_client(void)
{
	int fd = connect_warm();
	char c;

	no_delay(fd);
	for (long n, pos = 0; (n = await_number()) > 0; pos += n) {
		put(fd, (size_t)n, 1, (uint64_t)pos);
		tell("sent");
	}
	TRY(read(fd, &c, 1));
	TRY(close(fd));
	tell("closed");
}

/* Full, then room: one edge. */
static void edge_room_server(void)
{
	char *buf = calloc(1, 65536);
	int fd = serve_warm(), ep = new_set();
	struct epoll_event ev;
	long total = 0;
	ssize_t n;

	set_nonblock(fd, 1);
	control(ep, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLET);
	/* The kernel moves bytes over while we write: full is when no edge follows EAGAIN. */
	while (epoll_wait(ep, &ev, 1, 100) == 1)
		while ((n = write(fd, buf, 65536)) > 0)
			total += n;
	HOLDS(total >= 1000000);
	tell_number(total);
	wait_says(ep, SOON);
	await("drained");
	TRY(write(fd, "x", 1));
	TRY(close(fd));
	close(ep);
	free(buf);
}

static void edge_room_client(void)
{
	static char buf[65536];
	int fd = connect_warm();

	for (long total = await_number(); total > 0;)
		total -= MUST(read(fd, buf, total < (long)sizeof buf ? (size_t)total : sizeof buf));
	tell("drained");
	TRY(read(fd, buf, 8));
	TRY(read(fd, buf, 8));
	TRY(close(fd));
}

/* ---- oneshot and re-arming ---- */

static void oneshot_server(void)
{
	int fd = serve_warm(), ep = new_set();

	control(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT);
	wait_says(ep, 0);
	send_me(5);
	wait_says(ep, SOON);
	wait_says(ep, 0);
	send_me(5);
	wait_says(ep, 50); /* disarmed */
	control(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
	wait_says(ep, SOON); /* armed, and there is something unread */
	wait_says(ep, 0);
	get(fd, 10, 1, 0);
	control(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT | EPOLLET);
	wait_says(ep, 0);
	send_me(5);
	wait_says(ep, SOON);
	send_me(5);
	wait_says(ep, 50);
	close_yours();
	wait_says(ep, 50); /* not even the hang-up */
	TRY(shutdown(fd, SHUT_WR));
	wait_says(ep, 50);
	control(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP);
	wait_says(ep, SOON);
	TRY(close(fd));
	close(ep);
}

static void mod_server(void)
{
	int fd = serve_warm(), ep = new_set();

	control(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
	send_me(5);
	wait_says(ep, SOON);
	wait_says(ep, 0);
	control(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET); /* a fresh edge, since there is something */
	wait_says(ep, SOON);
	wait_says(ep, 0);
	control(ep, EPOLL_CTL_MOD, fd, EPOLLIN); /* level from here on */
	wait_says(ep, SOON);
	wait_says(ep, SOON);
	control(ep, EPOLL_CTL_MOD, fd, EPOLLOUT);
	wait_says(ep, SOON);
	control(ep, EPOLL_CTL_MOD, fd, 0);
	wait_says(ep, 0);
	send_me(5);
	wait_says(ep, 50);
	control(ep, EPOLL_CTL_MOD, fd, EPOLLIN);
	wait_says(ep, SOON);
	MUST(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	wait_says(ep, 0);
	control(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
	wait_says(ep, SOON);
	get(fd, 10, 1, 0);
	close_yours();
	wait_says(ep, SOON);
	TRY(close(fd));
	close(ep);
}

/* ---- a stream that is in the set from its first byte on ---- */

static void moving_server(void)
{
	unsigned events = *(const unsigned *)the_case->arg;
	char buf[512];
	uint64_t got = 0, want = 0;
	int fd = serve_one(), ep = new_set();
	struct epoll_event ev = {.events = events, .data.fd = fd};

	set_nonblock(fd, 1);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (unsigned i = 0; i < 3000; i++) {
		want += 1 + i % 300;
		while (got < want) {
			if (epoll_wait(ep, &ev, 1, 5000) != 1) {
				say("FALSE: no event in turn %u", i);
				return;
			}
			ssize_t n;
			while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
				got += (uint64_t)n;
			if (n == 0 || errno != EAGAIN)
				say_result("FALSE: recv", n);
			if (events & EPOLLONESHOT)
				MUST(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = events, .data.fd = fd}));
		}
		if (write(fd, "k", 1) != 1)
			say("FALSE: write");
	}
	say("got %llu", (unsigned long long)got);
	TRY(close(fd));
	close(ep);
}

static void moving_client(void)
{
	int fd = connect_one();
	char c;

	for (unsigned i = 0; i < 3000; i++) {
		put(fd, 1 + i % 300, 1, 0);
		if (read(fd, &c, 1) != 1)
			say("FALSE: no answer in turn %u", i);
	}
	TRY(read(fd, &c, 1));
	TRY(close(fd));
}

static const unsigned level = EPOLLIN, edge = EPOLLIN | EPOLLET, in_out_edge = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		      oneshot = EPOLLIN | EPOLLONESHOT, exclusive = EPOLLIN | EPOLLEXCLUSIVE;

const struct oracle_case oracle_cases[] = {
	{"stages", stages_server, stages_client, 0, NULL},
	{"reset", reset_server, reset_client, 0, NULL},
	{"edge", edge_server, sender_client, 0, NULL},
	{"edge_in_out", edge_out_server, reading_client, 0, NULL},
	{"edge_room", edge_room_server, edge_room_client, 0, NULL},
	{"oneshot", oneshot_server, sender_client, 0, NULL},
	{"mod", mod_server, sender_client, 0, NULL},
	{"moving_level", moving_server, moving_client, CASE_NOWARM, &level},
	{"moving_edge", moving_server, moving_client, CASE_NOWARM, &edge},
	{"moving_in_out_edge", moving_server, moving_client, CASE_NOWARM, &in_out_edge},
	{"moving_oneshot", moving_server, moving_client, CASE_NOWARM, &oneshot},
	{"moving_exclusive", moving_server, moving_client, CASE_NOWARM, &exclusive},
	{NULL, NULL, NULL, 0, NULL},
};
