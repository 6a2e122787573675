/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_rawproc.c - processes that are made, and ended, by number: syscall(). */
#include "oracle.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 60
#define RAW(name, ...) syscall(SYS_##name, ##__VA_ARGS__)

static void answer(int fd, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++) {
		get(fd, 10, 1, i);
		put(fd, 10, 2, i);
	}
}

static void ask(int fd, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++) {
		put(fd, 10, 1, i);
		get(fd, 10, 2, i);
	}
}

/* ---- a child that goes on with the connection, and one that makes its own ---- */

static pid_t by_fork(void)
{
	return (pid_t)RAW(fork);
}

static pid_t by_clone(void)
{
	return (pid_t)RAW(clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static pid_t by_clone3(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};

	return (pid_t)RAW(clone3, &args, sizeof args);
}

/* It is its parent that stands still until it ends, with memory of its own. */
static pid_t by_vfork_clone(void)
{
	return (pid_t)RAW(clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL);
}

typedef pid_t maker(void);

static void child_server(void)
{
	maker *make = *(maker *const *)the_case->arg;
	int fd = serve_warm();

	answer(fd, 0, ROUNDS);
	pid_t pid = (pid_t)MUST(make());
	if (pid == 0) {
		answer(fd, ROUNDS, ROUNDS);
		tell("child");
		int own = serve_warm();
		answer(own, 0, ROUNDS);
		RAW(exit_group, 7);
	}
	join_child(pid);
	answer(fd, 2 * ROUNDS, ROUNDS);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void child_client(void)
{
	int fd = connect_warm();

	ask(fd, 0, 2 * ROUNDS);
	await("child");
	int own = connect_warm();
	ask(own, 0, ROUNDS);
	TRY(read(own, (char[1]){0}, 1));
	ask(fd, 2 * ROUNDS, ROUNDS);
	TRY(close(fd));
	TRY(close(own));
}

/* ---- a child on a stack of its own, which returns from syscall() to where that stack says ---- */

#if defined(__x86_64__)
static int child_fd;

static void on_own_stack(void)
{
	char c;

	if (read(child_fd, &c, 1) == 1)
		(void)!write(child_fd, &c, 1);
	_exit(5);
}

static void own_stack(long flags)
{
	size_t len = 1 << 18;
	char *low = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(low == MAP_FAILED ? -1 : 0);
	uintptr_t *top = (uintptr_t *)(low + len - 64);
	*top = (uintptr_t)on_own_stack; /* what ret takes */
	int fd = child_fd = serve_warm();
	answer(fd, 0, ROUNDS);
	pid_t pid = (pid_t)MUST(RAW(clone, flags | SIGCHLD, top, NULL, NULL, NULL));
	join_child(pid);
	answer(fd, ROUNDS, ROUNDS);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void stack_server(void)
{
	own_stack(0);
}

static void shared_server(void)
{
	own_stack(CLONE_VM | CLONE_FILES);
}

static void stack_client(void)
{
	char c = 'c';
	int fd = connect_warm();

	ask(fd, 0, ROUNDS);
	TRY(write(fd, &c, 1));
	TRY(read(fd, &c, 1));
	ask(fd, ROUNDS, ROUNDS);
	TRY(close(fd));
}
#endif

/* ---- a process that ends, and says nothing to the C library; its counters are written all the same ---- */

static void ending_server(void)
{
	int fd = serve_warm();

	answer(fd, 0, ROUNDS);
	put(fd, 50000, 2, 0);
	RAW(exit_group, 0);
}

static void ending_client(void)
{
	uint64_t sum;
	int fd = connect_warm();

	ask(fd, 0, ROUNDS);
	say("%llu octets", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	RAW(exit_group, 0);
}

/* ---- threads that end by number: the process does with the last of them, and says what the first one said ---- */

static int talk_fd;

static int first_has_ended(void *arg)
{
	(void)arg;
	return task_state(getpid()) == 'Z';
}

static void *last_exits(void *arg)
{
	answer(talk_fd, 0, ROUNDS);
	wait_until(first_has_ended, NULL);
	RAW(exit, 5);
	return arg;
}

static void exit_server(void)
{
	pid_t pid = fork_part();

	if (pid == 0) {
		talk_fd = serve_warm();
		if (the_case->arg)
			pthread_detach(start_thread(last_exits, NULL));
		else
			answer(talk_fd, 0, ROUNDS);
		RAW(exit, 4);
	}
	join_child(pid);
}

static void exit_client(void)
{
	int fd = connect_warm();

	ask(fd, 0, ROUNDS);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static maker *const bare_forks = _Fork, *const vforks = by_vfork_clone;
static maker *const forks = by_fork, *const clones = by_clone, *const clones3 = by_clone3;

const struct oracle_case oracle_cases[] = {
	{"fork", child_server, child_client, 0, &forks},
	{"clone", child_server, child_client, 0, &clones},
	{"clone3", child_server, child_client, 0, &clones3},
#if defined(__x86_64__)
	{"own_stack", stack_server, stack_client, 0, NULL},
	{"shared_memory", shared_server, stack_client, 0, NULL},
#endif
	{"_Fork", child_server, child_client, 0, &bare_forks},
	{"clone_vfork", child_server, child_client, 0, &vforks},
	{"exit", exit_server, exit_client, 0, NULL},
	{"exit_first", exit_server, exit_client, 0, &forks},
	{"ending", ending_server, ending_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
