/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpname.c - a datagram socket's names: bound by a call or by the kernel, connected, connected again, dissolved. */
#include "oracle_udp.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

/* A server that answers whoever asks, until an empty datagram comes. */
static void echo_server(void)
{
	int port, fd = udp_on(the_case->arg, &port);
	unsigned char buf[2000];
	struct addr from;
	ssize_t n;

	tell_number(port);
	do {
		from.len = sizeof from.ss;
		n = MUST(recvfrom(fd, buf, sizeof buf, 0, &from.sa, &from.len));
		MUST(sendto(fd, buf, (size_t)n, 0, &from.sa, from.len));
	} while (n);
	await("done");
	TRY(close(fd));
}

static void end_echo(const struct addr *server)
{
	int fd = udp_new(server->sa.sa_family);

	hit(fd, server, 0, 0, 0);
	take(fd, 0, 0, 0);
	tell("done");
}

static struct addr await_server(const char *ip)
{
	struct addr server = addr_of(ip, (int)await_number());

	call_port(addr_port(&server), "S");
	return server;
}

static void turns(int fd, const struct addr *to, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		hit(fd, to, 20 + i % 50, 1, i);
		take(fd, 20 + i % 50, 1, i);
	}
}

static int connect_a(int fd, const struct addr *a)
{
	return connect(fd, &a->sa, a->len);
}

static int dissolve(int fd)
{
	struct sockaddr sa = {.sa_family = AF_UNSPEC};

	return connect(fd, &sa, sizeof sa);
}

/* ---- a name from the first sendto; kept by all that follows */

static void implicit_client(void)
{
	struct addr server = await_server("127.0.0.1"), a, b;
	int fd = udp_new(AF_INET);

	say_names("new", fd);
	hit(fd, &server, 5, 1, 0);
	a = name_of(fd);
	call_port(addr_port(&a), "C");
	say_names("sent", fd);
	take(fd, 5, 1, 0);
	udp_warm_client(fd, &server);
	turns(fd, &server, 100);
	b = name_of(fd);
	HOLDS(addr_equal(&a, &b));
	TRY(bind(fd, &a.sa, a.len)); /* it is bound */
	TRY(connect_a(fd, &server));
	say_names("connected", fd);
	turns(fd, NULL, 100);
	turns(fd, &server, 10);
	TRY(dissolve(fd));
	say_names(
		"dissolved", fd); /* a port that the kernel chose is given back by then: the next datagram brings another one */
	hit(fd, &server, 5, 1, 0);
	take(fd, 5, 1, 0);
	a = name_of(fd);
	HOLDS(addr_port(&a) != 0);
	udp_warm_client(fd, &server);
	TRY(dissolve(fd));
	TRY(close(fd));
	end_echo(&server);
}

/* ---- connected first: the name is there at once */

static void connected_client(void)
{
	const char *ip = the_case->arg;
	struct addr server = await_server(ip), a;
	int fd = udp_new(server.sa.sa_family);

	TRY(connect_a(fd, &server));
	a = name_of(fd);
	call_port(addr_port(&a), "C");
	say_names("connected", fd);
	udp_warm_client(fd, NULL);
	turns(fd, NULL, 50);
	TRY(connect_a(fd, &server)); /* again, to the same one */
	say_names("again", fd);
	turns(fd, NULL, 50);
	TRY(dissolve(fd));
	a = name_of(fd);
	say("dissolved: port %s", addr_port(&a) ? "kept" : "gone");
	TRY(send(fd, "x", 1, 0));
	udp_warm_client(fd, &server);
	TRY(connect_a(fd, &server));
	turns(fd, NULL, 50);
	TRY(close(fd));
	end_echo(&server);
}

/* ---- bound, then connected and dissolved: the bound name stays */

static void bound_client(void)
{
	struct addr server = await_server("127.0.0.1"), any = addr_of("0.0.0.0", 0), a;
	int fd = udp_new(AF_INET);

	TRY(bind(fd, &any.sa, any.len));
	a = name_of(fd);
	call_port(addr_port(&a), "C");
	say_names("bound", fd);
	udp_warm_client(fd, &server);
	say_names("warm", fd);
	for (int i = 0; i < 3; i++) {
		TRY(connect_a(fd, &server));
		say_names("connected", fd);
		turns(fd, NULL, 100);
		TRY(dissolve(fd));
		say_names("dissolved", fd);
		turns(fd, &server, 100);
		TRY(dissolve(fd));
	}
	TRY(bind(fd, &any.sa, any.len));
	TRY(close(fd));
	end_echo(&server);
}

/* ---- what was there before connect() can still be read after it, whoever sent it ---- */

static void before_server(void)
{
	struct addr client;
	int port, fd = udp_serve(&client), other = udp_on("127.0.0.1", &port);

	tell_number(port);
	udp_warm_server(other, 1);
	meet("warm");
	for (unsigned i = 0; i < 5; i++) {
		hit(fd, &client, 10, 1, i);
		hit(other, &client, 11, 2, i);
	}
	meet("sent");
	await("connected");
	hit(other, &client, 11, 2, 5);
	hit(fd, &client, 10, 1, 5);
	meet("sent");
	meet("done");
}

static void before_client(void)
{
	struct addr server, other, from;
	int fd = udp_call(&server);

	other = addr_of("127.0.0.1", (int)await_number());
	call_port(addr_port(&other), "O");
	udp_warm_client(fd, &other);
	meet("warm");
	meet("sent");
	unread_is(fd, 10);
	TRY(connect_a(fd, &server));
	tell("connected");
	meet("sent");
	for (unsigned i = 0; i < 5; i++) {
		from = take(fd, 10, 1, i);
		say("%s", addr_text(&from));
		from = take(fd, 11, 2, i);
		say("%s", addr_text(&from));
	}
	from = take(fd, 10, 1, 5);
	say("%s", addr_text(&from));
	none_is_there(fd);
	meet("done");
}

/* ---- to one peer after the other, by connect() alone ---- */

#define PEERS 4

static void rounds_server(void)
{
	int fd[PEERS], port;
	struct addr from;

	for (int i = 0; i < PEERS; i++) {
		fd[i] = udp_on("127.0.0.1", &port);
		tell_number(port);
	}
	for (int i = 0; i < PEERS; i++)
		udp_warm_server(fd[i], 1);
	for (unsigned round = 0; round < 50; round++)
		for (unsigned i = 0; i < PEERS; i++)
			for (unsigned n = 0; n < 5; n++) {
				from = take(fd[i], 30 + i, i, n);
				hit(fd[i], &from, 40, i, n);
			}
	meet("done");
	for (int i = 0; i < PEERS; i++)
		none_is_there(fd[i]);
}

static void rounds_client(void)
{
	struct addr to[PEERS], first, now;
	int fd = udp_new(AF_INET);

	for (int i = 0; i < PEERS; i++)
		to[i] = addr_of("127.0.0.1", (int)await_number());
	for (int i = 0; i < PEERS; i++) {
		MUST(connect_a(fd, &to[i]));
		udp_warm_client(fd, NULL);
	}
	first = name_of(fd);
	for (unsigned round = 0; round < 50; round++)
		for (unsigned i = 0; i < PEERS; i++) {
			MUST(connect_a(fd, &to[i]));
			for (unsigned n = 0; n < 5; n++) {
				hit(fd, NULL, 30 + i, i, n);
				take(fd, 40, i, n);
			}
		}
	now = name_of(fd);
	HOLDS(addr_equal(&first, &now));
	none_is_there(fd);
	meet("done");
}

/* ---- a connected socket sends to another address for once; and its source address with it */

static void aside_client(void)
{
	struct addr server = await_server("127.0.0.1"), by_2 = addr_of("127.0.0.2", addr_port(&server)), a;
	int fd = udp_new(AF_INET);

	TRY(connect_a(fd, &server));
	a = name_of(fd);
	call_port(addr_port(&a), "C");
	udp_warm_client(fd, NULL);
	for (unsigned i = 0; i < 50; i++) { /* the server is at the wildcard: it answers from 127.0.0.1 */
		hit(fd, &by_2, 30, 1, i);
		a = take(fd, 30, 1, i);
		hit(fd, NULL, 31, 1, i);
		take(fd, 31, 1, i);
	}
	say("from %s", addr_text(&a));
	say_names("after", fd);
	TRY(connect_a(fd, &by_2));
	say_names("by 2", fd);
	a = addr_of("127.0.0.1", addr_port(&server));
	TRY(connect_a(fd, &a));
	turns(fd, NULL, 50);
	none_is_there(fd);
	TRY(close(fd));
	end_echo(&server);
}

const struct oracle_case oracle_cases[] = {
	{"implicit", echo_server, implicit_client, 0, "127.0.0.1"},
	{"connected", echo_server, connected_client, 0, "127.0.0.1"},
	{"connected_2", echo_server, connected_client, 0, "127.0.0.2"},
	{"connected_6", echo_server, connected_client, 0, "::1"},
	{"connected_mapped", echo_server, connected_client, 0, "::ffff:127.0.0.1"},
	{"bound", echo_server, bound_client, 0, "0.0.0.0"},
	{"before", before_server, before_client, 0, NULL},
	{"rounds", rounds_server, rounds_client, 0, NULL},
	{"aside", echo_server, aside_client, 0, "0.0.0.0"},
	{NULL, NULL, NULL, 0, NULL},
};
