/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_addr.c - addresses: IPv4, IPv6, v4-mapped, wildcard and dual-stack listeners, the host's own; one process that is both ends. */
#include "oracle.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct where {
	const char *listen, *connect;
};

static const char *own_address(void)
{
	const char *own = getenv("ORACLE_OWN_ADDR");

	return own ? own : "127.0.0.3"; /* not in a namespace of its own: at least not the usual one */
}

static void say_address(int fd, const char *what, int (*get_name)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char text[INET6_ADDRSTRLEN] = "?";

	MUST(get_name(fd, (struct sockaddr *)&ss, &len));
	inet_ntop(ss.ss_family,
		ss.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&ss)->sin_addr
					: (void *)&((struct sockaddr_in6 *)&ss)->sin6_addr,
		text, sizeof text);
	/* the address that the runner gave to the host is its business */
	say("%s %u %s", what, len, strcmp(text, own_address()) ? text : "own");
}

static int real_getsockname(int fd, struct sockaddr *a, socklen_t *len)
{
	return getsockname(fd, a, len);
}
static int real_getpeername(int fd, struct sockaddr *a, socklen_t *len)
{
	return getpeername(fd, a, len);
}

static void traffic(int fd)
{
	warm_up(fd);
	for (unsigned i = 0; i < 200; i++) {
		if (!is_server)
			put(fd, 100, 1, i);
		get(fd, 100, is_server ? 1 : 2, i);
		if (is_server)
			put(fd, 100, 2, i);
	}
	say_address(fd, "own", real_getsockname);
	say_address(fd, "peer", real_getpeername);
	meet("done");
	TRY(close(fd));
}

static void where_server(void)
{
	const struct where *w = the_case->arg;
	int port, lfd = listen_on(w->listen ? w->listen : own_address(), 4, &port);

	tell_number(port);
	traffic((int)MUST(accept(lfd, NULL, NULL)));
	close(lfd);
}

static void where_client(void)
{
	const struct where *w = the_case->arg;

	traffic((int)MUST(connect_to(w->connect ? w->connect : own_address(), (int)await_number())));
}

/* ---- one process is both ends, in one thread ---- */

static void nothing(void)
{
}

static void same_thread(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), a = (int)MUST(connect_to("127.0.0.1", port)),
		  b = (int)MUST(accept(lfd, NULL, NULL));
	static char out[200000], in[200000];

	for (unsigned i = 0; i < 2000; i++) {
		put(a, 50, 1, i);
		get(b, 50, 1, i);
		put(b, 70, 2, i);
		get(a, 70, 2, i);
		if (i % 100 == 0)
			usleep(1000); /* somebody else may have to run, to move the connection */
	}
	/* More than fits anywhere, without blocking. */
	set_nonblock(a, 1);
	set_nonblock(b, 1);
	fill(out, sizeof out, 3, 0);
	size_t sent = 0, got = 0;
	while (got < sizeof in) {
		struct pollfd p[2] = {{.fd = a, .events = sent < sizeof out ? POLLOUT : 0}, {.fd = b, .events = POLLIN}};
		MUST(poll(p, 2, -1));
		ssize_t n = p[0].revents ? write(a, out + sent, sizeof out - sent) : 0;
		sent += n > 0 ? (size_t)n : 0;
		n = p[1].revents ? read(b, in + got, sizeof in - got) : 0;
		got += n > 0 ? (size_t)n : 0;
	}
	HOLDS(!memcmp(in, out, sizeof in));
	TRY(read(a, in, 1));
	TRY(shutdown(a, SHUT_WR));
	poll_is(b, POLLIN, POLLIN);
	TRY(read(b, in, 1));
	TRY(close(b));
	poll_is(a, POLLIN, POLLIN | POLLHUP);
	TRY(read(a, in, 1));
	TRY(close(a));
	close(lfd);
}

static void *echo_thread(void *arg)
{
	int lfd = *(int *)arg, fd = (int)MUST(accept(lfd, NULL, NULL));
	char buf[300];
	ssize_t n;

	while ((n = MUST(read(fd, buf, sizeof buf))) > 0)
		MUST(write(fd, buf, (size_t)n));
	close(fd);
	return NULL;
}

static void two_threads(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);
	pthread_t t;

	MUST(pthread_create(&t, NULL, echo_thread, &lfd) ? -1 : 0);
	int fd = (int)MUST(connect_to("127.0.0.1", port));
	for (unsigned i = 0; i < 3000; i++) {
		put(fd, 1 + i % 300, 1, i);
		get(fd, 1 + i % 300, 1, i);
		if (i % 100 == 0)
			usleep(1000);
	}
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	pthread_join(t, NULL);
	close(lfd);
}

/* A socket that is connected to itself: TCP's simultaneous open. */
static void own_tail(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	no_delay(fd);
	MUST(bind(fd, (struct sockaddr *)&in, sizeof in));
	MUST(getsockname(fd, (struct sockaddr *)&in, &(socklen_t){sizeof in}));
	TRY(connect(fd, (struct sockaddr *)&in, sizeof in));
	for (unsigned i = 0; i < 300; i++) {
		put(fd, 50, 1, i);
		get(fd, 50, 1, i);
	}
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- families that stay in the kernel ---- */

static void other_families(void)
{
	int sv[2], udp = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), ul = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)), fd;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char buf[8];

	TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	for (unsigned i = 0; i < 500; i++) {
		put(sv[0], 50, 1, i);
		get(sv[1], 50, 1, i);
	}
	TRY(close(sv[0]));
	TRY(read(sv[1], buf, 8));
	TRY(close(sv[1]));
	TRY(socketpair(AF_INET, SOCK_STREAM, 0, sv));
	TRY(bind(udp, (struct sockaddr *)&in, sizeof in));
	MUST(getsockname(udp, (struct sockaddr *)&in, &(socklen_t){sizeof in}));
	TRY(sendto(udp, "hello", 5, 0, (struct sockaddr *)&in, sizeof in));
	TRY(recv(udp, buf, 3, MSG_TRUNC));
	TRY(close(udp));
	/* an abstract name that the kernel picks */
	TRY(bind(ul, (struct sockaddr *)&un, sizeof un.sun_family));
	TRY(listen(ul, 3));
	socklen_t len = sizeof un;
	MUST(getsockname(ul, (struct sockaddr *)&un, &len));
	fd = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	TRY(connect(fd, (struct sockaddr *)&un, len));
	TRY(write(fd, "x", 1));
	TRY(close(fd));
	fd = (int)MUST(accept(ul, NULL, NULL));
	TRY(read(fd, buf, 8));
	TRY(read(fd, buf, 8));
	TRY(close(fd));
	TRY(close(ul));
}

#define WHERE(name, on, to)                                                                                                    \
	{                                                                                                                      \
		name, where_server, where_client, 0, &(const struct where)                                                     \
		{                                                                                                              \
			on, to                                                                                                 \
		}                                                                                                              \
	}

const struct oracle_case oracle_cases[] = {
	WHERE("v4", "127.0.0.1", "127.0.0.1"),
	WHERE("v4_other_loopback", "127.0.0.2", "127.0.0.2"),
	WHERE("v4_wildcard", "0.0.0.0", "127.0.0.1"),
	WHERE("v4_wildcard_other", "0.0.0.0", "127.0.0.2"),
	WHERE("v4_to_zero", "127.0.0.1", "0.0.0.0"),
	WHERE("v4_own", NULL, NULL),
	WHERE("v4_own_wildcard", "0.0.0.0", NULL),
	WHERE("v6", "::1", "::1"),
	WHERE("v6_wildcard", "::", "::1"),
	WHERE("dual_v4", "::", "127.0.0.1"),
	WHERE("dual_own", "::", NULL),
	WHERE("dual_mapped", "::", "::ffff:127.0.0.1"),
	WHERE("v4_from_mapped", "127.0.0.1", "::ffff:127.0.0.1"),
	WHERE("mapped_from_v4", "::ffff:127.0.0.1", "127.0.0.1"),
	{"same_thread", same_thread, nothing, CASE_SELF, NULL},
	{"two_threads", two_threads, nothing, CASE_SELF, NULL},
	{"own_tail", own_tail, nothing, CASE_KERNEL | CASE_SELF, NULL},
	{"other_families", other_families, nothing, CASE_KERNEL, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
