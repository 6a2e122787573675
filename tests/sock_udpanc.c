/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpanc.c - ancillary data of datagrams: PKTINFO both ways, IP_RECVERR, and what is asked for in the middle of a stream. */
#include "oracle_udp.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

/* A client that sends n datagrams of 30 octets for each number n, to the server's address number n / 1000; -1 ends it. */
struct anc {
	const char *bound, *called[3];
	int level, option;
};

static void sends_as_told(void)
{
	const struct anc *x = the_case->arg;
	int port = (int)await_number(), fd;
	struct addr to[3];

	for (int i = 0; i < 3; i++)
		to[i] = addr_of(x->called[i], port);
	call_port(port, "S");
	fd = udp_new(to[0].sa.sa_family);
	for (int i = 0; i < 3; i++)
		udp_warm_client(fd, &to[i]);
	uint64_t pos = 0;
	for (long n; (n = await_number()) >= 0;) {
		for (long i = 0; i < n % 1000; i++)
			hit(fd, &to[n / 1000], 30, 1, pos++);
		tell("sent");
	}
}

static void get_sent(int to, int n)
{
	tell_number(to * 1000 + n);
	await("sent");
}

/* Asked for when datagrams lie there already, and given up again. */
static void anc_server(void)
{
	const struct anc *x = the_case->arg;
	int port, fd = udp_on(x->bound, &port);

	tell_number(port);
	udp_warm_server(fd, 3);
	none_is_there(fd);
	for (int round = 0; round < 3; round++) {
		get_sent(0, 1);
		poll_is(fd, POLLIN, POLLIN);
		TRY(set_int(fd, x->level, x->option, 1));
		say_message(fd, 100, 200, 0); /* sent before */
		for (int i = 0; i < 3; i++) {
			get_sent(i, 4);
			say_message(fd, 100, 200, MSG_PEEK);
			say_message(fd, 10, 200, 0);
			say_message(fd, 100, 0, 0);  /* no room: CTRUNC */
			say_message(fd, 100, 20, 0); /* too little */
			say_message(fd, 100, 16, 0);
		}
		get_sent(0, 2);
		take(fd, 30, 1, (unsigned)(round * 16 + 13)); /* a receive without ancillary data */
		TRY(set_int(fd, x->level, x->option, 0));
		say_message(fd, 100, 200, 0);
		get_sent(0, 1);
		say_message(fd, 100, 200, 0);
	}
	tell_number(-1);
}

/* ---- the sender says by PKTINFO which address a datagram comes from */

static void send_from(int fd, const struct addr *to, const char *source, int level, uint64_t pos)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control = {0};
	char buf[30];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr m = {
		.msg_name = (void *)&to->sa, .msg_namelen = to->len, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	struct addr s = addr_of(source, 0);
	struct cmsghdr *c = &control.align;

	fill(buf, sizeof buf, 2, pos);
	c->cmsg_level = level;
	if (level == IPPROTO_IP) {
		struct in_pktinfo i = {.ipi_spec_dst = s.in.sin_addr};
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof i);
		memcpy(CMSG_DATA(c), &i, sizeof i);
		m.msg_controllen = CMSG_SPACE(sizeof i);
	} else {
		struct in6_pktinfo i = {.ipi6_addr = s.in6.sin6_addr};
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof i);
		memcpy(CMSG_DATA(c), &i, sizeof i);
		m.msg_controllen = CMSG_SPACE(sizeof i);
	}
	TRY(sendmsg(fd, &m, 0));
	c->cmsg_len = 3; /* nonsense */
	TRY(sendmsg(fd, &m, 0));
}

static void source_server(void)
{
	struct addr client, plain;
	int port, fd = udp_on("0.0.0.0", &port);

	tell_number(port);
	udp_warm_server(fd, 1);
	client = take(fd, 1, 1, 0);
	plain = client;
	for (unsigned i = 0; i < 20; i++) {
		send_from(fd, &client, "127.0.0.2", IPPROTO_IP, i);
		send_from(fd, &client, "127.0.0.1", IPPROTO_IP, i);
		send_from(fd, &client, "0.0.0.0", IPPROTO_IP, i);
		send_from(fd, &client, "10.1.2.3", IPPROTO_IP, i); /* not ours */
		hit(fd, &plain, 30, 2, i);
	}
	meet("done");
}

static void source_client(void)
{
	static const char *const from[] = {"127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1"};
	struct addr to = addr_of("127.0.0.1", (int)await_number()), a, b;
	int fd = udp_new(AF_INET);

	udp_warm_client(fd, &to);
	hit(fd, &to, 1, 1, 0);
	for (unsigned i = 0; i < 20; i++)
		for (int n = 0; n < 4; n++) {
			a = take(fd, 30, 2, i);
			b = addr_of(from[n], addr_port(&to));
			if (!addr_equal(&a, &b))
				say("FALSE: from %s", addr_text(&a));
		}
	none_is_there(fd);
	meet("done");
}

/* ---- IP_RECVERR, as libtirpc's clients use it: unconnected sockets are told too, and the error queue says what about */

static void recverr_server(void)
{
	const struct anc *x = the_case->arg;
	int port, fd = udp_on(x->bound, &port);

	for (int round = 0; round < 2; round++) {
		tell_number(port);
		udp_warm_server(fd, 1);
		struct addr a = take(fd, 1, 1, 0);
		hit(fd, &a, 1, 1, 0);
		MUST(close(fd));
		meet("closed");
		meet("next");
		fd = (int)MUST(udp_at(x->bound, port));
	}
}

static void recverr_client(void)
{
	const struct anc *x = the_case->arg;
	struct addr to;
	int fd = -1;

	for (int round = 0; round < 2; round++) {
		to = addr_of(x->bound, (int)await_number());
		call_port(addr_port(&to), "S");
		if (fd < 0) {
			fd = udp_new(to.sa.sa_family);
			TRY(set_int(fd, x->level, x->option, 1));
		}
		udp_warm_client(fd, &to);
		hit(fd, &to, 1, 1, 0);
		take(fd, 1, 1, 0);
		say_message(fd, 100, 200, MSG_ERRQUEUE | MSG_DONTWAIT);
		meet("closed");
		TRY(sendto(fd, "asked", 5, 0, &to.sa, to.len));
		poll_is(fd, POLLIN | POLLOUT, POLLOUT | POLLERR);
		say_message(fd, 100, 200, MSG_ERRQUEUE); /* the datagram that was refused, its address and why */
		say_message(fd, 100, 200, MSG_ERRQUEUE);
		poll_is(fd, POLLIN | POLLOUT, POLLOUT);
		TRY(sendto(fd, "asked", 5, 0, &to.sa, to.len));
		poll_is(fd, POLLIN | POLLOUT, POLLOUT | POLLERR);
		none_is_there(fd); /* the error; the queue keeps it */
		say_message(fd, 3, 60, MSG_ERRQUEUE);
		TRY(sendto(fd, "asked", 5, 0, &to.sa, to.len));
		poll_is(fd, POLLIN | POLLOUT, POLLOUT | POLLERR);
		TRY(sendto(fd, "asked", 5, 0, &to.sa, to.len));
		say_message(fd, 100, 0, MSG_ERRQUEUE);
		TRY(set_int(fd, x->level, x->option, 0)); /* empties the queue */
		say_message(fd, 100, 200, MSG_ERRQUEUE);
		TRY(set_int(fd, x->level, x->option, 1));
		meet("next");
	}
}

#define V4                                                                                                                     \
	"0.0.0.0",                                                                                                             \
	{                                                                                                                      \
		"127.0.0.1", "127.0.0.2", "127.0.0.1"                                                                          \
	}
#define V6                                                                                                                     \
	"::",                                                                                                                  \
	{                                                                                                                      \
		"::1", "::ffff:127.0.0.1", "::ffff:127.0.0.2"                                                                  \
	}
#define ASKS(name, flags, ...)                                                                                                 \
	{                                                                                                                      \
		name, anc_server, sends_as_told, flags, &(const struct anc)                                                    \
		{                                                                                                              \
			__VA_ARGS__                                                                                            \
		}                                                                                                              \
	}

const struct oracle_case oracle_cases[] = {
	ASKS("pktinfo", 0, V4, IPPROTO_IP, IP_PKTINFO),
	ASKS("pktinfo_6", 0, V6, IPPROTO_IPV6, IPV6_RECVPKTINFO),
	ASKS("tos", 0, V4, IPPROTO_IP, IP_RECVTOS), /* these four leave memory when they are asked for */
	ASKS("ttl", 0, V4, IPPROTO_IP, IP_RECVTTL),
	ASKS("tclass", 0, V6, IPPROTO_IPV6, IPV6_RECVTCLASS),
	ASKS("hoplimit", 0, V6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT),
	ASKS("rxq_ovfl", 0, V4, SOL_SOCKET, SO_RXQ_OVFL),
	{"source", source_server, source_client, 0, NULL},
	{"recverr", recverr_server, recverr_client, 0, &(const struct anc){"127.0.0.1", {NULL}, IPPROTO_IP, IP_RECVERR}},
	{"recverr_6", recverr_server, recverr_client, 0, &(const struct anc){"::1", {NULL}, IPPROTO_IPV6, IPV6_RECVERR}},
	{NULL, NULL, NULL, 0, NULL},
};
