/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_nested.c - sets in sets in sets, and others' changes, while a thread sleeps outside. */
#include "oracle.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int shared_ep, shared_fd;
static _Atomic int thread_tid;

static int thread_sleeps(void *arg)
{
	int tid = *(_Atomic int *)arg;

	return tid && task_state(tid) == 'S';
}

/* The thread sleeps, and goes on doing so. */
static void asleep(void)
{
	int times = 0;

	while (times < 20) {
		times = wait_until(thread_sleeps, &thread_tid) ? times + 1 : 0;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

static void *set_waiter(void *arg)
{
	(void)arg;
	thread_tid = gettid();
	int64_t before = now_ms();
	set_says(shared_ep, SOON);
	HOLDS(now_ms() - before < SOON - 500);
	return NULL;
}

static void *poll_waiter(void *arg)
{
	struct pollfd p = {.fd = shared_fd, .events = POLLIN};

	(void)arg;
	thread_tid = gettid();
	int64_t before = now_ms();
	TRY(poll(&p, 1, SOON));
	HOLDS(now_ms() - before < SOON - 500);
	return NULL;
}

/* ---- sets in sets in sets */

static void deep_server(void)
{
	int fd = serve_warm(), inner = new_set(), mid = new_set(), outer = new_set();

	set_add(inner, fd, EPOLLIN, 1);
	set_add(mid, inner, EPOLLIN, 2);
	set_add(outer, mid, EPOLLIN, 3);
	send_me(5);
	set_says(outer, SOON);
	set_says(mid, 0);
	set_says(inner, 0);
	get(fd, 5, 1, 0);
	set_says(outer, 0);
	close_yours();
	set_says(outer, SOON);
	TRY(close(fd));
}

static void deep_asleep_server(void)
{
	int inner = new_set(), mid = new_set();

	shared_fd = serve_warm();
	shared_ep = new_set();
	set_add(inner, shared_fd, EPOLLIN, 1);
	set_add(mid, inner, EPOLLIN, 2);
	set_add(shared_ep, mid, EPOLLIN, 3);
	pthread_t t = start_thread(set_waiter, NULL);
	asleep();
	send_me(5);
	pthread_join(t, NULL);
	close_yours();
	TRY(close(shared_fd));
}

/* poll() of a set that has another in it. */
static void deep_poll_server(void)
{
	int fd = serve_warm(), inner = new_set();

	shared_fd = new_set();
	set_add(inner, fd, EPOLLIN, 1);
	set_add(shared_fd, inner, EPOLLIN, 2);
	pthread_t t = start_thread(poll_waiter, NULL);
	asleep();
	send_me(5);
	pthread_join(t, NULL);
	close_yours();
	TRY(close(fd));
}

/* poll() that does not wait, before anybody has: of a set, and of one that has it in it. */
static void poll_at_once_server(void)
{
	int fd = serve_warm(), inner = new_set(), outer = new_set();
	struct pollfd p[2] = {{.fd = inner, .events = POLLIN}, {.fd = outer, .events = POLLIN}};

	set_add(inner, fd, EPOLLIN, 1);
	set_add(outer, inner, EPOLLIN, 2);
	TRY(poll(p, 2, 0));
	send_me(5);
	unread_is(fd, 5);
	TRY(poll(p, 2, 0));
	get(fd, 5, 1, 0);
	TRY(poll(p, 2, 0));
	close_yours();
	TRY(close(fd));
}

/* Another thread sleeps in the outer set already. */
static void late_inner_server(void)
{
	int fd = serve_warm(), inner = new_set();

	shared_ep = new_set();
	set_add(inner, fd, EPOLLIN, 1);
	pthread_t t = start_thread(set_waiter, NULL);
	asleep();
	set_add(shared_ep, inner, EPOLLIN, 2);
	send_me(5);
	pthread_join(t, NULL);
	close_yours();
	TRY(close(fd));
}

/* ---- SO_RCVLOWAT is lowered while a thread waits */

static void set_lowat(int low)
{
	MUST(setsockopt(shared_fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
}

/* To 1, while `waiter` sleeps over 10 octets. */
static void lower_under(void *(*waiter)(void *))
{
	send_me(10);
	unread_is(shared_fd, 10);
	pthread_t t = start_thread(waiter, NULL);
	asleep();
	set_lowat(1);
	pthread_join(t, NULL);
	close_yours();
	TRY(close(shared_fd));
}

static void lowat_set_server(void)
{
	shared_fd = serve_warm();
	shared_ep = new_set();
	set_lowat(100);
	set_add(shared_ep, shared_fd, EPOLLIN, 1);
	lower_under(set_waiter);
}

static void lowat_poll_server(void)
{
	shared_fd = serve_warm();
	set_lowat(100);
	lower_under(poll_waiter);
}

const struct oracle_case oracle_cases[] = {
	{"deep", deep_server, sender_client, 0, NULL},
	{"deep_asleep", deep_asleep_server, sender_client, 0, NULL},
	{"deep_poll", deep_poll_server, sender_client, 0, NULL},
	{"poll_at_once", poll_at_once_server, sender_client, 0, NULL},
	{"late_inner", late_inner_server, sender_client, 0, NULL},
	{"lowat_set", lowat_set_server, sender_client, 0, NULL},
	{"lowat_poll", lowat_poll_server, sender_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
