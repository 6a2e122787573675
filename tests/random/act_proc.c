/* SPDX-License-Identifier: BSD-2-Clause */
/* act_proc.c - processes and threads, and what goes from one to another. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* argv of another life: of an actor who holds what this process does */
static void make_argv(char *argv[N_SLOT + 3], char room[N_SLOT + 1][12], int who)
{
	argv[0] = own_path;
	snprintf(room[N_SLOT], sizeof(*room), "%d", who);
	argv[1] = room[N_SLOT];
	for (int i = 0; i < N_SLOT; i++) {
		int flags = slots[i] < 0 ? -1 : fcntl(slots[i], F_GETFD);

		snprintf(room[i], sizeof(*room), "%d", flags < 0 || flags & FD_CLOEXEC ? -1 : slots[i]);
		argv[i + 2] = room[i];
	}
	argv[N_SLOT + 2] = NULL;
}

/* The first thread may have begun with this signal blocked, as its parent's had it. */
static void *thread(void *arg)
{
	sigset_t mine;

	(void)arg;
	sigemptyset(&mine);
	sigaddset(&mine, KICK(1));
	pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
	run_channel(1);
}

/* fork WHO: the child says that it is ready, as one that starts does */
static void act_fork(const struct command *c)
{
	pid_t pid = fork();

	if (pid == 0) {
		self = (int)c->arg[0];
		if (dprintf(CHANNEL + N_THREAD * self, "ready") != 5)
			_exit(111);
		run_channel(0);
	}
	say_result(pid > 0 ? 0 : -1);
	say("|%d", pid);
}

/* spawn WHO HOW(0 posix_spawn, 1 vfork, 2 fork and exec) */
static void act_spawn(const struct command *c)
{
	static char *argv[N_SLOT + 3], room[N_SLOT + 1][12];
	pid_t pid;

	make_argv(argv, room, (int)c->arg[0]);
	if (c->arg[1] == 0) {
		errno = posix_spawn(&pid, own_path, NULL, NULL, argv, environ);
		pid = errno ? -1 : pid;
	} else {
		pid = c->arg[1] == 1 ? vfork() : fork();
		if (pid == 0) {
			execve(own_path, argv, environ);
			_exit(113);
		}
	}
	say_result(pid < 0 ? -1 : 0);
	say("|%d", pid);
}

/* exec HOW: the same actor, in a new program, which says that it is ready */
static void act_exec(const struct command *c)
{
	char *argv[N_SLOT + 3], room[N_SLOT + 1][12];

	make_argv(argv, room, self);
	if (c->arg[0])
		execv(own_path, argv);
	else
		execve(own_path, argv, environ);
	say_result(-1);
}

/* wait: for any child that has ended */
static void act_wait(const struct command *c)
{
	int status = 0;

	(void)c;
	say_result(waitpid(-1, &status, 0) > 0 ? 0 : -1);
	say(" status %x", (unsigned)status);
}

/* exit HOW(0 exit, 1 _exit) */
static void act_exit(const struct command *c)
{
	if (c->arg[0])
		_exit(0);
	exit(0);
}

static void act_thread(const struct command *c)
{
	pthread_t id;
	sigset_t both, old;

	(void)c;
	sigemptyset(&both);
	sigaddset(&both, KICK(0));
	sigaddset(&both, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &both, &old);
	errno = pthread_create(&id, NULL, thread, NULL);
	say_result(errno ? -1 : 0);
	sigaddset(&old, KICK(1));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* give SLOT WHO: into its box */
static void act_give(const struct command *c)
{
	int fd = slot(c->arg[0]);
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} u = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	char octet = 'x';
	struct iovec iov = {&octet, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room)};

	memcpy(CMSG_DATA(&u.head), &fd, sizeof(fd));
	say_result(sendmsg(BOX + 2 * (int)c->arg[1], &m, MSG_NOSIGNAL));
}

/* take SLOT CLOEXEC: from the own box */
static void act_take(const struct command *c)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} u;
	char octet = 0;
	struct iovec iov = {&octet, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room)};
	ssize_t n = recvmsg(BOX + 2 * self + 1, &m, MSG_DONTWAIT | (c->arg[1] ? MSG_CMSG_CLOEXEC : 0));
	struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	int fd = -1;

	say_result(n);
	if (h && h->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	say_descriptor(fd);
	set_slot(c->arg[0], fd);
}

const struct word proc_words[] = {
	{"fork", act_fork},
	{"spawn", act_spawn},
	{"exec", act_exec},
	{"wait", act_wait},
	{"exit", act_exit},
	{"thread", act_thread},
	{"give", act_give},
	{"take", act_take},
	{NULL, NULL},
};
