/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_listener.c - a listener that goes, and comes back to the same address while connections that came by it go on: those that come by it later are like them. A child of the client
 * makes the second one: the runner sees to it that both processes talk through memory.
 */
#include "oracle_talk.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define A_WHILE 1500000 /* us: longer than anybody takes to clear away what the listener has left; nothing depends on it */

static int listen_at(int port)
{
	struct sockaddr_in me = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, lfd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	MUST(setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	MUST(bind(lfd, (struct sockaddr *)&me, sizeof me));
	MUST(listen(lfd, 4));
	return lfd;
}

static int port_of(int fd)
{
	struct sockaddr_in me = {0};
	socklen_t len = sizeof me;

	MUST(getsockname(fd, (struct sockaddr *)&me, &len));
	return ntohs(me.sin_port);
}

/* What comes by the listener that is back; the first connection has been there all the time. */
static void serve_second(int lfd, int first)
{
	tell("back");
	await("connected");
	int second = (int)MUST(accept(lfd, NULL, NULL));
	warm_up(second);
	chat(second);
	TRY(read(second, (char[1]){0}, 1));
	TRY(close(second));
	chat(first);
	TRY(read(first, (char[1]){0}, 1));
	TRY(close(first));
	TRY(close(lfd));
}

/* ---- it is closed, and made again */

static void again_server(void)
{
	int lfd = listen_at(0), port = port_of(lfd);

	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	warm_up(fd);
	TRY(close(lfd));
	lfd = listen_at(port);
	usleep(A_WHILE);
	serve_second(lfd, fd);
}

/* ---- it is closed, but a child has it, too, and gives it back */

static void given_server(void)
{
	int lfd = listen_at(0), sv[2];
	char c = 0;

	tell_number(port_of(lfd));
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	warm_up(fd);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid_t pid = fork_part();
	if (pid == 0) {
		close(fd);
		MUST(read(sv[1], &c, 1));
		pass_fd(sv[1], lfd);
		MUST(read(sv[1], &c, 1));
		exit(0);
	}
	TRY(close(lfd));
	usleep(A_WHILE);
	MUST(write(sv[0], &c, 1));
	serve_second(take_fd(sv[0]), fd);
	MUST(write(sv[0], &c, 1));
	join_child(pid);
	close(sv[0]);
	close(sv[1]);
}

static void client(void)
{
	int port = (int)await_number(), go[2];

	MUST(pipe(go));
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(read(go[0], (char[1]){0}, 1));
		int fd = (int)MUST(connect_to("127.0.0.1", port));
		tell("connected");
		warm_up(fd);
		chat(fd);
		TRY(close(fd));
		exit(0);
	}
	int fd = (int)MUST(connect_to("127.0.0.1", port));
	warm_up(fd);
	await("back");
	MUST(write(go[1], "g", 1));
	join_child(pid);
	chat(fd);
	TRY(close(fd));
	close(go[0]);
	close(go[1]);
}

const struct oracle_case oracle_cases[] = {
	{"again", again_server, client, CASE_HEIR_CLIENT, NULL},
	{"given_back", given_server, client, CASE_HEIR_CLIENT, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
