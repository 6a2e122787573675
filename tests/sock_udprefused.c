/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udprefused.c - the peer has gone: what a connected socket is told, what an unconnected one is not, and IP_RECVERR. */
#include "oracle_udp.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

static int pending_error(int fd)
{
	int e = 0;

	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &(socklen_t){sizeof e}));
	return e;
}

static const char *error_name(int e)
{
	return e ? strerrorname_np(e) : "none";
}

#define ALL (POLLIN | POLLOUT)

/* A datagram to nobody; the answer is there when this returns. */
static void hit_nobody(int fd, const struct addr *to)
{
	TRY(sendto(fd, "x", 1, 0, to ? &to->sa : NULL, to ? to->len : 0));
	poll_is(fd, ALL, POLLOUT | POLLERR);
}

/* ---- each call that reports the error, and that takes it away */

static void reports(int fd)
{
	char buf[10];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct mmsghdr mm = {.msg_hdr = m};

	hit_nobody(fd, NULL);
	TRY(send(fd, "x", 1, 0)); /* says so, and sends nothing */
	poll_is(fd, ALL, POLLOUT);
	hit_nobody(fd, NULL);
	TRY(recv(fd, buf, sizeof buf, 0));
	poll_is(fd, ALL, POLLOUT);
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	hit_nobody(fd, NULL);
	TRY(write(fd, "x", 1));
	hit_nobody(fd, NULL);
	TRY(read(fd, buf, sizeof buf));
	hit_nobody(fd, NULL);
	TRY(writev(fd, &iov, 1));
	hit_nobody(fd, NULL);
	TRY(readv(fd, &iov, 1));
	hit_nobody(fd, NULL);
	TRY(sendmsg(fd, &m, 0));
	hit_nobody(fd, NULL);
	TRY(recvmsg(fd, &m, 0));
	hit_nobody(fd, NULL);
	TRY(sendmmsg(fd, &mm, 1, 0));
	hit_nobody(fd, NULL);
	TRY(recvmmsg(fd, &mm, 1, 0, NULL));
	hit_nobody(fd, NULL);
	TRY(recv(fd, buf, sizeof buf, MSG_PEEK));
	TRY(recv(fd, buf, sizeof buf, MSG_PEEK | MSG_DONTWAIT));
	hit_nobody(fd, NULL);
	say("SO_ERROR %s, then %s", error_name(pending_error(fd)), error_name(pending_error(fd)));
	poll_is(fd, ALL, POLLOUT);
}

static void waits(int fd)
{
	struct epoll_event ev;
	int ep = new_set();
	fd_set r, w;

	set_add(ep, fd, EPOLLIN, 1);
	TRY(send(fd, "x", 1, 0));
	TRY(epoll_wait(ep, &ev, 1, SOON));
	say("epoll %s", event_names(ev.events));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	w = r;
	TRY(select(fd + 1, &r, &w, NULL, NULL));
	say("select %d %d", !!FD_ISSET(fd, &r), !!FD_ISSET(fd, &w));
	say("SO_ERROR %s", error_name(pending_error(fd)));
	set_mod(ep, fd, EPOLLIN | EPOLLET, 1);
	TRY(epoll_wait(ep, &ev, 1, 0));
	TRY(send(fd, "x", 1, 0));
	TRY(epoll_wait(ep, &ev, 1, SOON));
	say("epoll %s", event_names(ev.events));
	say("SO_ERROR %s", error_name(pending_error(fd)));
	close(ep);
}

/* ---- the peer never was */

static void nothing(void)
{
	await("done");
}

static void never_client(void)
{
	int port, gone = udp_on(the_case->arg, &port), fd = udp_to(the_case->arg, port);
	struct addr nobody = name_of(gone);

	MUST(close(gone));
	reports(fd);
	waits(fd);
	MUST(connect(fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)));
	TRY(sendto(fd, "x", 1, 0, &nobody.sa, nobody.len)); /* not connected: nobody is told */
	TRY(sendto(fd, "x", 1, 0, &nobody.sa, nobody.len));
	poll_is(fd, ALL, POLLOUT);
	none_is_there(fd);
	tell("done");
}

/* ---- the peer has closed, or its process was killed, or ended */

struct leaving {
	int how;       /* 0: close, 1: exit, SIGKILL */
	int connected; /* the client */
	int unread;    /* datagrams that the server does not read: they are lost, and no error says so */
};

/* The child is the server; its parent tells of its end. */
static void leaving_server(void)
{
	const struct leaving *l = the_case->arg;
	struct addr client;
	int ready[2];
	char c = 0;

	MUST(pipe(ready));
	pid_t pid = fork_part();
	if (pid == 0) {
		int fd = udp_serve(&client);
		hit(fd, &client, 10, 1, 0);
		hit(fd, &client, 10, 1, 1);
		if (l->unread)
			unread_is(fd, 50);
		MUST(write(ready[1], &c, 1));
		await("go");
		if (l->how == 0)
			TRY(close(fd));
		if (l->how <= 1) {
			MUST(write(ready[1], &c, 1));
			await("end");
			exit(0);
		}
		MUST(write(ready[1], &c, 1));
		for (;;)
			pause();
	}
	MUST(read(ready[0], &c, 1));
	tell("ready");
	MUST(read(ready[0], &c, 1));
	if (l->how > 1)
		MUST(kill(pid, l->how));
	if (l->how == 0) {
		tell("gone");
		join_child(pid);
		return;
	}
	tell("leaving");
	join_child(pid);
	tell("gone");
}

static void leaving_client(void)
{
	const struct leaving *l = the_case->arg;
	struct addr server;
	int fd = l->connected ? udp_call_connected(&server) : udp_call(&server);
	struct addr *to = l->connected ? NULL : &server;

	for (int i = 0; i < l->unread; i++)
		hit(fd, to, 50, 1, (unsigned)i);
	await("ready");
	tell("go");
	if (l->how) {
		await("leaving");
		if (l->how == 1)
			tell("end");
	}
	await("gone");
	poll_is(fd, ALL, ALL);
	take(fd, 10, 1, 0); /* what the server sent is there */
	if (l->connected) {
		TRY(send(fd, "x", 1, 0));
		poll_is(fd, ALL, ALL | POLLERR);
		TRY(send(fd, "x", 1, 0));
		take(fd, 10, 1, 1);
		poll_is(fd, ALL, POLLOUT);
		reports(fd);
		waits(fd);
	} else {
		for (int i = 0; i < 5; i++)
			TRY(sendto(fd, "x", 1, 0, &server.sa, server.len));
		take(fd, 10, 1, 1);
		poll_is(fd, ALL, POLLOUT);
		none_is_there(fd);
	}
	if (l->how == 0)
		tell("end");
}

/* ---- a blocked receive is woken by the refusal of what another thread sends */

static void *blocked(void *arg)
{
	char c;

	TRY(recv(*(int *)arg, &c, 1, 0));
	return NULL;
}

static void woken_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	MUST(close(fd));
	tell("closed");
	await("done");
}

static void woken_client(void)
{
	struct addr server;
	int fd = udp_call_connected(&server), done = 0, refused_only = 1;

	await("closed");
	pthread_t t = start_thread(blocked, &fd);
	for (int64_t end = now_ms() + SOON; !done && now_ms() < end;) { /* until the receiver, and not send, has got it */
		if (send(fd, "x", 1, 0) < 0)				/* as often as the receiver is late */
			refused_only &= errno == ECONNREFUSED;
		done = pthread_tryjoin_np(t, NULL) == 0;
		poll(NULL, 0, 2);
	}
	HOLDS(refused_only);
	HOLDS(done);
	tell("done");
}

/* ---- the server hears nobody but itself any more, and what it has sent before is unread: whoever waits for that is told of the refusal, too */

static void beside_server(void)
{
	struct addr client, me;
	int fd = udp_serve(&client);

	for (unsigned i = 0; i < 2; i++)
		hit(fd, &client, 10, 1, i);
	me = name_of(fd);
	MUST(connect(fd, &me.sa, me.len));
	tell("deaf");
	await("done");
}

static void beside_client(void)
{
	struct addr server;
	int fd = udp_call_connected(&server), level = new_set();

	set_add(level, fd, EPOLLIN, 1);
	await("deaf");
	poll_is(fd, POLLIN, POLLIN);
	epoll_is(level, EPOLLIN);
	TRY(send(fd, "x", 1, 0));
	poll_is(fd, POLLIN, POLLIN | POLLERR);
	epoll_is(level, EPOLLIN | EPOLLERR);
	TRY(recv(fd, (char[1]){0}, 1, 0));
	poll_is(fd, POLLIN, POLLIN);
	epoll_is(level, EPOLLIN);
	take(fd, 10, 1, 0);
	take(fd, 10, 1, 1);
	none_is_there(fd);
	tell("done");
}

const struct oracle_case oracle_cases[] = {
	{"never", nothing, never_client, CASE_KERNEL, "127.0.0.1"},
	{"never_6", nothing, never_client, CASE_KERNEL, "::1"},
	{"closed", leaving_server, leaving_client, 0, &(const struct leaving){0, 1, 0}},
	{"closed_unread", leaving_server, leaving_client, 0, &(const struct leaving){0, 1, 3}},
	{"closed_unconnected", leaving_server, leaving_client, 0, &(const struct leaving){0, 0, 0}},
	{"ended", leaving_server, leaving_client, 0, &(const struct leaving){1, 1, 0}},
	{"ended_unread", leaving_server, leaving_client, 0, &(const struct leaving){1, 1, 3}},
	{"ended_unconnected", leaving_server, leaving_client, 0, &(const struct leaving){1, 0, 3}},
	{"killed", leaving_server, leaving_client, CASE_KILLED, &(const struct leaving){SIGKILL, 1, 0}},
	{"killed_unread", leaving_server, leaving_client, CASE_KILLED, &(const struct leaving){SIGKILL, 1, 3}},
	{"killed_unconnected", leaving_server, leaving_client, CASE_KILLED, &(const struct leaving){SIGKILL, 0, 3}},
	{"beside", beside_server, beside_client, 0, NULL},
	{"woken", woken_server, woken_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
