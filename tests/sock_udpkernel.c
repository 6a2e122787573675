/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpkernel.c - datagrams that are the kernel's: multicast, broadcast, groups of reuse, time stamps, segments. */
#include "oracle_udp.h"

#include <arpa/inet.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

/* ---- multicast: two members get each datagram */

static void multicast_server(void)
{
	struct ip_mreq group = {.imr_interface = {htonl(INADDR_LOOPBACK)}};
	int port = 0, fd[2];

	inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr);
	for (int i = 0; i < 2; i++) {
		struct addr a = addr_of("0.0.0.0", port);
		fd[i] = udp_new(AF_INET);
		MUST(set_int(fd[i], SOL_SOCKET, SO_REUSEADDR, 1));
		MUST(bind(fd[i], &a.sa, a.len));
		TRY(setsockopt(fd[i], IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
		a = name_of(fd[i]);
		port = addr_port(&a);
	}
	tell_number(port);
	for (unsigned i = 0; i < 300; i++) {
		take(fd[0], 30, 1, i);
		struct addr from = take(fd[1], 30, 1, i);
		hit(fd[0], &from, 30, 2, i);
	}
}

static void multicast_client(void)
{
	struct addr to = addr_of("239.1.2.3", (int)await_number());
	struct in_addr lo = {htonl(INADDR_LOOPBACK)};
	int fd = udp_new(AF_INET);

	TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo));
	for (unsigned i = 0; i < 300; i++) {
		hit(fd, &to, 30, 1, i);
		take(fd, 30, 2, i);
		if (i % 4 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 250000}, NULL);
	}
}

/* ---- broadcast on the loopback network */

static void broadcast_server(void)
{
	int port, fd = udp_on("0.0.0.0", &port);

	tell_number(port);
	udp_warm_server(fd, 1);
}

static void broadcast_client(void)
{
	struct addr to = addr_of("127.255.255.255", (int)await_number());
	int fd = udp_new(AF_INET);

	TRY(sendto(fd, "x", 1, 0, &to.sa, to.len));
	MUST(set_int(fd, SOL_SOCKET, SO_BROADCAST, 1));
	udp_warm_client(fd, &to);
	say("warm");
}

/* ---- SO_REUSEPORT: whichever the kernel chooses, it is the same one for one client, and both together get all */

static void reuseport_server(void)
{
	struct pollfd p[2];
	struct addr a = addr_of("127.0.0.1", 0);
	char buf[100];
	unsigned got = 0;

	for (int i = 0; i < 2; i++) {
		p[i] = (struct pollfd){.fd = udp_new(AF_INET), .events = POLLIN};
		MUST(set_int(p[i].fd, SOL_SOCKET, SO_REUSEPORT, 1));
		MUST(bind(p[i].fd, &a.sa, a.len));
		a = name_of(p[i].fd);
	}
	tell_number(addr_port(&a));
	while (got < 8 * udp_warm_messages()) {
		MUST(poll(p, 2, SOON));
		for (int i = 0; i < 2; i++) {
			struct addr from = {.len = sizeof from.ss};
			ssize_t n = recvfrom(p[i].fd, buf, sizeof buf, MSG_DONTWAIT, &from.sa, &from.len);
			if (n < 0)
				continue;
			MUST(sendto(p[i].fd, buf, (size_t)n, 0, &from.sa, from.len));
			got++;
		}
	}
	say("all");
}

static void reuseport_client(void)
{
	struct addr to = addr_of("127.0.0.1", (int)await_number());

	for (int i = 0; i < 8; i++) {
		int fd = udp_new(AF_INET);
		udp_warm_client(fd, &to);
		none_is_there(fd);
		close(fd);
	}
}

/* ---- time stamps, asked for before the first datagram */

/* The kernel begins to stamp a while after somebody has asked for it: a socket that sends to itself shows when it has begun. */
static void stamping(int option)
{
	int port, fd = udp_on("127.0.0.1", &port);
	struct addr self = name_of(fd);
	char control[200];

	MUST(set_int(fd, SOL_SOCKET, option, 1));
	for (int64_t end = now_ms() + SOON; now_ms() < end;) {
		struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};
		hit(fd, &self, 0, 0, 0);
		MUST(recvmsg(fd, &m, 0));
		if (m.msg_controllen)
			return; /* stays open: it keeps the kernel at it */
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	MUST(-1);
}

static void stamped_server(void)
{
	int port, fd = udp_on("127.0.0.1", &port);

	MUST(set_int(fd, SOL_SOCKET, *(const int *)the_case->arg, 1));
	stamping(*(const int *)the_case->arg);
	tell_number(port);
	udp_warm_server(fd, 1);
	for (int i = 0; i < 20; i++) {
		await("sent");
		say_message(fd, 100, 200, 0);
		tell("next");
	}
}

static void stamped_client(void)
{
	struct addr to = addr_of("127.0.0.1", (int)await_number());
	int fd = udp_new(AF_INET);

	udp_warm_client(fd, &to);
	for (unsigned i = 0; i < 20; i++) {
		hit(fd, &to, 30, 1, i);
		tell("sent");
		await("next");
	}
}

/* ---- UDP_SEGMENT: one call, many datagrams; UDP_GRO: asked for, and they may come as one, with their size */

static void segment_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	for (unsigned round = 0; round < 20; round++) {
		await("sent");
		for (unsigned i = 0; i < 4; i++) {
			char buf[1000];
			if (recv(fd, buf, sizeof buf, 0) != (i < 3 ? 300 : 100))
				say("FALSE: segment %u", i);
		}
		none_is_there(fd);
		tell("next");
	}
}

static void segment_client(void)
{
	static char buf[1000];
	struct addr server;
	int fd = udp_call(&server);

	TRY(set_int(fd, SOL_UDP, UDP_SEGMENT, 300));
	for (unsigned round = 0; round < 20; round++) {
		if (sendto(fd, buf, sizeof buf, 0, &server.sa, server.len) != sizeof buf)
			say("FALSE: sendto");
		tell("sent");
		await("next");
	}
	TRY(set_int(fd, SOL_UDP, UDP_GRO, 1));
}

static const int stamp = SO_TIMESTAMP, stamp_ns = SO_TIMESTAMPNS;

const struct oracle_case oracle_cases[] = {
	{"multicast", multicast_server, multicast_client, CASE_KERNEL, NULL},
	{"broadcast", broadcast_server, broadcast_client, CASE_KERNEL, NULL}, /* the answers are unicast */
	{"reuseport", reuseport_server, reuseport_client, CASE_KERNEL, NULL},
	{"stamp", stamped_server, stamped_client, CASE_KERNEL, &stamp},
	{"stamp_ns", stamped_server, stamped_client, CASE_KERNEL, &stamp_ns},
	{"segment", segment_server, segment_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
