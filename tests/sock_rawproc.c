/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_rawproc.c - processes that are made, and ended, by number: syscall(); and by clone(). */
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

/* Starts fn(arg) in a child; that ends with what it returns. */
typedef pid_t maker(int (*fn)(void *), void *arg);

/* What returned to both of them. */
static pid_t begun(long pid, int (*fn)(void *), void *arg)
{
	if (MUST(pid) == 0)
		RAW(exit_group, fn(arg));
	return (pid_t)pid;
}

static pid_t by_fork(int (*fn)(void *), void *arg)
{
	return begun(RAW(fork), fn, arg);
}

static pid_t by_clone(int (*fn)(void *), void *arg)
{
	return begun(RAW(clone, SIGCHLD, NULL, NULL, NULL, NULL), fn, arg);
}

static pid_t by_clone3(int (*fn)(void *), void *arg)
{
	struct clone_args args = {.exit_signal = SIGCHLD};

	return begun(RAW(clone3, &args, sizeof args), fn, arg);
}

static pid_t by_bare_fork(int (*fn)(void *), void *arg)
{
	return begun(_Fork(), fn, arg);
}

/* It is its parent that stands still until it ends, with memory of its own. */
static pid_t by_vfork_clone(int (*fn)(void *), void *arg)
{
	return begun(RAW(clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL), fn, arg);
}

/* Who has the parent's table of descriptors, and memory of its own. */
static pid_t by_files_clone(int (*fn)(void *), void *arg)
{
	return begun(RAW(clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL), fn, arg);
}

static void *new_stack(size_t *len)
{
	*len = 1 << 18;
	void *low = mmap(NULL, *len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(low == MAP_FAILED ? -1 : 0);
	return low;
}

static pid_t by_libc(int (*fn)(void *), void *arg)
{
	size_t len;
	char *low = new_stack(&len);

	return (pid_t)MUST(clone(fn, low + len, SIGCHLD, arg));
}

static int child_part(void *arg)
{
	answer(*(int *)arg, ROUNDS, ROUNDS);
	tell("child");
	int own = serve_warm();
	answer(own, 0, ROUNDS);
	return 7;
}

static void child_server(void)
{
	maker *make = *(maker *const *)the_case->arg;
	int fd = serve_warm();

	answer(fd, 0, ROUNDS);
	join_child(make(child_part, &fd));
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

/* ---- a child on a stack of its own, which shares what threads share, or nothing ---- */

static int child_fd;

static int echoes_one(void *arg)
{
	char c;

	(void)arg;
	if (read(child_fd, &c, 1) == 1)
		(void)!write(child_fd, &c, 1);
	return 5;
}

static pid_t by_libc_with(long flags)
{
	size_t len;
	char *low = new_stack(&len);

	return (pid_t)clone(echoes_one, low + len, (int)flags | SIGCHLD, NULL);
}

static void own_stack(pid_t (*make)(long), long flags)
{
	int fd = child_fd = serve_warm();

	answer(fd, 0, ROUNDS);
	join_child((pid_t)MUST(make(flags)));
	answer(fd, ROUNDS, ROUNDS);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void libc_shared_server(void)
{
	own_stack(by_libc_with, CLONE_VM | CLONE_FILES);
}

static void libc_vfork_server(void)
{
	own_stack(by_libc_with, CLONE_VM | CLONE_VFORK);
}

#if defined(__x86_64__)
static void on_own_stack(void)
{
	_exit(echoes_one(NULL));
}

/* It returns from syscall() to where that stack says. */
static pid_t by_number_with(long flags)
{
	size_t len;
	char *low = new_stack(&len);
	uintptr_t *top = (uintptr_t *)(low + len - 64);

	*top = (uintptr_t)on_own_stack; /* what ret takes */
	return (pid_t)RAW(clone, flags | SIGCHLD, top, NULL, NULL, NULL);
}

static void stack_server(void)
{
	own_stack(by_number_with, 0);
}

static void shared_server(void)
{
	own_stack(by_number_with, CLONE_VM | CLONE_FILES);
}
#endif

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

/* ---- a server that makes a child as soon as it has accepted; that changes its user, of which the C library tells all the threads that it knows ---- */

#define FRESH 12

static int changes_user(void *arg)
{
	return setresuid((uid_t)-1, geteuid(), (uid_t)-1) == 0 ? *(int *)arg : 1;
}

static void fresh_server(void)
{
	maker *make = *(maker *const *)the_case->arg;

	for (int i = 0; i < FRESH; i++) {
		pid_t pid = fork_part();
		if (pid == 0) {
			int fd = serve_one(), says = 7;
			join_child(make(changes_user, &says));
			warm_up(fd);
			answer(fd, 0, ROUNDS);
			RAW(exit_group, 0);
		}
		join_child(pid);
	}
}

static void fresh_client(void)
{
	for (int i = 0; i < FRESH; i++) {
		int fd = connect_one();
		warm_up(fd);
		ask(fd, 0, ROUNDS);
		TRY(read(fd, (char[1]){0}, 1));
		TRY(close(fd));
	}
}

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

static maker *const forks = by_fork, *const bare_forks = by_bare_fork, *const clones = by_clone, *const clones3 = by_clone3;
static maker *const vforks = by_vfork_clone, *const libc_clones = by_libc, *const shares_files = by_files_clone;

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
	{"libc", child_server, child_client, 0, &libc_clones},
	{"libc_shared", libc_shared_server, stack_client, 0, NULL},
	{"libc_vfork", libc_vfork_server, stack_client, 0, NULL},
	{"fresh/fork", fresh_server, fresh_client, 0, &forks},
	{"fresh/_Fork", fresh_server, fresh_client, 0, &bare_forks},
	{"fresh/files", fresh_server, fresh_client, CASE_KERNEL, &shares_files},
	{"fresh/libc", fresh_server, fresh_client, 0, &libc_clones},
	{"exit", exit_server, exit_client, 0, NULL},
	{"exit_first", exit_server, exit_client, 0, &forks},
	{"ending", ending_server, ending_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
