/* SPDX-License-Identifier: BSD-2-Clause */
/* act_wait.c - poll, select, epoll. What is ready is said by slot, in order. */
#include "actor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* poll HOW(0 poll, 1 ppoll, 2 by number) MS (SLOT EVENTS)... */
static void act_poll(const struct command *c)
{
	struct pollfd p[N_SLOT];
	struct timespec ts = {c->arg[1] / 1000, c->arg[1] % 1000 * 1000000};
	nfds_t n = 0;
	long r;

	for (int i = 2; i + 1 < c->n; i += 2)
		p[n++] = (struct pollfd){slot(c->arg[i]), (short)c->arg[i + 1], 0};
	if (c->arg[0] == 0)
		r = poll(p, n, (int)c->arg[1]);
	else if (c->arg[0] == 1)
		r = ppoll(p, n, c->arg[1] < 0 ? NULL : &ts, NULL);
	else
		r = syscall(SYS_ppoll, p, n, c->arg[1] < 0 ? NULL : &ts, NULL, 8);
	say_result(r);
	for (nfds_t i = 0; r > 0 && i < n; i++)
		say(" %ld:%x", c->arg[2 + 2 * i], (unsigned)p[i].revents);
}

/* select HOW(0 select, 1 pselect) MS (SLOT EVENTS)... */
static void act_select(const struct command *c)
{
	struct timespec ts = {c->arg[1] / 1000, c->arg[1] % 1000 * 1000000};
	struct timeval tv = {c->arg[1] / 1000, c->arg[1] % 1000 * 1000};
	fd_set in, out, except;
	int top = 0, r;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&except);
	for (int i = 2; i + 1 < c->n; i += 2) {
		int fd = slot(c->arg[i]);

		if (fd < 0 || fd >= FD_SETSIZE)
			continue;
		if (c->arg[i + 1] & POLLIN)
			FD_SET(fd, &in);
		if (c->arg[i + 1] & POLLOUT)
			FD_SET(fd, &out);
		FD_SET(fd, &except);
		top = fd >= top ? fd + 1 : top;
	}
	if (c->arg[0])
		r = pselect(top, &in, &out, &except, c->arg[1] < 0 ? NULL : &ts, NULL);
	else
		r = select(top, &in, &out, &except, c->arg[1] < 0 ? NULL : &tv);
	say_result(r);
	for (int i = 2; r > 0 && i + 1 < c->n; i += 2) {
		int fd = slot(c->arg[i]);

		if (fd >= 0)
			say(" %ld:%d%d%d", c->arg[i], FD_ISSET(fd, &in) != 0, FD_ISSET(fd, &out) != 0,
				FD_ISSET(fd, &except) != 0);
	}
}

/* epnew SLOT CLOEXEC */
static void act_epnew(const struct command *c)
{
	int fd = epoll_create1(c->arg[1] ? EPOLL_CLOEXEC : 0);

	say_descriptor(fd);
	set_slot(c->arg[0], fd);
}

#define TAG_BITS 16

/* epctl SET OP SLOT EVENTS(bit 16 edge, 17 one-shot) TAG. Two members may have one tag; what stands above it tells them apart. */
static void act_epctl(const struct command *c)
{
	static uint64_t calls;
	uint64_t which = (uint64_t)getpid() << 8 ^ ++calls;
	struct epoll_event e = {.data.u64 = (uint64_t)c->arg[4] | which << TAG_BITS};

	e.events = (uint32_t)(c->arg[3] & 0xffff) | (c->arg[3] & 1 << 16 ? EPOLLET : 0) |
		   (c->arg[3] & 1 << 17 ? EPOLLONESHOT : 0);
	say_result(epoll_ctl(slot(c->arg[0]), (int)c->arg[1], slot(c->arg[2]), &e));
}

static uint64_t tag_of(const struct epoll_event *e)
{
	return e->data.u64 & ((UINT64_C(1) << TAG_BITS) - 1);
}

static int by_tag(const void *a, const void *b)
{
	const struct epoll_event *x = a, *y = b;
	uint64_t m = tag_of(x), n = tag_of(y);

	return m != n ? (m < n ? -1 : 1) : x->events < y->events ? -1 : x->events > y->events;
}

/*
 * With room for one event, and then for all the others. Who was told of and is ready still (it is level-triggered) comes twice: together that is what one call with room
 * for all would have said, in any order of theirs.
 */
static int wait_one_by_one(int set, struct epoll_event *e, int ms)
{
	struct epoll_event first;
	int r = epoll_wait(set, &first, 1, ms);

	if (r != 1 || (r = epoll_wait(set, e, N_SLOT * 2 - 1, 0)) < 0)
		return r;
	for (int i = 0; i < r; i++)
		if (e[i].data.u64 == first.data.u64)
			return r;
	e[r] = first;
	return r + 1;
}

/* epwait SET HOW(0 epoll_wait, twice, 1 epoll_pwait, 2 epoll_pwait2, 3 by number) MS */
static void act_epwait(const struct command *c)
{
	struct epoll_event e[N_SLOT * 2];
	struct timespec ts = {c->arg[2] / 1000, c->arg[2] % 1000 * 1000000};
	int fd = slot(c->arg[0]), r;

	memset(e, 0, sizeof(e));
	if (c->arg[1] == 0)
		r = wait_one_by_one(fd, e, (int)c->arg[2]);
	else if (c->arg[1] == 1)
		r = epoll_pwait(fd, e, N_SLOT * 2, (int)c->arg[2], NULL);
	else if (c->arg[1] == 2)
		r = epoll_pwait2(fd, e, N_SLOT * 2, c->arg[2] < 0 ? NULL : &ts, NULL);
	else
		r = (int)syscall(SYS_epoll_pwait, fd, e, N_SLOT * 2, (int)c->arg[2], NULL, 8);
	say_result(r);
	if (r > 0)
		qsort(e, (size_t)r, sizeof(*e), by_tag);
	for (int i = 0; i < r; i++)
		say(" %llu:%x", (unsigned long long)tag_of(&e[i]), e[i].events);
}

const struct word wait_words[] = {
	{"poll", act_poll},
	{"select", act_select},
	{"epnew", act_epnew},
	{"epctl", act_epctl},
	{"epwait", act_epwait},
	{NULL, NULL},
};
