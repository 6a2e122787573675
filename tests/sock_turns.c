/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_turns.c - question and answer for a while, in each way of waiting, without a pause: whatever is done to a connection meanwhile for its speed, not an
 * octet may be missing. TURNS_MS (300) says for how long, where both parts are under shunt.
 */
#include "oracle.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_LEN 300

enum how { BLOCKING, POLL, SELECT, LEVEL, EDGE };

static int ep = -1;

static void prepare(enum how how, int fd)
{
	struct epoll_event ev = {.events = how == EDGE ? EPOLLIN | EPOLLET : EPOLLIN};

	if (how != BLOCKING)
		set_nonblock(fd, 1);
	if (how >= LEVEL) {
		ep = new_set();
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	}
}

/* Until there is input. 0: there never was any. */
static int await_input(enum how how, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timeval tv = {5, 0};
	struct epoll_event ev;
	fd_set set;

	switch (how) {
	case BLOCKING:
		return 1;
	case POLL:
		return poll(&p, 1, 5000) == 1 && p.revents & POLLIN;
	case SELECT:
		FD_ZERO(&set);
		FD_SET(fd, &set);
		return select(fd + 1, &set, NULL, NULL, &tv) == 1 && FD_ISSET(fd, &set);
	default:
		return epoll_wait(ep, &ev, 1, 5000) == 1 && ev.events & EPOLLIN;
	}
}

/* A whole message of len octets, read as the way of waiting asks for. 0: end of file where one begins. */
static int take(enum how how, int fd, char *buf, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = how == BLOCKING ? recv(fd, buf + have, len - have, 0)
					    : recv(fd, buf + have, len - have, MSG_DONTWAIT);

		if (n > 0) {
			have += (size_t)n;
		} else if (n == 0) {
			if (have)
				say("FALSE: the end in the middle of a message");
			return 0;
		} else if (errno != EAGAIN || !await_input(how, fd)) {
			say("FALSE: %s after %zu octets", errno == EAGAIN ? "no input" : "an error", have);
			return 0;
		}
	}
	return 1;
}

static size_t len_of(uint64_t turn)
{
	return 1 + turn * 7 % MAX_LEN;
}

static void turns_server(void)
{
	enum how how = *(const enum how *)the_case->arg;
	char buf[MAX_LEN], want[MAX_LEN];
	int fd = serve_one(), wrong = 0;

	prepare(how, fd);
	for (uint64_t turn = 0; take(how, fd, buf, len_of(turn)); turn++) {
		fill(want, len_of(turn), 1, turn * MAX_LEN);
		wrong += memcmp(buf, want, len_of(turn)) != 0;
		fill(want, len_of(turn), 2, turn * MAX_LEN);
		if (send(fd, want, len_of(turn), 0) != (ssize_t)len_of(turn))
			wrong++;
	}
	HOLDS(wrong == 0);
	TRY(close(fd));
}

static void turns_client(void)
{
	enum how how = *(const enum how *)the_case->arg;
	const char *text = getenv("TURNS_MS");
	int64_t end = now_ms() + rare_ms(text ? atol(text) : 300);
	char buf[MAX_LEN], want[MAX_LEN];
	int fd = connect_one(), wrong = 0, ended = 0;

	prepare(how, fd);
	for (uint64_t turn = 0; !ended && (turn % 64 || now_ms() < end); turn++) {
		fill(want, len_of(turn), 1, turn * MAX_LEN);
		if (send(fd, want, len_of(turn), 0) != (ssize_t)len_of(turn))
			wrong++;
		ended = !take(how, fd, buf, len_of(turn));
		fill(want, len_of(turn), 2, turn * MAX_LEN);
		wrong += !ended && memcmp(buf, want, len_of(turn)) != 0;
	}
	HOLDS(!ended);
	HOLDS(wrong == 0);
	TRY(shutdown(fd, SHUT_WR));
	TRY(close(fd));
}

static const enum how blocking = BLOCKING, by_poll = POLL, by_select = SELECT, level = LEVEL, edge = EDGE;

const struct oracle_case oracle_cases[] = {
	{"blocking", turns_server, turns_client, 0, &blocking},
	{"poll", turns_server, turns_client, 0, &by_poll},
	{"select", turns_server, turns_client, 0, &by_select},
	{"level", turns_server, turns_client, 0, &level},
	{"edge", turns_server, turns_client, 0, &edge},
	{NULL, NULL, NULL, 0, NULL},
};
