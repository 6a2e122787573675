/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_fault.c - buffers that are not there, wholly or in part: EFAULT, and the stream is whole; the program's own faults are its own. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

/* `good` octets that are there, and behind them a page that is not. */
static char *edge(size_t good, int prot)
{
	size_t len = (good + PAGE - 1) / PAGE * PAGE;
	char *p = mmap(NULL, len + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(p == MAP_FAILED ? -1 : 0);
	MUST(mprotect(p + len, PAGE, prot));
	return p + len - good;
}

static char *nothing(void)
{
	return edge(0, PROT_NONE);
}

/* A page of a file that has none: SIGBUS for who touches it. */
static char *beyond_file(void)
{
	int fd = MUST(memfd_create("short", 0));
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	MUST(p == MAP_FAILED ? -1 : 0);
	close(fd);
	return p;
}

/* ---- receiving ---- */

static void recv_server(void)
{
	char ok[64], *none = nothing(), *bus = beyond_file(), *ro = edge(0, PROT_READ), *far = (char *)0x7ffffffff000;
	struct iovec second[2] = {{ok, 12}, {none, 50}}, first[2] = {{none, 12}, {ok, 50}}, later[2] = {{ok, 60}, {none, 50}};
	struct msghdr msg = {.msg_iov = second, .msg_iovlen = 2};
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 60);
	TRY(read(fd, none, 60));
	TRY(recv(fd, none, 1, 0));
	TRY(recv(fd, none, 60, MSG_PEEK));
	TRY(recv(fd, none, 60, MSG_WAITALL));
	TRY(recv(fd, none, 60, MSG_DONTWAIT));
	TRY(recv(fd, bus, 60, 0));
	TRY(recv(fd, ro, 60, 0));
	TRY(recv(fd, far, 60, 0));
	TRY(recv(fd, edge(10, PROT_NONE), 60, 0));
	TRY(readv(fd, second, 2));
	TRY(readv(fd, first, 2));
	TRY(recvmsg(fd, &msg, 0));
	TRY(recvmsg(fd, &msg, MSG_PEEK));
	unread_is(fd, 60);
	TRY(recv(fd, none, 20, MSG_TRUNC)); /* which throws them away */
	TRY(recv(fd, edge(10, PROT_NONE), 10, 0));
	TRY(readv(fd, later, 2)); /* what is not there is not needed */
	unread_is(fd, 0);
	TRY(recv(fd, none, 10, MSG_DONTWAIT));
	tell("done");
	TRY(read(fd, none, 1));
	TRY(close(fd));
}

static void recv_client(void)
{
	int fd = connect_warm();

	no_delay(fd);
	put(fd, 60, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

/* ---- sending ---- */

static void send_server(void)
{
	int fd = serve_warm();

	await("tried");
	unread_is(fd, 0);
	tell("go on");
	get(fd, 100, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void send_client(void)
{
	char ok[64] = {0}, *none = nothing(), *bus = beyond_file();
	struct iovec second[2] = {{ok, 12}, {none, 50}}, first[2] = {{none, 12}, {ok, 50}}, null[2] = {{ok, 12}, {NULL, 50}};
	struct msghdr msg = {.msg_iov = second, .msg_iovlen = 2};
	int fd = connect_warm();

	TRY(write(fd, none, 60));
	TRY(send(fd, none, 1, 0));
	TRY(send(fd, none, 60, MSG_DONTWAIT));
	TRY(sendto(fd, none, 60, 0, NULL, 0));
	TRY(send(fd, bus, 60, 0));
	TRY(send(fd, edge(10, PROT_NONE), 60, 0));
	TRY(writev(fd, second, 2));
	TRY(writev(fd, first, 2));
	TRY(writev(fd, null, 2));
	TRY(sendmsg(fd, &msg, 0));
	tell("tried");
	await("go on");
	put(fd, 100, 1, 0);
	TRY(close(fd));
}

/* ---- long ones, of which a part is there: some of it is moved, and what is moved is right ---- */

#define GOOD (70 * 1024)
#define TOTAL (100 * 1024)

static void long_server(void)
{
	char *buf = edge(GOOD, PROT_NONE), *want = malloc(GOOD);
	int fd = serve_warm();

	await("sent");
	unread_is(fd, TOTAL);
	ssize_t n = recv(fd, buf, TOTAL, MSG_PEEK);
	HOLDS(n > 0 && n <= GOOD);
	n = recv(fd, buf, TOTAL, 0);
	HOLDS(n > 0 && n <= GOOD);
	fill(want, GOOD, 1, 0);
	HOLDS(n > 0 && memcmp(buf, want, (size_t)n) == 0);
	get(fd, TOTAL - (size_t)n, 1, (uint64_t)n);
	tell("again");
	ssize_t sent = await_number();
	get(fd, (size_t)sent, 2, 0);
	get(fd, 100, 3, 0);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
	free(want);
}

static void long_client(void)
{
	char *buf = edge(GOOD, PROT_NONE);
	int fd = connect_warm();

	no_delay(fd);
	for (size_t at = 0; at < TOTAL; at += 10 * 1024)
		put(fd, 10 * 1024, 1, at);
	tell("sent");
	await("again");
	fill(buf, GOOD, 2, 0);
	ssize_t n = send(fd, buf, 2 * TOTAL, 0);
	HOLDS(n > 0 && n <= GOOD);
	tell_number(n);
	put(fd, 100, 3, 0);
	TRY(close(fd));
}

/* ---- a program that handles its own faults ---- */

static sigjmp_buf back;
static volatile sig_atomic_t faults;
static void on_fault(int sig, siginfo_t *info, void *context)
{
	faults += sig == SIGSEGV && info->si_code == SEGV_ACCERR && context;
	siglongjmp(back, 1);
}

static void fault_once(volatile char *p)
{
	if (sigsetjmp(back, 1) == 0)
		*p = 1;
}

static void own_handler(int flags)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | flags}, now;

	MUST(sigaction(SIGSEGV, &sa, &now));
	say("before: %s, flags %x", now.sa_handler == SIG_DFL ? "default" : "a handler", now.sa_flags & ~0x04000000);
	MUST(sigaction(SIGSEGV, NULL, &now));
	say("after: %s, flags %x", now.sa_sigaction == on_fault ? "on_fault" : "another", now.sa_flags & ~0x04000000);
}

static void handler_server(void)
{
	char *none = edge(0, PROT_NONE);
	int fd;

	if (*(const int *)the_case->arg)
		own_handler(0);
	fd = serve_warm();
	if (!*(const int *)the_case->arg)
		own_handler(0);
	await("sent");
	unread_is(fd, 60);
	for (int i = 0; i < 3; i++) {
		fault_once(none);
		say("faults: %d", (int)faults);
		TRY(recv(fd, none, 60, 0));
		TRY(recv(fd, none, 60, MSG_PEEK));
		TRY(send(fd, none, 60, 0));
	}
	own_handler((int)SA_RESETHAND);
	TRY(recv(fd, none, 60, 0));
	fault_once(none);
	struct sigaction now;
	MUST(sigaction(SIGSEGV, NULL, &now));
	say("faults: %d, then %s, flags %x", (int)faults, now.sa_handler == SIG_DFL ? "default" : "a handler",
		now.sa_flags & ~0x04000000);
	TRY(recv(fd, none, 60, 0));
	get(fd, 60, 1, 0);
	tell("done");
	TRY(read(fd, none, 1));
	TRY(close(fd));
}

/* ---- a program that dies of it ---- */

static void die(int how)
{
	struct rlimit no_core = {0, 0};
	char *none = edge(0, PROT_NONE);
	sigset_t segv;

	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGSEGV, how == 3 || how == 4 ? SIG_IGN : SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	sigemptyset(&segv);
	sigaddset(&segv, SIGSEGV);
	if (how == 5)
		sigprocmask(SIG_BLOCK, &segv, NULL);
	if (how == 2 || how == 3)
		kill(getpid(), SIGSEGV);
	else if (how == 1)
		*(volatile char *)beyond_file() = 1;
	else
		*(volatile char *)none = 1;
	_exit(how);
}

static void dies_server(void)
{
	char *none = edge(0, PROT_NONE);
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 60);
	for (int how = 0; how < 6; how++) {
		pid_t pid = fork_part();
		if (!pid) {
			if (recv(fd, none, 60, 0) != -1 || errno != EFAULT)
				_exit(100);
			die(how);
		}
		join_child(pid);
	}
	TRY(recv(fd, none, 60, 0));
	get(fd, 60, 1, 0);
	tell("done");
	TRY(read(fd, none, 1));
	TRY(close(fd));
}

/* ---- in threads, beside each other ---- */

static int the_fd;
static void *try_often(void *arg)
{
	long wrong = 0;

	for (int i = 0; i < 2000; i++) {
		wrong += recv(the_fd, arg, 60, i & 1 ? MSG_PEEK : 0) != -1 || errno != EFAULT;
		wrong += send(the_fd, arg, 60, 0) != -1 || errno != EFAULT;
	}
	return (void *)wrong;
}

static void threads_server(void)
{
	char *none = nothing();
	pthread_t t[3];
	void *wrong;

	the_fd = serve_warm();
	await("sent");
	unread_is(the_fd, 60);
	for (int i = 0; i < 3; i++)
		t[i] = start_thread(try_often, none);
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &wrong);
		HOLDS(wrong == NULL);
	}
	get(the_fd, 60, 1, 0);
	tell("done");
	TRY(read(the_fd, none, 1));
	TRY(close(the_fd));
}

/* ---- an environment for another program */

static void environment_server(void)
{
	char *none = nothing(), *entry[] = {none, NULL},
	     **end = (char **)(void *)edge(sizeof(char *), PROT_NONE), *const argv[] = {"true", NULL};
	int fd = serve_warm();
	pid_t pid;

	*end = argv[0]; /* the rest of the array is not there */
	TRY(execve("/bin/true", argv, (char **)(void *)none));
	TRY(execve("/bin/true", argv, end));
	TRY(execve("/bin/true", argv, entry));
	TRY(execve("/nowhere/true", argv, entry));
	TRY(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, entry));
	put(fd, 60, 2, 0);
	TRY(close(fd));
}

static void environment_client(void)
{
	int fd = connect_warm();

	get(fd, 60, 2, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static const int before = 1, after = 0;

const struct oracle_case oracle_cases[] = {
	{"recv", recv_server, recv_client, 0, NULL},
	{"send", send_server, send_client, 0, NULL},
	{"long", long_server, long_client, 0, NULL},
	{"own_handler_before", handler_server, recv_client, 0, &before},
	{"own_handler_after", handler_server, recv_client, 0, &after},
	{"dies", dies_server, recv_client, 0, NULL},
	{"threads", threads_server, recv_client, 0, NULL},
	{"environment", environment_server, environment_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
