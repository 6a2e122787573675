/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpflow.c - streams of datagrams: none lost but by a full receiver, none twice, each sender's in its order, wherever they travel. */
#include "oracle_udp.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A numbered datagram: who sent it, and the how-manyth it is; the rest is filled. */
struct item {
	uint32_t sender, number;
};

struct flow {
	uint32_t total, window; /* at most so many are on their way */
	unsigned senders;
	size_t min, max; /* octets */
	const char *ip;
	int connected, pauses;
};

static size_t length_of(const struct flow *f, uint32_t number)
{
	return f->min + (f->max > f->min ? number * 37 % (f->max - f->min) : 0);
}

static void send_item(int fd, const struct addr *to, struct item it, size_t len)
{
	static _Thread_local unsigned char buf[65536];

	fill(buf, len, it.sender, it.number);
	memcpy(buf, &it, sizeof it);
	if (sendto(fd, buf, len, 0, to ? &to->sa : NULL, to ? to->len : 0) != (ssize_t)len)
		MUST(-1);
}

/* The receiver: each sender's datagrams come one after the other; half a window at a time is acknowledged. */
static void flow_server(void)
{
	const struct flow *f = the_case->arg;
	static unsigned char buf[65536], good[65536];
	uint32_t next[16] = {0};
	uint64_t sum = 0;
	int port, fd = udp_on(f->ip, &port);

	tell_number(port);
	for (uint64_t left = (uint64_t)f->total * f->senders; left > 0; left--) {
		struct item it;
		struct addr from = {.len = sizeof from.ss};
		ssize_t n = MUST(recvfrom(fd, buf, sizeof buf, 0, &from.sa, &from.len));
		memcpy(&it, buf, sizeof it);
		MUST(n >= (ssize_t)sizeof it && it.sender < f->senders ? 0 : -1);
		if (it.number != next[it.sender]) {
			say("FALSE: sender %u: number %u where %u was to come", it.sender, it.number, next[it.sender]);
			exit(98);
		}
		next[it.sender]++;
		fill(good, (size_t)n, it.sender, it.number);
		memcpy(good, &it, sizeof it);
		if (n != (ssize_t)length_of(f, it.number) || memcmp(buf, good, (size_t)n))
			say("FALSE: sender %u: number %u is not what was sent", it.sender, it.number);
		sum += sum_bytes(it.sender, buf, (size_t)n);
		if ((it.number + 1) % (f->window / 2) == 0 || it.number + 1 == f->total) {
			it.number++;
			send_item(fd, &from, it, sizeof it);
		}
	}
	say("sum %016llx", (unsigned long long)sum);
	none_is_there(fd);
	meet("done");
}

/* From the very first datagram on: no warm-up, the way may change in the middle. */
static void sender(const struct flow *f, const struct addr *to, uint32_t me)
{
	const struct timespec pause = {.tv_nsec = 100000};
	int fd = udp_new(to->sa.sa_family);
	uint32_t acked = 0;

	if (f->connected)
		MUST(connect(fd, &to->sa, to->len));
	for (uint32_t i = 0; i < f->total; i++) {
		while (i - acked >= f->window) {
			struct item it;
			MUST(recv(fd, &it, sizeof it, 0));
			if (it.sender != me || it.number <= acked || it.number > i)
				say("FALSE: an acknowledgement of %u to %u, for %u", it.number, it.sender, me);
			acked = it.number;
		}
		send_item(fd, f->connected ? NULL : to, (struct item){me, i}, length_of(f, i));
		if (f->pauses && i < 400 && i % 4 == 0)
			nanosleep(&pause, NULL);
	}
	while (acked < f->total) {
		struct item it;
		MUST(recv(fd, &it, sizeof it, 0));
		acked = it.number;
	}
	none_is_there(fd);
	MUST(close(fd));
}

static void flow_client(void)
{
	const struct flow *f = the_case->arg;
	struct addr to = addr_of(f->ip, (int)await_number());
	pid_t child[16];

	for (unsigned i = 1; i < f->senders; i++) {
		child[i] = fork_part();
		if (child[i] == 0) {
			sender(f, &to, i);
			exit(0);
		}
	}
	sender(f, &to, 0);
	for (unsigned i = 1; i < f->senders; i++)
		join_child(child[i]);
	meet("done");
}

/* ---- the receiver lags behind while the way changes, so that datagrams lie on both ways */

#define LAG 20

static void lag_server(void)
{
	int port, fd = udp_on("127.0.0.1", &port);
	struct addr from;

	tell_number(port);
	for (unsigned turn = 0; turn < 300; turn++) {
		await("sent");
		for (unsigned i = 0; i < LAG; i++)
			from = take(fd, 20 + i, 1, turn * LAG + i);
		none_is_there(fd);
		hit(fd, &from, 1, 2, turn);
	}
}

static void lag_client(void)
{
	struct addr to = addr_of("127.0.0.1", (int)await_number());
	int fd = udp_new(AF_INET);

	for (unsigned turn = 0; turn < 300; turn++) {
		for (unsigned i = 0; i < LAG; i++)
			hit(fd, &to, 20 + i, 1, turn * LAG + i);
		tell("sent");
		take(fd, 1, 2, turn);
		if (turn < 40)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

/* ---- a receiver that does not read: the sender does not wait, what fits is there, without gaps; then all is well again */

struct full {
	size_t len;
	uint32_t n;
	int rcvbuf; /* 0: as it is */
};

static void full_server(void)
{
	const struct full *f = the_case->arg;
	static unsigned char buf[65536];
	struct addr client;
	int fd = udp_serve(&client);

	if (f->rcvbuf)
		MUST(set_int(fd, SOL_SOCKET, SO_RCVBUF, f->rcvbuf));
	for (int round = 0; round < 3; round++) {
		meet("go");
		await("sent");
		uint32_t next = 0, n = 0;
		struct item it;
		while (recv(fd, buf, sizeof buf, MSG_DONTWAIT) == (ssize_t)f->len) {
			memcpy(&it, buf, sizeof it);
			if (it.number < next)
				say("FALSE: number %u after %u", it.number, next - 1);
			if (it.number > next && n == next)
				say("FALSE: a gap between %u and %u, although the receiver did not read meanwhile", next - 1,
					it.number);
			next = it.number + 1;
			n++;
		}
		HOLDS(errno == EAGAIN);
		HOLDS(n > 0);
		HOLDS(n < f->n);
		meet("read");
		for (unsigned i = 0; i < 100; i++) { /* nothing is lost from now on */
			take(fd, 64, 3, i);
			hit(fd, &client, 64, 3, i);
		}
	}
	none_is_there(fd);
}

static void full_client(void)
{
	const struct full *f = the_case->arg;
	struct addr server;
	int fd = udp_call(&server);

	for (int round = 0; round < 3; round++) {
		meet("go");
		for (uint32_t i = 0; i < f->n; i++)
			send_item(fd, &server, (struct item){0, i}, f->len);
		poll_is(fd, POLLIN | POLLOUT, POLLOUT);
		tell("sent");
		meet("read");
		for (unsigned i = 0; i < 100; i++) {
			hit(fd, &server, 64, 3, i);
			take(fd, 64, 3, i);
		}
	}
	none_is_there(fd);
}

/* ---- two receivers of one sender: a full one does not hold up the other one */

static void one_full_server(void)
{
	struct addr client;
	int port, fd = udp_serve(&client), lazy = udp_on("127.0.0.1", &port);

	tell_number(port);
	udp_warm_server(lazy, 1);
	for (unsigned i = 0; i < 3000; i++) {
		take(fd, 500, 1, i);
		hit(fd, &client, 10, 2, i);
	}
	take(lazy, 500, 4, 0); /* the first ones are those that fitted */
	take(lazy, 500, 4, 1);
	meet("done");
}

static void one_full_client(void)
{
	struct addr server, lazy;
	int fd = udp_call(&server);

	lazy = addr_of("127.0.0.1", (int)await_number());
	udp_warm_client(fd, &lazy);
	for (unsigned i = 0; i < 3000; i++) {
		hit(fd, &lazy, 500, 4, i);
		hit(fd, &server, 500, 1, i);
		take(fd, 10, 2, i);
	}
	meet("done");
}

#define FLOW(name, flags, ...)                                                                                                 \
	{                                                                                                                      \
		name, flow_server, flow_client, flags, &(const struct flow)                                                    \
		{                                                                                                              \
			__VA_ARGS__                                                                                            \
		}                                                                                                              \
	}
#define FULL(name, ...)                                                                                                        \
	{                                                                                                                      \
		name, full_server, full_client, 0, &(const struct full)                                                        \
		{                                                                                                              \
			__VA_ARGS__                                                                                            \
		}                                                                                                              \
	}

const struct oracle_case oracle_cases[] = {
	FLOW("stream", 0, 100000, 64, 1, 64, 64, "127.0.0.1", 0, 0),
	FLOW("stream_connected", 0, 100000, 64, 1, 64, 64, "127.0.0.1", 1, 0),
	FLOW("stream_6", 0, 100000, 64, 1, 8, 700, "::1", 0, 0),
	FLOW("stream_large", 0, 4000, 2, 1, 30000, 65000, "127.0.0.1", 0, 0),
	FLOW("switch", 0, 3000, 32, 1, 8, 1500, "127.0.0.1", 0, 1),
	FLOW("switch_connected", 0, 3000, 32, 1, 8, 1500, "127.0.0.1", 1, 1),
	FLOW("senders", CASE_SLOW, 10000, 8, 8, 8, 900, "127.0.0.1", 0, 1),
	FLOW("senders_connected", CASE_SLOW, 10000, 8, 8, 8, 900, "127.0.0.1", 1, 1),
	{"lag", lag_server, lag_client, 0, NULL},
	FULL("full", 400, 5000, 0),
	FULL("full_small_buffer", 64, 2000, 4096),
	FULL("full_large", 60000, 300, 0),
	{"one_full", one_full_server, one_full_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
