/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_pass.c - a connection that changes hands: passed over a local socket, kept over exec by one side or by both. */
#include "oracle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* To a child that was there before the connection; with unread bytes; the giver closes its own, or goes on when it gets the word. */
static void pass_server(void)
{
	int keeps = *(const int *)the_case->arg, sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid_t pid = fork_part();
	if (pid == 0) {
		close(sv[0]);
		int fd = take_fd(sv[1]);
		get(fd, 700, 1, 300);
		for (unsigned i = 0; i < 300; i++) {
			put(fd, 20, 2, i);
			get(fd, 30, 1, i);
		}
		exit(0);
	}
	close(sv[1]);
	int fd = serve_warm();
	await("sent");
	unread_is(fd, 1000);
	get(fd, 300, 1, 0);
	pass_fd(sv[0], fd);
	if (!keeps)
		TRY(close(fd));
	join_child(pid);
	if (keeps) {
		for (unsigned i = 0; i < 300; i++) {
			put(fd, 20, 2, i);
			get(fd, 30, 1, i);
		}
		TRY(close(fd));
	}
	close(sv[0]);
}

static void pass_client(void)
{
	char buf[20];
	int fd = connect_warm();

	put(fd, 1000, 1, 0);
	tell("sent");
	for (unsigned i = 0; recv(fd, buf, 20, MSG_WAITALL) == 20; i++)
		put(fd, 30, 1, i % 300);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

/* A socket passed to oneself is one more number for it. */
static void to_self_server(void)
{
	int sv[2], fd = serve_warm();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pass_fd(sv[0], fd);
	int other = take_fd(sv[1]);
	for (unsigned i = 0; i < 100; i++) {
		put(i % 2 ? fd : other, 20, 2, i);
		get(i % 3 ? fd : other, 30, 1, i);
	}
	TRY(close(fd));
	put(other, 20, 2, 0);
	get(other, 30, 1, 100);
	TRY(close(other));
	close(sv[0]);
	close(sv[1]);
}

static void to_self_client(void)
{
	char buf[20];
	int fd = connect_warm();

	for (unsigned i = 0; recv(fd, buf, 20, MSG_WAITALL) == 20; i++)
		put(fd, 30, 1, i);
	TRY(close(fd));
}

/* ---- exec in the same process; what has been said before, in either direction, is not lost ---- */

static void run_over(int fd, const char *program, const char *option, const char *value)
{
	MUST(dup2(fd, 0));
	MUST(dup2(the_case->arg ? ORACLE_LOG : fd, 1));
	close(fd);
	execlp(program, program, option, value, (char *)NULL);
	_exit(127);
}

static void exec_server(void)
{
	int fd = serve_warm();

	put(fd, 5000, 2, 0);
	await("sent");
	unread_is(fd, 1000);
	get(fd, 300, 1, 0);
	tell("counted");
	run_over(fd, "head", "-c", "10000");
}

static void exec_client(void)
{
	int fd = connect_warm();

	put(fd, 1000, 1, 0);
	tell("sent");
	get(fd, 5000, 2, 0);
	await("counted");
	put(fd, 9300, 1, 1000);
	get(fd, 10000, 1, 300);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* Both exec while each has unread bytes of the other, the ends of file sent. */
static void both_part(void)
{
	int fd = is_server ? serve_warm() : connect_warm();

	put(fd, 20000, is_server ? 2 : 1, 0);
	meet("sent");
	unread_is(fd, 20000);
	meet("arrived");
	TRY(shutdown(fd, SHUT_WR));
	run_over(fd, "cksum", NULL, NULL);
}

/* An edge is no news because the connection has left memory, on this side's account or on the other's; what comes afterwards is. */
#define EDGE (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static void once_server(void)
{
	int mine = *(const int *)the_case->arg, sv[2], ep = new_set(), fd = serve_warm();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	set_add(ep, fd, EDGE, 1);
	set_says(ep, 0);
	tell("send");
	await("sent");
	set_says(ep, SOON);
	get(fd, 300, 1, 0);
	if (mine)
		pass_fd(sv[0], fd);
	tell("pass");
	await("passed");
	set_says(ep, 0);
	unread_is(fd, 700);
	tell("send");
	await("sent");
	set_says(ep, SOON);
	get(fd, 1200, 1, 300);
	set_says(ep, 0);
	tell("end");
	set_says(ep, SOON);
	TRY(close(fd));
}

static void once_client(void)
{
	int mine = !*(const int *)the_case->arg, sv[2], fd = connect_warm();

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	await("send");
	put(fd, 1000, 1, 0);
	tell("sent");
	await("pass");
	if (mine)
		pass_fd(sv[0], fd);
	tell("passed");
	await("send");
	put(fd, 500, 1, 1000);
	tell("sent");
	await("end");
	TRY(shutdown(fd, SHUT_WR));
	close(sv[0]); /* and with it the copy */
	close(sv[1]);
	TRY(close(fd));
}

static const int gives = 0, keeps_too = 1;

const struct oracle_case oracle_cases[] = {
	{"given", pass_server, pass_client, 0, &gives},
	{"shared", pass_server, pass_client, 0, &keeps_too},
	{"edge", once_server, once_client, 0, &keeps_too},
	{"edge_other", once_server, once_client, 0, &gives},
	{"to_self", to_self_server, to_self_client, 0, NULL},
	{"exec", exec_server, exec_client, CASE_KILLED, NULL},
	{"both_exec", both_part, both_part, CASE_NOWARM, &keeps_too},
	{NULL, NULL, NULL, 0, NULL},
};
