/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_anc.c - ancillary data of a stream, and what an accepted socket has of its listener. */
#include "oracle.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#define TIMESTAMPNS_NEW 64

/* ---- ancillary data of a stream: time stamps, and how much is left */

static void receive_with_control(int fd)
{
	char buf[5], control[256];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};

	TRY(recvmsg(fd, &m, 0));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		say("control level %d type %d length %zu", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len);
}

/* The kernel begins to stamp a while after somebody has asked for it: a connection of its own keeps it at that, and shows when it has begun. */
static void stamping(void)
{
	int port, on = 1, lfd = listen_on("127.0.0.1", 1, &port), to = (int)MUST(connect_to("127.0.0.1", port)),
		  fd = (int)MUST(accept(lfd, NULL, NULL));
	char c, control[256];
	struct iovec iov = {&c, 1};

	MUST(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on));
	for (int64_t end = now_ms() + 5000; now_ms() < end;) {
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
		MUST(send(to, "", 1, 0));
		MUST(recvmsg(fd, &m, 0));
		if (m.msg_controllen)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	MUST(-1);
}

static void control_server(void)
{
	int fd = serve_warm(), on = 1;

	stamping();
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_INQ, &on, sizeof on));
	send_me(10);
	receive_with_control(fd);
	receive_with_control(fd);
	MUST(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on));
	send_me(10);
	receive_with_control(fd);
	receive_with_control(fd);
	close_yours();
	TRY(close(fd));
}

static void stamp_new_server(void)
{
	int fd = serve_warm(), on = 1;

	stamping();
	MUST(setsockopt(fd, SOL_SOCKET, TIMESTAMPNS_NEW, &on, sizeof on));
	send_me(5);
	receive_with_control(fd);
	close_yours();
	TRY(close(fd));
}

/* ---- what was set on the listener */

static void inherited_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), low = 50, got = 0;
	socklen_t len = sizeof got;

	MUST(setsockopt(lfd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	MUST(getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &got, &len));
	HOLDS(got == 50);
	warm_up(fd);
	send_me(40);
	unread_is(fd, 40);
	poll_is(fd, POLLIN, 0);
	send_me(10);
	poll_is(fd, POLLIN, POLLIN);
	get(fd, 50, 1, 0);
	close_yours();
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"control", control_server, sender_client, 0, NULL},
	{"stamp_new", stamp_new_server, sender_client, 0, NULL},
	{"inherited", inherited_server, sender_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
