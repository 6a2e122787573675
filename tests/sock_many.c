/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_many.c - threads and processes that end, very many of something, slow readers. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int shared_fd, shared_ep;

/* ---- cancellation: each of these calls acts on a request that is pending, whatever there is to do */

enum what { RECV, READ, SEND, WRITE, POLL, EPOLL };
static const char *const what_name[] = {"recv", "read", "send", "write", "poll", "epoll_wait"};
static pthread_barrier_t bar;

static void *call_cancelled(void *arg)
{
	enum what w = *(enum what *)arg;
	struct pollfd p = {.fd = shared_fd, .events = POLLIN};
	struct epoll_event ev;
	char c = 0;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	switch (w) {
	case RECV:
		return (void *)recv(shared_fd, &c, 1, 0);
	case READ:
		return (void *)read(shared_fd, &c, 1);
	case SEND:
		return (void *)send(shared_fd, &c, 1, 0);
	case WRITE:
		return (void *)write(shared_fd, &c, 1);
	case POLL:
		return (void *)(long)poll(&p, 1, SOON);
	case EPOLL:
		return (void *)(long)epoll_wait(shared_ep, &ev, 1, SOON);
	}
	return NULL;
}

static void cancel_one(enum what w)
{
	void *result;
	pthread_t t = start_thread(call_cancelled, &w);

	pthread_barrier_wait(&bar);
	pthread_cancel(t);
	pthread_barrier_wait(&bar);
	pthread_join(t, &result);
	say("%s: %s", what_name[w], result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
}

static void cancel_ready_server(void)
{
	shared_fd = serve_warm();
	shared_ep = new_set();
	pthread_barrier_init(&bar, NULL, 2);
	set_add(shared_ep, shared_fd, EPOLLIN, 1);
	send_me(100);
	unread_is(shared_fd, 100);
	for (enum what w = RECV; w <= EPOLL; w++)
		cancel_one(w);
	unread_is(shared_fd, 100);
	close_yours();
	TRY(close(shared_fd));
}

/* A cancelled reader leaves the socket usable, also while its octets are in the kernel. */
static void cancel_kernel_server(void)
{
	uint64_t sum;

	shared_fd = serve_warm();
	pthread_barrier_init(&bar, NULL, 2);
	long n = await_number();
	get(shared_fd, 300000, 1, 0); /* the ring's, if there is one */
	cancel_one(RECV);
	HOLDS(300000 + get_to_eof(shared_fd, &sum) == (uint64_t)n);
	TRY(close(shared_fd));
}

static void cancel_kernel_client(void)
{
	int fd = connect_warm();
	static char buf[65536];
	uint64_t pos = 0;

	set_nonblock(fd, 1);
	for (ssize_t n = 0; n >= 0 && pos<1200000; pos += n> 0 ? (uint64_t)n : 0) {
		fill(buf, sizeof buf, 1, pos);
		n = send(fd, buf, sizeof buf, 0);
	}
	tell_number((long)pos);
	set_nonblock(fd, 0);
	TRY(shutdown(fd, SHUT_WR));
	get_to_eof(fd, &(uint64_t){0});
	TRY(close(fd));
}

/* The main thread may end before the process does. */
static void main_exits_part(void)
{
	int fd = is_server ? serve_warm() : connect_warm();

	meet("warm");
	TRY(close(fd));
	pthread_exit(NULL);
}

/* ---- very many */

#define N_CONN 300

static void many_server(void)
{
	static int fd[N_CONN];
	int port, lfd = listen_on("127.0.0.1", 512, &port), ep = new_set();
	struct epoll_event ev;

	tell_number(port);
	for (int i = 0; i < N_CONN; i++) {
		fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		set_add(ep, fd[i], EPOLLIN, (uint64_t)i);
	}
	for (long n = 0; n < 20L * N_CONN; n++) {
		MUST(epoll_wait(ep, &ev, 1, SOON) == 1 ? 0 : -1);
		get(fd[ev.data.u64], 10, 1, 0);
		put(fd[ev.data.u64], 10, 2, 0);
	}
	tell("all");
	await("closed");
	for (int i = 0; i < N_CONN; i++)
		MUST(read(fd[i], (char[1]){0}, 1) == 0 ? close(fd[i]) : -1);
}

static void many_client(void)
{
	static int fd[N_CONN];
	int port = (int)await_number();

	for (int i = 0; i < N_CONN; i++)
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
	for (int turn = 0; turn < 20; turn++)
		for (int i = 0; i < N_CONN; i++) {
			put(fd[i], 10, 1, 0);
			get(fd[i], 10, 2, 0);
		}
	await("all");
	for (int i = 0; i < N_CONN; i++)
		MUST(close(fd[i]));
	tell("closed");
}

#define N_PROC 90

static void procs_server(void)
{
	static int fd[N_PROC], turns[N_PROC];
	int port, lfd = listen_on("127.0.0.1", 512, &port);
	struct pollfd p[N_PROC];

	tell_number(port);
	for (int i = 0; i < N_PROC; i++)
		p[i] = (struct pollfd){.fd = fd[i] = (int)MUST(accept(lfd, NULL, NULL)), .events = POLLIN};
	for (long n = 0; n < 60L * N_PROC;) {
		MUST(poll(p, N_PROC, SOON) > 0 ? 0 : -1);
		for (int i = 0; i < N_PROC; i++) {
			if (!p[i].revents)
				continue;
			get(fd[i], 10, 1, 0);
			put(fd[i], 10, 2, 0);
			n++;
			if (++turns[i] == 60)
				p[i].fd = -1; /* what comes now is its end */
		}
	}
	for (int i = 0; i < N_PROC; i++)
		MUST(read(fd[i], (char[1]){0}, 1) == 0 ? close(fd[i]) : -1);
}

static void procs_client(void)
{
	int port = (int)await_number(), status, bad = 0;

	for (int i = 0; i < N_PROC; i++) {
		if (fork_part())
			continue;
		alarm(30);
		int fd = (int)MUST(connect_to("127.0.0.1", port));
		for (int turn = 0; turn < 60; turn++) {
			put(fd, 10, 1, 0);
			get(fd, 10, 2, 0);
		}
		close(fd);
		_exit(0);
	}
	for (int i = 0; i < N_PROC; i++)
		bad += wait(&status) < 0 || status;
	HOLDS(!bad);
}

#define N_LISTEN 80

static void listeners_server(void)
{
	static int lfd[N_LISTEN];
	int port;

	for (int i = 0; i < N_LISTEN; i++) {
		lfd[i] = listen_on("127.0.0.1", 4, &port);
		tell_number(port);
		int fd = (int)MUST(accept(lfd[i], NULL, NULL));
		for (int turn = 0; turn < 10; turn++) {
			get(fd, 10, 1, 0);
			put(fd, 10, 2, 0);
		}
		TRY(read(fd, (char[1]){0}, 1));
		close(fd);
	}
}

static void listeners_client(void)
{
	for (int i = 0; i < N_LISTEN; i++) {
		int fd = (int)MUST(connect_to("127.0.0.1", (int)await_number()));
		for (int turn = 0; turn < 10; turn++) {
			put(fd, 10, 1, 0);
			get(fd, 10, 2, 0);
		}
		close(fd);
	}
}

/* ---- a reader that takes little, but often: SO_SNDTIMEO counts all the same */

static void slow_server(void)
{
	int fd = serve_warm();
	static char buf[65536];

	struct pollfd told = {.fd = ORACLE_RD, .events = POLLIN};

	tell("go");
	for (int64_t end = now_ms() + 3000; now_ms() < end && poll(&told, 1, 0) == 0;) {
		if (recv(fd, buf, 512, MSG_DONTWAIT) < 0 && errno != EAGAIN)
			MUST(-1);
		nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
	}
	await("back");
	while (MUST(recv(fd, buf, sizeof buf, 0)) > 0)
		;
	TRY(close(fd));
}

static void slow_client(void)
{
	int fd = connect_warm();
	struct timeval tv = {.tv_usec = 300000};
	size_t len = 64u << 20;
	char *buf = calloc(1, len);

	MUST(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	await("go");
	int64_t before = now_ms();
	long n = MUST(send(fd, buf, len, 0));
	HOLDS(now_ms() - before < 2000);
	HOLDS(n < (long)len);
	tell("back");
	TRY(close(fd));
}

/* ---- select() for output, of a pipe that has hung up: nothing to report, and no reason to look again and again */

static void select_idle_server(void)
{
	int fd = serve_warm(), p[2];
	struct timespec a, b;
	struct timeval tv = {.tv_usec = 500000};
	fd_set r, w;

	MUST(pipe(p));
	MUST(close(p[1]));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(fd, &r);
	FD_SET(p[0], &w);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	TRY(select(p[0] > fd ? p[0] + 1 : fd + 1, &r, &w, NULL, &tv));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	HOLDS((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 200);
	close_yours();
	TRY(close(fd));
}

/* ---- a child polls the set that it inherited */

static void child_polls_server(void)
{
	int fd = serve_warm(), ep = new_set(), p[2];

	set_add(ep, fd, EPOLLIN, 1);
	set_says(ep, 0);
	MUST(pipe(p));
	pid_t pid = fork_part();
	if (!pid) {
		struct pollfd pf = {.fd = ep, .events = POLLIN};
		MUST(write(p[1], "", 1));
		int64_t before = now_ms();
		TRY(poll(&pf, 1, SOON));
		HOLDS(now_ms() - before < SOON - 500);
		_exit(0);
	}
	MUST(read(p[0], (char[1]){0}, 1));
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL); /* it polls by now, or will find the octets there */
	send_me(5);
	join_child(pid);
	close_yours();
	TRY(close(fd));
}

/* ---- in which order */

static void order_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 16, &port), ep = new_set(), fd[4];
	struct epoll_event ev[4];

	tell_number(port);
	for (int i = 0; i < 4; i++) {
		fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(fd[i]);
		set_add(ep, fd[i], EPOLLIN | EPOLLET, (uint64_t)i);
	}
	set_says(ep, 50);
	tell("send");
	await("sent");
	for (int i = 0; i < 4; i++)
		unread_is(fd[i], 5);
	int n = (int)TRY(epoll_wait(ep, ev, 4, SOON));
	for (int i = 0; i < n; i++)
		say("[%d]", (int)ev[i].data.u64);
	tell("close");
}

static void order_client(void)
{
	static const int order[] = {2, 0, 3, 1};
	int port = (int)await_number(), fd[4];

	for (int i = 0; i < 4; i++) {
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd[i]);
		no_delay(fd[i]);
	}
	await("send");
	for (int i = 0; i < 4; i++)
		put(fd[order[i]], 5, 1, 0);
	tell("sent");
	await("close");
}

const struct oracle_case oracle_cases[] = {
	{"cancel_ready", cancel_ready_server, sender_client, 0, NULL},
	{"cancel_kernel", cancel_kernel_server, cancel_kernel_client, 0, NULL},
	{"main_exits", main_exits_part, main_exits_part, 0, NULL},
	{"many_connections", many_server, many_client, CASE_SLOW, NULL},
	{"many_processes", procs_server, procs_client, CASE_SLOW | CASE_NOWARM, NULL},
	{"many_listeners", listeners_server, listeners_client, CASE_SLOW | CASE_NOWARM, NULL},
	{"slow_reader", slow_server, slow_client, CASE_SLOW, NULL},
	{"select_idle", select_idle_server, sender_client, 0, NULL},
	{"child_polls_set", child_polls_server, sender_client, 0, NULL},
	{"order", order_server, order_client, CASE_DIFFERS, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
