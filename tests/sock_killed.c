/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_killed.c - the peer is killed by SIGKILL: what the survivor sees depends on what lay unread where. Or it is stopped for a while. */
#include "oracle.h"

#include <poll.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP)

struct killing {
	void (*victim)(int fd);	  /* what the victim does before it waits for its death */
	void (*survivor)(int fd); /* tells "kill", then does what it does */
	int server_dies;
};

/* The child has the connection and dies; the parent lives to tell. */
static void victim_part(const struct killing *k)
{
	int ready[2];
	char c = 0;

	MUST(pipe(ready));
	pid_t pid = fork_part();
	if (pid == 0) {
		int fd = is_server ? serve_warm() : connect_warm();
		k->victim(fd);
		MUST(write(ready[1], &c, 1));
		for (;;)
			pause();
	}
	MUST(read(ready[0], &c, 1));
	tell("ready");
	await("kill");
	MUST(kill(pid, SIGKILL));
	join_child(pid);
	tell("killed");
	await("done");
}

static void part(void)
{
	const struct killing *k = the_case->arg;

	if (is_server == k->server_dies) {
		victim_part(k);
		return;
	}
	int fd = is_server ? serve_warm() : connect_warm();
	k->survivor(fd);
	TRY(close(fd));
	tell("done");
}

static void does_nothing(int fd)
{
	(void)fd;
}
static void sends(int fd)
{
	put(fd, 1000, 2, 0);
}
static void gets_ten(int fd)
{
	unread_is(fd, 10);
}

static void sends_and_gets_ten(int fd)
{
	sends(fd);
	gets_ten(fd);
}

/* Afterwards: each answer that a dead connection still gives. */
static void ask(int fd)
{
	char buf[16];

	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
}

static void idle(int fd)
{
	await("ready");
	tell("kill");
	await("killed");
	poll_is(fd, ALL, ALL);
	ask(fd);
	poll_is(fd, ALL, ALL | POLLERR | POLLHUP); /* the send was answered by a reset */
	ask(fd);
}

/* Whose input is shut down already notices the death by what his sends are answered. */
static void has_shut(int fd)
{
	TRY(shutdown(fd, SHUT_RD));
	await("ready");
	tell("kill");
	await("killed");
	poll_is(fd, ALL, ALL);
	ask(fd);
	poll_is(fd, ALL, ALL | POLLERR | POLLHUP);
	ask(fd);
}

static void unread(int fd)
{
	put(fd, 10, 1, 0);
	await("ready");
	tell("kill");
	await("killed");
	poll_is(fd, ALL, ALL | POLLERR | POLLHUP);
	ask(fd);
	ask(fd);
}

static void reads_the_rest(int fd)
{
	await("ready");
	tell("kill");
	await("killed");
	get(fd, 1000, 2, 0);
	poll_is(fd, ALL, ALL);
	ask(fd);
}

/* What the kernel alone can do, on a connection of which octets are unread, and whose writer is dead: they are there all the same. */
static void in_an_exclusive_set(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = 7}, got;
	int ep = TRY(epoll_create1(EPOLL_CLOEXEC));

	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	TRY(epoll_wait(ep, &got, 1, 5000));
	TRY(close(ep));
}

static void wants_stamps(int fd)
{
	int on = 1;

	TRY(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on));
}

static void wants_signals(int fd)
{
	TRY(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
}

static void is_in_need(int fd, void (*need)(int fd))
{
	await("ready");
	unread_is(fd, 1000);
	tell("kill");
	await("killed");
	need(fd);
	get(fd, 1000, 2, 0);
	ask(fd);
}

static void reads_after_epoll(int fd)
{
	is_in_need(fd, in_an_exclusive_set);
}

static void reads_after_option(int fd)
{
	is_in_need(fd, wants_stamps);
}

static void reads_after_async(int fd)
{
	is_in_need(fd, wants_signals);
}

static void in_recv(int fd)
{
	char buf[8];

	await("ready");
	tell("kill");
	TRY(recv(fd, buf, sizeof buf, 0));
	await("killed");
	TRY(recv(fd, buf, sizeof buf, 0));
}

static void in_recv_unread(int fd)
{
	char buf[8];

	put(fd, 10, 1, 0);
	await("ready");
	tell("kill");
	TRY(recv(fd, buf, sizeof buf, 0));
	await("killed");
	ask(fd);
}

static void in_waitall(int fd)
{
	char buf[2000];

	await("ready");
	tell("kill");
	TRY(recv(fd, buf, sizeof buf, MSG_WAITALL));
	await("killed");
	TRY(recv(fd, buf, sizeof buf, MSG_WAITALL));
}

/* Sleeps in send, since the victim reads nothing. */
static void in_send(int fd)
{
	size_t len = 32 << 20;
	char *buf = calloc(1, len);

	await("ready");
	tell("kill");
	ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);
	HOLDS(n > 0 && n < (ssize_t)len);
	await("killed");
	/* The kernel says either, as FIN or RST was first. */
	n = send(fd, buf, len, MSG_NOSIGNAL);
	HOLDS(n < 0 && (errno == ECONNRESET || errno == EPIPE));
	TRY(send(fd, buf, len, MSG_NOSIGNAL));
	TRY(recv(fd, buf, len, 0));
	free(buf);
}

static void in_poll(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};

	await("ready");
	tell("kill");
	TRY(poll(&p, 1, -1));
	say("%s", event_names((unsigned short)p.revents));
	await("killed");
	ask(fd);
}

static void in_epoll(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	int ep = new_set();

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	await("ready");
	tell("kill");
	TRY(epoll_wait(ep, &ev, 1, -1));
	say("%s", event_names(ev.events));
	await("killed");
	ask(fd);
	TRY(close(ep));
}

/* The victim is the server, or the client. */
#define BOTH(name, victim, survivor)                                                                                           \
	{name "_server", part, part, CASE_KILLED, &(const struct killing){victim, survivor, 1}},                               \
	{                                                                                                                      \
		name "_client", part, part, CASE_KILLED, &(const struct killing)                                               \
		{                                                                                                              \
			victim, survivor, 0                                                                                    \
		}                                                                                                              \
	}

/* ---- stopped, and going on: who does not run is late, and nothing else */

static int has_stopped(void *arg)
{
	return task_state(*(int *)arg) == 'T';
}

static void stop(int pid)
{
	MUST(kill(pid, SIGSTOP));
	HOLDS(wait_until(has_stopped, &pid));
}

static void stopped_server(void)
{
	struct timeval little = {.tv_usec = 50000}, none = {0};
	int fd = serve_warm(), pid = (int)await_number();

	no_delay(fd);
	for (unsigned i = 0; i < 3; i++) {
		stop(pid);
		put(fd, 40000, 2, 0);
		MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &little, sizeof little));
		TRY(recv(fd, (char[1]){0}, 1, 0));
		MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
		MUST(kill(pid, SIGCONT));
		get(fd, 100, 1, 0);
	}
	stop(pid);
	put(fd, 40000, 2, 0);
	TRY(close(fd));
	MUST(kill(pid, SIGCONT));
}

static void stopped_client(void)
{
	int fd = connect_warm();

	tell_number(getpid());
	for (unsigned i = 0; i < 4; i++) {
		get(fd, 40000, 2, 0);
		if (i < 3)
			put(fd, 100, 1, 0);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* What is unread then stays so for who wants more than memory can do, and what follows comes behind it. */
static void stopped_option_server(void)
{
	int fd = serve_warm(), pid = (int)await_number();

	await("sent");
	unread_is(fd, 1000);
	stop(pid);
	wants_stamps(fd);
	get(fd, 500, 2, 0);
	MUST(kill(pid, SIGCONT));
	tell("goes on");
	get(fd, 500, 2, 500);
	get(fd, 2000, 3, 0);
	put(fd, 10, 4, 0);
	TRY(close(fd));
}

static void stopped_option_client(void)
{
	int fd = connect_warm();

	tell_number(getpid());
	put(fd, 1000, 2, 0);
	tell("sent");
	await("goes on");
	put(fd, 2000, 3, 0);
	get(fd, 10, 4, 0);
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	BOTH("idle", does_nothing, idle),
	BOTH("unread", gets_ten, unread),
	BOTH("sent", sends, reads_the_rest),
	BOTH("sent_epoll", sends, reads_after_epoll),
	BOTH("sent_option", sends, reads_after_option),
	BOTH("sent_async", sends, reads_after_async),
	BOTH("sent_and_unread", sends_and_gets_ten, unread),
	BOTH("shut", does_nothing, has_shut),
	BOTH("in_recv", does_nothing, in_recv),
	BOTH("in_recv_unread", gets_ten, in_recv_unread),
	BOTH("in_waitall", sends, in_waitall),
	BOTH("in_send", does_nothing, in_send),
	BOTH("in_poll", does_nothing, in_poll),
	BOTH("in_epoll", does_nothing, in_epoll),
	{"stopped", stopped_server, stopped_client, 0, NULL},
	{"stopped_option", stopped_option_server, stopped_option_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
