/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_heir.c - the end of a connection, as the program sees that has inherited it; and what another program, which has it too, does to it. */
#include "oracle_heir.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP)
#define LEN 9000

/* A child that becomes another program, and that one's end. */
static void as_other_program(int fd, void (*act)(int fd))
{
	if (heir()) {
		act(HEIR_FD);
		exit(0);
	}
	pid_t pid = fork_part();
	if (!pid)
		become_heir(fd, "other");
	join_child(pid);
}

/* How it has ended: a reset, which is told of once. */
static void says_reset(int fd)
{
	char buf[8];

	poll_is(fd, ALL, ALL | POLLHUP | POLLERR);
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(send(fd, buf, 1, MSG_NOSIGNAL));
	TRY(close(fd));
}

/* ---- octets are unread where an exec closes the connection: a reset, which who inherits the other end is told of ---- */

static void closed_server(void)
{
	if (heir()) {
		tell("executed");
		await("over");
		return;
	}
	int fd = serve_warm();
	MUST(fcntl(fd, F_SETFD, FD_CLOEXEC));
	await("sent");
	unread_is(fd, LEN);
	become_heir((int)MUST(open("/dev/null", O_RDONLY)), "without it");
}

static void closed_client(void)
{
	if (heir()) {
		says_reset(HEIR_FD);
		tell("over");
		return;
	}
	int fd = connect_warm();
	put(fd, LEN, 1, 0);
	tell("sent");
	await("executed");
	become_heir(fd, "with it");
}

/* ---- last words, and behind them a reset because of what the kernel alone has carried ---- */

static void words_server(void)
{
	int end[2];

	if (heir()) {
		get(HEIR_FD, LEN, 1, 0);
		says_reset(HEIR_FD);
		return;
	}
	int fd = serve_warm();
	MUST(pipe(end));
	MUST(write(end[1], "octets", 6));
	TRY(splice(end[0], NULL, fd, NULL, 6, 0));
	tell("spliced");
	await("closed");
	become_heir(fd, "with it");
}

static void words_client(void)
{
	int fd = connect_warm();

	await("spliced");
	unread_is(fd, 6);
	put(fd, LEN, 1, 0);
	TRY(close(fd));
	tell("closed");
}

/* ---- both directions are shut down, and something comes all the same: the call that gets what came before leaves the reset to the next program ---- */

static void late_server(void)
{
	char buf[LEN + 1];

	if (heir()) {
		says_reset(HEIR_FD);
		return;
	}
	int fd = serve_warm();
	await("sent");
	unread_is(fd, LEN);
	TRY(shutdown(fd, SHUT_RDWR));
	tell("shut");
	await("sent more");
	TRY(recv(fd, buf, sizeof buf, 0));
	become_heir(fd, "with it");
}

static void late_client(void)
{
	int fd = connect_warm();

	put(fd, LEN, 1, 0);
	tell("sent");
	await("shut");
	put(fd, 1, 1, LEN);
	tell("sent more");
	says_reset(fd);
}

/* ---- another program shuts down the input, while octets are unread at the other side: they get there, and so do more ---- */

static void shut_input(int fd)
{
	TRY(shutdown(fd, SHUT_RD));
}

static void shut_server(void)
{
	int fd = heir() ? -1 : serve_warm();

	if (fd >= 0)
		put(fd, LEN, 1, 0);
	as_other_program(fd, shut_input);
	for (unsigned i = 0; i < 100; i++)
		put(fd, 10, 1, LEN + i * 10);
	TRY(read(fd, (char[1]){0}, 1));
	tell("put");
	await("got");
	TRY(close(fd));
}

static void shut_client(void)
{
	int fd = connect_warm();

	await("put");
	get(fd, LEN + 1000, 1, 0);
	tell("got");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- another program shuts down both directions: that hangs up here, and what is unread at either side is still to be had ---- */

static void shut_both(int fd)
{
	TRY(shutdown(fd, SHUT_RDWR));
}

static void both_server(void)
{
	int fd = heir() ? -1 : serve_warm();

	if (fd >= 0) {
		put(fd, LEN, 1, 0);
		await("put");
		unread_is(fd, LEN);
	}
	as_other_program(fd, shut_both);
	poll_is(fd, ALL, ALL | POLLHUP);
	TRY(send(fd, "octet", 5, MSG_NOSIGNAL));
	tell("looked");
	get(fd, LEN, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	poll_is(fd, ALL, ALL | POLLHUP);
	tell("got");
	await("got");
	TRY(close(fd));
}

static void both_client(void)
{
	int fd = connect_warm();

	put(fd, LEN, 1, 0);
	unread_is(fd, LEN);
	tell("put");
	await("looked");
	get(fd, LEN, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	poll_is(fd, ALL, ALL);
	await("got");
	tell("got");
	TRY(close(fd));
}

/* ---- another program makes it non-blocking ---- */

static void make_nonblock(int fd)
{
	set_nonblock(fd, 1);
}

static void nonblock_server(void)
{
	int fd = heir() ? -1 : serve_warm();
	char buf[8];

	as_other_program(fd, make_nonblock);
	TRY(recv(fd, buf, sizeof buf, MSG_PEEK | MSG_WAITALL));
	TRY(recv(fd, buf, sizeof buf, MSG_PEEK));
	TRY(recv(fd, buf, sizeof buf, 0));
	send_me(5);
	TRY(recv(fd, buf, sizeof buf, MSG_PEEK | MSG_WAITALL));
	close_yours();
	TRY(close(fd));
}

/* ---- a child closes its copy of a member, and asks the set that it shares with its parent ---- */

static void member_server(void)
{
	int fd = serve_warm(), ep = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLOUT, 1);
	set_says(ep, SOON);
	pid_t pid = fork_part();
	if (!pid) {
		TRY(close(fd));
		set_says(ep, SOON);
		exit(0);
	}
	join_child(pid);
	set_says(ep, SOON);
	close_yours();
	set_says(ep, SOON);
	TRY(close(fd));
	set_says(ep, 0);
	close(ep);
}

/* ---- a child that has looked at the connection is killed: the other side, which has to leave memory, is answered by the parent ---- */

static void killed_server(void)
{
	int fd = serve_warm(), turn[2];

	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (!pid) {
		TRY(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT));
		MUST(write(turn[1], "t", 1));
		pause();
	}
	MUST(read(turn[0], (char[1]){0}, 1));
	MUST(kill(pid, SIGKILL));
	join_child(pid);
	put(fd, LEN, 1, 0);
	tell("put");
	get(fd, 30, 2, 0);
	put(fd, 20, 1, LEN);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	close(turn[0]);
	close(turn[1]);
}

static void killed_client(void)
{
	int fd = connect_warm(), sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	await("put");
	unread_is(fd, LEN);
	pass_fd(sv[0], fd);
	get(fd, LEN, 1, 0);
	put(fd, 30, 2, 0);
	get(fd, 20, 1, LEN);
	TRY(close(fd));
	TRY(close(take_fd(sv[1])));
	close(sv[0]);
	close(sv[1]);
}

/* ---- an exec closes the connection, and leaves it to a child that has done nothing with it ---- */

static void left_server(void)
{
	char child[16];
	int turn[2];

	if (heir()) {
		tell("executed");
		await("passed");
		MUST(write(HEIR_FD + 1, "t", 1));
		join_child(atoi(heir()));
		close(HEIR_FD + 1);
		return;
	}
	int fd = serve_warm();
	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (!pid) {
		MUST(read(turn[0], (char[1]){0}, 1));
		put(fd, 30, 2, 0);
		TRY(read(fd, (char[1]){0}, 1));
		exit(0);
	}
	put(fd, LEN, 1, 0);
	MUST(fcntl(fd, F_SETFD, FD_CLOEXEC));
	MUST(dup2(turn[1], HEIR_FD + 1));
	MUST(snprintf(child, sizeof child, "%d", pid));
	become_heir((int)MUST(open("/dev/null", O_RDONLY)), child);
}

static void left_client(void)
{
	int fd = connect_warm(), sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	await("executed");
	unread_is(fd, LEN);
	pass_fd(sv[0], fd);
	tell("passed");
	get(fd, LEN, 1, 0);
	get(fd, 30, 2, 0);
	TRY(close(fd));
	TRY(close(take_fd(sv[1])));
	close(sv[0]);
	close(sv[1]);
}

/* ---- octets are unread when both directions are shut down: the next program gets them ---- */

static void unread_server(void)
{
	if (heir()) {
		get(HEIR_FD, LEN, 1, 0);
		TRY(read(HEIR_FD, (char[1]){0}, 1));
		TRY(close(HEIR_FD));
		return;
	}
	int fd = serve_warm();
	await("sent");
	unread_is(fd, LEN);
	TRY(shutdown(fd, SHUT_RDWR));
	tell("shut");
	await("closed");
	become_heir(fd, "with it");
}

static void unread_client(void)
{
	int fd = connect_warm();

	put(fd, LEN, 1, 0);
	tell("sent");
	await("shut");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	tell("closed");
}

/* ---- the peer has closed with octets unread: who hears of it first, parent or child, is told that it was a reset ---- */

static void child_sends_server(void)
{
	int fd = serve_warm(), turn[2];

	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (!pid) {
		MUST(read(turn[0], (char[1]){0}, 1));
		TRY(send(fd, "octet", 5, MSG_NOSIGNAL));
		TRY(send(fd, "octet", 5, MSG_NOSIGNAL));
		exit(0);
	}
	put(fd, LEN, 1, 0);
	tell("put");
	await("closed");
	MUST(write(turn[1], "t", 1));
	join_child(pid);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	close(turn[0]);
	close(turn[1]);
}

static void child_sends_client(void)
{
	int fd = connect_warm();

	await("put");
	unread_is(fd, LEN);
	TRY(close(fd));
	tell("closed");
}

const struct oracle_case oracle_cases[] = {
	{"closed", closed_server, closed_client, 0, NULL},
	{"last_words", words_server, words_client, 0, NULL},
	{"late", late_server, late_client, 0, NULL},
	{"shut", shut_server, shut_client, 0, NULL},
	{"both", both_server, both_client, 0, NULL},
	{"nonblock", nonblock_server, sender_client, 0, NULL},
	{"member", member_server, sender_client, 0, NULL},
	{"killed_child", killed_server, killed_client, CASE_KILLED, NULL},
	{"left_to_child", left_server, left_client, 0, NULL},
	{"unread", unread_server, unread_client, 0, NULL},
	{"child_sends", child_sends_server, child_sends_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
