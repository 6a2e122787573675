/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_zerocopy.c - SO_ZEROCOPY alone changes nothing (gRPC's servers set it on each listener); with MSG_ZEROCOPY the kernel tells when it is done. */
#include "oracle.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static void set_zerocopy(int fd)
{
	int on = 1;

	MUST(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
}

static int serve_zerocopy(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), on = 0;
	socklen_t len = sizeof on;

	set_zerocopy(lfd);
	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	MUST(getsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, &len));
	HOLDS(on == 1);
	warm_up(fd);
	return fd;
}

static void set_server(void)
{
	int fd = serve_zerocopy();

	put(fd, 30000, 2, 0);
	get(fd, 30000, 1, 0);
	meet("done");
	poll_is(fd, POLLIN | POLLOUT, POLLOUT);
	meet("before the end"); /* which would be readable */
}

static void set_client(void)
{
	int fd = connect_warm();

	set_zerocopy(fd);
	put(fd, 30000, 1, 0);
	get(fd, 30000, 2, 0);
	meet("done");
	meet("before the end");
}

static void completion(int fd)
{
	char control[128];
	struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};

	poll_is(fd, 0, POLLERR);
	if (TRY(recvmsg(fd, &m, MSG_ERRQUEUE)) < 0)
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		struct sock_extended_err e;
		memcpy(&e, CMSG_DATA(c), sizeof e);
		say("level %d type %d: errno %u origin %u code %u, %u to %u", c->cmsg_level, c->cmsg_type, e.ee_errno,
			e.ee_origin, e.ee_code, e.ee_info, e.ee_data);
	}
	poll_is(fd, POLLOUT, POLLOUT);
}

static void used_server(void)
{
	char buf[1000];
	int fd = serve_zerocopy();

	put(fd, 1000, 2, 0);
	fill(buf, sizeof buf, 2, 1000);
	TRY(send(fd, buf, sizeof buf, MSG_ZEROCOPY));
	meet("read");
	completion(fd);
	put(fd, 1000, 2, 2000);
	fill(buf, sizeof buf, 2, 3000);
	TRY(send(fd, buf, sizeof buf, MSG_ZEROCOPY));
	meet("read again");
	completion(fd);
	get(fd, 1000, 1, 0);
	put(fd, 1000, 2, 4000);
	meet("done");
}

static void used_client(void)
{
	int fd = connect_warm();

	get(fd, 2000, 2, 0);
	meet("read");
	get(fd, 2000, 2, 2000);
	put(fd, 1000, 1, 0);
	meet("read again");
	get(fd, 1000, 2, 4000);
	meet("done");
}

const struct oracle_case oracle_cases[] = {
	{"set", set_server, set_client, 0, NULL},
	{"used", used_server, used_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
