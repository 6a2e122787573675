/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_made.c - connections that are made in unusual ways: octets in the SYN, an accept that waits for octets, two listeners on one port, both ends that
 * connect, a port that was bound first.
 */
#include "oracle.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 300

static struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void serve_rounds(int fd)
{
	warm_up(fd);
	for (unsigned i = 0; i < ROUNDS; i++) {
		get(fd, 30, 1, i);
		put(fd, 20, 2, i);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void ask_rounds(int fd)
{
	warm_up(fd);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put(fd, 30, 1, i);
		get(fd, 20, 2, i);
	}
	TRY(close(fd));
}

/* ---- octets in the SYN. The first connection fetches the cookie, later ones use it, where the system allows it at all ---- */

#define TIMES 3

static void fastopen_server(void)
{
	int port, queue = 5, lfd = listen_on("127.0.0.1", 16, &port);

	MUST(setsockopt(lfd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue));
	tell_number(port);
	for (int i = 0; i < TIMES; i++) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		get(fd, 700, 1, 0);
		serve_rounds(fd);
	}
	TRY(close(lfd));
}

/* sendto() connects. */
static void fastopen_client(void)
{
	struct sockaddr_in to = at((int)await_number());
	char buf[700];

	fill(buf, sizeof buf, 1, 0);
	for (int i = 0; i < TIMES; i++) {
		int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		TRY(sendto(fd, buf, sizeof buf, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to));
		ask_rounds(fd);
	}
}

/* connect() returns at once, and the first send makes the connection. */
static void fastopen_connect_client(void)
{
	struct sockaddr_in to = at((int)await_number());
	int on = 1;

	for (int i = 0; i < TIMES; i++) {
		int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		MUST(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on));
		TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
		put(fd, 700, 1, 0);
		ask_rounds(fd);
	}
}

/* ---- accept() waits until octets are there ---- */

static void defer_server(void)
{
	int port, seconds = 5, lfd = listen_on("127.0.0.1", 16, &port);

	MUST(setsockopt(lfd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds));
	set_nonblock(lfd, 1);
	tell_number(port);
	await("connected");
	TRY(accept(lfd, NULL, NULL));
	tell("write");
	poll_is(lfd, POLLIN, POLLIN);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	get(fd, 10, 1, 0);
	serve_rounds(fd);
	TRY(close(lfd));
}

static void defer_client(void)
{
	int fd = (int)MUST(connect_to("127.0.0.1", (int)await_number()));

	tell("connected");
	await("write");
	put(fd, 10, 1, 0);
	ask_rounds(fd);
}

/* ---- two listeners on one port, in one process; the kernel chooses ---- */

#define CLIENTS 8

static int reusing(int *port)
{
	int on = 1, fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct sockaddr_in me = at(*port);
	socklen_t len = sizeof me;

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	MUST(bind(fd, (struct sockaddr *)&me, sizeof me));
	MUST(listen(fd, CLIENTS));
	MUST(getsockname(fd, (struct sockaddr *)&me, &len));
	*port = ntohs(me.sin_port);
	return fd;
}

static void reuseport_server(void)
{
	int port = 0, one = reusing(&port), two = reusing(&port);
	struct pollfd p[2] = {{.fd = one, .events = POLLIN}, {.fd = two, .events = POLLIN}};

	tell_number(port);
	for (int i = 0; i < CLIENTS; i++) {
		MUST(poll(p, 2, 5000) > 0 ? 0 : -1);
		serve_rounds((int)MUST(accept(p[0].revents ? one : two, NULL, NULL)));
	}
	TRY(close(one));
	TRY(close(two));
}

/* The same in two processes; each serves what it gets until it is told. */
static void reuseport_processes_server(void)
{
	int port = 0, one = reusing(&port);
	pid_t pid = fork_part();

	if (pid == 0) {
		close(one);
		one = reusing(&port);
		tell_number(port);
	}
	struct pollfd p[2] = {{.fd = one, .events = POLLIN}, {.fd = ORACLE_RD, .events = POLLIN}};
	while (poll(p, 2, -1) > 0 && p[0].revents) {
		int fd = (int)MUST(accept(one, NULL, NULL));
		warm_up(fd);
		for (unsigned i = 0; i < ROUNDS; i++) {
			get(fd, 30, 1, i);
			put(fd, 20, 2, i);
		}
		MUST(read(fd, (char[1]){0}, 1));
		MUST(close(fd));
	}
	if (pid == 0)
		exit(0);
	join_child(pid);
	await("done");
}

static void many_clients(void)
{
	int port = (int)await_number();

	for (int i = 0; i < CLIENTS; i++)
		ask_rounds((int)MUST(connect_to("127.0.0.1", port)));
	tell("done");
}

static void reuseport_client(void)
{
	int port = (int)await_number();

	for (int i = 0; i < CLIENTS; i++)
		ask_rounds((int)MUST(connect_to("127.0.0.1", port)));
}

/* ---- nobody listens: each connects to the other ---- */

static int bound(int *port)
{
	int on = 1, fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct sockaddr_in me = at(0);
	socklen_t len = sizeof me;

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	MUST(bind(fd, (struct sockaddr *)&me, sizeof me));
	MUST(getsockname(fd, (struct sockaddr *)&me, &len));
	*port = ntohs(me.sin_port);
	return fd;
}

/* The two SYNs cross, or one of them is refused and comes again; a socket may also connect to itself. */
static void itself_part(void)
{
	int port, fd = bound(&port);
	struct sockaddr_in me = at(port);
	char buf[100];

	TRY(connect(fd, (struct sockaddr *)&me, sizeof me));
	no_delay(fd);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put(fd, 100, 1, i);
		get(fd, 100, 1, i);
	}
	TRY(shutdown(fd, SHUT_WR));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(close(fd));
	meet("done");
}

/* A client whose own port was chosen first. */
static void bound_client(void)
{
	int port, fd = bound(&port);
	struct sockaddr_in to = at((int)await_number());

	TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
	ask_rounds(fd);
}

static void bound_server(void)
{
	serve_rounds(serve_one());
}

const struct oracle_case oracle_cases[] = {
	{"fastopen", fastopen_server, fastopen_client, CASE_KERNEL, NULL},
	{"fastopen_connect", fastopen_server, fastopen_connect_client, 0, NULL},
	{"defer_accept", defer_server, defer_client, 0, NULL},
	{"reuseport", reuseport_server, reuseport_client, 0, NULL},
	{"reuseport_processes", reuseport_processes_server, many_clients, CASE_NOWARM, NULL},
	{"itself", itself_part, itself_part, CASE_SELF | CASE_KERNEL, NULL},
	{"bound_first", bound_server, bound_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
