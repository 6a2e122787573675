/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_life.c - how connections begin: connect in all its ways, accept in all its ways, a full queue, greetings, the same process. */
#include "oracle.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say_error(int fd)
{
	int error = -1;

	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}));
	say("SO_ERROR is %s", error ? strerrorname_np(error) : "0");
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void nothing(void)
{
}

/* ---- nobody listens ---- */

static void dead_port_client(void)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), other = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	struct sockaddr_in in = loopback(0);

	MUST(bind(fd, (struct sockaddr *)&in, sizeof in)); /* taken, but not listening */
	MUST(getsockname(fd, (struct sockaddr *)&in, &(socklen_t){sizeof in}));
	int blocking = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	TRY(connect(blocking, (struct sockaddr *)&in, sizeof in));
	say_error(blocking);
	TRY(connect(blocking, (struct sockaddr *)&in, sizeof in));
	TRY(connect(other, (struct sockaddr *)&in, sizeof in));
	poll_is(other, POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	say_error(other);
	say_error(other);
	TRY(read(other, (char[1]){0}, 1));
	TRY(send(other, "x", 1, MSG_NOSIGNAL));
	TRY(connect(fd, (struct sockaddr *)&in, 3));
	TRY(connect(-1, (struct sockaddr *)&in, sizeof in));
	TRY(close(fd));
	TRY(close(blocking));
	TRY(close(other));
}

/* A listener that has been closed: new connections are refused, those accepted live. */
static void closed_listener_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);

	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	await("waiting"); /* one in the queue, which will be reset */
	TRY(close(lfd));
	tell("closed");
	warm_up(fd);
	get(fd, 5, 1, 0);
	TRY(close(fd));
}

static void closed_listener_client(void)
{
	int port = (int)await_number(), fd = (int)MUST(connect_to("127.0.0.1", port)),
	    waiting = (int)MUST(connect_to("127.0.0.1", port));

	tell("waiting");
	await("closed");
	TRY(connect_to("127.0.0.1", port));
	TRY(read(waiting, (char[1]){0}, 1));
	TRY(close(waiting));
	warm_up(fd);
	put(fd, 5, 1, 0);
	TRY(close(fd));
}

/* ---- non-blocking connect ---- */

static void nonblock_connect_client(void)
{
	struct sockaddr_in in = loopback((int)await_number());
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

	TRY(connect(fd, (struct sockaddr *)&in, sizeof in));
	poll_is(fd, POLLIN | POLLOUT, POLLOUT);
	say_error(fd);
	TRY(connect(fd, (struct sockaddr *)&in, sizeof in));
	TRY(connect(fd, (struct sockaddr *)&in, sizeof in));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(fcntl(fd, F_GETFL) & O_NONBLOCK);
	set_nonblock(fd, 0);
	warm_up(fd);
	put(fd, 5, 1, 0);
	TRY(close(fd));
}

static void plain_server(void)
{
	int fd = serve_warm();

	get(fd, 5, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- the accept queue is full ---- */

static void queue_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 1, &port);

	tell_number(port);
	await("queued");
	poll_is(lfd, POLLIN, POLLIN);
	for (int i = 0; i < 3; i++) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		put(fd, 100, 2, 0);
		get(fd, 100, 1, 0);
		TRY(read(fd, (char[1]){0}, 1));
		MUST(close(fd));
	}
	close(lfd);
}

static void queue_client(void)
{
	int port = (int)await_number(), fds[3];
	struct sockaddr_in in = loopback(port);

	for (int i = 0; i < 3; i++)
		fds[i] = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	TRY(connect(fds[0], (struct sockaddr *)&in, sizeof in));
	TRY(connect(fds[1], (struct sockaddr *)&in, sizeof in));
	set_nonblock(fds[2], 1);
	TRY(connect(fds[2], (struct sockaddr *)&in, sizeof in));
	poll_is(fds[2], POLLOUT, 0);
	put(fds[0], 100, 1, 0); /* before anybody accepts */
	tell("queued");
	for (int i = 0; i < 3; i++) {
		poll_is(fds[i], POLLOUT, POLLOUT); /* the third after a second: a SYN is sent again */
		set_nonblock(fds[i], 0);
		if (i)
			put(fds[i], 100, 1, 0);
		get(fds[i], 100, 2, 0);
		TRY(close(fds[i]));
	}
}

/* ---- the server speaks first; the client has sent all and gone before the server accepts ---- */

static void greet_server(void)
{
	int fd = serve_one();

	put(fd, 30, 2, 0);
	for (unsigned i = 0; i < 1000; i++) {
		get(fd, 20, 1, i);
		put(fd, 50, 2, i);
	}
	put(fd, 30, 2, 0);
	TRY(close(fd));
}

static void greet_client(void)
{
	int fd = connect_one();

	get(fd, 30, 2, 0);
	for (unsigned i = 0; i < 1000; i++) {
		put(fd, 20, 1, i);
		get(fd, 50, 2, i);
	}
	get(fd, 30, 2, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void gone_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 8, &port);
	struct sockaddr_in in;
	socklen_t len = sizeof in;

	tell_number(port);
	await("gone");
	int fd = (int)MUST(accept4(lfd, (struct sockaddr *)&in, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
	say("length %u, from %s, flags %d %d", len, inet_ntoa(in.sin_addr), !!(fcntl(fd, F_GETFL) & O_NONBLOCK),
		fcntl(fd, F_GETFD));
	unread_is(fd, 100);
	set_nonblock(fd, 0);
	get(fd, 100, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	MUST(close(fd));
	fd = (int)MUST(accept(lfd, NULL, NULL)); /* reset before it was accepted */
	TRY(read(fd, (char[1]){0}, 1));
	TRY(read(fd, (char[1]){0}, 1));
	MUST(close(fd));
	set_nonblock(lfd, 1);
	TRY(accept(lfd, NULL, NULL));
	tell("done");
	close(lfd);
}

static void gone_client(void)
{
	struct linger now = {.l_onoff = 1};
	int port = (int)await_number(), fd = (int)MUST(connect_to("127.0.0.1", port));

	put(fd, 100, 1, 0);
	TRY(close(fd));
	fd = (int)MUST(connect_to("127.0.0.1", port));
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	TRY(close(fd));
	tell("gone");
	await("done");
}

/* ---- shutdown of a listener ends accept ---- */

static void stop_listening_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);
	pid_t pid = fork_part();

	if (pid == 0) {
		usleep(30000);
		exit(shutdown(lfd, SHUT_RDWR));
	}
	TRY(accept(lfd, NULL, NULL));
	join_child(pid);
	TRY(accept(lfd, NULL, NULL));
	TRY(close(lfd));
}

/* ---- one connection after the other, each with one request ---- */

static int churn_count(void)
{
	const char *n = getenv("ORACLE_CHURN");

	return n ? atoi(n) : 2000;
}

static void churn_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 64, &port);

	tell_number(port);
	for (int i = churn_count(); i > 0; i--) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		get(fd, 64, 1, (uint64_t)i);
		put(fd, 64, 2, (uint64_t)i);
		if (read(fd, (char[1]){0}, 1) != 0)
			say("FALSE: no end of file");
		MUST(close(fd));
	}
	close(lfd);
}

static void churn_client(void)
{
	int port = (int)await_number();

	for (int i = churn_count(); i > 0; i--) {
		int fd = (int)MUST(connect_to("127.0.0.1", port));
		put(fd, 64, 1, (uint64_t)i);
		get(fd, 64, 2, (uint64_t)i);
		MUST(close(fd));
	}
}

/* The same pair of addresses again and again: the server closes first, the client binds the same port. */
static void same_ports_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 64, &port);

	tell_number(port);
	for (int i = 0; i < 8; i++) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(fd);
		get(fd, 10, 1, (uint64_t)i);
		MUST(close(fd));
		tell("closed");
	}
	close(lfd);
}

static void same_ports_client(void)
{
	struct sockaddr_in to = loopback((int)await_number()), own = loopback(0);
	int on = 1;

	for (int i = 0; i < 8; i++) {
		int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
		MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
		MUST(bind(fd, (struct sockaddr *)&own, sizeof own));
		MUST(getsockname(fd, (struct sockaddr *)&own, &(socklen_t){sizeof own}));
		TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
		warm_up(fd);
		put(fd, 10, 1, (uint64_t)i);
		await("closed");
		TRY(read(fd, (char[1]){0}, 1));
		MUST(close(fd));
	}
}

/* connect to AF_UNSPEC dissolves a connection; the socket can be used for another one. */
static void again_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);

	tell_number(port);
	for (int i = 0; i < 2; i++) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(fd);
		TRY(read(fd, (char[1]){0}, 1));
		MUST(close(fd));
	}
	close(lfd);
}

static void again_client(void)
{
	struct sockaddr_in to = loopback((int)await_number());
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	for (int i = 0; i < 2; i++) {
		TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
		warm_up(fd);
		TRY(connect(fd, &none, sizeof none));
		TRY(send(fd, "x", 1, MSG_NOSIGNAL));
		TRY(read(fd, (char[1]){0}, 1));
	}
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"dead_port", nothing, dead_port_client, CASE_KERNEL, NULL},
	{"closed_listener", closed_listener_server, closed_listener_client, CASE_NOWARM, NULL},
	{"nonblocking_connect", plain_server, nonblock_connect_client, 0, NULL},
	{"full_queue", queue_server, queue_client, CASE_NOWARM, NULL},
	{"greeting", greet_server, greet_client, CASE_NOWARM, NULL},
	{"gone_before_accept", gone_server, gone_client, CASE_NOWARM, NULL},
	{"stop_listening", stop_listening_server, nothing, CASE_KERNEL, NULL},
	{"churn", churn_server, churn_client, CASE_SLOW | CASE_NOWARM, NULL},
	{"same_ports", same_ports_server, same_ports_client, 0, NULL},
	{"connect_again", again_server, again_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
