/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_sigmain.c - a signal that is sent to a process is handled by its first thread, if that has not blocked it. Programs count on it: the first thread sits in pause()
 * or accept(), and looks at a flag of its handler's when it wakes. What other threads do with sockets meanwhile, or the first one, must not change that.
 */
#include "oracle.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_SIGNAL 1500
#define N_WORKER 2

static int handled[2], acked[2]; /* pipes: from the handler; to who sends the signals */
static volatile int elsewhere, stop;
static _Atomic int n_handled, n_begun;

/* The sender is another process, and the handler is told which. */
static pid_t sender;
static volatile int strangers;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int error = errno;

	(void)sig;
	(void)context;
	elsewhere += gettid() != getpid();
	strangers += info->si_pid != sender || info->si_code != SI_USER;
	n_handled++;
	MUST(write(handled[1], "", 1));
	errno = error;
}

/* A descriptor and a member of a set, made and given back: these are what shunt's lists are changed for. */
static void bustle(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int again = MUST(dup(fd)), ep = MUST(epoll_create1(0));

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, again, &ev));
	MUST(close(again));
	MUST(close(ep));
}

static void *bustling(void *arg)
{
	n_begun++;
	while (!stop)
		bustle(*(int *)arg);
	return NULL;
}

static void *asleep(void *arg)
{
	char c;

	n_begun++;
	while (recv(*(int *)arg, &c, 1, 0) < 0)
		MUST(errno == EINTR ? 0 : -1);
	return NULL;
}

static void send_signals(pid_t to)
{
	char c;

	for (int i = 0; i < N_SIGNAL; i++) {
		MUST(read(acked[0], &c, 1));
		MUST(kill(to, SIGUSR1));
	}
	_exit(0);
}

/* One after the other, by a child; the first thread waits for each to have been handled, at work or asleep. */
static void take_signals(int fd, int works)
{
	pid_t self = getpid();
	char c;

	sender = fork_part();
	if (!sender)
		send_signals(self);
	for (int i = 0; i < N_SIGNAL; i++) {
		MUST(write(acked[1], "", 1));
		while (works && n_handled == i)
			bustle(fd);
		while (read(handled[0], &c, 1) < 0)
			MUST(errno == EINTR ? 0 : -1);
	}
	say("handled on another thread: %d of %d; of another sender: %d", elsewhere, (int)n_handled, strangers);
	join_child(sender);
}

/* A thread begins with its signals blocked: until it has begun, it may be the one that gets a signal. */
static void start_workers(pthread_t worker[N_WORKER], void *(*run)(void *), int *fd)
{
	for (int i = 0; i < N_WORKER; i++)
		worker[i] = start_thread(run, fd);
	while (n_begun < N_WORKER)
		sched_yield();
}

static void end_workers(const pthread_t worker[N_WORKER], int fd)
{
	stop = 1;
	tell("end");
	for (int i = 0; i < N_WORKER; i++)
		pthread_join(worker[i], NULL);
	TRY(close(fd));
}

static void handle(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

	MUST(pipe(handled));
	MUST(pipe(acked));
	MUST(sigaction(SIGUSR1, &sa, NULL));
}

static void first_server(void)
{
	int works = *(const int *)the_case->arg;
	int fd = serve_warm();
	pthread_t worker[N_WORKER];

	handle();
	start_workers(worker, works ? asleep : bustling, &fd);
	take_signals(fd, works);
	end_workers(worker, fd);
}

static void first_client(void)
{
	int fd = connect_warm();

	await("end");
	put(fd, N_WORKER, 1, 0); /* an octet for each that sleeps */
	TRY(close(fd));
}

/* ---- the first thread blocks the signal: then it is another one's ---- */

static void block_or_not(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(pthread_sigmask(how, &set, NULL));
}

static void *takes_them(void *arg)
{
	block_or_not(SIG_UNBLOCK);
	return bustling(arg);
}

static void others_server(void)
{
	int fd = serve_warm();
	pthread_t worker[N_WORKER];

	handle();
	block_or_not(SIG_BLOCK);
	start_workers(worker, takes_them, &fd);
	take_signals(fd, 0);
	end_workers(worker, fd);
}

static const int works = 1, sleeps = 0;

const struct oracle_case oracle_cases[] = {
	{"others_work", first_server, first_client, 0, &sleeps},
	{"itself_works", first_server, first_client, 0, &works},
	{"blocked", others_server, first_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
