/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udperr.c - datagram calls that must fail, and how; before the first datagram, and on warm sockets. */
#include "oracle_udp.h"

#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static char *volatile bad_buf = (char *)16; /* never there, and the compiler does not know */

/* A page that may not be touched, behind one that may: returns the address of the boundary. */
static char *boundary(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(p == MAP_FAILED ? -1 : 0);
	MUST(mprotect(p + page, (size_t)page, PROT_NONE));
	memset(p, 'b', (size_t)page);
	return p + page;
}

/* ---- addresses */

static void send_to_all_sorts(int fd, const struct addr *server)
{
	struct addr a = *server, v6 = addr_of("::1", addr_port(server)),
		    mapped = addr_of("::ffff:127.0.0.1", addr_port(server)), zero = addr_of("127.0.0.1", 0);
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "x"};

	TRY(sendto(fd, "x", 1, 0, &a.sa, 0));
	TRY(sendto(fd, "x", 1, 0, &a.sa, 2));
	TRY(sendto(fd, "x", 1, 0, &a.sa, sizeof a.in - 1));
	TRY(sendto(fd, "x", 1, 0, &a.sa, sizeof a.ss + 1));
	TRY(sendto(fd, "x", 1, 0, &a.sa, (socklen_t)-1));
	TRY(sendto(fd, "x", 1, 0, (struct sockaddr *)bad_buf, sizeof a.in));
	TRY(sendto(fd, "x", 1, 0, (struct sockaddr *)&un, sizeof un));
	TRY(sendto(fd, "x", 1, 0, &v6.sa, v6.len));
	TRY(sendto(fd, "x", 1, 0, &mapped.sa, mapped.len));
	TRY(sendto(fd, "x", 1, 0, &zero.sa, zero.len));
	a.sa.sa_family = 77;
	TRY(sendto(fd, "x", 1, 0, &a.sa, a.len));
	TRY(connect(fd, &a.sa, a.len));
	TRY(connect(fd, &v6.sa, v6.len));
	TRY(connect(fd, &server->sa, sizeof(struct sockaddr_in) - 1));
}

/* AF_UNSPEC is AF_INET to sendto; and a long address is as good as a short one. */
static void send_to_good_sorts(int fd, const struct addr *server)
{
	struct addr a = *server;

	TRY(sendto(fd, "good", 4, 0, &a.sa, sizeof a.ss));
	a.sa.sa_family = AF_UNSPEC;
	TRY(sendto(fd, "good", 4, 0, &a.sa, a.len));
}

static void addresses_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	char buf[10];

	for (int i = 0; i < 4; i++)
		TRY(recv(fd, buf, sizeof buf, 0));
	meet("sent");
	none_is_there(fd);
}

static void addresses_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	TRY(send(fd, "x", 1, 0)); /* not connected */
	TRY(write(fd, "x", 1));
	TRY(sendto(fd, "x", 1, 0, NULL, 16));
	TRY(sendto(fd, "", 0, 0, NULL, 0));
	send_to_all_sorts(fd, &server);
	send_to_good_sorts(fd, &server);
	MUST(connect(fd, &server.sa, server.len));
	say("connected");
	send_to_all_sorts(fd, &server); /* a length of 0 is where it is connected */
	send_to_good_sorts(fd, &server);
	meet("sent");
}

/* ---- IPv6: addresses of the other family, short ones, mapped ones where they must not be */

static void addresses6_server(void)
{
	int port, fd = udp_on("::1", &port);
	char buf[10];

	tell_number(port);
	udp_warm_server(fd, 1);
	for (int i = 0; i < 3; i++)
		TRY(recv(fd, buf, sizeof buf, 0));
	meet("sent");
	none_is_there(fd);
}

static void addresses6_client(void)
{
	struct addr server = addr_of("::1", (int)await_number()), v4 = addr_of("127.0.0.1", addr_port(&server)),
		    mapped = addr_of("::ffff:127.0.0.1", addr_port(&server)), zero = addr_of("::1", 0), a = server;
	int fd = udp_new(AF_INET6), only = udp_new(AF_INET6);

	udp_warm_client(fd, &server);
	TRY(sendto(fd, "x", 1, 0, &a.sa, 24 - 1));
	TRY(sendto(fd, "good", 4, 0, &a.sa, 24)); /* without the scope, as RFC 2133 had it */
	TRY(sendto(fd, "x", 1, 0, &zero.sa, zero.len));
	a.sa.sa_family = AF_UNSPEC;
	TRY(sendto(fd, "x", 1, 0, &a.sa, a.len)); /* not connected, and no address */
	a.sa.sa_family = AF_UNIX;
	TRY(sendto(fd, "x", 1, 0, &a.sa, a.len));
	MUST(set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	TRY(sendto(only, "x", 1, 0, &mapped.sa, mapped.len));
	TRY(sendto(only, "x", 1, 0, &v4.sa, v4.len));
	TRY(connect(only, &mapped.sa, mapped.len));
	TRY(sendto(only, "good", 4, 0, &server.sa, server.len));
	MUST(connect(fd, &server.sa, server.len));
	TRY(sendto(fd, "x", 1, 0, &mapped.sa, mapped.len)); /* bound to ::1 by now */
	TRY(sendto(fd, "x", 1, 0, &v4.sa, v4.len));
	TRY(send(fd, "good", 4, 0));
	meet("sent");
}

/* ---- buffers */

static void bad_sends(int fd, const struct addr *to)
{
	char *edge = boundary();
	struct iovec v[2] = {{edge - 8, 8}, {edge, 8}}, huge = {edge - 8, (size_t)-1};
	struct msghdr m = {.msg_name = (void *)&to->sa, .msg_namelen = to->len, .msg_iov = v, .msg_iovlen = 2};

	TRY(sendto(fd, NULL, 10, 0, &to->sa, to->len));
	TRY(sendto(fd, bad_buf, 10, 0, &to->sa, to->len));
	TRY(sendto(fd, edge - 8, 16, 0, &to->sa, to->len)); /* half of it is there: nothing is sent */
	TRY(sendmsg(fd, &m, 0));
	m.msg_iovlen = 1025;
	TRY(sendmsg(fd, &m, 0));
	m.msg_iov = &huge;
	m.msg_iovlen = 1;
	TRY(sendmsg(fd, &m, 0));
	TRY(sendmsg(fd, (struct msghdr *)bad_buf, 0));
	m.msg_iov = (struct iovec *)bad_buf;
	TRY(sendmsg(fd, &m, 0));
	TRY(sendto(fd, NULL, 0, 0, &to->sa, to->len)); /* an empty datagram */
}

static void buffers_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	take(fd, 0, 0, 0); /* the client's only good one */
	meet("sent");
	none_is_there(fd);
	meet("more");
	for (unsigned i = 0; i < 8; i++)
		hit(fd, &client, 16, 1, i);
	tell("eight");
	await("done");
	for (unsigned i = 0; i < 6; i++)
		hit(fd, &client, 16, 1, i);
	meet("six");
}

/* What could not be stored is put back, or is lost: the kernel says which. */
static void buffers_client(void)
{
	struct addr server, from;
	int fd = udp_call(&server);
	char buf[16], *edge = boundary();
	struct iovec v[2] = {{buf, 4}, {bad_buf, 8}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	socklen_t minus = (socklen_t)-1, len = sizeof from.ss;

	bad_sends(fd, &server);
	meet("sent");
	meet("more");
	await("eight");
	TRY(recv(fd, bad_buf, 16, MSG_DONTWAIT));
	TRY(recv(fd, NULL, 16, MSG_DONTWAIT));
	TRY(recv(fd, edge - 4, 16, MSG_DONTWAIT));
	TRY(recvmsg(fd, &m, MSG_DONTWAIT));
	TRY(recvmsg(fd, (struct msghdr *)bad_buf, MSG_DONTWAIT));
	m.msg_iovlen = 1025;
	TRY(recvmsg(fd, &m, MSG_DONTWAIT));
	TRY(recv(fd, bad_buf, 16, MSG_DONTWAIT | MSG_PEEK));
	while (recv(fd, buf, sizeof buf, MSG_DONTWAIT) == 16)
		say("one is there, sum %016llx", (unsigned long long)sum_bytes(0, buf, 16));
	tell("done");
	meet("six");
	TRY(recvfrom(fd, buf, 16, MSG_DONTWAIT, &from.sa, &minus));
	TRY(recvfrom(fd, buf, 16, MSG_DONTWAIT, (struct sockaddr *)bad_buf, &len));
	TRY(recvfrom(fd, buf, 16, MSG_DONTWAIT, &from.sa, (socklen_t *)bad_buf));
	len = 3;
	TRY(recvfrom(fd, buf, 16, MSG_DONTWAIT, &from.sa, &len));
	say("length %u", len); /* the whole one's, although three octets were stored */
	len = 0;
	TRY(recvfrom(fd, buf, 16, MSG_DONTWAIT, &from.sa, &len));
	TRY(recvfrom(fd, buf, 16, MSG_DONTWAIT, NULL, &len));
	none_is_there(fd);
}

/* ---- calls that are not for datagrams, and options that are not for UDP */

static void wrong_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	await("done");
	none_is_there(fd);
}

static void wrong_client(void)
{
	struct addr server, a;
	int fd = udp_call(&server), value;
	socklen_t len = sizeof value;

	a.len = sizeof a.ss;
	TRY(listen(fd, 1));
	TRY(accept(fd, &a.sa, &a.len));
	TRY(getsockopt(fd, IPPROTO_TCP, 1, &value, &len));
	TRY(setsockopt(fd, SOL_UDP, 9999, &value, sizeof value));
	TRY(setsockopt(fd, SOL_UDP, UDP_CORK, &value, 1));
	TRY(setsockopt(fd, SOL_UDP, UDP_CORK, bad_buf, sizeof value));
	TRY(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len));
	say("type %d", value);
	TRY(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &len));
	say("protocol %d", value);
	TRY(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &len));
	say("domain %d", value);
	TRY(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len));
	say("listening %d", value);
	TRY(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	TRY(ioctl(fd, FIONREAD, bad_buf));
	TRY(bind(fd, &server.sa, server.len));
	TRY(getpeername(fd, &a.sa, &a.len));
	TRY(recv(fd, &value, sizeof value, MSG_OOB | MSG_DONTWAIT));
	TRY(sendto(fd, "x", 1, MSG_OOB, &server.sa, server.len));
	tell("done");
}

const struct oracle_case oracle_cases[] = {
	{"addresses", addresses_server, addresses_client, 0, NULL},
	{"addresses_6", addresses6_server, addresses6_client, 0, NULL},
	{"buffers", buffers_server, buffers_client, 0, NULL},
	{"wrong", wrong_server, wrong_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
