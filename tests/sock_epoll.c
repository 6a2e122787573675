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
#define TAG UINT64_C(0x123456789abcdef0)

/* ---- level: masks at each stage ---- */

static void stages_server(void)
{
	char buf[8];
	int fd = serve_warm(), ep = new_set(), none = new_set(), hup = new_set();

	set_add(ep, fd, ALL | EPOLLRDNORM | EPOLLWRNORM, TAG);
	set_add(none, fd, 0, TAG);
	set_add(hup, fd, EPOLLRDHUP, TAG);
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
	int fd = run_through_stages();

	TRY(close(fd));
}

/* A reset is ERR and HUP, asked for or not. */
static void reset_server(void)
{
	int fd = serve_warm(), ep = new_set(), none = new_set();

	set_add(ep, fd, ALL | EPOLLET, TAG);
	set_add(none, fd, 0, TAG);
	set_says(ep, SOON);
	meet("before");
	set_says(ep, SOON);
	await("reset");
	epoll_is(none, EPOLLERR | EPOLLHUP);
	TRY(read(fd, (char[1]){0}, 1));
	epoll_is(none, EPOLLHUP);
	set_says(ep, 0);
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

/* ---- edge: a fresh edge for every write, none without ---- */

static void edge_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, TAG);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	set_says(ep, 0);
	send_me(5); /* nothing was read: an edge all the same */
	set_says(ep, SOON);
	set_says(ep, 50);
	send_me(5);
	send_me(5); /* two writes before the wait are one event */
	set_says(ep, SOON);
	set_says(ep, 0);
	get(fd, 3, 1, 0); /* reading a part makes no edge */
	set_says(ep, 0);
	get(fd, 17, 1, 3);
	set_says(ep, 0);
	send_me(5);
	get(fd, 5, 1, 20); /* read before the wait: the edge finds nothing left */
	set_says(ep, 50);
	close_yours();
	set_says(ep, SOON);
	set_says(ep, 0);
	TRY(shutdown(fd, SHUT_WR));
	set_says(ep, SOON);
	set_says(ep, 0);
	TRY(close(fd));
	close(ep);
}

/* With EPOLLOUT as well, what is always there is reported with each edge. */
static void edge_out_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, TAG);
	set_says(ep, SOON);
	set_says(ep, 50);
	send_me(5);
	set_says(ep, SOON);
	set_says(ep, 50);
	TRY(write(fd, "x", 1)); /* our own write is none */
	set_says(ep, 50);
	get(fd, 5, 1, 0);
	set_says(ep, 50);
	close_yours();
	set_says(ep, SOON);
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
	set_add(ep, fd, EPOLLOUT | EPOLLET, TAG);
	/* The kernel moves bytes over while we write: full is when no edge follows EAGAIN. */
	while (epoll_wait(ep, &ev, 1, 100) == 1)
		while ((n = write(fd, buf, 65536)) > 0)
			total += n;
	HOLDS(total >= 1000000);
	tell_number(total);
	set_says(ep, SOON);
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

	set_add(ep, fd, EPOLLIN | EPOLLONESHOT, TAG);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, 50); /* disarmed */
	set_mod(ep, fd, EPOLLIN | EPOLLONESHOT, TAG);
	set_says(ep, SOON); /* armed, and there is something unread */
	set_says(ep, 0);
	get(fd, 10, 1, 0);
	set_mod(ep, fd, EPOLLIN | EPOLLONESHOT | EPOLLET, TAG);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	send_me(5);
	set_says(ep, 50);
	close_yours();
	set_says(ep, 50); /* not even the hang-up */
	TRY(shutdown(fd, SHUT_WR));
	set_says(ep, 50);
	set_mod(ep, fd, EPOLLIN | EPOLLRDHUP, TAG);
	set_says(ep, SOON);
	TRY(close(fd));
	close(ep);
}

static void mod_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLET, TAG);
	send_me(5);
	set_says(ep, SOON);
	set_says(ep, 0);
	set_mod(ep, fd, EPOLLIN | EPOLLET, TAG); /* a fresh edge, since there is something */
	set_says(ep, SOON);
	set_says(ep, 0);
	set_mod(ep, fd, EPOLLIN, TAG); /* level from here on */
	set_says(ep, SOON);
	set_says(ep, SOON);
	set_mod(ep, fd, EPOLLOUT, TAG);
	set_says(ep, SOON);
	set_mod(ep, fd, 0, TAG);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, 50);
	set_mod(ep, fd, EPOLLIN, TAG);
	set_says(ep, SOON);
	set_del(ep, fd);
	set_says(ep, 0);
	set_add(ep, fd, EPOLLIN | EPOLLET, TAG);
	set_says(ep, SOON);
	get(fd, 10, 1, 0);
	close_yours();
	set_says(ep, SOON);
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
