/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_fortified.c - built as distributions build: read, recv, recvfrom, poll and ppoll become their __*_chk forms. */
#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 2
#include "oracle.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A length that the compiler cannot see makes it call the checking form; a buffer whose size it knows makes it want to. */
static size_t hidden(size_t n)
{
	volatile size_t len = n;

	return len;
}

static void server(void)
{
	char buf[128];
	struct pollfd p[2];
	struct timespec second = {.tv_sec = 1};
	int fd = serve_warm();

	p[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	p[1] = (struct pollfd){.fd = -1};
	for (int i = 0; i < 50; i++) {
		if (poll(p, hidden(2), 5000) != 1)
			say("FALSE: poll");
		if (read(fd, buf, hidden(10)) != 10)
			say("FALSE: read");
		if (ppoll(p, hidden(2), &second, NULL) != 1)
			say("FALSE: ppoll");
		if (recv(fd, buf, hidden(20), MSG_WAITALL) != 20)
			say("FALSE: recv");
		if (recvfrom(fd, buf, hidden(30), MSG_WAITALL, NULL, NULL) != 30)
			say("FALSE: recvfrom");
		put(fd, 60, 2, 0);
	}
	say("p[0] %s, p[1] %s", event_names((unsigned short)p[0].revents), event_names((unsigned short)p[1].revents));
	TRY(read(fd, buf, hidden(sizeof buf)));
	TRY(close(fd));
}

static void client(void)
{
	int fd = connect_warm();

	for (int i = 0; i < 50; i++) {
		put(fd, 60, 1, 0);
		get(fd, 60, 2, 0);
	}
	TRY(close(fd));
}

/* The check itself still ends the program. */
static void overflow_server(void)
{
	char buf[16];
	int fd = serve_warm();
	pid_t pid = fork_part();

	if (pid == 0) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		(void)!read(fd, buf, hidden(17));
		exit(0);
	}
	join_child(pid);
	await("done");
	TRY(read(fd, buf, hidden(3)));
	TRY(close(fd));
}

static void overflow_client(void)
{
	int fd = connect_warm();

	put(fd, 3, 1, 0);
	tell("done");
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"calls", server, client, 0, NULL},
	{"overflow", overflow_server, overflow_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
