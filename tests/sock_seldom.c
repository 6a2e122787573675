/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_seldom.c - calls that programs make seldom: calls that fail and must change nothing, limits, options. */
#include "oracle.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Both directions carry what they should. */
static void still_whole(int fd)
{
	put(fd, 500, is_server ? 1 : 2, 0);
	get(fd, 500, is_server ? 2 : 1, 0);
}

/* A part: whatever the other part has done to its end, the connection is whole. */
static void whole_part(void)
{
	int fd = is_server ? serve_warm() : connect_warm();

	await("go");
	still_whole(fd);
	TRY(close(fd));
}

/* ---- calls that fail ---- */

static void connect_twice_client(void)
{
	int fd = connect_warm();
	struct sockaddr_in to;
	socklen_t len = sizeof to;

	MUST(getpeername(fd, (struct sockaddr *)&to, &len));
	TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
	tell("go");
	still_whole(fd);
	TRY(close(fd));
}

static void connect_accepted_server(void)
{
	int fd = serve_warm();
	struct sockaddr_in to;
	socklen_t len = sizeof to;

	MUST(getpeername(fd, (struct sockaddr *)&to, &len));
	TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
	TRY(connect(fd, (struct sockaddr *)&to, 3));
	tell("go");
	still_whole(fd);
	TRY(close(fd));
}

static void dup3_server(void)
{
	int fd = serve_warm(), file = (int)MUST(open("/dev/null", O_RDWR));

	TRY(dup3(file, fd, 1));
	tell("go");
	still_whole(fd);
	TRY(close(fd));
}

static void dup2_limit_server(void)
{
	int fd = serve_warm(), file = (int)MUST(open("/dev/null", O_RDWR));
	struct rlimit was, rl;

	MUST(dup2(fd, 60));
	MUST(close(fd));
	MUST(getrlimit(RLIMIT_NOFILE, &was));
	rl = was;
	rl.rlim_cur = 50;
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	TRY(dup2(file, 60));
	MUST(setrlimit(RLIMIT_NOFILE, &was));
	tell("go");
	still_whole(60);
	TRY(close(60));
}

static void msgname_server(void)
{
	int fd = serve_warm();
	char buf[10];
	struct iovec iov = {buf, sizeof buf};
	struct sockaddr_in name;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_name = &name, .msg_namelen = (socklen_t)-1};

	send_me(10);
	TRY(sendmsg(fd, &m, 0));
	TRY(recvmsg(fd, &m, 0));
	unread_is(fd, 10);
	close_yours();
	TRY(close(fd));
}

/* ---- numbers: poll takes as many as the limit ---- */

static void poll_limit_server(void)
{
	static struct pollfd p[201];
	int fd = serve_warm();
	struct rlimit rl;

	MUST(getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = 200;
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	for (int i = 0; i < 201; i++)
		p[i].fd = -1;
	p[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	TRY(poll(p, 200, 50));
	send_me(5);
	poll_is(fd, POLLIN, POLLIN);
	TRY(poll(p, 200, 50));
	TRY(poll(p, 201, 50));
	close_yours();
	TRY(close(fd));
}

static void peek_off_server(void)
{
	int fd = serve_warm(), off = 3;
	char buf[20] = {0}, good[20];

	fill(good, sizeof good, 1, 0);
	send_me(20);
	unread_is(fd, 20);
	TRY(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off));
	TRY(recv(fd, buf, 4, MSG_PEEK));
	HOLDS(!memcmp(buf, good + 3, 4));
	TRY(recv(fd, buf, 4, MSG_PEEK));
	HOLDS(!memcmp(buf, good + 7, 4));
	TRY(recv(fd, buf, 4, 0));
	TRY(recv(fd, buf, 4, MSG_PEEK));
	HOLDS(!memcmp(buf, good + 11, 4));
	close_yours();
	TRY(close(fd));
}

/* With one thread there is nothing to unshare. */
static void unshare_server(void)
{
	int fd = serve_warm();

	TRY(close_range(70, 90, CLOSE_RANGE_UNSHARE));
	TRY(close(fd));
	tell("closed");
	await("seen");
}

static void unshare_client(void)
{
	int fd = connect_warm();
	char c;

	await("closed");
	TRY(read(fd, &c, 1));
	tell("seen");
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"connect_twice", whole_part, connect_twice_client, 0, NULL},
	{"connect_accepted", connect_accepted_server, whole_part, 0, NULL},
	{"dup3_bad_flags", dup3_server, whole_part, 0, NULL},
	{"dup2_over_limit", dup2_limit_server, whole_part, 0, NULL},
	{"msg_name", msgname_server, sender_client, 0, NULL},
	{"poll_limit", poll_limit_server, sender_client, 0, NULL},
	{"peek_off", peek_off_server, sender_client, 0, NULL},
	{"unshare_files", unshare_server, unshare_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
