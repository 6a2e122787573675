/* SPDX-License-Identifier: BSD-2-Clause */
/* oracle_udp.c - datagrams for the cases; see oracle_udp.h. */
#include "oracle_udp.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- addresses ---- */

struct addr addr_of(const char *ip, int port)
{
	struct addr a = {.len = sizeof a.in};

	memset(&a.ss, 0, sizeof a.ss);
	if (inet_pton(AF_INET, ip, &a.in.sin_addr) == 1) {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons((uint16_t)port);
		return a;
	}
	MUST(inet_pton(AF_INET6, ip, &a.in6.sin6_addr) == 1 ? 0 : -1);
	a.in6.sin6_family = AF_INET6;
	a.in6.sin6_port = htons((uint16_t)port);
	a.len = sizeof a.in6;
	return a;
}

int addr_port(const struct addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

int addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family || addr_port(a) != addr_port(b))
		return 0;
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == b->in.sin_addr.s_addr
					  : IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
}

struct addr name_of(int fd)
{
	struct addr a = {.len = sizeof a.ss};

	MUST(getsockname(fd, &a.sa, &a.len));
	return a;
}

static struct {
	int port;
	const char *name;
} names[64];
static unsigned named;

void call_port(int port, const char *name)
{
	for (unsigned i = 0; i < named; i++)
		if (names[i].port == port) {
			names[i].name = name;
			return;
		}
	MUST(named < sizeof names / sizeof *names ? 0 : -1);
	names[named].port = port;
	names[named++].name = name;
}

static const char *port_name(int port)
{
	for (unsigned i = 0; i < named; i++)
		if (names[i].port == port)
			return names[i].name;
	return port ? "?" : "0";
}

const char *addr_text(const struct addr *a)
{
	static _Thread_local char text[2][128];
	static _Thread_local unsigned turn;
	char ip[INET6_ADDRSTRLEN] = "", *to = text[turn++ % 2];

	if (a->len == 0)
		return "nothing";
	if (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6) {
		snprintf(to, sizeof text[0], "family %d", a->sa.sa_family);
		return to;
	}
	inet_ntop(a->sa.sa_family, a->sa.sa_family == AF_INET ? (const void *)&a->in.sin_addr : (const void *)&a->in6.sin6_addr,
		ip, sizeof ip);
	snprintf(to, sizeof text[0], "%s:%s", ip, port_name(addr_port(a)));
	return to;
}

void say_names(const char *what, int fd)
{
	struct addr a = name_of(fd), b = {.len = sizeof b.ss};

	if (getpeername(fd, &b.sa, &b.len))
		say("%s: name %s, peer %s", what, addr_text(&a), strerrorname_np(errno));
	else
		say("%s: name %s, peer %s", what, addr_text(&a), addr_text(&b));
}

/* ---- sockets ---- */

int udp_new(int family)
{
	return (int)MUST(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value);
}

int udp_at(const char *ip, int port)
{
	struct addr a = addr_of(ip, port);
	int fd = udp_new(a.sa.sa_family);

	if (a.sa.sa_family == AF_INET6)
		MUST(set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	if (bind(fd, &a.sa, a.len) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int udp_on(const char *ip, int *port)
{
	int fd = (int)MUST(udp_at(ip, 0));
	struct addr a = name_of(fd);

	*port = addr_port(&a);
	return fd;
}

int udp_to(const char *ip, int port)
{
	struct addr a = addr_of(ip, port);
	int fd = udp_new(a.sa.sa_family);

	MUST(connect(fd, &a.sa, a.len));
	return fd;
}

/* ---- datagrams ---- */

void hit(int fd, const struct addr *to, size_t len, unsigned stream, uint64_t pos)
{
	static _Thread_local unsigned char buf[UDP_LARGEST];
	ssize_t n;

	fill(buf, len, stream, pos);
	do
		n = sendto(fd, buf, len, 0, to ? &to->sa : NULL, to ? to->len : 0);
	while (n < 0 && errno == EINTR);
	if (MUST(n) != (long)len) {
		say("FALSE: %zd octets of a datagram of %zu were sent", n, len);
		exit(98);
	}
}

struct addr take(int fd, size_t len, unsigned stream, uint64_t pos)
{
	static _Thread_local unsigned char buf[UDP_LARGEST], good[UDP_LARGEST];
	struct addr from;
	ssize_t n;

	do {
		from.len = sizeof from.ss;
		n = recvfrom(fd, buf, sizeof buf, 0, &from.sa, &from.len);
	} while (n < 0 && errno == EINTR);
	MUST(n);
	fill(good, len, stream, pos);
	if (n != (ssize_t)len || memcmp(buf, good, len)) {
		say("FALSE: not the datagram of %zu octets at %llu of stream %u, but one of %zd", len, (unsigned long long)pos,
			stream, n);
		exit(98);
	}
	return from;
}

void none_is_there(int fd)
{
	char c;

	TRY(recv(fd, &c, 1, MSG_DONTWAIT));
}

/* ---- messages as they came ---- */

static void say_pktinfo(const struct cmsghdr *c)
{
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN], ifname[IF_NAMESIZE] = "none";

	if (c->cmsg_level == IPPROTO_IP) {
		struct in_pktinfo i;
		memcpy(&i, CMSG_DATA(c), sizeof i);
		if_indextoname((unsigned)i.ipi_ifindex, ifname);
		say("  PKTINFO length %zu: %s, local %s, to %s", (size_t)c->cmsg_len, ifname,
			inet_ntop(AF_INET, &i.ipi_spec_dst, a, sizeof a), inet_ntop(AF_INET, &i.ipi_addr, b, sizeof b));
	} else {
		struct in6_pktinfo i;
		memcpy(&i, CMSG_DATA(c), sizeof i);
		if_indextoname(i.ipi6_ifindex, ifname);
		say("  PKTINFO6 length %zu: %s, to %s", (size_t)c->cmsg_len, ifname,
			inet_ntop(AF_INET6, &i.ipi6_addr, a, sizeof a));
	}
}

static void say_error(const struct cmsghdr *c)
{
	struct {
		struct sock_extended_err e;
		struct sockaddr_storage offender;
	} x = {0};
	struct addr a = {.len = sizeof a.ss};
	size_t len = c->cmsg_len - CMSG_LEN(0);

	memcpy(&x, CMSG_DATA(c), len < sizeof x ? len : sizeof x);
	memcpy(&a.ss, (const char *)&x + sizeof x.e, sizeof a.ss);
	say("  RECVERR length %zu: %s origin %u type %u code %u info %u, offender %s", (size_t)c->cmsg_len,
		strerrorname_np((int)x.e.ee_errno), x.e.ee_origin, x.e.ee_type, x.e.ee_code, x.e.ee_info, addr_text(&a));
}

static int is_short(const struct cmsghdr *c, size_t wanted)
{
	return c->cmsg_len < CMSG_LEN(wanted);
}

static void say_control(const struct cmsghdr *c)
{
	if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && !is_short(c, sizeof(struct in_pktinfo)))
		say_pktinfo(c);
	else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO && !is_short(c, sizeof(struct in6_pktinfo)))
		say_pktinfo(c);
	else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		 (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
		say_error(c);
	else
		say("  control level %d type %d length %zu", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len);
}

static const char *message_flags(int flags)
{
	static _Thread_local char text[128];
	static const struct {
		int bit;
		const char *name;
	} table[] = {{MSG_TRUNC, " TRUNC"}, {MSG_CTRUNC, " CTRUNC"}, {MSG_ERRQUEUE, " ERRQUEUE"}, {MSG_EOR, " EOR"},
		{MSG_OOB, " OOB"}};

	*text = 0;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (flags & table[i].bit) {
			strcat(text, table[i].name);
			flags &= ~table[i].bit;
		}
	if (flags)
		sprintf(text + strlen(text), " and %#x", (unsigned)flags);
	return *text ? text : " none";
}

void say_message(int fd, size_t len, size_t control_len, int flags)
{
	static _Thread_local unsigned char buf[UDP_LARGEST];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct addr from;
	union {
		struct cmsghdr align;
		char bytes[1024];
	} control = {0};
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_name = &from.ss,
		.msg_namelen = sizeof from.ss,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control_len ? &control : NULL,
		.msg_controllen = control_len,
		.msg_flags = 0x5a5a};

	if (!(flags & MSG_ERRQUEUE))
		poll(&p, 1, SOON);
	ssize_t n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
	if (n < 0) {
		say_result("recvmsg", -1);
		return;
	}
	from.len = m.msg_namelen;
	say("recvmsg = %zd from %s length %u, flags%s, control %zu, sum %016llx", n, addr_text(&from), m.msg_namelen,
		message_flags(m.msg_flags), (size_t)m.msg_controllen,
		(unsigned long long)sum_bytes(0, buf, (size_t)n < len ? (size_t)n : len));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		say_control(c);
}

/* ---- a server and its client ---- */

int udp_serve(struct addr *client)
{
	int port, fd = udp_on("127.0.0.1", &port);

	tell_number(port);
	*client = addr_of("127.0.0.1", (int)await_number());
	call_port(port, "S");
	call_port(addr_port(client), "C");
	udp_warm_server(fd, 1);
	return fd;
}

static int call(struct addr *server, int connected)
{
	int port, fd = udp_on("127.0.0.1", &port);

	*server = addr_of("127.0.0.1", (int)await_number());
	tell_number(port);
	call_port(addr_port(server), "S");
	call_port(port, "C");
	if (connected)
		MUST(connect(fd, &server->sa, server->len));
	udp_warm_client(fd, connected ? NULL : server);
	return fd;
}

int udp_call(struct addr *server)
{
	return call(server, 0);
}

int udp_call_connected(struct addr *server)
{
	return call(server, 1);
}

void udp_sends_as_told(void)
{
	struct addr server;
	int fd = udp_call(&server);
	uint64_t pos = 0;

	for (long n; (n = await_number()) >= 0;) {
		for (long i = 0; i < n; i++)
			hit(fd, &server, 30, 1, pos++);
		tell("sent");
	}
}

void udp_get_sent(long n)
{
	tell_number(n);
	await("sent");
}
