/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_undone.c - connections that are about to change hands, and do not: a message with a descriptor that cannot be sent, a program that cannot be executed. */
#include "oracle.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 3000

static atomic_uint turn; /* of the other thread; ROUNDS: over */

static void echo_client(void)
{
	int fd = connect_warm();
	char buf[10];

	no_delay(fd);
	for (unsigned i = 0; recv(fd, buf, sizeof buf, MSG_WAITALL) == sizeof buf; i++)
		put(fd, sizeof buf, 1, 10 * i);
	TRY(close(fd));
}

/* A message now and then, at any moment of the other thread's, that leads nowhere: its socket has no peer. */
static long pass_in_vain(int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = {0};
	struct msghdr m = {
		.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int to = (int)MUST(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	long n = 0;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	for (unsigned i, last = 0; (i = atomic_load(&turn)) < ROUNDS;) {
		if (i == last) {
			sched_yield();
			continue;
		}
		last = i;
		n++;
		if (sendmsg(to, &m, 0) != -1 || errno != ENOTCONN)
			say("FALSE: it has been sent");
	}
	close(to);
	return n;
}

/* Somewhere in the middle of what the other thread does. */
static void a_little_later(unsigned i)
{
	for (volatile unsigned k = i % 97 * 150; k; k--)
		;
}

static void *asks_by_recv(void *arg)
{
	int fd = *(int *)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		a_little_later(i);
		put(fd, 10, 2, 10 * i);
		get(fd, 10, 1, 10 * i);
		atomic_store(&turn, i + 1);
	}
	return NULL;
}

static void *asks_by_epoll(void *arg)
{
	int fd = *(int *)arg, ep = new_set();
	struct epoll_event ev;

	for (unsigned i = 0; i < ROUNDS; i++) {
		a_little_later(i);
		set_add(ep, fd, EPOLLIN, 1);
		put(fd, 10, 2, 10 * i);
		if (epoll_wait(ep, &ev, 1, SOON) != 1)
			say("FALSE: turn %u", i);
		get(fd, 10, 1, 10 * i);
		set_del(ep, fd);
		atomic_store(&turn, i + 1);
	}
	close(ep);
	return NULL;
}

static void pass_server(void)
{
	int fd = serve_warm();
	pthread_t t;

	no_delay(fd);
	t = start_thread(the_case->arg ? asks_by_epoll : asks_by_recv, &fd);
	HOLDS(pass_in_vain(fd) > 0);
	pthread_join(t, NULL);
	TRY(close(fd));
}

/* ---- a child tries to execute what is not there, and its parent closes the connection meanwhile: the child has it still */

#define TURNS 12

static _Noreturn void tries(int fd, int closed)
{
	char *argv[] = {"none", NULL}, c;

	set_nonblock(closed, 1);
	for (unsigned more = 0; more < 20; more += read(closed, &c, 1) == 0)
		if (execve("/nowhere/at/all", argv, NULL) != -1 || errno != ENOENT)
			say("FALSE: executed");
	get(fd, 300, 1, 0);
	put(fd, 300, 2, 0);
	exit(read(fd, &c, 1));
}

static void exec_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), p[2];

	tell_number(port);
	for (int i = 0; i < TURNS; i++) {
		int fd = (int)MUST(accept4(lfd, NULL, NULL, the_case->arg ? SOCK_CLOEXEC : 0));
		warm_up(fd);
		MUST(pipe(p));
		pid_t pid = fork_part();
		if (pid == 0) {
			close(p[1]);
			tries(fd, p[0]);
		}
		usleep(1000 + 377 * (unsigned)i); /* at some moment of a try */
		MUST(close(fd));
		close(p[0]);
		close(p[1]);
		tell("closed");
		join_child(pid);
	}
	TRY(close(lfd));
}

static void exec_client(void)
{
	int port = (int)await_number();

	for (int i = 0; i < TURNS; i++) {
		int fd = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd);
		await("closed");
		put(fd, 300, 1, 0);
		get(fd, 300, 2, 0);
		TRY(close(fd));
	}
}

static const int epoll = 1;

const struct oracle_case oracle_cases[] = {
	{"pass_recv", pass_server, echo_client, CASE_SLOW, NULL},
	{"pass_epoll", pass_server, echo_client, CASE_SLOW, &epoll},
	{"exec", exec_server, exec_client, CASE_SLOW, NULL},
	{"exec_cloexec", exec_server, exec_client, CASE_SLOW, &epoll},
	{NULL, NULL, NULL, 0, NULL},
};
