/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_left.c - what is left to others: an error to the next call, octets in front of it, a connection to a child that does nothing with it, a member of a set to the process that has the socket now. */
#include "oracle.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP)
#define LEN 9000

/* ---- octets, and behind them a reset: the call that gets the former does not take the latter ---- */

static void reset_server(void)
{
	int fd = serve_warm();
	char buf[8];

	put(fd, 100, 2, 0);
	tell("sent");
	await("closed");
	poll_is(fd, ALL, ALL | POLLHUP | POLLERR);
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(close(fd));
}

static void reset_client(void)
{
	int fd = connect_warm();

	await("sent");
	unread_is(fd, 100);
	put(fd, 1, 1, 0);
	TRY(close(fd));
	tell("closed");
}

/* ---- the writer's parent has closed it, the writer sleeps elsewhere, the reader has to leave memory ---- */

static void idle_server(void)
{
	int sv[2], fd = serve_warm();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	await("closed");
	pass_fd(sv[0], fd);
	int other = take_fd(sv[1]);
	TRY(recv(other, (char[1]){0}, 1, MSG_DONTWAIT));
	tell("passed");
	put(other, 20, 2, 0);
	get(other, 30, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	TRY(close(other));
	close(sv[0]);
	close(sv[1]);
}

static void idle_client(void)
{
	int fd = connect_warm(), turn[2];

	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(read(turn[0], (char[1]){0}, 1) == 1 ? 0 : -1);
		get(fd, 20, 2, 0);
		put(fd, 30, 1, 0);
		exit(0);
	}
	TRY(close(fd));
	tell("closed");
	await("passed");
	MUST(write(turn[1], "t", 1));
	join_child(pid);
	close(turn[0]);
	close(turn[1]);
}

/* ---- the same, but another child, which had taken care of the connection, has been killed; and what the parent has sent is unread when it closes ---- */

static void unread_server(void)
{
	int sv[2], fd = serve_warm();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	await("closed");
	unread_is(fd, LEN);
	pass_fd(sv[0], fd);
	TRY(close(fd));
	fd = take_fd(sv[1]);
	get(fd, LEN, 1, 0);
	tell("got");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	close(sv[0]);
	close(sv[1]);
}

static void unread_client(void)
{
	int fd = connect_warm(), turn[2];
	char c;

	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (pid == 0) {
		TRY(recv(fd, &c, 1, MSG_DONTWAIT));
		MUST(write(turn[1], "t", 1));
		for (;;)
			pause();
	}
	MUST(read(turn[0], &c, 1));
	MUST(kill(pid, SIGKILL));
	join_child(pid);
	pid = fork_part();
	if (pid == 0) {
		MUST(read(turn[0], &c, 1));
		exit(0);
	}
	put(fd, LEN, 1, 0);
	TRY(close(fd));
	tell("closed");
	await("got");
	MUST(write(turn[1], "t", 1));
	join_child(pid);
	close(turn[0]);
	close(turn[1]);
}

/* ---- a reset ends a recv() of nothing, which does not take it: it is there for the next call, of another copy of the connection ---- */

static _Atomic int reader;

static void *reads_nothing(void *fd)
{
	char c;

	reader = gettid();
	TRY(recv(*(int *)fd, &c, 0, 0));
	return NULL;
}

static int sleeps(void *tid)
{
	int n = *(_Atomic int *)tid;

	return n && task_state(n) == 'S';
}

static void nothing_server(void)
{
	int sv[2];
	char c;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid_t pid = fork_part();
	if (pid == 0) {
		int other = take_fd(sv[1]);
		MUST(read(sv[1], &c, 1));
		TRY(recv(other, &c, 1, 0));
		exit(0);
	}
	int fd = serve_warm();
	pass_fd(sv[0], fd);
	put(fd, LEN, 2, 0);
	pthread_t t = start_thread(reads_nothing, &fd);
	HOLDS(wait_until(sleeps, &reader));
	tell("sleeps");
	MUST(pthread_join(t, NULL));
	MUST(write(sv[0], "t", 1));
	join_child(pid);
	TRY(recv(fd, &c, 1, 0));
	TRY(close(fd));
	close(sv[0]);
	close(sv[1]);
}

static void nothing_client(void)
{
	int fd = connect_warm();

	await("sleeps");
	unread_is(fd, LEN);
	TRY(close(fd));
}

/* ---- a set goes on with a member whose number is closed, as long as a message on its way, or another number, holds it ---- */

static void member_server(void)
{
	int sv[2], fd = serve_warm(), ep = new_set();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	set_add(ep, fd, EPOLLIN, 1);
	pass_fd(sv[0], fd);
	TRY(close(fd));
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	fd = take_fd(sv[1]);
	get(fd, 5, 1, 0);
	set_says(ep, 0);
	close_yours();
	set_says(ep, SOON);
	TRY(close(fd));
	set_says(ep, 0);
	close(ep);
	close(sv[0]);
	close(sv[1]);
}

/* ---- the same with a child, which has the socket and the set by fork, and goes on changing the member ---- */

static void changed_in_child(int ep, int fd, int also)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.u64 = 3};

	set_says(ep, 0);
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, also, NULL));
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, also, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	set_says(ep, 0);
	send_me(5);
	set_says(ep, SOON);
	get(fd, 5, 1, 0);
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	set_says(ep, 0);
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	set_says(ep, 0);
	TRY(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	close_yours();
}

static void changed_server(void)
{
	int turn[2], fd = serve_warm(), also = MUST(dup(fd)), ep = new_set();

	MUST(pipe(turn));
	set_add(ep, fd, EPOLLIN, 1);
	set_add(ep, also, EPOLLIN, 2);
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(read(turn[0], (char[1]){0}, 1));
		changed_in_child(ep, fd, also);
		exit(0);
	}
	TRY(close(also));
	TRY(close(fd));
	MUST(write(turn[1], "t", 1));
	join_child(pid);
	set_says(ep, 0);
	close(ep);
	close(turn[0]);
	close(turn[1]);
}

/* ---- a reset whose error a send has taken: all that came before it is there, and no more. The client has sent by the kernel, and then the other way */

static void taken_server(void)
{
	int fd = serve_warm();

	get(fd, LEN, 1, 0);
	put(fd, 1, 2, 0);
	await("closed");
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	unread_is(fd, LEN);
	get(fd, LEN, 1, LEN);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void taken_client(void)
{
	int size = 300000, fd = connect_warm();

	TRY(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
	put(fd, LEN, 1, 0);
	unread_is(fd, 1);
	put(fd, LEN, 1, LEN);
	TRY(close(fd));
	tell("closed");
}

const struct oracle_case oracle_cases[] = {
	{"reset", reset_server, reset_client, 0, NULL},
	{"taken", taken_server, taken_client, 0, NULL},
	{"idle_child", idle_server, idle_client, 0, NULL},
	{"idle_child_unread", unread_server, unread_client, CASE_KILLED, NULL},
	{"nothing", nothing_server, nothing_client, 0, NULL},
	{"member", member_server, sender_client, 0, NULL},
	{"changed", changed_server, sender_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
