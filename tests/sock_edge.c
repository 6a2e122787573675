/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_edge.c - edge-triggered members whose octets change their place between two events. That a socket's octets lie elsewhere now is no event; what a member has not been told of yet
 * is one, and whoever adds or changes a member is told of all that is so.
 */
#include "oracle.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EDGE (EPOLLIN | EPOLLET)
#define LEN 1000

/* Starts another program, which inherits the connections: what is unread comes into the kernel. */
static void run_something(void)
{
	MUST(system(":"));
}

static void added_server(void)
{
	int fd = serve_warm(), ep = new_set();

	send_me(LEN);
	unread_is(fd, LEN);
	run_something();
	set_add(ep, fd, EDGE, 1);
	set_says(ep, SOON);
	set_says(ep, 0);
	get(fd, LEN, 1, 0);
	close_yours();
	TRY(close(fd));
}

static void changed_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EDGE, 1);
	send_me(LEN);
	set_says(ep, SOON);
	run_something();
	set_says(ep, 0);
	set_mod(ep, fd, EDGE | EPOLLOUT, 1);
	set_says(ep, SOON);
	get(fd, LEN, 1, 0);
	close_yours();
	TRY(close(fd));
}

/* The same, and some of it has been read in its new place before anybody asks. */
static void some_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EDGE, 1);
	send_me(LEN);
	set_says(ep, SOON);
	run_something();
	get(fd, 1, 1, 0);
	set_says(ep, 0);
	send_me(1);
	set_says(ep, SOON);
	set_says(ep, 0);
	get(fd, LEN, 1, 1);
	close_yours();
	TRY(close(fd));
}

/* ---- two connections, on whose other side the octets are sent, and then their writers leave memory for a larger buffer */

static void two_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), fd[2], ep = new_set();

	tell_number(port);
	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(fd[i]);
		set_add(ep, fd[i], EDGE, (uint64_t)i);
	}
	meet("begin");
	await("sent");
	unread_is(fd[0], LEN);
	unread_is(fd[1], LEN);
	for (int i = 0; i < 2; i++) { /* one at a time; which one comes first is nobody's business */
		struct epoll_event ev = {.events = 0};

		TRY(epoll_wait(ep, &ev, 1, SOON));
		say("%s", event_names(ev.events));
		run_something();
	}
	set_says(ep, 0);
	for (int i = 0; i < 2; i++)
		get(fd[i], LEN, 1, 0);
	meet("end");
}

/* The writer's octets, and a larger buffer, for which it leaves memory while they are unread. */
static void put_and_leave(int fd)
{
	int size = 300000;

	put(fd, LEN, 1, 0);
	TRY(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
}

static void two_client(void)
{
	int port = (int)await_number(), fd[2];

	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd[i]);
	}
	meet("begin");
	for (int i = 0; i < 2; i++)
		put_and_leave(fd[i]);
	tell("sent");
	meet("end");
}

/* All has been read when the member is changed: what is left behind in the kernel is not input, and output is told of. */
static void read_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EDGE | EPOLLOUT, 1);
	set_says(ep, SOON);
	meet("begin");
	await("sent");
	unread_is(fd, LEN);
	set_says(ep, SOON);
	get(fd, LEN, 1, 0);
	set_mod(ep, fd, EDGE | EPOLLOUT, 1);
	set_says(ep, 0);
	set_says(ep, 0);
	meet("end");
}

static void read_client(void)
{
	int fd = connect_warm();

	meet("begin");
	put_and_leave(fd);
	tell("sent");
	meet("end");
}

/* ---- what was read before anybody asked is no input any more, but an edge all the same: output is told of, once */

static void past_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EDGE | EPOLLOUT, 1);
	set_says(ep, SOON);
	meet("begin");
	await("sent");
	get(fd, LEN, 1, 0);
	meet("seen");
	await("left");
	set_says(ep, SOON);
	set_says(ep, 0);
	meet("end");
}

static void past_client(void)
{
	int size = 300000, fd = connect_warm();

	no_delay(fd); /* what it leaves behind in the kernel arrives at once, too */
	meet("begin");
	put(fd, LEN, 1, 0);
	tell("sent");
	meet("seen");
	TRY(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
	tell("left");
	meet("end");
}

/* The same, when it is the reader's own octets that have left memory. */
static void own_server(void)
{
	int size = 300000, fd = serve_warm(), ep = new_set();

	TRY(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
	set_add(ep, fd, EDGE | EPOLLOUT, 1);
	set_says(ep, SOON);
	send_me(LEN);
	get(fd, LEN, 1, 0);
	set_says(ep, SOON);
	set_says(ep, 0);
	close_yours();
	TRY(close(fd));
}

/* What was told of, and read since, is none, wherever it has been meanwhile. */
static void told_server(void)
{
	char buf[1];
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EDGE | EPOLLOUT, 1);
	set_says(ep, SOON);
	meet("begin");
	await("sent");
	unread_is(fd, LEN);
	set_says(ep, SOON);
	meet("seen");
	await("left");
	get(fd, LEN, 1, 0);
	TRY(recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
	set_says(ep, 0);
	meet("end");
}

const struct oracle_case oracle_cases[] = {
	{"added", added_server, sender_client, 0, NULL},
	{"changed", changed_server, sender_client, 0, NULL},
	{"some", some_server, sender_client, 0, NULL},
	{"two", two_server, two_client, 0, NULL},
	{"read", read_server, read_client, 0, NULL},
	{"past", past_server, past_client, 0, NULL},
	{"own", own_server, sender_client, 0, NULL},
	{"told", told_server, past_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
