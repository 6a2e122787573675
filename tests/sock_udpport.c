/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpport.c - a port that another socket takes over while clients go on sending: closed, killed, shared, more specific, connected. */
#include "oracle_udp.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A process of the server's part that answers each datagram with the same one and its generation; ends when it is killed or told. */
static pid_t start_server(int *port, char generation)
{
	int ready[2];

	MUST(pipe(ready));
	pid_t pid = fork_part();
	if (pid == 0) {
		int fd = (int)MUST(udp_at("127.0.0.1", *port));
		struct addr from = name_of(fd);
		unsigned char buf[100];
		int p = addr_port(&from);
		ssize_t n;
		MUST(write(ready[1], &p, sizeof p));
		do {
			from.len = sizeof from.ss;
			n = MUST(recvfrom(fd, buf, sizeof buf - 1, 0, &from.sa, &from.len));
			buf[n] = (unsigned char)generation;
			sendto(fd, buf, (size_t)n + 1, 0, &from.sa, from.len);
		} while (n);
		close(fd);
		exit(0);
	}
	MUST(read(ready[0], port, sizeof *port));
	close(ready[0]);
	close(ready[1]);
	return pid;
}

#define GENERATIONS 4

static void again_server(void)
{
	int port = 0;

	for (char g = 'a'; g < 'a' + GENERATIONS; g++) {
		pid_t pid = start_server(&port, g);
		if (g == 'a')
			tell_number(port);
		await("warm");
		if (!the_case->arg)
			MUST(kill(pid, SIGKILL));
		join_child(pid);
		tell("gone");
		await("refused");
	}
}

/* Sends until the answer is this generation's; what the client is told meanwhile is refusal and silence only. */
static void until(int fd, const struct addr *to, char generation)
{
	for (int64_t end = now_ms() + SOON; now_ms() < end;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char buf[10];
		if (sendto(fd, "hi", 2, 0, to ? &to->sa : NULL, to ? to->len : 0) < 0)
			MUST(to || errno != ECONNREFUSED ? -1 : 0);
		if (poll(&p, 1, 20) < 1)
			continue;
		ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n < 0)
			MUST(to || errno != ECONNREFUSED ? -1 : 0);
		if (n == 3 && buf[2] == generation) {
			say("%c answers", generation);
			while (recv(fd, buf, sizeof buf, MSG_DONTWAIT) >= 0 || errno == ECONNREFUSED)
				;
			return;
		}
	}
	say("FALSE: %c does not answer", generation);
}

static void again_turns(int fd, const struct addr *to, char generation)
{
	char buf[10];
	ssize_t n;

	for (unsigned i = 0; i < 300; i++) {
		MUST(sendto(fd, "turn", 4, 0, to ? &to->sa : NULL, to ? to->len : 0));
		while ((n = recv(fd, buf, sizeof buf, 0)) ==
			3) /* of a "hi" that was sent again before the first was answered */
			;
		if (n != 5 || buf[4] != generation)
			say("FALSE: not the answer of %c in turn %u", generation, i);
		if (i % 4 == 0)
			poll(NULL, 0, 1);
	}
}

static void again(int connected)
{
	struct addr server = addr_of("127.0.0.1", (int)await_number()), *to = connected ? NULL : &server;
	int fd = udp_new(AF_INET);

	if (connected)
		MUST(connect(fd, &server.sa, server.len));
	for (char g = 'a'; g < 'a' + GENERATIONS; g++) {
		until(fd, to, g);
		again_turns(fd, to, g);
		tell("warm");
		if (the_case->arg) {
			char c;
			MUST(sendto(fd, "", 0, 0, to ? &to->sa : NULL, to ? to->len : 0));
			TRY(recv(fd, &c, 1, 0));
		}
		await("gone");
		TRY(sendto(fd, "lost", 4, 0, to ? &to->sa : NULL, to ? to->len : 0));
		poll_is(fd, POLLIN | POLLOUT, connected ? POLLOUT | POLLERR : POLLOUT);
		if (connected) {
			TRY(send(fd, "x", 1, 0));
			none_is_there(fd);
		}
		tell("refused");
	}
}

static void again_connected(void)
{
	again(1);
}
static void again_unconnected(void)
{
	again(0);
}

/* ---- two sockets on one port, by address and by order of bind: where each datagram goes */

/* SO_REUSEADDR on both: the one that was bound last gets what comes, until it closes. */
static int reuse_at(const char *ip, int port)
{
	struct addr a = addr_of(ip, port);
	int fd = udp_new(AF_INET);

	MUST(set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind(fd, &a.sa, a.len));
	return fd;
}

static void over_server(void)
{
	const char *const *ip = the_case->arg; /* of the first and of the second socket */
	int fd = reuse_at(ip[0], 0), second;
	struct addr a = name_of(fd), from;

	tell_number(addr_port(&a));
	for (int round = 0; round < 3; round++) {
		udp_warm_server(fd, 1);
		meet("first is warm");
		second = reuse_at(ip[1], addr_port(&a));
		meet("second is there");
		for (unsigned i = 0; i < 50; i++) {
			from = take(second, 20, 1, i);
			hit(second, &from, 20, 2, i);
		}
		udp_warm_server(second, 1);
		none_is_there(fd);
		none_is_there(second);
		MUST(close(second));
		meet("second is gone");
		for (unsigned i = 0; i < 50; i++) {
			from = take(fd, 20, 3, i);
			hit(fd, &from, 20, 4, i);
		}
		none_is_there(fd);
		meet("end of round");
	}
}

static void over_client(void)
{
	struct addr to = addr_of("127.0.0.1", (int)await_number());
	int fd = udp_new(AF_INET);

	for (int round = 0; round < 3; round++) {
		udp_warm_client(fd, &to);
		meet("first is warm");
		meet("second is there");
		for (unsigned i = 0; i < 50; i++) {
			hit(fd, &to, 20, 1, i);
			take(fd, 20, 2, i);
		}
		udp_warm_client(fd, &to);
		meet("second is gone");
		for (unsigned i = 0; i < 50; i++) {
			hit(fd, &to, 20, 3, i);
			take(fd, 20, 4, i);
		}
		meet("end of round");
	}
	say("three rounds");
}

/* ---- a socket that is connected to one client, beside the server on the same port: that client's go to it, the others' do not */

static void four_server(void)
{
	int fd = reuse_at("127.0.0.1", 0), own;
	struct addr a = name_of(fd), from, first;

	tell_number(addr_port(&a));
	udp_warm_server(fd, 2);
	first = take(fd, 7, 1, 0);
	hit(fd, &first, 7, 1, 0);
	own = reuse_at("127.0.0.1", addr_port(&a));
	MUST(connect(own, &first.sa, first.len));
	meet("connected");
	for (unsigned i = 0; i < 100; i++) {
		take(own, 20, 1, i);
		hit(own, NULL, 21, 1, i);
		from = take(fd, 20, 2, i);
		hit(fd, &from, 22, 2, i);
	}
	none_is_there(fd);
	none_is_there(own);
	MUST(close(own));
	meet("closed");
	from = take(fd, 20, 1, 0);
	HOLDS(addr_equal(&from, &first));
	meet("done");
}

static void four_client(void)
{
	struct addr to = addr_of("127.0.0.1", (int)await_number());
	int first = udp_new(AF_INET), second = udp_new(AF_INET);

	udp_warm_client(first, &to);
	udp_warm_client(second, &to);
	hit(first, &to, 7, 1, 0);
	take(first, 7, 1, 0);
	meet("connected");
	for (unsigned i = 0; i < 100; i++) {
		hit(first, &to, 20, 1, i);
		hit(second, &to, 20, 2, i);
		take(first, 21, 1, i);
		take(second, 22, 2, i);
	}
	meet("closed");
	hit(first, &to, 20, 1, 0);
	meet("done");
}

/* ---- bind() that must fail */

static void in_use_part(void)
{
	int port, fd = udp_on("127.0.0.1", &port), any, six;

	HOLDS(fd >= 0);
	TRY(udp_at("127.0.0.1", port));
	TRY(udp_at("0.0.0.0", port));
	TRY(udp_at("::", port));
	six = udp_at("::1", port);
	HOLDS(six >= 0);
	any = udp_at("127.0.0.2", port);
	HOLDS(any >= 0);
	TRY(udp_at("10.1.2.3", port));
	MUST(close(fd));
	fd = udp_at("127.0.0.1", port);
	HOLDS(fd >= 0);
}

const struct oracle_case oracle_cases[] = {
	{"killed", again_server, again_unconnected, CASE_KILLED, NULL},
	{"killed_connected", again_server, again_connected, CASE_KILLED, NULL},
	{"closed", again_server, again_unconnected, 0, "told"},
	{"closed_connected", again_server, again_connected, 0, "told"},
	{"reuse", over_server, over_client, CASE_KERNEL, (const char *const[]){"127.0.0.1", "127.0.0.1"}},
	{"reuse_any", over_server, over_client, CASE_KERNEL, (const char *const[]){"0.0.0.0", "0.0.0.0"}},
	{"specific", over_server, over_client, CASE_KERNEL, (const char *const[]){"0.0.0.0", "127.0.0.1"}},
	{"four", four_server, four_client, CASE_KERNEL, NULL},
	{"in_use", in_use_part, in_use_part, CASE_KERNEL, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
