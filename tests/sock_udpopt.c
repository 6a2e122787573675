/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpopt.c - options and ioctls of datagram sockets that memory serves: times, buffers, how much is there, errors. */
#include "oracle_udp.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int get_int(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof value;

	MUST(getsockopt(fd, level, option, &value, &len));
	return value;
}

static void set_time(int fd, int option, long ms)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	MUST(setsockopt(fd, SOL_SOCKET, option, &tv, sizeof tv));
}

/* ---- SO_RCVTIMEO: in each call; short of the time it does not return */

static void timeo_server(void)
{
	struct addr client, from;
	int fd = udp_serve(&client);
	char buf[64];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct mmsghdr mm[2] = {{.msg_hdr = m}, {.msg_hdr = m}};

	set_time(fd, SO_RCVTIMEO, 60);
	for (int i = 0; i < 2; i++) {
		int64_t start = now_ms();
		from.len = sizeof from.ss;
		TRY(recv(fd, buf, sizeof buf, 0));
		TRY(read(fd, buf, sizeof buf));
		TRY(recvfrom(fd, buf, sizeof buf, MSG_PEEK, &from.sa, &from.len));
		TRY(recvmsg(fd, &m, MSG_WAITALL));
		TRY(recvmmsg(fd, mm, 2, 0, NULL));
		int64_t took = now_ms() - start;
		HOLDS(took >= 5 * 59 && took < 3000);
		udp_get_sent(1);
		take(fd, 30, 1, (uint64_t)i);
	}
	udp_get_sent(1);
	TRY(recvmmsg(fd, mm, 2, 0, NULL)); /* one, and the time is over */
	set_time(fd, SO_RCVTIMEO, 0);
	udp_get_sent(1);
	take(fd, 30, 1, 3);
	set_time(fd, SO_RCVTIMEO, 5000);
	tell_number(1);
	take(fd, 30, 1, 4); /* comes in time */
	await("sent");
	set_time(fd, SO_SNDTIMEO, 10); /* without effect as long as there is room */
	for (unsigned i = 0; i < 50; i++)
		hit(fd, &client, 10, 2, i);
	none_is_there(fd);
	tell_number(-1);
}

/* ---- O_NONBLOCK in each way to say so */

static void nonblock_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), on = 1, off = 0;
	char buf[64];

	for (int i = 0; i < 3; i++) {
		set_nonblock(fd, 1);
		TRY(recv(fd, buf, sizeof buf, 0));
		TRY(read(fd, buf, sizeof buf));
		TRY(recv(fd, buf, sizeof buf, MSG_PEEK | MSG_WAITALL));
		udp_get_sent(1);
		poll_is(fd, POLLIN, POLLIN);
		TRY(read(fd, buf, sizeof buf));
		TRY(read(fd, buf, sizeof buf));
		set_nonblock(fd, 0);
		MUST(ioctl(fd, FIONBIO, &on));
		TRY(read(fd, buf, sizeof buf));
		MUST(ioctl(fd, FIONBIO, &off));
		tell_number(1);
		TRY(read(fd, buf, sizeof buf));
		await("sent");
	}
	tell_number(-1);
}

/* ---- FIONREAD is the next datagram's size, SIOCOUTQ what is not yet delivered */

static void fionread_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), n;

	for (int i = 0; i < 20; i++) {
		await("sent");
		unread_is(fd, 100);
		take(fd, 100, 1, 0);
		unread_is(fd, 0);
		poll_is(fd, POLLIN, POLLIN); /* an empty one */
		take(fd, 0, 1, 0);
		unread_is(fd, 3000);
		take(fd, 3000, 1, 0);
		unread_is(fd, 1);
		MUST(ioctl(fd, SIOCINQ, &n));
		say("%d", n);
		take(fd, 1, 1, 0);
		unread_is(fd, 0);
		poll_is(fd, POLLIN, 0);
		tell("next");
	}
}

static int all_delivered(void *arg)
{
	int n;

	MUST(ioctl(*(int *)arg, SIOCOUTQ, &n));
	return n == 0;
}

static void fionread_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (int i = 0; i < 20; i++) {
		hit(fd, &server, 100, 1, 0);
		hit(fd, &server, 0, 1, 0);
		hit(fd, &server, 3000, 1, 0);
		hit(fd, &server, 1, 1, 0);
		tell("sent");
		await("next");
		HOLDS(wait_until(all_delivered, &fd));
	}
}

/* ---- what the program sets is what it gets */

static void buffers_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	HOLDS(get_int(fd, SOL_SOCKET, SO_RCVBUF) == get_int(udp_new(AF_INET), SOL_SOCKET, SO_RCVBUF));
	for (int i = 1; i < 200000; i *= 3) {
		TRY(set_int(fd, SOL_SOCKET, SO_RCVBUF, i));
		TRY(set_int(fd, SOL_SOCKET, SO_SNDBUF, i));
		say("%d: %d %d", i, get_int(fd, SOL_SOCKET, SO_RCVBUF), get_int(fd, SOL_SOCKET, SO_SNDBUF));
	}
	TRY(set_int(fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	say("low water %d", get_int(fd, SOL_SOCKET, SO_RCVLOWAT));
	udp_get_sent(1);
	poll_is(fd, POLLIN, POLLIN); /* which UDP does not look at */
	take(fd, 30, 1, 0);
	TRY(set_int(fd, SOL_SOCKET, SO_PRIORITY, 3));
	TRY(set_int(fd, IPPROTO_IP, IP_TOS, 16));
	TRY(set_int(fd, IPPROTO_IP, IP_TTL, 3));
	TRY(set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	say("tos %d ttl %d", get_int(fd, IPPROTO_IP, IP_TOS), get_int(fd, IPPROTO_IP, IP_TTL));
	TRY(set_int(fd, SOL_SOCKET, SO_BROADCAST, 1));
	TRY(set_int(fd, SOL_SOCKET, SO_NO_CHECK, 1));
	hit(fd, &client, 30, 2, 0);
	udp_get_sent(1);
	take(fd, 30, 1, 1);
	say("error %d", get_int(fd, SOL_SOCKET, SO_ERROR));
	tell_number(-1);
}

/* ---- SO_SNDBUF smaller than a datagram: it goes all the same, when nothing else is on its way */

static void sndbuf_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	static char buf[65000];

	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	for (unsigned i = 0; i < 20; i++)
		take(fd, 1000, 1, i);
	meet("sent");
	none_is_there(fd);
}

static void sndbuf_client(void)
{
	static char buf[65000];
	struct addr server;
	int fd = udp_call(&server);

	MUST(set_int(fd, SOL_SOCKET, SO_SNDBUF, 2304));
	TRY(sendto(fd, buf, 10000, 0, &server.sa, server.len));
	TRY(sendto(fd, buf, sizeof buf, MSG_DONTWAIT, &server.sa, server.len));
	for (unsigned i = 0; i < 20; i++)
		hit(fd, &server, 1000, 1, i);
	poll_is(fd, POLLOUT, POLLOUT);
	meet("sent");
}

const struct oracle_case oracle_cases[] = {
	{"timeo", timeo_server, udp_sends_as_told, 0, NULL},
	{"nonblock", nonblock_server, udp_sends_as_told, 0, NULL},
	{"fionread", fionread_server, fionread_client, 0, NULL},
	{"buffers", buffers_server, udp_sends_as_told, 0, NULL},
	{"sndbuf", sndbuf_server, sndbuf_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
