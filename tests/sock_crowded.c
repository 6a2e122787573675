/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_crowded.c - epoll sets where it is crowded: numbers that are gone, one event at a time, edges. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- a number that is closed while its socket lives on in a copy */

static void closed_number_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLRDHUP, 1);
	set_says(ep, 0);
	int copy = (int)MUST(dup(fd));
	MUST(close(fd));
	send_me(5);
	set_says(ep, SOON);
	TRY(shutdown(copy, SHUT_WR));
	set_says(ep, SOON);
	get(copy, 5, 1, 0);
	set_says(ep, 0);
	send_me(7);
	set_says(ep, SOON);
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, copy, NULL));
	get(copy, 7, 1, 5);
	close_yours();
	set_says(ep, SOON);
	TRY(close(copy));
	set_says(ep, 0);
	close(ep);
}

/* Deleted, closed, a copy lives: nothing is to be reported, and waiting costs nothing. */
static void deleted_number_server(void)
{
	int fd = serve_warm(), ep = new_set(), ev = (int)MUST(eventfd(0, EFD_CLOEXEC));
	struct timespec a, b;

	set_add(ep, fd, EPOLLIN, 1);
	set_add(ep, ev, EPOLLIN, 2);
	send_me(5);
	set_says(ep, SOON);
	get(fd, 5, 1, 0);
	set_del(ep, fd);
	int copy = (int)MUST(dup(fd));
	MUST(close(fd));
	close_yours();
	poll_is(copy, POLLIN, POLLIN);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	set_says(ep, 500);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	HOLDS((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 200);
	TRY(close(copy));
	close(ep);
}

/* Deleted, closed, and the number is another member's now. */
static void number_again_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 16, &port), ep = new_set();

	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	warm_up(fd);
	set_add(ep, fd, EPOLLIN, 1);
	send_me(5);
	set_says(ep, SOON);
	get(fd, 5, 1, 0);
	set_del(ep, fd);
	int copy = (int)MUST(dup(fd));
	MUST(close(fd));
	tell("next");
	int again = (int)MUST(accept(lfd, NULL, NULL));
	HOLDS(again == fd);
	set_add(ep, again, EPOLLIN, 2);
	set_says(ep, 20);
	tell("write");
	set_says(ep, SOON);
	TRY(read(again, (char[8]){0}, 8));
	set_says(ep, 20);
	tell("end");
	await("done");
	set_says(ep, SOON);
	TRY(close(again));
	TRY(close(copy));
	close(ep);
}

static void number_again_client(void)
{
	int port = (int)await_number(), fd = (int)MUST(connect_to("127.0.0.1", port));

	warm_up(fd);
	put(fd, (size_t)await_number(), 1, 0);
	tell("sent");
	await("next");
	int next = (int)MUST(connect_to("127.0.0.1", port));
	await("write");
	put(next, 5, 2, 0);
	await("end");
	TRY(shutdown(next, SHUT_WR));
	tell("done");
	get_to_eof(fd, &(uint64_t){0});
	close(next);
	close(fd);
}

/* ---- one event at a time */

static void one_at_a_time_server(void)
{
	int fd = serve_warm(), ep = new_set(), ev = (int)MUST(eventfd(1, EFD_CLOEXEC)), seen[3] = {0};
	struct epoll_event e;

	set_add(ep, ev, EPOLLIN, 1);
	set_add(ep, fd, EPOLLIN, 2);
	send_me(5);
	unread_is(fd, 5);
	for (int i = 0; i < 20; i++) {
		MUST(epoll_wait(ep, &e, 1, SOON));
		seen[e.data.u64]++;
	}
	HOLDS(seen[1] > 5);
	HOLDS(seen[2] > 5);
	close_yours();
	TRY(close(fd));
}

/* What was ready when another event was reported may not be so any more. */
static void stale_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 16, &port), ep = new_set(), fd[2];
	struct epoll_event e;

	tell_number(port);
	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(fd[i]);
		set_add(ep, fd[i], EPOLLIN, (uint64_t)i);
	}
	set_says(ep, 0);
	tell("send");
	await("sent");
	unread_is(fd[0], 5);
	unread_is(fd[1], 5);
	TRY(epoll_wait(ep, &e, 1, SOON));
	get(fd[0], 5, 1, 0);
	get(fd[1], 5, 1, 0);
	TRY(epoll_wait(ep, &e, 1, 0));
	TRY(epoll_wait(ep, &e, 1, 0));
	tell("close");
	TRY(close(fd[0]));
	TRY(close(fd[1]));
}

static void stale_client(void)
{
	int port = (int)await_number(), fd[2], on = 1;

	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd[i]);
		no_delay(fd[i]);
		MUST(setsockopt(fd[i], SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on)); /* as it were: the kernel's from now on */
	}
	await("send");
	put(fd[0], 5, 1, 0);
	put(fd[1], 5, 1, 0);
	tell("sent");
	await("close");
	close(fd[0]);
	close(fd[1]);
}

/* ---- edges */

/* Input that has been read before anybody waited: the kernel reports what else is so now. */
static void edge_consumed_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, 1);
	set_says(ep, 0);
	set_says(ep, 0);
	send_me(5);
	unread_is(fd, 5);
	get(fd, 5, 1, 0);
	set_says(ep, 0);
	set_says(ep, 0);
	close_yours();
	TRY(close(fd));
}

static void edge_shut_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, 1);
	TRY(shutdown(fd, SHUT_RD));
	set_says(ep, SOON);
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	set_says(ep, 0);
	close_yours();
	TRY(close(fd));
}

/* ---- closed here, but a child holds it: the kernel's set goes on reporting it */

static void held_by_child_server(void)
{
	int fd = serve_warm(), ep = new_set(), p[2];

	MUST(pipe(p));
	set_add(ep, fd, EPOLLIN, 1);
	pid_t pid = fork_part();
	if (!pid) {
		close(p[1]);
		MUST(read(p[0], (char[1]){0}, 1));
		get(fd, 5, 1, 0);
		_exit(0);
	}
	MUST(close(fd));
	send_me(5);
	set_says(ep, SOON);
	set_says(ep, 0);
	close(p[1]);
	join_child(pid);
	set_says(ep, 0);
	close_yours();
	close(ep);
}

const struct oracle_case oracle_cases[] = {
	{"closed_number", closed_number_server, sender_client, 0, NULL},
	{"deleted_number", deleted_number_server, sender_client, 0, NULL},
	{"number_again", number_again_server, number_again_client, 0, NULL},
	{"one_at_a_time", one_at_a_time_server, sender_client, 0, NULL},
	{"stale", stale_server, stale_client, 0, NULL},
	{"edge_consumed", edge_consumed_server, sender_client, 0, NULL},
	{"edge_shut", edge_shut_server, sender_client, 0, NULL},
	{"held_by_child", held_by_child_server, sender_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
