/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udp.c - datagrams: who talks with whom, by which addresses, and where an answer comes from. */
#include "oracle_udp.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURNS 500

/* ---- one server, one client, by these addresses ---- */

struct way {
	const char *bound;  /* the server's; NULL for the host's own address */
	const char *called; /* what the client calls it */
	const char *client; /* the client binds to this first */
	int connected;
};

static const char *own_address(void)
{
	const char *own = getenv("ORACLE_OWN_ADDR");

	return own ? own : "127.0.0.1";
}

static void way_server(void)
{
	const struct way *w = the_case->arg;
	int port, fd = udp_on(w->bound ? w->bound : own_address(), &port);

	call_port(port, "S");
	tell_number(port);
	udp_warm_server(fd, 1);
	meet("warm");
	struct addr first = take(fd, 1, 1, 0);
	hit(fd, &first, 1, 2, 0);
	for (unsigned i = 1; i < TURNS; i++) {
		struct addr from = take(fd, i % 300, 1, i);
		if (!addr_equal(&from, &first))
			say("FALSE: %s, not %s", addr_text(&from), addr_text(&first));
		hit(fd, &from, i % 200, 2, i);
	}
	call_port(addr_port(&first), "C");
	say("from %s length %u", own_address() == w->called ? "the host" : addr_text(&first), first.len);
	none_is_there(fd);
	TRY(close(fd));
}

static void way_client(void)
{
	const struct way *w = the_case->arg;
	struct addr to = addr_of(w->called ? w->called : own_address(), (int)await_number()), from;
	int fd = udp_new(to.sa.sa_family);

	call_port(addr_port(&to), "S");
	if (w->client) {
		struct addr a = addr_of(w->client, 0);
		MUST(bind(fd, &a.sa, a.len));
	}
	if (w->connected)
		MUST(connect(fd, &to.sa, to.len));
	udp_warm_client(fd, w->connected ? NULL : &to);
	meet("warm");
	say_names("client", fd);
	for (unsigned i = 0; i < TURNS; i++) {
		hit(fd, w->connected ? NULL : &to, i ? i % 300 : 1, 1, i);
		from = take(fd, i ? i % 200 : 1, 2, i);
	}
	say("answers from %s length %u", addr_text(&from), from.len);
	none_is_there(fd);
	TRY(close(fd));
}

/* ---- many clients of one server: sockets of one process, and processes ---- */

#define CLIENTS 12
#define CHILDREN 3

static void many_clients_server(void)
{
	int port, fd = udp_on("127.0.0.1", &port);
	unsigned char buf[300];
	struct addr from;

	tell_number(port);
	udp_warm_server(fd, CLIENTS * CHILDREN);
	for (int ends = 0; ends < CHILDREN;) {
		from.len = sizeof from.ss;
		ssize_t n = MUST(recvfrom(fd, buf, sizeof buf, 0, &from.sa, &from.len));
		MUST(sendto(fd, buf, (size_t)n, 0, &from.sa, from.len));
		ends += n == 0;
	}
	none_is_there(fd);
	TRY(close(fd));
}

static void many_clients_child(const struct addr *to, unsigned child, const int warm[2])
{
	int fd[CLIENTS];
	char buf[1];

	for (unsigned i = 0; i < CLIENTS; i++) {
		fd[i] = udp_new(AF_INET);
		if (i % 2)
			MUST(connect(fd[i], &to->sa, to->len));
		udp_warm_client(fd[i], i % 2 ? NULL : to);
	}
	close(warm[1]);
	MUST(read(warm[0], buf, 1)); /* all are warm: the server counts what comes until then, and must not count an end */
	for (unsigned turn = 0; turn < 100; turn++) {
		for (unsigned i = 0; i < CLIENTS; i++)
			hit(fd[i], i % 2 ? NULL : to, 10 + i * 7, child * CLIENTS + i, turn);
		for (unsigned i = 0; i < CLIENTS; i++)
			take(fd[i], 10 + i * 7, child * CLIENTS + i, turn);
	}
	hit(fd[0], to, 0, 0, 0);
	take(fd[0], 0, 0, 0);
	exit(0);
}

static void many_clients_client(void)
{
	struct addr to = addr_of("127.0.0.1", (int)await_number());
	pid_t child[CHILDREN];
	int warm[2];

	MUST(pipe(warm)); /* its end comes when nobody holds it for writing any more */
	for (unsigned i = 0; i < CHILDREN; i++) {
		child[i] = fork_part();
		if (child[i] == 0)
			many_clients_child(&to, i, warm);
	}
	close(warm[1]);
	for (unsigned i = 0; i < CHILDREN; i++)
		join_child(child[i]);
}

/* ---- many servers, one client socket ---- */

#define SERVERS 8

static void many_servers_server(void)
{
	int fd[SERVERS], port;
	struct addr from;

	for (int i = 0; i < SERVERS; i++) {
		fd[i] = udp_on("127.0.0.1", &port);
		tell_number(port);
	}
	for (int i = 0; i < SERVERS; i++)
		udp_warm_server(fd[i], 1);
	for (unsigned turn = 0; turn < 300; turn++) {
		unsigned i = turn * 5 % SERVERS;
		from = take(fd[i], 40, i, turn);
		hit(fd[i], &from, 50, 100 + i, turn);
	}
	for (int i = 0; i < SERVERS; i++)
		none_is_there(fd[i]);
}

static void many_servers_client(void)
{
	struct addr to[SERVERS], from;
	int fd = udp_new(AF_INET);

	for (int i = 0; i < SERVERS; i++)
		to[i] = addr_of("127.0.0.1", (int)await_number());
	for (int i = 0; i < SERVERS; i++)
		udp_warm_client(fd, &to[i]);
	for (unsigned turn = 0; turn < 300; turn++) {
		unsigned i = turn * 5 % SERVERS;
		hit(fd, &to[i], 40, i, turn);
		from = take(fd, 50, 100 + i, turn);
		if (!addr_equal(&from, &to[i]))
			say("FALSE: an answer from another server, turn %u", turn);
	}
	none_is_there(fd);
}

/* ---- a connected socket hears its peer only ---- */

static void peer_only_server(void)
{
	struct addr client;
	int port, fd = udp_serve(&client), other = udp_on("127.0.0.1", &port);

	tell_number(port);
	udp_warm_server(other, 1); /* the stranger's way to the client is as warm as the peer's */
	await("connected");
	for (unsigned i = 0; i < 20; i++) {
		hit(other, &client, 30, 3, i);
		hit(fd, &client, 30, 1, i);
	}
	meet("sent");
	await("other peer");
	hit(fd, &client, 30, 1, 100);
	hit(other, &client, 30, 3, 100);
	tell("sent again");
	await("done");
}

static void peer_only_client(void)
{
	struct addr server, other;
	int fd = udp_call(&server);

	other = addr_of("127.0.0.1", (int)await_number());
	call_port(addr_port(&other), "O");
	udp_warm_client(fd, &other);
	MUST(connect(fd, &server.sa, server.len));
	tell("connected");
	meet("sent");
	for (unsigned i = 0; i < 20; i++)
		take(fd, 30, 1, i);
	none_is_there(fd);
	MUST(connect(fd, &other.sa, other.len));
	say_names("to the other one", fd);
	tell("other peer");
	await("sent again");
	take(fd, 30, 3, 100);
	none_is_there(fd);
	tell("done");
}

/* ---- in one process ---- */

static void alone_part(void)
{
	int pa, pb, a = udp_on("127.0.0.1", &pa), b = udp_on("127.0.0.1", &pb);
	struct addr to_a = addr_of("127.0.0.1", pa), to_b = addr_of("127.0.0.1", pb);

	for (unsigned i = 0; i < 600; i++) { /* two sockets */
		hit(a, &to_b, 60, 1, i);
		struct addr from = take(b, 60, 1, i);
		hit(b, &from, 60, 2, i);
		take(a, 60, 2, i);
		if (i % 4 == 0)
			poll(NULL, 0, 1);
	}
	for (unsigned i = 0; i < 600; i++) { /* one socket, to itself */
		hit(a, &to_a, 61, 3, i);
		take(a, 61, 3, i);
		if (i % 4 == 0)
			poll(NULL, 0, 1);
	}
	MUST(connect(b, &to_b.sa, to_b.len));
	call_port(pb, "B");
	say_names("connected to itself", b);
	hit(a, &to_b, 10, 4, 0);
	hit(b, NULL, 10, 5, 0);
	take(b, 10, 5, 0);
	none_is_there(b);
}

#define WAY(name, ...)                                                                                                         \
	{                                                                                                                      \
		name, way_server, way_client, 0, &(const struct way)                                                           \
		{                                                                                                              \
			__VA_ARGS__                                                                                            \
		}                                                                                                              \
	}

const struct oracle_case oracle_cases[] = {
	WAY("v4", "127.0.0.1", "127.0.0.1", NULL, 0),
	WAY("v4_connected", "127.0.0.1", "127.0.0.1", NULL, 1),
	WAY("v6", "::1", "::1", NULL, 0),
	WAY("v6_connected", "::1", "::1", NULL, 1),
	WAY("mapped_to_v4", "127.0.0.1", "::ffff:127.0.0.1", NULL, 0),
	WAY("mapped_to_v4_connected", "127.0.0.1", "::ffff:127.0.0.1", NULL, 1),
	WAY("v4_to_dual", "::", "127.0.0.1", NULL, 0),
	WAY("v4_to_dual_connected", "::", "127.0.0.1", NULL, 1),
	WAY("v6_to_dual", "::", "::1", NULL, 0),
	WAY("mapped_to_dual", "::", "::ffff:127.0.0.1", NULL, 0),
	WAY("mapped_to_mapped", "::ffff:127.0.0.1", "::ffff:127.0.0.1", NULL, 1),
	WAY("any", "0.0.0.0", "127.0.0.1", NULL, 0),
	{"any_by_2", way_server, way_client, CASE_KERNEL,
		&(const struct way){
			"0.0.0.0", "127.0.0.2", NULL, 0}}, /* the answer comes from another address, by the kernel */
	WAY("two", "127.0.0.2", "127.0.0.2", NULL, 0),
	WAY("two_connected", "127.0.0.2", "127.0.0.2", NULL, 1),
	WAY("from_3", "0.0.0.0", "127.0.0.1", "127.0.0.3", 1),
	WAY("from_any", "127.0.0.1", "127.0.0.1", "0.0.0.0", 0),
	WAY("from_dual", "127.0.0.1", "::ffff:127.0.0.1", "::", 0),
	WAY("own", NULL, NULL, NULL, 0),
	WAY("own_connected", NULL, NULL, NULL, 1),
	WAY("own_any", "0.0.0.0", NULL, NULL, 1),
	WAY("own_from_1", NULL, NULL, "127.0.0.1", 1),
	WAY("to_any", "127.0.0.1", "0.0.0.0", NULL, 0),
	WAY("to_any_connected", "127.0.0.1", "0.0.0.0", NULL, 1),
	WAY("to_any6", "::1", "::", NULL, 1),
	{"many_clients", many_clients_server, many_clients_client, CASE_SLOW, NULL},
	{"many_servers", many_servers_server, many_servers_client, 0, NULL},
	{"peer_only", peer_only_server, peer_only_client, 0, NULL},
	{"alone", alone_part, alone_part, CASE_SELF | CASE_NOWARM, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
