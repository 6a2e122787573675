/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_poll.c - poll, ppoll, select, pselect: masks at each stage of life, mixed descriptors, time-outs, EAGAIN and writability. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

/* ---- every bit that poll knows, at each stage ---- */

static void stages_server(void)
{
	unsigned every = 0xffff & ~(unsigned)POLLNVAL;
	char buf[8];
	int fd = serve_warm();

	poll_is(fd, every, POLLOUT | POLLWRNORM);
	poll_is(fd, POLLIN | POLLRDHUP, 0);
	poll_is(fd, 0, 0);
	tell("idle");
	await("sent");
	poll_is(fd, every, POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM);
	poll_is(fd, POLLRDNORM, POLLRDNORM);
	poll_is(fd, POLLPRI | POLLRDBAND | POLLRDHUP, 0);
	get(fd, 5, 1, 0);
	poll_is(fd, every, POLLOUT | POLLWRNORM);
	tell("read");
	await("half");
	poll_is(fd, every, POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP);
	TRY(read(fd, buf, 8));
	poll_is(fd, 0, 0);
	TRY(shutdown(fd, SHUT_WR));
	poll_is(fd, every, POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP);
	poll_is(fd, 0, POLLHUP);
	TRY(close(fd));
	poll_is(fd, every, POLLNVAL);
}

static void stages_client(void)
{
	int fd = run_through_stages();

	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	TRY(close(fd));
}

/* ---- what is sent goes another way than what is received: each is ready by itself, and both are reported at once ---- */

static void select_is(int fd, int in, int out)
{
	struct timeval tv = {0, 0};
	fd_set r, w;

	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	MUST(select(fd + 1, &r, &w, NULL, &tv));
	HOLDS(!!FD_ISSET(fd, &r) == in && !!FD_ISSET(fd, &w) == out);
}

static void two_ways(int fd)
{
	int ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLOUT, 1);
	for (unsigned i = 0; i < 3; i++) {
		poll_is(fd, POLLIN | POLLOUT, POLLOUT);
		epoll_is(ep, EPOLLOUT);
		select_is(fd, 0, 1);
		meet("empty");
		put(fd, 50, 1, 0);
		meet("sent");
		poll_is(fd, POLLIN | POLLOUT, POLLIN | POLLOUT);
		poll_is(fd, POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT);
		epoll_is(ep, EPOLLIN | EPOLLOUT);
		select_is(fd, 1, 1);
		get(fd, 50, 1, 0);
	}
	TRY(close(ep));
	meet("seen");
}

/* splice() into a socket moves the kernel's pages. */
static void two_ways_server(void)
{
	int fd = serve_warm(), p[2];

	two_ways(fd);
	MUST(pipe(p));
	MUST(write(p[1], "spliced", 7));
	TRY(splice(p[0], NULL, fd, NULL, 7, 0));
	two_ways(fd);
	TRY(close(fd));
}

static void two_ways_client(void)
{
	char buf[8];
	int fd = connect_warm();

	two_ways(fd);
	TRY(recv(fd, buf, 7, MSG_WAITALL));
	two_ways(fd);
	TRY(close(fd));
}

/* ---- full: no POLLOUT; room again: POLLOUT ---- */

static void drain(int fd, long total)
{
	static char buf[65536];

	while (total > 0)
		total -= MUST(read(fd, buf, total < (long)sizeof buf ? (size_t)total : sizeof buf));
}

/* Writes as long as poll says so, and then as long as write takes something; how much. */
static long fill_up(int fd)
{
	char *buf = calloc(1, 65536);
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	long total = 0;
	ssize_t n;

	while (poll(&p, 1, 100) == 1) {
		n = write(fd, buf, 65536);
		if (n < 0 && errno != EAGAIN)
			MUST(n);
		total += n > 0 ? n : 0;
	}
	while ((n = write(fd, buf, 65536)) > 0)
		total += n;
	say_result("write", n);
	free(buf);
	return total;
}

static void full_server(void)
{
	int fd = serve_warm();

	set_nonblock(fd, 1);
	for (int turn = 0; turn < 3; turn++) {
		long total = fill_up(fd);
		HOLDS(total >= 1000000);
		poll_is(fd, ALL, 0);
		tell_number(total);
		await("drained");
		poll_is(fd, ALL, POLLOUT);
	}
	TRY(close(fd));
}

static void full_client(void)
{
	char c;
	int fd = connect_warm();

	for (int turn = 0; turn < 3; turn++) {
		drain(fd, await_number());
		tell("drained");
	}
	TRY(read(fd, &c, 1));
	TRY(close(fd));
}

/* A blocked poll for POLLOUT ends when the peer reads. */
static void room_server(void)
{
	int fd = serve_warm();
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	set_nonblock(fd, 1);
	tell_number(fill_up(fd));
	TRY(poll(&p, 1, -1));
	say("%s", event_names((unsigned short)p.revents));
	TRY(write(fd, "room", 4));
	await("drained");
	TRY(close(fd));
}

static void room_client(void)
{
	char buf[8];
	int fd = connect_warm();

	drain(fd, await_number());
	TRY(read(fd, buf, sizeof buf));
	tell("drained");
	TRY(read(fd, buf, sizeof buf));
	TRY(close(fd));
}

/* ---- one call, many kinds of descriptors ---- */

static void say_ready(const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (p[i].revents)
			say("[%lu] %s", (unsigned long)i, event_names((unsigned short)p[i].revents));
}

static void mixed_server(void)
{
	int port, fd = serve_warm(), lfd = listen_on("127.0.0.1", 4, &port), p[2];
	struct itimerspec once = {.it_value.tv_nsec = 20000000};
	uint64_t one = 1;

	MUST(pipe2(p, O_CLOEXEC));
	int event = (int)MUST(eventfd(0, EFD_CLOEXEC)), timer = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	struct pollfd all[] = {{.fd = p[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}, {.fd = event, .events = POLLIN},
		{.fd = -1, .events = POLLIN}, {.fd = timer, .events = POLLIN}, {.fd = lfd, .events = POLLIN},
		{.fd = 999, .events = POLLIN}};
	TRY(poll(all, 6, 0));
	TRY(poll(all, 6, 30));
	tell("go");
	TRY(poll(all, 6, -1));
	say_ready(all, 6);
	get(fd, 1, 1, 0);
	MUST(write(p[1], "x", 1));
	TRY(poll(all, 6, -1));
	say_ready(all, 6);
	MUST(write(event, &one, 8));
	TRY(poll(all, 6, -1));
	say_ready(all, 6);
	MUST(read(p[0], (char[8]){0}, 8));
	MUST(read(event, &one, 8));
	MUST(timerfd_settime(timer, 0, &once, NULL));
	TRY(poll(all, 6, -1));
	say_ready(all, 6);
	MUST(read(timer, &one, 8));
	tell_number(port);
	TRY(poll(all, 6, -1));
	say_ready(all, 6);
	close(p[1]);
	TRY(poll(all, 7, -1));
	say_ready(all, 7);
	TRY(close((int)MUST(accept(lfd, NULL, NULL))));
	TRY(close(fd));
	close(p[0]);
	close(event);
	close(timer);
	close(lfd);
}

static void mixed_client(void)
{
	char c;
	int fd = connect_warm();

	await("go");
	usleep(20000);
	put(fd, 1, 1, 0);
	int other = (int)MUST(connect_to("127.0.0.1", (int)await_number()));
	TRY(read(fd, &c, 1));
	TRY(close(fd));
	TRY(close(other));
}

/* ---- time-outs: never early; zero does not wait ---- */

static void timeout_server(void)
{
	struct timespec ts = {.tv_nsec = 120000000}, bad = {.tv_nsec = 1000000000};
	struct timeval tv = {.tv_usec = 120000};
	fd_set r;
	int fd = serve_warm();
	struct pollfd p = {.fd = fd, .events = POLLIN};

	FD_ZERO(&r);
	int64_t start = now_ms();
	TRY(poll(&p, 1, 0));
	HOLDS(now_ms() - start < 100);
	start = now_ms();
	TRY(poll(&p, 1, 120));
	HOLDS(now_ms() - start >= 119);
	start = now_ms();
	TRY(ppoll(&p, 1, &ts, NULL));
	say("left %ld ns", ts.tv_nsec); /* ppoll does not change it */
	HOLDS(now_ms() - start >= 119);
	start = now_ms();
	FD_SET(fd, &r);
	TRY(select(fd + 1, &r, NULL, NULL, &tv));
	say("left %ld us, set %d", (long)tv.tv_usec, !!FD_ISSET(fd, &r));
	HOLDS(now_ms() - start >= 119);
	start = now_ms();
	FD_SET(fd, &r);
	TRY(pselect(fd + 1, &r, NULL, NULL, &ts, NULL));
	HOLDS(now_ms() - start >= 119);
	tv.tv_usec = 50000;
	start = now_ms();
	TRY(select(0, NULL, NULL, NULL, &tv));
	TRY(poll(NULL, 0, 50));
	HOLDS(now_ms() - start >= 99);
	TRY(ppoll(&p, 1, &bad, NULL));
	tv.tv_usec = -1;
	TRY(select(fd + 1, &r, NULL, NULL, &tv));
	TRY(select(-1, NULL, NULL, NULL, NULL));
	tv = (struct timeval){0};
	FD_SET(fd, &r);
	TRY(select(fd + 1, &r, NULL, NULL, &tv));
	tell("done");
	TRY(close(fd));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	TRY(select(fd + 1, &r, NULL, NULL, &tv));
}

static void timeout_client(void)
{
	int fd = connect_warm();

	await("done");
	TRY(close(fd));
}

/* ---- select: all three sets, ping-pong ---- */

static void select_part(int fd)
{
	fd_set r, w, x;

	for (unsigned i = 0; i < 500; i++) {
		FD_ZERO(&r);
		FD_ZERO(&w);
		FD_ZERO(&x);
		FD_SET(fd, &w);
		FD_SET(fd, &x);
		int n = is_server ? 0 : select(fd + 1, NULL, &w, &x, NULL);
		if (!is_server) {
			if (n != 1 || !FD_ISSET(fd, &w) || FD_ISSET(fd, &x))
				say("FALSE: select for writing gives %d", n);
			put(fd, 16, 1, i);
		}
		FD_SET(fd, &r);
		FD_SET(fd, &x);
		n = i % 2 ? select(fd + 1, &r, NULL, &x, NULL)
			  : pselect(fd + 1, &r, NULL, &x, &(struct timespec){.tv_sec = 5}, NULL);
		if (n != 1 || !FD_ISSET(fd, &r) || FD_ISSET(fd, &x))
			say("FALSE: select for reading gives %d", n);
		get(fd, 16, is_server ? 1 : 2, i);
		if (is_server)
			put(fd, 16, 2, i);
	}
	meet("done");
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	TRY(select(fd + 1, &r, &w, NULL, NULL));
	say("r %d w %d", !!FD_ISSET(fd, &r), !!FD_ISSET(fd, &w));
	meet("looked");
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	TRY(select(fd + 1, &r, &w, NULL, NULL)); /* two bits of one descriptor count as two */
	TRY(close(fd));
}

static void select_server(void)
{
	select_part(serve_warm());
}
static void select_client(void)
{
	select_part(connect_warm());
}
static void select_fresh_server(void)
{
	select_part(serve_one());
}
static void select_fresh_client(void)
{
	select_part(connect_one());
}

/* ---- one descriptor twice, and its duplicate ---- */

static void twice_server(void)
{
	int fd = serve_warm(), other = (int)MUST(dup(fd));
	struct pollfd p[] = {
		{.fd = fd, .events = POLLIN}, {.fd = other, .events = POLLIN | POLLOUT}, {.fd = fd, .events = POLLOUT}};

	TRY(poll(p, 3, -1));
	say_ready(p, 3);
	tell("go");
	await("sent");
	poll_is(fd, POLLIN, POLLIN);
	TRY(poll(p, 3, -1));
	say_ready(p, 3);
	get(other, 5, 1, 0);
	TRY(poll(p, 1, 0));
	TRY(close(fd));
	TRY(poll(p, 3, -1));
	say_ready(p, 3);
	TRY(close(other));
}

static void twice_client(void)
{
	char c;
	int fd = connect_warm();

	await("go");
	put(fd, 5, 1, 0);
	tell("sent");
	TRY(read(fd, &c, 1));
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"two_ways", two_ways_server, two_ways_client, 0, NULL},
	{"stages", stages_server, stages_client, 0, NULL},
	{"full", full_server, full_client, 0, NULL},
	{"room", room_server, room_client, 0, NULL},
	{"mixed", mixed_server, mixed_client, 0, NULL},
	{"timeouts", timeout_server, timeout_client, CASE_ALONE, NULL},
	{"select", select_server, select_client, 0, NULL},
	{"select_fresh", select_fresh_server, select_fresh_client, CASE_NOWARM, NULL},
	{"twice", twice_server, twice_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
