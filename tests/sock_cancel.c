/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_cancel.c - threads that are cancelled in a call on a connection, or end with it in use; what they leave others go on with. */
#include "oracle.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int shared_fd;
static atomic_int came;

static void drain_client(void)
{
	int fd = connect_warm();

	await("go");
	put(fd, 100, 1, 0);
	tell("sent");
	get(fd, 100, 2, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- a call by number is no cancellation point, the first time either */

static void *reads_by_number(void *arg)
{
	char buf[100];
	long n;

	(void)arg;
	atomic_store(&came, 1);
	for (long at = 0; at < (long)sizeof buf; at += n)
		if ((n = syscall(SYS_read, shared_fd, buf + at, sizeof buf - (size_t)at)) <= 0)
			break;
	atomic_store(&came, 2);
	pthread_testcancel();
	return NULL;
}

static int has_come(void *arg)
{
	return atomic_load(&came) >= *(int *)arg;
}

static void number_server(void)
{
	int fd = shared_fd = serve_warm(), one = 1;
	void *result;
	pthread_t t = start_thread(reads_by_number, NULL);

	MUST(wait_until(has_come, &one) - 1);
	MUST(pthread_cancel(t) ? -1 : 0);
	tell("go");
	MUST(pthread_join(t, &result) ? -1 : 0);
	HOLDS(atomic_load(&came) == 2);
	HOLDS(result == PTHREAD_CANCELED);
	await("sent");
	put(fd, 100, 2, 0);
	TRY(close(fd));
}

/* ---- waiting, with a clean-up that uses the connection */

static void says_so(void *arg)
{
	put(shared_fd, 50, 2, *(unsigned *)arg);
}

static void waits_by(int way)
{
	struct pollfd p = {.fd = shared_fd, .events = POLLIN};
	struct epoll_event ev = {.events = EPOLLIN};
	struct msghdr m = {.msg_iov = &(struct iovec){(char[1]){0}, 1}, .msg_iovlen = 1};
	int ep;

	switch (way) {
	case 0:
		read(shared_fd, (char[1]){0}, 1) < 0 ? say("FALSE: read") : (void)0;
		break;
	case 1:
		recvmsg(shared_fd, &m, 0) < 0 ? say("FALSE: recvmsg") : (void)0;
		break;
	case 2:
		poll(&p, 1, -1);
		break;
	default:
		ep = new_set();
		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, shared_fd, &ev));
		epoll_wait(ep, &ev, 1, -1);
	}
}

static void *waits(void *arg)
{
	unsigned at = (unsigned)*(int *)arg * 50;

	pthread_cleanup_push(says_so, &at);
	waits_by(*(int *)arg);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cleanup_server(void)
{
	int fd = shared_fd = serve_warm();
	void *result;

	no_delay(fd);
	for (int way = 0; way < 4; way++) {
		pthread_t t = start_thread(waits, &way);
		MUST(pthread_cancel(t) ? -1 : 0);
		MUST(pthread_join(t, &result) ? -1 : 0);
		HOLDS(result == PTHREAD_CANCELED || result == NULL);
	}
	TRY(close(fd));
}

/* Who was cancelled before it began has not pushed its handler: both are allowed, and told. */
static void cleanup_client(void)
{
	uint64_t sum;
	int fd = connect_warm();

	HOLDS(get_to_eof(fd, &sum) % 50 == 0);
	TRY(close(fd));
}

/* ---- sending into a socket that is full */

#define MUCH (16 << 20)

static void *sends(void *arg)
{
	char *buf = malloc(MUCH);

	fill(buf, MUCH, 2, 0);
	pthread_cleanup_push(free, buf);
	if (send(shared_fd, buf, MUCH, 0) > 0)
		say("FALSE: all of it has been sent");
	pthread_cleanup_pop(1);
	return arg;
}

static void full_server(void)
{
	int fd = shared_fd = serve_warm();
	void *result;
	pthread_t t = start_thread(sends, NULL);

	await("some has come");
	MUST(pthread_cancel(t) ? -1 : 0);
	MUST(pthread_join(t, &result) ? -1 : 0);
	HOLDS(result == PTHREAD_CANCELED);
	tell("cancelled");
	TRY(shutdown(fd, SHUT_WR));
	get(fd, 100, 1, 0);
	TRY(close(fd));
}

static void full_client(void)
{
	static char buf[65536], good[65536];
	int fd = connect_warm(), same = 1;
	uint64_t at = 0;
	ssize_t n;

	get(fd, 1000, 2, 0);
	tell("some has come");
	await("cancelled"); /* what there is no room for stays where it is until then */
	for (at = 1000; (n = MUST(read(fd, buf, sizeof buf))) > 0; at += (uint64_t)n) {
		fill(good, (size_t)n, 2, at);
		same &= !memcmp(buf, good, (size_t)n);
	}
	HOLDS(same && at < MUCH);
	put(fd, 100, 1, 0);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

/* ---- a thread that has had the connection to itself for long, and ends */

#define ROUNDS 1200

static void *talks(void *arg)
{
	unsigned from = *(unsigned *)arg;

	for (unsigned i = from; i < from + ROUNDS; i++) {
		put(shared_fd, 10, 2, 10 * i);
		get(shared_fd, 10, 1, 10 * i);
	}
	return NULL;
}

static void heirs_server(void)
{
	int fd = shared_fd = serve_warm();
	unsigned from = 0;

	for (int i = 0; i < 3; i++, from += ROUNDS) {
		pthread_t t = start_thread(talks, &from);
		MUST(pthread_join(t, NULL) ? -1 : 0);
	}
	talks(&from);
	TRY(close(fd));
}

static void heirs_client(void)
{
	int fd = connect_warm();

	no_delay(fd);
	for (unsigned i = 0; i < 4 * ROUNDS; i++) {
		get(fd, 10, 2, 10 * i);
		put(fd, 10, 1, 10 * i);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"by_number", number_server, drain_client, 0, NULL},
	{"cleanup", cleanup_server, cleanup_client, 0, NULL},
	{"full", full_server, full_client, CASE_SLOW, NULL},
	{"heirs", heirs_server, heirs_client, CASE_SLOW, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
