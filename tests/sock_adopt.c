/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_adopt.c - a connection that goes on in another process, to which it was passed over a local socket. The
 * runner sees to it that both processes moved bytes as they should (CASE_HEIR).
 */
#include "oracle_heir.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- passed to a worker that was there before ---- */

struct pass {
	int fresh, program, chain;
};

static void worker(int over)
{
	int fd = take_fd(over);

	close(over);
	go_on(fd, !((const struct pass *)the_case->arg)->fresh);
	exit(0);
}

/* Hands on what it gets, without having used it. */
static void middle(int from, int to)
{
	int fd = take_fd(from);

	pass_fd(to, fd);
	close(fd);
	exit(0);
}

/* A child that runs `part`, which ends it, with one end of a socket pair; the other end. */
static int start_child(void (*part)(int over), pid_t *pid)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	*pid = fork_part();
	if (!*pid) {
		close(sv[0]);
		part(sv[1]);
	}
	close(sv[1]);
	return sv[0];
}

static void worker_or_program(int over)
{
	if (((const struct pass *)the_case->arg)->program)
		become_heir(over, "worker");
	worker(over);
}

static int start_middle(int to, pid_t *pid)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	*pid = fork_part();
	if (!*pid) {
		close(sv[0]);
		middle(sv[1], to);
	}
	close(sv[1]);
	close(to);
	return sv[0];
}

static void pass_server(void)
{
	const struct pass *p = the_case->arg;
	pid_t pid, between = 0;

	if (heir())
		worker(HEIR_FD);
	int over = start_child(worker_or_program, &pid);
	if (p->chain)
		over = start_middle(over, &between);
	int fd = p->fresh ? serve_one() : serve_some();
	pass_fd(over, fd);
	TRY(close(fd));
	join_child(pid);
	if (p->chain)
		join_child(between);
	close(over);
}

/* The giver's copy is closed by an exec; or would be, by one that fails, and then by the giver. */
static void by_exec_server(void)
{
	char *argv[] = {"true", NULL}, *const envp[] = {NULL};
	pid_t pid;
	int over = start_child(worker_or_program, &pid);
	pid_t giver = fork_part();

	if (!giver) {
		int fd = serve_some();
		MUST(fcntl(fd, F_SETFD, FD_CLOEXEC));
		pass_fd(over, fd);
		close(over);
		if (((const struct pass *)the_case->arg)->chain) {
			for (int i = 0; i < 50; i++)
				execve("/nowhere/at/all", argv, envp);
			MUST(close(fd));
		}
		execvp("true", argv);
		_exit(127);
	}
	join_child(pid); /* first who writes, then who ends whenever he ends */
	join_child(giver);
	close(over);
}

/* The same on the client's side. */
static void asks_on(int over)
{
	int fd = take_fd(over);

	rest_of_client(fd);
	exit(0);
}

static void client_passes(void)
{
	pid_t pid;
	int over = start_child(asks_on, &pid), fd = connect_warm();

	put(fd, WAITING, 1, 0);
	meet("sent");
	pass_fd(over, fd);
	TRY(close(fd));
	join_child(pid);
	close(over);
}

static void stays_server(void)
{
	go_on(serve_some(), 1);
}

/* ---- there and back ---- */

static void back_worker(int over)
{
	int fd = take_fd(over);

	get(fd, WAITING - BEFORE, 1, BEFORE);
	warm_up(fd);
	answer(fd, TURNS, 0);
	pass_fd(over, fd);
	TRY(close(fd));
	exit(0);
}

static void back_server(void)
{
	pid_t pid;
	int over = start_child(back_worker, &pid), fd = serve_some();

	pass_fd(over, fd);
	TRY(close(fd));
	fd = take_fd(over);
	join_child(pid);
	go_on(fd, 0);
}

static void back_client(void)
{
	int fd = connect_warm();

	put(fd, WAITING, 1, 0);
	meet("sent");
	warm_up(fd);
	ask(fd, TURNS, 0);
	rest_of_client(fd);
}

/* ---- more than one that uses it: in turns, which the kernel keeps in order ---- */

static void take_turns(int fd, int from, int to, unsigned first)
{
	char c;

	for (unsigned i = first; i < TURNS; i += 2) {
		if (i)
			MUST(read(from, &c, 1) == 1 ? 0 : -1);
		put(fd, ANSWER, 2, i * ANSWER);
		get(fd, ASK, 1, i * ASK);
		MUST(write(to, "t", 1) == 1 ? 0 : -1);
	}
}

static void turns_client(void)
{
	int fd = connect_warm();

	for (unsigned i = 0; i < TURNS; i++) {
		get(fd, ANSWER, 2, i * ANSWER);
		put(fd, ASK, 1, i * ASK);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static pid_t turns_worker(int over, const int from[2], const int to[2], unsigned first, int other)
{
	pid_t pid = fork_part();

	if (!pid) {
		int fd = take_fd(over);
		close(other);
		take_turns(fd, from[0], to[1], first);
		MUST(close(fd)); /* said by one of them alone: nobody waits for the other */
		exit(0);
	}
	return pid;
}

/* arg: the passer is the second of the two that use it; or there are two workers. */
static void turns_server(void)
{
	int keeps = *(const int *)the_case->arg, sv[2], a[2], b[2];
	pid_t other = 0;

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	MUST(pipe(a));
	MUST(pipe(b));
	pid_t pid = turns_worker(sv[1], a, b, 1, sv[0]);
	if (!keeps)
		other = turns_worker(sv[1], b, a, 0, sv[0]);
	int fd = serve_warm();
	pass_fd(sv[0], fd);
	if (!keeps)
		pass_fd(sv[0], fd);
	else
		take_turns(fd, b[0], a[1], 0);
	TRY(close(fd));
	join_child(pid);
	if (other)
		join_child(other);
}

/* One in the middle keeps what it has handed on. */
static void middle_keeps(void)
{
	int to_middle[2], to_worker[2], a[2], b[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, to_middle));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, to_worker));
	MUST(pipe(a));
	MUST(pipe(b));
	pid_t pid = turns_worker(to_worker[1], a, b, 1, to_middle[0]);
	pid_t between = fork_part();
	if (!between) {
		int fd = take_fd(to_middle[1]);
		pass_fd(to_worker[0], fd);
		take_turns(fd, b[0], a[1], 0);
		exit(0);
	}
	int fd = serve_warm();
	pass_fd(to_middle[0], fd);
	TRY(close(fd));
	join_child(between);
	join_child(pid);
}

/* The message is looked at first: that makes a copy, and it is used. */
static void peeking_worker(int over)
{
	int first = peek_fd(over), fd = take_fd(over);

	for (unsigned i = 0; i < TURNS; i++) {
		put(i % 2 ? first : fd, ANSWER, 2, i * ANSWER);
		get(i % 3 ? first : fd, ASK, 1, i * ASK);
	}
	TRY(close(first));
	TRY(close(fd));
	exit(0);
}

static void peek_server(void)
{
	pid_t pid;
	int over = start_child(peeking_worker, &pid), fd = serve_warm();

	pass_fd(over, fd);
	TRY(close(fd));
	join_child(pid);
}

/* ---- nobody takes it, or not for long ---- */

static void lost_server(void)
{
	int sv[2], fd = serve_warm();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pass_fd(sv[0], fd);
	TRY(close(fd));
	tell("passed");
	await("seen");
	TRY(close(sv[0]));
	TRY(close(sv[1]));
	tell("closed");
}

static void lost_client(void)
{
	int fd = connect_warm();

	await("passed");
	poll_is(fd, POLLIN, 0);
	tell("seen");
	await("closed");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void killed_worker(int over)
{
	warm_up(take_fd(over));
	tell("warm");
	pause();
}

static void killed_server(void)
{
	pid_t pid;
	int over = start_child(killed_worker, &pid), fd = serve_warm();

	pass_fd(over, fd);
	TRY(close(fd));
	await("again");
	MUST(kill(pid, SIGKILL));
	join_child(pid);
	tell("killed");
}

static void killed_client(void)
{
	int fd = connect_warm();

	warm_up(fd);
	await("warm");
	tell("again");
	await("killed");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- both directions at full speed ---- */

static void busy_worker(int over)
{
	int fd = take_fd(over);

	echo(fd, 0, UINT64_MAX);
	TRY(close(fd));
	exit(0);
}

static void busy_server(void)
{
	pid_t pid;
	int over = start_child(busy_worker, &pid), fd = serve_warm();

	echo(fd, 0, MUCH / 4);
	pass_fd(over, fd);
	TRY(close(fd));
	join_child(pid);
}

static const struct pass old_worker = {0}, new_program = {.program = 1}, in_a_chain = {.chain = 1}, at_once = {.fresh = 1},
			 at_once_program = {.fresh = 1, .program = 1};
static const int no = 0, yes = 1;

const struct oracle_case oracle_cases[] = {
	{"worker", pass_server, adopt_client, CASE_HEIR, &old_worker},
	{"program", pass_server, adopt_client, CASE_HEIR, &new_program},
	{"chain", pass_server, adopt_client, 0, &in_a_chain},
	{"by_exec", by_exec_server, adopt_client, CASE_HEIR, &old_worker},
	{"by_failed_exec", by_exec_server, adopt_client, CASE_HEIR, &in_a_chain},
	{"fresh", pass_server, adopt_fresh_client, 0, &at_once},
	{"fresh_program", pass_server, adopt_fresh_client, 0, &at_once_program},
	{"client", stays_server, client_passes, CASE_HEIR_CLIENT, NULL},
	{"and_back", back_server, back_client, CASE_HEIR, NULL},
	{"shared", turns_server, turns_client, 0, &yes},
	{"two_workers", turns_server, turns_client, 0, &no},
	{"middle_keeps", middle_keeps, turns_client, 0, NULL},
	{"peeked", peek_server, turns_client, 0, NULL},
	{"lost", lost_server, lost_client, 0, NULL},
	{"killed", killed_server, killed_client, CASE_KILLED, NULL},
	{"busy", busy_server, adopt_busy_client, CASE_HEIR, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
