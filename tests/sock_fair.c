/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_fair.c - one loop over sockets and other descriptors, some of which are ready for ever: how many turns may go by until it tells of what has become ready
 * besides? In turns, not in time: twice as many as there are ready descriptors, and two more. (The kernel needs one for each at the most.) A listener, of which
 * nothing tells but time, gets a fixed number.
 */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define N_SOCK 3
#define N_FD (N_SOCK + 4)
#define BOUND (2 * N_FD + 2)
#define LISTENER_BOUND 1000
#define GIVE_UP 100000

enum { A, B, C, PIPE, EVENT, TIMER, LISTENER };
enum how { POLL, SELECT, LEVEL, EDGE };

struct kind {
	enum how how;
	int max; /* events a turn */
};

static struct loop {
	enum how how;
	int max, ep, port;
	int fd[N_FD], to_pipe;
	int seen[N_FD]; /* how often it has been reported */
} l;

/* ---- the client: a number k: one octet on connection k */

static void fair_client(void)
{
	int fd[N_SOCK], port = (int)await_number();
	uint64_t pos[N_SOCK] = {0};

	for (int i = 0; i < N_SOCK; i++) {
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd[i]);
		no_delay(fd[i]);
	}
	for (long k; (k = await_number()) >= 0; tell("done"))
		if (k < N_SOCK)
			put(fd[k], 1, 1, pos[k]++);
		else
			close((int)MUST(connect_to("127.0.0.1", port)));
	for (int i = 0; i < N_SOCK; i++)
		close(fd[i]);
}

/* ---- the loop */

static void begin(void)
{
	const struct kind *k = the_case->arg;
	int p[2], port, lfd = listen_on("127.0.0.1", 16, &port);

	l = (struct loop){.how = k->how, .max = k->max, .ep = -1};
	tell_number(port);
	for (int i = 0; i < N_SOCK; i++) {
		l.fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(l.fd[i]);
	}
	MUST(pipe2(p, O_NONBLOCK | O_CLOEXEC));
	l.fd[PIPE] = p[0];
	l.to_pipe = p[1];
	l.fd[EVENT] = (int)MUST(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	l.fd[TIMER] = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
	l.fd[LISTENER] = lfd;
	set_nonblock(lfd, 1);
	if (l.how < LEVEL)
		return;
	l.ep = new_set();
	for (int i = 0; i < N_FD; i++)
		set_add(l.ep, l.fd[i], l.how == EDGE ? EPOLLIN | EPOLLET : EPOLLIN, (uint64_t)i);
}

static void end(void)
{
	tell_number(-1);
	for (int i = 0; i < N_FD; i++)
		close(l.fd[i]);
	close(l.to_pipe);
	if (l.ep >= 0)
		close(l.ep);
}

static void turn_poll(void)
{
	struct pollfd p[N_FD];

	for (int i = 0; i < N_FD; i++)
		p[i] = (struct pollfd){.fd = l.fd[i], .events = POLLIN};
	MUST(poll(p, N_FD, SOON));
	for (int i = 0; i < N_FD; i++)
		l.seen[i] += !!(p[i].revents & POLLIN);
}

static void turn_select(void)
{
	struct timeval tv = {3, 0};
	fd_set set;
	int top = 0;

	FD_ZERO(&set);
	for (int i = 0; i < N_FD; i++) {
		FD_SET(l.fd[i], &set);
		top = l.fd[i] > top ? l.fd[i] : top;
	}
	MUST(select(top + 1, &set, NULL, NULL, &tv));
	for (int i = 0; i < N_FD; i++)
		l.seen[i] += !!FD_ISSET(l.fd[i], &set);
}

static void turn_epoll(void)
{
	struct epoll_event ev[N_FD];
	int n = (int)MUST(epoll_wait(l.ep, ev, l.max, SOON));

	for (int i = 0; i < n; i++)
		l.seen[ev[i].data.u64]++;
}

static void turn(void)
{
	if (l.how == POLL)
		turn_poll();
	else if (l.how == SELECT)
		turn_select();
	else
		turn_epoll();
}

/* One becomes ready; it is so for certain when this returns. */
static void make_ready(int i)
{
	struct itimerspec now = {.it_value = {.tv_nsec = 1}};
	struct pollfd p = {.fd = l.fd[i], .events = POLLIN};
	int unread, was = 0;

	switch (i) {
	case PIPE:
		MUST(write(l.to_pipe, "x", 1));
		return;
	case EVENT:
		MUST(write(l.fd[EVENT], &(uint64_t){1}, 8));
		return;
	case TIMER:
		MUST(timerfd_settime(l.fd[TIMER], 0, &now, NULL));
		MUST(poll(&p, 1, SOON));
		return;
	case LISTENER:
		tell_number(N_SOCK);
		await("done");
		MUST(poll(&p, 1, SOON));
		return;
	default:
		MUST(ioctl(l.fd[i], FIONREAD, &was));
		tell_number(i);
		await("done");
		do
			MUST(ioctl(l.fd[i], FIONREAD, &unread));
		while (unread == was);
	}
}

static void make_quiet(int i)
{
	char buf[256];

	if (i == LISTENER)
		close((int)MUST(accept(l.fd[i], NULL, NULL)));
	else if (i < N_SOCK)
		MUST(recv(l.fd[i], buf, sizeof buf, MSG_DONTWAIT));
	else
		MUST(read(l.fd[i], buf, i == PIPE ? sizeof buf : 8));
}

/* Of these it is told for ever: an edge-triggered set hears of something new each time. */
static void keep_busy(const int *busy, int n)
{
	for (int k = 0; l.how == EDGE && k < n; k++)
		make_ready(busy[k]);
}

static int turns_until(int i, const int *busy, int n)
{
	int turns = 0, before = l.seen[i];

	make_ready(i);
	while (l.seen[i] == before && turns < GIVE_UP) {
		keep_busy(busy, n);
		turn();
		turns++;
	}
	make_quiet(i);
	return turns;
}

/* While `busy` are ready all the time, each of the others becomes ready, alone. */
static void others_beside(const int *busy, int n)
{
	int worst = 0, listener = 0;

	for (int k = 0; k < n; k++)
		make_ready(busy[k]);
	for (int i = 0; i < 50; i++) {
		keep_busy(busy, n);
		turn();
	}
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < N_FD; i++) {
			int is_busy = 0, turns;

			for (int k = 0; k < n; k++)
				is_busy |= busy[k] == i;
			if (is_busy)
				continue;
			turns = turns_until(i, busy, n);
			if (i == LISTENER)
				listener = turns > listener ? turns : listener;
			else
				worst = turns > worst ? turns : worst;
		}
	if (!HOLDS(worst <= BOUND) || !HOLDS(listener <= LISTENER_BOUND))
		say("%d turns, listener %d", worst, listener);
}

static void busy_sockets_server(void)
{
	static const int busy[] = {A, B};

	begin();
	others_beside(busy, 2);
	end();
}

static void busy_kernel_server(void)
{
	static const int busy[] = {PIPE, EVENT, TIMER};

	begin();
	others_beside(busy, l.how == EDGE ? 2 : 3); /* a timer has its own edges */
	end();
}

/* All at once: nobody gets less than his share by more than the bound. */
static void all_server(void)
{
	static const int busy[] = {A, B, C, PIPE, EVENT};
	int least = GIVE_UP;

	begin();
	for (int k = 0; k < 5; k++)
		make_ready(busy[k]);
	memset(l.seen, 0, sizeof l.seen);
	for (int i = 0; i < 10 * BOUND; i++) {
		keep_busy(busy, 5);
		turn();
	}
	for (int k = 0; k < 5; k++)
		least = l.seen[busy[k]] < least ? l.seen[busy[k]] : least;
	if (!HOLDS(least >= 10))
		say("%d in %d turns", least, 10 * BOUND);
	end();
}

static volatile sig_atomic_t rang;

static void on_alarm(int sig)
{
	(void)sig;
	rang = 1;
}

/* A timer's signal, while a socket is ready in every turn; and what a mask holds back until the wait. */
static void signals_server(void)
{
	struct itimerval soon = {.it_value = {.tv_usec = 2000}};
	struct sigaction sa = {.sa_handler = on_alarm};
	struct epoll_event ev;
	sigset_t usr1, none;
	int64_t limit = now_ms() + SOON;

	begin();
	MUST(sigaction(SIGALRM, &sa, NULL));
	MUST(sigaction(SIGUSR1, &sa, NULL));
	make_ready(A);
	MUST(setitimer(ITIMER_REAL, &soon, NULL));
	while (!rang && now_ms() < limit)
		turn_epoll();
	HOLDS(rang == 1);
	rang = 0;
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &usr1, NULL));
	MUST(raise(SIGUSR1));
	TRY(epoll_pwait(l.ep, &ev, 1, SOON, &none));
	HOLDS(rang == 0); /* what is ready comes first, with the kernel too */
	make_quiet(A);
	TRY(epoll_pwait(l.ep, &ev, 1, SOON, &none));
	HOLDS(rang == 1);
	end();
}

/* Octets that come all the time, too few to be told of, do not prolong a time limit. */
static void limit_server(void)
{
	int64_t t;
	int low = 100000, n = 0;
	struct pollfd p;
	struct epoll_event ev;

	begin();
	MUST(setsockopt(l.fd[A], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
	p = (struct pollfd){.fd = l.fd[A], .events = POLLIN};
	for (int i = 0; i < 5; i++) {
		tell_number(A);
		t = now_ms();
		n += poll(&p, 1, 20);
		n += epoll_wait(l.ep, &ev, 1, 20);
		t = now_ms() - t;
		HOLDS(t >= 38);
		HOLDS(t < 1000);
		await("done");
	}
	HOLDS(n == 0);
	end();
}

static const struct kind by_poll = {POLL, 0}, by_select = {SELECT, 0}, level_1 = {LEVEL, 1}, level_2 = {LEVEL, 2},
			 level_all = {LEVEL, N_FD}, edge_1 = {EDGE, 1}, edge_2 = {EDGE, 2}, edge_all = {EDGE, N_FD};

#define EACH_WAY(name, server)                                                                                                 \
	{name "_poll", server, fair_client, 0, &by_poll}, {name "_select", server, fair_client, 0, &by_select},                \
		{name "_level_1", server, fair_client, 0, &level_1}, {name "_level_2", server, fair_client, 0, &level_2},      \
		{name "_level", server, fair_client, 0, &level_all}, {name "_edge_1", server, fair_client, 0, &edge_1},        \
		{name "_edge_2", server, fair_client, 0, &edge_2},                                                             \
	{                                                                                                                      \
		name "_edge", server, fair_client, 0, &edge_all                                                                \
	}

const struct oracle_case oracle_cases[] = {
	EACH_WAY("busy_sockets", busy_sockets_server),
	EACH_WAY("busy_kernel", busy_kernel_server),
	EACH_WAY("all", all_server),
	{"signals", signals_server, fair_client, 0, &level_1},
	{"limit", limit_server, fair_client, 0, &level_1},
	{NULL, NULL, NULL, 0, NULL},
};
