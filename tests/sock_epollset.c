/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_epollset.c - epoll sets: several sets, nested sets, duplicates, closed members, errors, mixed members, time-outs, many members. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* ---- one socket in two sets ---- */

static void two_sets_server(void)
{
	int fd = serve_warm(), a = new_set(), b = new_set();

	set_add(a, fd, EPOLLIN, 1);
	set_add(b, fd, EPOLLIN | EPOLLET, 2);
	send_me(5);
	set_says(a, SOON);
	set_says(b, SOON);
	set_says(a, 0);
	set_says(b, 0);
	send_me(5);
	set_says(b, SOON);
	set_del(a, fd);
	set_says(a, 0);
	send_me(5);
	set_says(b, SOON);
	get(fd, 15, 1, 0);
	set_says(b, 0);
	close_yours();
	set_says(b, SOON);
	TRY(close(fd));
	close(a);
	close(b);
}

/* ---- a set in a set, in poll, in select ---- */

static void nested_server(void)
{
	int fd = serve_warm(), inner = new_set(), outer = new_set();
	fd_set r;

	set_add(inner, fd, EPOLLIN, 1);
	set_add(outer, inner, EPOLLIN, 2);
	set_says(outer, 0);
	poll_is(inner, POLLIN | POLLOUT, 0);
	poll_is(outer, POLLIN, 0);
	send_me(5);
	set_says(outer, SOON);
	poll_is(inner, POLLIN | POLLOUT, POLLIN);
	poll_is(outer, POLLIN, POLLIN);
	FD_ZERO(&r);
	FD_SET(inner, &r);
	TRY(select(inner + 1, &r, NULL, NULL, &(struct timeval){.tv_sec = 3}));
	set_says(inner, SOON);
	get(fd, 5, 1, 0);
	set_says(inner, 0);
	set_says(outer, 0);
	poll_is(inner, POLLIN, 0);
	tell_number(5); /* and now asleep, most likely, when it comes */
	set_says(outer, SOON);
	await("sent");
	get(fd, 5, 1, 5);
	struct pollfd p = {.fd = inner, .events = POLLIN};
	tell_number(5);
	TRY(poll(&p, 1, SOON));
	await("sent");
	get(fd, 5, 1, 10);
	TRY(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &(struct epoll_event){.events = EPOLLIN}));
	close_yours();
	set_says(outer, SOON);
	TRY(close(fd));
	set_says(outer, 0);
	close(inner);
	close(outer);
}

/* An edge of the inner set for each event in it. */
static void nested_edge_server(void)
{
	int fd = serve_warm(), inner = new_set(), outer = new_set();

	set_add(inner, fd, EPOLLIN | EPOLLET, 1);
	set_add(outer, inner, EPOLLIN | EPOLLET, 2);
	for (int i = 0; i < 3; i++) {
		send_me(5);
		set_says(outer, SOON);
		set_says(outer, 0);
		set_says(inner, SOON);
		set_says(inner, 0);
	}
	close_yours();
	set_says(outer, SOON);
	set_says(inner, 0);
	TRY(close(fd));
	close(inner);
	close(outer);
}

/* ---- errors ---- */

static void errors_server(void)
{
	int fd = serve_warm(), ep = new_set(), file = (int)MUST(memfd_create("oracle", MFD_CLOEXEC)),
	    closed = (int)MUST(dup(fd));
	struct epoll_event ev = {.events = EPOLLIN}, excl = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	void *volatile nowhere = (void *)8;
	char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *volatile unmapped = page + 4000;
	volatile int minus_one = -1;

	close(closed);
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	TRY(epoll_ctl(ep, 99, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, file, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, closed, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, closed, &ev));
	TRY(epoll_ctl(closed, EPOLL_CTL_ADD, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, -1, &ev));
	TRY(epoll_ctl(-1, EPOLL_CTL_ADD, fd, &ev));
	TRY(epoll_ctl(fd, EPOLL_CTL_ADD, ep, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, fd, nowhere));
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, fd, unmapped));
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &excl));
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, nowhere));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &excl));
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev));
	excl.events |= EPOLLONESHOT;
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &excl));
	TRY(epoll_wait(ep, &ev, 0, 0));
	TRY(epoll_wait(ep, &ev, minus_one, 0));
	TRY(epoll_wait(fd, &ev, 1, 0));
	TRY(epoll_wait(closed, &ev, 1, 0));
	TRY(epoll_wait(-1, &ev, 1, 0));
	TRY(epoll_create(0));
	TRY(epoll_create1(0x7777));
	set_add(ep, fd, EPOLLIN, 1);
	send_me(5);
	TRY(epoll_wait(ep, nowhere, 1, SOON));
	set_says(ep, SOON);
	TRY(read(ep, &ev, sizeof ev));
	TRY(write(ep, &ev, sizeof ev));
	close_yours();
	TRY(close(fd));
	TRY(close(ep));
	TRY(epoll_wait(ep, &ev, 1, 0));
	close(file);
}

/* ---- a member that is closed, or has a duplicate ---- */

static void members_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN, 1);
	send_me(5);
	set_says(ep, SOON);
	int other = (int)MUST(dup(fd));
	set_add(ep, other, EPOLLIN | EPOLLOUT, 2); /* another number, another member */
	set_says(ep, SOON);
	TRY(close(fd));
	set_says(ep, SOON); /* the description lives: the closed number is still reported */
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	int again = (int)MUST(dup(other));
	HOLDS(again == fd);
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, again,
		&(struct epoll_event){.events = EPOLLIN, .data.u64 = 3})); /* the old one is in the way */
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, again, &(struct epoll_event){.events = EPOLLIN, .data.u64 = 4}));
	set_says(ep, SOON);
	get(again, 5, 1, 0);
	set_says(ep, SOON);
	TRY(close(again));
	TRY(close(other));
	set_says(ep, 0); /* now it is gone */
	int file = (int)MUST(eventfd(1, EFD_CLOEXEC));
	HOLDS(file == fd || file == other);
	set_add(ep, file, EPOLLIN, 5);
	set_says(ep, SOON);
	close_yours();
	close(file);
	close(ep);
}

/* The set closed first, the set duplicated. */
static void set_ends_server(void)
{
	int fd = serve_warm(), ep = new_set(), copy = (int)MUST(dup(ep));

	set_add(ep, fd, EPOLLIN, 1);
	send_me(5);
	set_says(copy, SOON);
	TRY(close(ep));
	set_says(copy, SOON);
	TRY(epoll_ctl(copy, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u64 = 2}));
	set_says(copy, SOON);
	TRY(close(copy));
	get(fd, 5, 1, 0);
	send_me(5);
	ep = new_set();
	set_add(ep, fd, EPOLLIN, 3);
	set_says(ep, SOON);
	close_yours();
	TRY(close(ep));
	TRY(close(fd));
}

/* ---- mixed members ---- */

static void mixed_server(void)
{
	int port, fd = serve_warm(), ep = new_set(), p[2], lfd = listen_on("127.0.0.1", 4, &port);
	struct itimerspec once = {.it_value.tv_nsec = 20000000};
	uint64_t n = 1;

	MUST(pipe2(p, O_CLOEXEC));
	int event = (int)MUST(eventfd(0, EFD_CLOEXEC)), timer = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	set_add(ep, p[0], EPOLLIN, 1);
	set_add(ep, fd, EPOLLIN, 2);
	set_add(ep, event, EPOLLIN | EPOLLET, 3);
	set_add(ep, timer, EPOLLIN, 4);
	set_add(ep, lfd, EPOLLIN, 5);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	MUST(write(event, &n, 8));
	set_says(ep, SOON);
	set_says(ep, SOON);
	MUST(write(p[1], "x", 1));
	set_says(ep, SOON);
	get(fd, 5, 1, 0);
	set_says(ep, SOON);
	MUST(read(p[0], (char[1]){0}, 1));
	MUST(timerfd_settime(timer, 0, &once, NULL));
	set_says(ep, SOON);
	MUST(read(timer, &n, 8));
	int self = (int)MUST(connect_to("127.0.0.1", port));
	set_says(ep, SOON);
	send_me(5);
	unread_is(fd, 5);
	set_says(ep, SOON);
	close_yours();
	close(p[1]);
	get(fd, 5, 1, 5);
	set_says(ep, SOON);
	int fds[] = {fd, ep, p[0], event, timer, lfd, self};
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		MUST(close(fds[i]));
}

/* ---- time-outs ---- */

static void timeouts_server(void)
{
	struct timespec ts = {.tv_nsec = 120000000}, bad = {.tv_nsec = 1000000000};
	struct epoll_event ev;
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN, 1);
	int64_t start = now_ms();
	TRY(epoll_wait(ep, &ev, 1, 0));
	HOLDS(now_ms() - start < 100);
	start = now_ms();
	TRY(epoll_wait(ep, &ev, 1, 120));
	HOLDS(now_ms() - start >= 119);
	start = now_ms();
	TRY(epoll_pwait(ep, &ev, 1, 120, NULL));
	HOLDS(now_ms() - start >= 119);
	start = now_ms();
	TRY(epoll_pwait2(ep, &ev, 1, &ts, NULL));
	HOLDS(now_ms() - start >= 119);
	TRY(epoll_pwait2(ep, &ev, 1, &bad, NULL));
	ts = (struct timespec){0};
	TRY(epoll_pwait2(ep, &ev, 1, &ts, NULL));
	send_me(5);
	TRY(epoll_pwait2(ep, &ev, 1, NULL, NULL));
	TRY(epoll_pwait(ep, &ev, 1, -1, NULL));
	close_yours();
	TRY(close(fd));
	close(ep);
}

/* ---- many members; fewer events asked for than there are ---- */

#define MANY 40

static void many_server(void)
{
	int port, fds[MANY], seen[MANY] = {0}, lfd = listen_on("127.0.0.1", MANY, &port), ep = new_set();
	struct epoll_event ev[4];

	tell_number(port);
	for (int i = 0; i < MANY; i++) {
		fds[i] = (int)MUST(accept4(lfd, NULL, NULL, SOCK_CLOEXEC));
		set_add(ep, fds[i], EPOLLIN, (uint64_t)i);
	}
	for (int turn = 0; turn < 60; turn++)
		for (int left = MANY; left > 0; left--) {
			if (epoll_wait(ep, ev, 1, SOON) != 1)
				MUST(-1);
			int i = (int)ev[0].data.u64;
			get(fds[i], 100, 1, (uint64_t)i);
			put(fds[i], 100, 2, (uint64_t)i);
		}
	await("all sent"); /* all are ready and none is read: each turn of waits must come to each of them */
	for (int i = 0; i < MANY; i++)
		unread_is(fds[i], 1);
	for (int n = 0; n < MANY / 4; n++) {
		if (epoll_wait(ep, ev, 4, SOON) != 4)
			MUST(-1);
		for (int k = 0; k < 4; k++)
			seen[ev[k].data.u64]++;
	}
	for (int i = 0; i < MANY; i++)
		if (seen[i] != 1)
			say("FALSE: member %d was reported %d times", i, seen[i]);
	for (int i = 0; i < MANY; i++)
		MUST(close(fds[i]));
	set_says(ep, 0);
	close(ep);
	close(lfd);
}

static void many_client(void)
{
	int fds[MANY], port = (int)await_number();

	for (int i = 0; i < MANY; i++)
		fds[i] = (int)MUST(connect_to("127.0.0.1", port));
	for (int turn = 0; turn < 60; turn++) {
		for (int i = 0; i < MANY; i++)
			put(fds[i], 100, 1, (uint64_t)i);
		for (int i = 0; i < MANY; i++)
			get(fds[i], 100, 2, (uint64_t)i);
	}
	for (int i = 0; i < MANY; i++)
		put(fds[i], 1, 1, 0);
	tell("all sent");
	for (int i = 0; i < MANY; i++) {
		char c;
		if (read(fds[i], &c, 1) != -1 || errno != ECONNRESET)
			say("FALSE: the byte was unread, so the connection is reset");
		MUST(close(fds[i]));
	}
}

/* ---- what one call has left for the next is asked for again: it may have been read since ---- */

static void read_since_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 8, &port), ep = new_set(), fd[2], own[2];
	struct epoll_event ev[4];

	tell_number(port);
	MUST(pipe(own));
	MUST(write(own[1], "hello", 5));
	set_add(ep, own[0], EPOLLIN, 1);
	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		if (i == 0)
			warm_up(fd[0]); /* the other one is new, and the kernel's */
		set_add(ep, fd[i], EPOLLIN, 2 + (uint64_t)i);
	}
	tell("send");
	await("sent");
	unread_is(fd[0], 5);
	unread_is(fd[1], 5);
	TRY(epoll_wait(ep, ev, 1, SOON)); /* the next call begins with who had no room in this one */
	TRY(epoll_wait(ep, ev, 4, SOON));
	TRY(read(own[0], ev, 5));
	get(fd[0], 5, 1, 0);
	get(fd[1], 5, 1, 0);
	set_says(ep, 0);
	tell("close");
}

static void read_since_client(void)
{
	int port = (int)await_number(), fd[2];

	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
		if (i == 0)
			warm_up(fd[0]);
	}
	await("send");
	put(fd[0], 5, 1, 0);
	put(fd[1], 5, 1, 0);
	tell("sent");
	await("close");
}

const struct oracle_case oracle_cases[] = {
	{"two_sets", two_sets_server, sender_client, 0, NULL},
	{"nested", nested_server, sender_client, 0, NULL},
	{"nested_edge", nested_edge_server, sender_client, 0, NULL},
	{"errors", errors_server, sender_client, 0, NULL},
	{"members", members_server, sender_client, 0, NULL},
	{"set_ends", set_ends_server, sender_client, 0, NULL},
	{"mixed", mixed_server, sender_client, 0, NULL},
	{"timeouts", timeouts_server, sender_client, CASE_ALONE, NULL},
	{"many", many_server, many_client, 0, NULL},
	{"read_since", read_since_server, read_since_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
