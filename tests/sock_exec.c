/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_exec.c - every name by which a process becomes another program or starts one, with a connection that the new program inherits under its own
 * number, from 3 on, and octets that wait in it.
 */
#include "oracle.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAITING 1000
#define BEFORE 300 /* of them are read before */
#define LATER 40   /* and come when the new program is there */
#define SHELL "/bin/sh"

/* A shell that has what waits copied from the socket to the socket, and then what comes. */
static char script[128];
static char *const argv[] = {"sh", "-c", script, NULL};
static char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
static const char *const bare = "PATH=/usr/bin:/bin";

static void write_script(int fd)
{
	MUST(snprintf(script, sizeof script, "head -c %d <&%d >&%d; exec head -c %d <&%d >&%d", WAITING - BEFORE, fd, fd, LATER,
		fd, fd));
	MUST(putenv((char *)(uintptr_t)bare));
}

static void by_execve(void)
{
	execve(SHELL, argv, envp);
}
static void by_execv(void)
{
	execv(SHELL, argv);
}
static void by_execvp(void)
{
	execvp("sh", argv);
}
static void by_execvpe(void)
{
	execvpe("sh", argv, envp);
}
static void by_fexecve(void)
{
	fexecve((int)MUST(open(SHELL, O_RDONLY | O_CLOEXEC)), argv, envp);
}
static void by_execveat(void)
{
	execveat((int)MUST(open("/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), "sh", argv, envp, 0);
}
static void by_number(void)
{
	syscall(SYS_execve, SHELL, argv, envp);
}
static void by_number_at(void)
{
	syscall(SYS_execveat, MUST(open("/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), "sh", argv, envp, 0);
}
static void by_execl(void)
{
	execl(SHELL, "sh", "-c", script, (char *)NULL);
}
static void by_execlp(void)
{
	execlp("sh", "sh", "-c", script, (char *)NULL);
}
static void by_execle(void)
{
	execle(SHELL, "sh", "-c", script, (char *)NULL, envp);
}
/* First one that fails, then one that does not. */
static void by_second_try(void)
{
	TRY(execv("/nowhere/sh", argv));
	TRY(execve("/", argv, envp));
	execv(SHELL, argv);
}
/* One that nobody should open, and a command by way of no environment at all. */
static void by_third_try(void)
{
	char fifo[64];

	snprintf(fifo, sizeof fifo, "/tmp/sock_exec.%d", getpid());
	MUST(mkfifo(fifo, 0600));
	TRY(execve(fifo, argv, envp));
	MUST(unlink(fifo));
	MUST(clearenv());
	TRY(system("exit 3") >> 8);
	execve(SHELL, argv, envp);
}

static pid_t by_spawn(void)
{
	pid_t pid = -1;
	MUST(posix_spawn(&pid, SHELL, NULL, NULL, argv, envp) ? -1 : 0);
	return pid;
}
static pid_t by_spawnp(void)
{
	pid_t pid = -1;
	MUST(posix_spawnp(&pid, "sh", NULL, NULL, argv, envp) ? -1 : 0);
	return pid;
}
static pid_t by_vfork(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		execve(SHELL, argv, envp);
		_exit(127);
	}
	return (pid_t)MUST(pid);
}

struct how {
	void (*become)(void);
	pid_t (*start)(void);
	int (*run)(void);
};

static int by_system(void)
{
	return system(script);
}
static int by_popen(void)
{
	FILE *f = popen(script, "r");
	MUST(f ? 0 : -1);
	return pclose(f);
}

/* A connection that programs inherit, and from which BEFORE of the octets that wait have been read; the script knows its number. */
static int serve_waiting(void)
{
	int fd = serve_warm();

	MUST(fcntl(fd, F_SETFD, 0));
	write_script(fd);
	await("sent");
	unread_is(fd, WAITING);
	get(fd, BEFORE, 1, 0);
	return fd;
}

/* Its counterpart, until the new program has done what it is there for. */
static int connect_waiting(void)
{
	int fd = connect_warm();

	put(fd, WAITING, 1, 0);
	tell("sent");
	get(fd, WAITING - BEFORE, 1, BEFORE);
	put(fd, LATER, 1, WAITING);
	get(fd, LATER, 1, WAITING);
	return fd;
}

static void exec_server(void)
{
	const struct how *how = the_case->arg;
	int fd = serve_waiting();

	if (how->run) {
		TRY(how->run());
	} else {
		pid_t pid = how->start ? how->start() : fork_part();
		if (pid == 0) {
			how->become();
			_exit(127);
		}
		join_child(pid);
	}
	put(fd, 20, 2, 0); /* whoever started it still has the connection */
	get(fd, 20, 1, WAITING + LATER);
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void exec_client(void)
{
	int fd = connect_waiting();

	get(fd, 20, 2, 0);
	put(fd, 20, 1, WAITING + LATER);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* The process itself goes, and nobody who knows the connection is left. */
static void itself_server(void)
{
	serve_waiting();
	execve(SHELL, argv, envp);
}

static void itself_client(void)
{
	int fd = connect_waiting();

	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

#define BECOME(fn)                                                                                                             \
	&(const struct how)                                                                                                    \
	{                                                                                                                      \
		.become = fn                                                                                                   \
	}
#define START(fn)                                                                                                              \
	&(const struct how)                                                                                                    \
	{                                                                                                                      \
		.start = fn                                                                                                    \
	}
#define RUN(fn)                                                                                                                \
	&(const struct how)                                                                                                    \
	{                                                                                                                      \
		.run = fn                                                                                                      \
	}

const struct oracle_case oracle_cases[] = {
	{"execve", exec_server, exec_client, 0, BECOME(by_execve)},
	{"execv", exec_server, exec_client, 0, BECOME(by_execv)},
	{"execvp", exec_server, exec_client, 0, BECOME(by_execvp)},
	{"execvpe", exec_server, exec_client, 0, BECOME(by_execvpe)},
	{"fexecve", exec_server, exec_client, 0, BECOME(by_fexecve)},
	{"execveat", exec_server, exec_client, 0, BECOME(by_execveat)},
	{"by_number", exec_server, exec_client, 0, BECOME(by_number)},
	{"by_number_at", exec_server, exec_client, 0, BECOME(by_number_at)},
	{"execl", exec_server, exec_client, 0, BECOME(by_execl)},
	{"execlp", exec_server, exec_client, 0, BECOME(by_execlp)},
	{"execle", exec_server, exec_client, 0, BECOME(by_execle)},
	{"second_try", exec_server, exec_client, 0, BECOME(by_second_try)},
	{"third_try", exec_server, exec_client, 0, BECOME(by_third_try)},
	{"posix_spawn", exec_server, exec_client, 0, START(by_spawn)},
	{"posix_spawnp", exec_server, exec_client, 0, START(by_spawnp)},
	{"vfork", exec_server, exec_client, 0, START(by_vfork)},
	{"system", exec_server, exec_client, 0, RUN(by_system)},
	{"popen", exec_server, exec_client, 0, RUN(by_popen)},
	{"itself", itself_server, itself_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
