/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udplife.c - datagram sockets that are shut down, closed, duplicated, shared over fork, kept over exec, passed. */
#include "oracle_udp.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- shutdown: connected in each direction, and not connected */

static void shutdown_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), how = *(const int *)the_case->arg;
	char buf[10];

	hit(fd, &client, 10, 1, 0);
	TRY(shutdown(fd, how)); /* not connected: says so; what it does all the same the kernel shows */
	poll_is(fd, POLLIN | POLLOUT | POLLRDHUP,
		how == SHUT_WR	 ? POLLOUT
		: how == SHUT_RD ? POLLIN | POLLOUT | POLLRDHUP
				 : POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	meet("shut once");
	TRY(connect(fd, &client.sa, client.len));
	meet("sent");
	TRY(shutdown(fd, how));
	poll_is(fd, POLLIN | POLLOUT | POLLRDHUP,
		how == SHUT_WR	 ? POLLIN | POLLOUT
		: how == SHUT_RD ? POLLIN | POLLOUT | POLLRDHUP
				 : POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT)); /* what was there */
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	TRY(sendto(fd, "x", 1, MSG_NOSIGNAL, &client.sa, client.len));
	if (how != SHUT_WR)
		TRY(recv(fd, buf, sizeof buf, 0)); /* does not wait */
	meet("shut");
	meet("sent after");
	poll_is(fd, POLLIN, how == SHUT_RDWR ? POLLIN | POLLHUP : POLLIN);
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT)); /* what came afterwards */
	TRY(close(fd));
	meet("done");
}

static void shutdown_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	take(fd, 10, 1, 0);
	meet("shut once");
	hit(fd, &server, 9, 1, 0);
	hit(fd, &server, 8, 1, 0);
	meet("sent");
	meet("shut");
	TRY(sendto(fd, "after", 5, 0, &server.sa, server.len));
	meet("sent after");
	meet("done");
}

/* ---- close with unread datagrams; a new socket on the same number and port knows nothing of them */

static void unread_server(void)
{
	struct addr client, a;
	int fd = udp_serve(&client), again;

	for (int i = 0; i < 10; i++) {
		meet("next");
		unread_is(fd, 30);
		a = name_of(fd);
		MUST(close(fd));
		again = (int)MUST(udp_at("127.0.0.1", addr_port(&a)));
		HOLDS(again == fd);
		unread_is(fd, 0);
		none_is_there(fd);
		tell("closed");
		udp_warm_server(fd, 1);
	}
}

static void unread_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (int i = 0; i < 10; i++) {
		for (unsigned n = 0; n < 20; n++)
			hit(fd, &server, 30, 1, n);
		meet("next");
		await("closed");
		udp_warm_client(fd, &server);
	}
	say("ten times");
}

/* ---- dup in all forms: one socket, one queue */

static void dup_server(void)
{
	struct addr client;
	int fd[4];

	fd[0] = udp_serve(&client);
	fd[1] = (int)MUST(dup(fd[0]));
	fd[2] = (int)MUST(dup2(fd[0], 60));
	fd[3] = (int)MUST(fcntl(fd[0], F_DUPFD_CLOEXEC, 30));
	for (unsigned i = 0; i < 400; i++) {
		take(fd[i % 4], 30, 1, i);
		hit(fd[i % 3], &client, 30, 2, i);
	}
	MUST(connect(fd[1], &client.sa, client.len)); /* is connected by each number */
	for (int i = 0; i < 4; i++) {
		say_names("dup", fd[i]);
		hit(fd[i], NULL, 30, 3, (unsigned)i);
		TRY(close(fd[i]));
		if (i < 3) {
			take(fd[3], 30, 1, 400 + (unsigned)i);
			none_is_there(fd[3]);
		}
	}
}

static void dup_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (unsigned i = 0; i < 400; i++) {
		hit(fd, &server, 30, 1, i);
		take(fd, 30, 2, i);
	}
	for (unsigned i = 0; i < 4; i++) {
		take(fd, 30, 3, i);
		if (i < 3)
			hit(fd, &server, 30, 1, 400 + i);
	}
	say("done");
}

/* ---- fork: parent and children receive from one socket; each datagram reaches one of them */

#define CHILDREN 3
#define SHARED 3000

static void fork_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), results[2];
	long total = 0, sum = 0;
	pid_t child[CHILDREN];

	MUST(pipe(results));
	for (int i = 0; i < CHILDREN; i++) {
		child[i] = fork_part();
		if (child[i] == 0) {
			long mine[2] = {0, 0}, number;
			while (MUST(recv(fd, &number, sizeof number, 0)) == sizeof number && number) {
				mine[0]++;
				mine[1] += number;
				hit(fd, &client, 1, 1, 0); /* one more may be sent */
			}
			MUST(write(results[1], mine, sizeof mine));
			exit(0);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		long mine[2];
		MUST(read(results[0], mine, sizeof mine));
		total += mine[0];
		sum += mine[1];
	}
	for (int i = 0; i < CHILDREN; i++)
		join_child(child[i]);
	say("%ld datagrams, sum %ld", total, sum);
	none_is_there(fd);
	tell("counted");
	for (unsigned i = 0; i < 100; i++) { /* the parent alone, on the same socket */
		take(fd, 30, 1, i);
		hit(fd, &client, 30, 2, i);
	}
}

static void fork_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (long i = 1; i <= SHARED; i++) {
		MUST(sendto(fd, &i, sizeof i, 0, &server.sa, server.len));
		if (i > 32)
			take(fd, 1, 1, 0);
	}
	for (int i = 0; i < 32; i++)
		take(fd, 1, 1, 0);
	for (long i = 0, end = 0; i < CHILDREN; i++)
		MUST(sendto(fd, &end, sizeof end, 0, &server.sa, server.len));
	await("counted");
	for (unsigned i = 0; i < 100; i++) {
		hit(fd, &server, 30, 1, i);
		take(fd, 30, 2, i);
	}
}

/* ---- fork on the sender's side: parent and child take turns on one socket, in order */

static void fork_send_client(void)
{
	struct addr server;
	int fd = udp_call(&server), go[2], back[2];
	char c = 0;

	MUST(pipe(go));
	MUST(pipe(back));
	pid_t pid = fork_part();
	for (unsigned i = 0; i < 400; i++) {
		if (pid == 0)
			MUST(read(go[0], &c, 1));
		if ((pid == 0) == (i % 2)) {
			hit(fd, &server, 40, 1, i);
			if (i % 3 == 0)
				take(fd, 41, 2, i);
		}
		MUST(write(pid ? go[1] : back[1], &c, 1));
		if (pid)
			MUST(read(back[0], &c, 1));
	}
	if (pid == 0)
		exit(0);
	join_child(pid);
	meet("done");
}

static void fork_send_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	for (unsigned i = 0; i < 400; i++) {
		take(fd, 40, 1, i);
		if (i % 3 == 0)
			hit(fd, &client, 41, 2, i);
	}
	meet("done");
	none_is_there(fd);
}

/* ---- exec: another program inherits the socket, with unread datagrams, and reads and writes it as its 0 and 1 */

static void exec_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	MUST(connect(fd, &client.sa, client.len));
	meet("sent");
	unread_is(fd, 1000);
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(dup2(fd, 0));
		MUST(dup2(fd, 1));
		execlp("dd", "dd", "bs=2000", "count=5", "status=none", (char *)NULL);
		exit(1);
	}
	join_child(pid);
	for (unsigned i = 5; i < 100; i++) {
		take(fd, 1000, 1, i);
		hit(fd, NULL, 1000, 1, i);
	}
	none_is_there(fd);
}

static void exec_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	hit(fd, &server, 1000, 1, 0);
	hit(fd, &server, 1000, 1, 1);
	meet("sent");
	for (unsigned i = 0; i < 100; i++) {
		take(fd, 1000, 1, i); /* dd gives back what it gets */
		if (i + 2 < 100)
			hit(fd, &server, 1000, 1, i + 2);
	}
	say("a hundred");
}

/* ---- descriptors over a local socket */

/* ---- passed with unread datagrams to a process that was there before; giver and taker may both use it */

static void pass_server(void)
{
	struct addr client;
	int sv[2], fd;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid_t pid = fork_part();
	if (pid == 0) {
		struct addr from;
		fd = take_fd(sv[1]);
		for (unsigned i = 2; i < 300; i++) {
			from = take(fd, 50, 1, i);
			hit(fd, &from, 50, 2, i);
		}
		exit(0);
	}
	fd = udp_serve(&client);
	meet("sent");
	unread_is(fd, 50);
	take(fd, 50, 1, 0);
	take(fd, 50, 1, 1);
	pass_fd(sv[0], fd);
	join_child(pid);
	for (unsigned i = 300; i < 400; i++) {
		take(fd, 50, 1, i);
		hit(fd, &client, 50, 2, i);
	}
	none_is_there(fd);
}

static void pass_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (unsigned i = 0; i < 10; i++)
		hit(fd, &server, 50, 1, i);
	meet("sent");
	for (unsigned i = 2; i < 400; i++) {
		take(fd, 50, 2, i);
		if (i + 8 < 400)
			hit(fd, &server, 50, 1, i + 8);
	}
	say("four hundred");
}

static const int rd = SHUT_RD, wr = SHUT_WR, rdwr = SHUT_RDWR;

/* ---- datagrams of a socket that is closed by now, and a stream on a duplicate: other calls still receive them */

static void stream_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	await("closed");
	FILE *f = fdopen((int)MUST(dup(fd)), "r");
	HOLDS(f && fclose(f) == 0);
	poll_is(fd, POLLIN, POLLIN);
	take(fd, 4000, 1, 0);
	take(fd, 100, 1, 4000);
	none_is_there(fd);
	tell("taken");
}

static void stream_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	hit(fd, &server, 4000, 1, 0);
	hit(fd, &server, 100, 1, 4000);
	MUST(close(fd));
	tell("closed");
	await("taken");
}

const struct oracle_case oracle_cases[] = {
	{"shutdown_rd", shutdown_server, shutdown_client, 0, &rd},
	{"shutdown_wr", shutdown_server, shutdown_client, 0, &wr},
	{"shutdown_rdwr", shutdown_server, shutdown_client, 0, &rdwr},
	{"unread", unread_server, unread_client, 0, NULL},
	{"dup", dup_server, dup_client, 0, NULL},
	{"stream", stream_server, stream_client, 0, NULL},
	{"fork", fork_server, fork_client, 0, NULL},
	{"fork_send", fork_send_server, fork_send_client, 0, NULL},
	{"pass", pass_server, pass_client, 0, NULL},
	{"exec", exec_server, exec_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
