/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpflag.c - flags of datagram calls, corking, empty datagrams and the largest ones. */
#include "oracle_udp.h"

#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- each flag of send, from a connected and an unconnected socket: the datagram arrives, or the error is the kernel's */

static const struct {
	const char *name;
	int flag;
} send_flags[] = {{"CONFIRM", MSG_CONFIRM}, {"DONTROUTE", MSG_DONTROUTE}, {"DONTWAIT", MSG_DONTWAIT}, {"EOR", MSG_EOR},
	{"NOSIGNAL", MSG_NOSIGNAL}, {"OOB", MSG_OOB}, {"ERRQUEUE", MSG_ERRQUEUE}, {"PEEK", MSG_PEEK}, {"TRUNC", MSG_TRUNC},
	{"WAITALL", MSG_WAITALL}, {"PROXY", MSG_PROXY}, {"SYN", MSG_SYN}, {"WAITFORONE", MSG_WAITFORONE},
	{"FASTOPEN", MSG_FASTOPEN}, {"CMSG_CLOEXEC", MSG_CMSG_CLOEXEC}, {"unknown", 0x100000}};
#define SEND_FLAGS (sizeof send_flags / sizeof *send_flags)

static void send_flags_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	for (unsigned i = 0; i < 2 * SEND_FLAGS; i++) {
		await("sent");
		say_message(fd, 100, 0, 0);
		none_is_there(fd);
		tell("looked");
	}
}

static void send_flags_client(void)
{
	struct addr server;
	int fd = udp_call(&server);
	char buf[20];

	for (unsigned i = 0; i < 2 * SEND_FLAGS; i++) {
		int flag = send_flags[i % SEND_FLAGS].flag;
		fill(buf, sizeof buf, 1, i);
		if (i == SEND_FLAGS)
			TRY(connect(fd, &server.sa, server.len));
		say("%s", send_flags[i % SEND_FLAGS].name);
		ssize_t n = i < SEND_FLAGS ? sendto(fd, buf, sizeof buf, flag, &server.sa, server.len)
					   : send(fd, buf, sizeof buf, flag);
		say_result("send", n);
		if (n < 0 || flag == MSG_PROXY) /* which is MSG_PROBE: nothing is sent. So that the server finds something */
			MUST(sendto(fd, "none", 4, 0, &server.sa, server.len));
		tell("sent");
		await("looked");
	}
}

/* ---- each flag of receive */

static const struct {
	const char *name;
	int flag;
} receive_flags[] = {{"PEEK", MSG_PEEK}, {"TRUNC", MSG_TRUNC}, {"WAITALL", MSG_WAITALL}, {"OOB", MSG_OOB},
	{"ERRQUEUE", MSG_ERRQUEUE}, {"ERRQUEUE and PEEK", MSG_ERRQUEUE | MSG_PEEK}, {"NOSIGNAL", MSG_NOSIGNAL},
	{"CONFIRM", MSG_CONFIRM}, {"EOR", MSG_EOR}, {"MORE", MSG_MORE}, {"CMSG_CLOEXEC", MSG_CMSG_CLOEXEC},
	{"WAITFORONE", MSG_WAITFORONE}, {"PEEK and TRUNC", MSG_PEEK | MSG_TRUNC}, {"PEEK and WAITALL", MSG_PEEK | MSG_WAITALL},
	{"unknown", 0x100000}};
#define RECEIVE_FLAGS (sizeof receive_flags / sizeof *receive_flags)

static void receive_flags_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	char buf[20];

	await("sent");
	for (unsigned i = 0; i < RECEIVE_FLAGS; i++) {
		say("%s", receive_flags[i].name);
		TRY(recv(fd, buf, sizeof buf, receive_flags[i].flag | MSG_DONTWAIT));
		say("sum %016llx", (unsigned long long)sum_bytes(0, buf, sizeof buf));
		say_message(fd, sizeof buf, 64, receive_flags[i].flag);
	}
	tell("done");
}

static void receive_flags_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (unsigned i = 0; i < 2 * RECEIVE_FLAGS; i++)
		hit(fd, &server, i % 3 ? 20 : 40, 1, i);
	tell("sent");
	await("done");
}

/* ---- MSG_MORE and UDP_CORK: many calls, one datagram */

static void cork_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	char buf[16];

	meet("MORE");
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT)); /* nothing yet */
	tell("end");
	take(fd, 1000, 1, 0);
	await("cork");
	none_is_there(fd);
	tell("uncork");
	take(fd, 300, 2, 0);
	take(fd, 30, 3, 0); /* two corked calls to write */
	take(fd, 0, 4, 0);  /* an empty end */
	take(fd, 10, 5, 0);
	await("too long");
	take(fd, 0, 0, 0);
	take(fd, 9, 6, 0);
	meet("closing");
	meet("closed"); /* what was corked then is lost */
	none_is_there(fd);
}

static void cork_rest(int fd, const struct addr *server)
{
	static char big[40000];
	char buf[30];

	MUST(connect(fd, &server->sa, server->len));
	MUST(set_int(fd, SOL_UDP, UDP_CORK, 1));
	fill(buf, 30, 3, 0);
	TRY(write(fd, buf, 10));
	TRY(send(fd, buf + 10, 20, 0));
	MUST(set_int(fd, SOL_UDP, UDP_CORK, 0));
	TRY(send(fd, "", 0, MSG_MORE));
	TRY(send(fd, "", 0, 0));
	fill(buf, 10, 5, 0);
	TRY(send(fd, buf, 5, MSG_MORE));
	TRY(set_int(fd, SOL_UDP, UDP_CORK, 1));
	TRY(send(fd, buf + 5, 5, 0));
	TRY(set_int(fd, SOL_UDP, UDP_CORK, 0));
	TRY(send(fd, big, sizeof big, MSG_MORE)); /* too long in sum: all of it is dropped */
	TRY(send(fd, big, sizeof big, MSG_MORE));
	TRY(send(fd, big, 0, 0));
	tell("too long");
	hit(fd, NULL, 9, 6, 0);
	meet("closing");
	TRY(send(fd, "lost", 4, MSG_MORE));
	TRY(close(fd));
	meet("closed");
}

static void cork_client(void)
{
	struct addr server;
	int fd = udp_call(&server);
	char buf[1000];

	fill(buf, sizeof buf, 1, 0);
	TRY(sendto(fd, buf, 100, MSG_MORE, &server.sa, server.len));
	TRY(sendto(fd, buf + 100, 600, MSG_MORE, &server.sa, server.len));
	TRY(send(fd, buf + 700, 200, MSG_MORE)); /* while it is corked it needs no address */
	meet("MORE");
	await("end");
	TRY(sendto(fd, buf + 900, 100, 0, &server.sa, server.len));
	TRY(set_int(fd, SOL_UDP, UDP_CORK, 1));
	fill(buf, 300, 2, 0);
	for (int i = 0; i < 300; i += 50)
		if (sendto(fd, buf + i, 50, 0, &server.sa, server.len) != 50)
			say("FALSE: corked");
	tell("cork");
	await("uncork");
	TRY(set_int(fd, SOL_UDP, UDP_CORK, 0));
	cork_rest(fd, &server);
}

/* ---- an empty datagram is one, and no end of file */

static void empty_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	char buf[10];

	for (int i = 0; i < 3; i++) {
		await("sent");
		poll_is(fd, POLLIN | POLLRDHUP, POLLIN);
		unread_is(fd, 0);
		TRY(recv(fd, buf, sizeof buf, MSG_PEEK));
		TRY(recv(fd, buf, sizeof buf, 0));
		say_message(fd, 10, 0, 0);
		TRY(read(fd, buf, sizeof buf));
		TRY(readv(fd, &(struct iovec){buf, 10}, 1));
		take(fd, 5, 1, 0);
		TRY(recv(fd, NULL, 0, 0));
		TRY(recv(fd, NULL, 0, MSG_DONTWAIT));
		poll_is(fd, POLLIN | POLLRDHUP, 0);
		hit(fd, &client, 0, 0, 0);
		take(fd, 0, 0, 0);
		take(fd, 0, 0, 0);
		tell("next");
	}
}

static void empty_client(void)
{
	struct addr server;
	int fd = udp_call(&server);
	struct msghdr m = {.msg_name = &server.sa, .msg_namelen = server.len};

	for (int i = 0; i < 3; i++) {
		TRY(sendto(fd, NULL, 0, 0, &server.sa, server.len));
		TRY(sendto(fd, "", 0, 0, &server.sa, server.len));
		TRY(sendmsg(fd, &m, 0));
		TRY(sendto(fd, "", 0, 0, &server.sa, server.len));
		hit(fd, &server, 5, 1, 0);
		TRY(sendto(fd, "", 0, 0, &server.sa, server.len));
		tell("sent");
		take(fd, 0, 0, 0);
		MUST(connect(fd, &server.sa, server.len));
		TRY(write(fd, "", 0)); /* an empty datagram as well */
		TRY(send(fd, "", 0, 0));
		await("next");
	}
}

/* ---- sizes up to the largest, and beyond */

#define LARGEST_V4 65507
#define LARGEST_V6 65527

static const size_t sizes[] = {
	1, 63, 64, 65, 1471, 1472, 1473, 4095, 4096, 8192, 16384, 32767, 32768, 32769, 49152, 65000, 65506, LARGEST_V4};
#define SIZES (sizeof sizes / sizeof *sizes)

static void sizes_server(void)
{
	int port, fd = udp_on(the_case->arg, &port);
	struct addr from = {.len = 0};

	tell_number(port);
	udp_warm_server(fd, 1);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < SIZES; i++) {
			from = take(fd, sizes[i], 1, i);
			hit(fd, &from, sizes[SIZES - 1 - i], 2, i);
		}
	int is_v6 = from.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&from.in6.sin6_addr);
	if (is_v6)
		take(fd, LARGEST_V6, 1, 0);
	meet("sent");
	none_is_there(fd);
	hit(fd, &from, 7, 1, 0);
}

static void sizes_client(void)
{
	static char buf[70000];
	struct addr to = addr_of(the_case->arg, (int)await_number());
	int fd = udp_new(to.sa.sa_family);

	udp_warm_client(fd, &to);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < SIZES; i++) {
			hit(fd, &to, sizes[i], 1, i);
			take(fd, sizes[SIZES - 1 - i], 2, i);
		}
	int is_v6 = to.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&to.in6.sin6_addr);
	if (is_v6)
		hit(fd, &to, LARGEST_V6, 1, 0);
	for (int connected = 0; connected < 2; connected++) {
		for (size_t len = (is_v6 ? LARGEST_V6 : LARGEST_V4) + 1; len < sizeof buf; len += 1500)
			TRY(sendto(fd, buf, len, 0, connected ? NULL : &to.sa, connected ? 0 : to.len));
		TRY(connect(fd, &to.sa, to.len));
	}
	TRY(write(fd, buf, sizeof buf));
	meet("sent");
	take(fd, 7, 1, 0);
	poll_is(fd, POLLIN | POLLOUT, POLLOUT);
}

const struct oracle_case oracle_cases[] = {
	{"send", send_flags_server, send_flags_client, 0, NULL},
	{"receive", receive_flags_server, receive_flags_client, 0, NULL},
	{"cork", cork_server, cork_client, 0, NULL},
	{"empty", empty_server, empty_client, 0, NULL},
	{"sizes", sizes_server, sizes_client, 0, "127.0.0.1"},
	{"sizes_6", sizes_server, sizes_client, 0, "::1"},
	{"sizes_mapped", sizes_server, sizes_client, 0, "::ffff:127.0.0.1"},
	{NULL, NULL, NULL, 0, NULL},
};
