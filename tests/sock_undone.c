/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_undone.c - connections that are about to change hands, and do not: a message with a descriptor that cannot be sent. */
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

static const int epoll = 1;

const struct oracle_case oracle_cases[] = {
	{"pass_recv", pass_server, echo_client, CASE_SLOW, NULL},
	{"pass_epoll", pass_server, echo_client, CASE_SLOW, &epoll},
	{NULL, NULL, NULL, 0, NULL},
};
