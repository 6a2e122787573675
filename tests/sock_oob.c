/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_oob.c - urgent data: MSG_OOB, SIOCATMARK, SO_OOBINLINE, POLLPRI and EPOLLPRI, after ordinary traffic. */
#include "oracle.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void at_mark(int fd)
{
	int mark = -1;

	MUST(ioctl(fd, SIOCATMARK, &mark));
	say("at mark: %d", mark);
}

static void oob_server(void)
{
	char buf[64];
	int fd = serve_warm();

	TRY(recv(fd, buf, 1, MSG_OOB));
	tell("go");
	await("sent");
	poll_is(fd, POLLIN | POLLPRI, POLLIN | POLLPRI);
	at_mark(fd);
	TRY(recv(fd, buf, 3, 0));
	TRY(recv(fd, buf, sizeof buf, 0)); /* stops at the mark */
	at_mark(fd);
	TRY(recv(fd, buf, 1, MSG_OOB));
	say("urgent: %c", buf[0]);
	TRY(recv(fd, buf, 1, MSG_OOB));
	TRY(recv(fd, buf, 5, 0));
	say("then: %.5s", buf);
	for (unsigned i = 0; i < 500; i++) { /* life goes on */
		get(fd, 20, 1, i);
		put(fd, 20, 2, i);
	}
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

static void oob_client(void)
{
	int fd = connect_warm();

	await("go");
	TRY(send(fd, "before", 6, 0));
	TRY(send(fd, "!", 1, MSG_OOB));
	TRY(send(fd, "after", 5, 0));
	tell("sent");
	for (unsigned i = 0; i < 500; i++) {
		put(fd, 20, 1, i);
		get(fd, 20, 2, i);
	}
	TRY(close(fd));
}

/* The urgent byte comes behind ordinary ones that nobody has read yet. */
static void behind_server(void)
{
	char buf[64];
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 1000);
	get(fd, 990, 1, 0);
	at_mark(fd);
	get(fd, 10, 1, 990);
	at_mark(fd);
	TRY(recv(fd, buf, 1, MSG_OOB));
	say("urgent: %c", buf[0]);
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

static void behind_client(void)
{
	int fd = connect_warm();

	put(fd, 1000, 1, 0);
	TRY(send(fd, "?", 1, MSG_OOB));
	tell("sent");
	TRY(close(fd));
}

static void inline_server(void)
{
	char buf[64];
	int on = 1, fd = serve_warm();

	TRY(setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
	tell("go");
	await("sent");
	unread_is(fd, 4); /* up to the mark, and the urgent byte itself */
	TRY(recv(fd, buf, sizeof buf, 0));
	at_mark(fd);
	TRY(recv(fd, buf, sizeof buf, MSG_OOB));
	TRY(recv(fd, buf, sizeof buf, 0));
	say("%.5s", buf);
	TRY(close(fd));
}

static void inline_client(void)
{
	char buf[1];
	int fd = connect_warm();

	await("go");
	TRY(send(fd, "abc", 3, 0));
	TRY(send(fd, "!wxyz", 1, MSG_OOB));
	tell("sent");
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

static void epollpri_server(void)
{
	struct epoll_event ev = {.events = EPOLLPRI | EPOLLIN};
	char buf[8];
	int fd = serve_warm(), ep = new_set();

	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	epoll_is(ep, 0);
	meet("idle");
	await("urgent");
	epoll_is(ep, EPOLLPRI);
	TRY(recv(fd, buf, 8, MSG_OOB));
	epoll_is(ep, 0);
	tell("go");
	await("more");
	epoll_is(ep, EPOLLIN);
	TRY(recv(fd, buf, 8, 0));
	epoll_is(ep, 0);
	TRY(close(fd));
	TRY(close(ep));
}

static void epollpri_client(void)
{
	char buf[1];
	int fd = connect_warm();

	meet("idle");
	TRY(send(fd, "u", 1, MSG_OOB));
	tell("urgent");
	await("go");
	TRY(send(fd, "more", 4, 0));
	tell("more");
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

/* SIGURG by F_SETOWN */
static volatile sig_atomic_t urgent;
static void on_urgent(int sig)
{
	urgent = sig;
}

static int was_urgent(void *arg)
{
	(void)arg;
	return urgent != 0;
}

static void sigurg_server(void)
{
	char buf[8];
	int fd = serve_warm();

	signal(SIGURG, on_urgent);
	TRY(fcntl(fd, F_SETOWN, getpid()));
	tell("go");
	HOLDS(wait_until(was_urgent, NULL));
	TRY(recv(fd, buf, 8, MSG_OOB));
	TRY(close(fd));
}

static void sigurg_client(void)
{
	char buf[1];
	int fd = connect_warm();

	await("go");
	TRY(send(fd, "u", 1, MSG_OOB));
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"mark", oob_server, oob_client, 0, NULL},
	{"behind", behind_server, behind_client, 0, NULL},
	{"inline", inline_server, inline_client, CASE_NOWARM, NULL},
	{"epollpri", epollpri_server, epollpri_client, 0, NULL},
	{"sigurg", sigurg_server, sigurg_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
