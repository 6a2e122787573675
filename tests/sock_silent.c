/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_silent.c - the other side cannot answer: who had the connection there has been killed, and a child that has never touched it is left; or its process is stopped. Who has read all
 * that came, and gives the connection away, or reads it by other means from now on, needs nobody's answer for that. Where something is unread, it comes when somebody there goes on.
 */
#include "oracle_heir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN 700 /* octets a turn, each way */

struct silence {
	void (*leaves)(int fd); /* and what follows in both directions */
	int stopped;		/* else killed */
	int unread;		/* the first turn's octets have been sent by who is silent then */
};

static const struct silence *silence(void)
{
	return the_case->arg;
}

/* ---- the silent side ---- */

/* Turns: it sends, and receives. */
static void turns(int fd)
{
	for (unsigned i = 0; i < 3; i++) {
		if (i || !silence()->unread)
			put(fd, LEN, 2, i * LEN);
		get(fd, LEN, 1, i * LEN);
	}
	warm_up(fd);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static int has_stopped(void *pid)
{
	return task_state(*(pid_t *)pid) == 'T';
}

static void stop(pid_t pid)
{
	MUST(kill(pid, SIGSTOP));
	HOLDS(wait_until(has_stopped, &pid));
}

/* A process that has the connection, and a child of its own, which waits to be told; the number of who is to be silenced. */
static pid_t start(int turn[2])
{
	int ready[2];
	char c = 0;

	MUST(pipe(ready));
	pid_t pid = fork_part();
	if (pid == 0) {
		int fd = connect_warm();
		if (silence()->unread)
			put(fd, LEN, 2, 0);
		if (silence()->stopped || fork() == 0) {
			MUST(write(ready[1], &c, 1));
			MUST(read(turn[0], &c, 1));
			turns(fd);
			MUST(write(ready[1], &c, 1));
			exit(0);
		}
		for (;;)
			pause();
	}
	MUST(read(ready[0], &c, 1));
	close(ready[1]);
	turn[0] = ready[0];
	return pid;
}

static void silent_client(void)
{
	int turn[2];

	MUST(pipe(turn));
	pid_t pid = start(turn);
	if (silence()->stopped) {
		stop(pid);
	} else {
		MUST(kill(pid, SIGKILL));
		join_child(pid);
	}
	tell("silent");
	await("left");
	if (silence()->stopped)
		MUST(kill(pid, SIGCONT));
	MUST(write(turn[1], "t", 1));
	TRY(read(turn[0], (char[1]){0}, 1)); /* it has done all */
	if (silence()->stopped)
		join_child(pid);
	tell("over");
}

/* ---- the other one ---- */

static void answers(int fd)
{
	tell("left");
	for (unsigned i = 0; i < 3; i++) {
		get(fd, LEN, 2, i * LEN);
		put(fd, LEN, 1, i * LEN);
	}
	warm_up(fd);
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void silent_server(void)
{
	if (heir()) {
		answers(HEIR_FD);
		await("over");
		return;
	}
	int fd = serve_warm();
	await("silent");
	unread_is(fd, silence()->unread ? LEN : 0);
	silence()->leaves(fd);
	await("over");
}

static void stays(int fd)
{
	answers(fd);
}

static void passes(int fd)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pass_fd(sv[0], fd);
	if (!silence()->unread)
		TRY(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT));
	close(fd);
	fd = take_fd(sv[1]);
	answers(fd);
	close(sv[0]);
	close(sv[1]);
}

/* Both copies stay open, and what came before is asked for by the one, what comes then by the other. */
static void passes_and_keeps(int fd)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pass_fd(sv[0], fd);
	int other = take_fd(sv[1]);
	tell("left");
	for (unsigned i = 0; i < 3; i++) {
		get(i % 2 ? other : fd, LEN, 2, i * LEN);
		put(i % 2 ? fd : other, LEN, 1, i * LEN);
	}
	warm_up(fd);
	TRY(shutdown(other, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	TRY(close(other));
	close(sv[0]);
	close(sv[1]);
}

/* It may not have to leave after all: the message cannot be sent. */
static void passes_in_vain(int fd)
{
	int sv[2];
	char control[CMSG_SPACE(sizeof(int))] = {0}, c = 0;
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	close(sv[1]);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	*(int *)CMSG_DATA(h) = fd;
	TRY(sendmsg(sv[0], &m, MSG_NOSIGNAL));
	close(sv[0]);
	answers(fd);
}

static void has_number_0(int fd)
{
	TRY(dup2(fd, 0));
	TRY(close(fd));
	answers(0);
}

static void opens_stream(int fd)
{
	char buf[LEN], want[LEN];
	FILE *f = fdopen(fd, "r+");

	tell("left");
	for (unsigned i = 0; i < 3; i++) {
		HOLDS(fread(buf, 1, sizeof buf, f) == sizeof buf);
		fill(want, sizeof want, 2, i * LEN);
		HOLDS(sum_bytes(0, buf, LEN) == sum_bytes(0, want, LEN));
		put(fd, LEN, 1, i * LEN);
	}
	warm_up(fd);
	TRY(shutdown(fd, SHUT_WR));
	TRY(fread(buf, 1, sizeof buf, f));
	TRY(fclose(f));
}

static void executes(int fd)
{
	become_heir(fd, "");
}

#define ALL_FOUR(name, leaves)                                                                                                 \
	{name "_killed", silent_server, silent_client, CASE_KILLED, &(const struct silence){leaves, 0, 0}},                    \
		{name "_stopped", silent_server, silent_client, 0, &(const struct silence){leaves, 1, 0}},                     \
		{name "_unread_killed", silent_server, silent_client, CASE_KILLED, &(const struct silence){leaves, 0, 1}},     \
	{                                                                                                                      \
		name "_unread_stopped", silent_server, silent_client, 0, &(const struct silence)                               \
		{                                                                                                              \
			leaves, 1, 1                                                                                           \
		}                                                                                                              \
	}

const struct oracle_case oracle_cases[] = {
	ALL_FOUR("stays", stays),
	ALL_FOUR("passed", passes),
	ALL_FOUR("passed_and_kept", passes_and_keeps),
	ALL_FOUR("passed_in_vain", passes_in_vain),
	ALL_FOUR("number_0", has_number_0),
	ALL_FOUR("stream", opens_stream),
	ALL_FOUR("exec", executes),
	{NULL, NULL, NULL, 0, NULL},
};
