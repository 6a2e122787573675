/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_basic.c - the first things that must work: blocking ping-pong, poll, epoll, half-close, bulk. */
#include "oracle.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a fresh connection; nothing is waited for ---- */

static void fresh_server(void)
{
	char buf[64];
	int fd = serve_one();

	for (int i = 0; i < 3; i++) {
		TRY(read(fd, buf, sizeof buf));
		TRY(write(fd, "pong", 4));
	}
	TRY(read(fd, buf, sizeof buf));
	TRY(close(fd));
}

static void fresh_client(void)
{
	char buf[64];
	int fd = connect_one();

	for (int i = 0; i < 3; i++) {
		TRY(write(fd, "ping!", 5));
		TRY(read(fd, buf, sizeof buf));
	}
	TRY(close(fd));
}

/* ---- enough messages to be moved in the middle ---- */

static void pingpong_server(void)
{
	int fd = serve_one();

	for (unsigned i = 0; i < 5000; i++) {
		get(fd, 1 + i % 200, 1, i);
		put(fd, 1 + i % 200, 2, i);
	}
	get(fd, 10, 3, 0);
	TRY(close(fd));
}

static void pingpong_client(void)
{
	char buf[1];
	int fd = connect_one();

	for (unsigned i = 0; i < 5000; i++) {
		put(fd, 1 + i % 200, 1, i);
		get(fd, 1 + i % 200, 2, i);
	}
	put(fd, 10, 3, 0);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

/* ---- poll ---- */

static void poll_server(void)
{
	int fd = serve_warm();
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (unsigned i = 0; i < 1000; i++) {
		if (poll(&p, 1, -1) != 1 || p.revents != POLLIN)
			say("FALSE: poll gave %s in turn %u", event_names((unsigned short)p.revents), i);
		get(fd, 32, 1, i);
		put(fd, 32, 2, i);
	}
	TRY(poll(&p, 1, -1));
	say("%s", event_names((unsigned short)p.revents));
	TRY(close(fd));
}

static void poll_client(void)
{
	int fd = connect_warm();
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

	TRY(poll(&p, 1, -1));
	say("%s", event_names((unsigned short)p.revents));
	for (unsigned i = 0; i < 1000; i++) {
		put(fd, 32, 1, i);
		get(fd, 32, 2, i);
	}
	TRY(close(fd));
}

/* ---- epoll, level and edge; the edge reader reads until EAGAIN ---- */

static void epoll_server(void)
{
	unsigned flags = *(const unsigned *)the_case->arg;
	int fd = serve_warm(), ep = new_set();
	struct epoll_event ev = {.events = EPOLLIN | flags, .data.fd = fd};
	unsigned char buf[256];
	uint64_t total = 0, sum = 0;

	set_nonblock(fd, 1);
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (ssize_t n = 1; n;) {
		if (epoll_wait(ep, &ev, 1, -1) != 1)
			say("FALSE: epoll_wait");
		while ((n = read(fd, buf, sizeof buf)) > 0) {
			total += (uint64_t)n;
			sum = sum_bytes(sum, buf, (size_t)n);
			if (total % 32 == 0)
				MUST(write(fd, "ok", 2));
		}
		if (n < 0 && errno != EAGAIN)
			say_result("read", n);
	}
	say("%llu bytes, sum %016llx", (unsigned long long)total, (unsigned long long)sum);
	TRY(close(fd));
	TRY(close(ep));
}

static void epoll_client(void)
{
	char buf[2];
	int fd = connect_warm();

	for (unsigned i = 0; i < 2000; i++) {
		put(fd, 32, 1, i * 32);
		if (recv(fd, buf, 2, MSG_WAITALL) != 2)
			say("FALSE: no answer");
	}
	TRY(close(fd));
}

/* ---- half-close: the answer comes after the end of the question ---- */

static void half_server(void)
{
	uint64_t sum;
	int fd = serve_warm();

	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	put(fd, 100000, 2, 0);
	TRY(close(fd));
}

static void half_client(void)
{
	uint64_t sum;
	char buf[1];
	int fd = connect_warm();

	put(fd, 100000, 1, 0);
	TRY(shutdown(fd, SHUT_WR));
	TRY(send(fd, "x", 1, MSG_NOSIGNAL));
	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

/* ---- bulk, there and back ---- */

static void bulk_server(void)
{
	int fd = serve_one();

	get(fd, 8 << 20, 1, 0);
	put(fd, 8 << 20, 2, 0);
	TRY(close(fd));
}

static void bulk_client(void)
{
	uint64_t sum;
	int fd = connect_one();

	put(fd, 8 << 20, 1, 0);
	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	TRY(close(fd));
}

static const unsigned level = 0, edge = EPOLLET;

const struct oracle_case oracle_cases[] = {
	{"fresh", fresh_server, fresh_client, CASE_NOWARM, NULL},
	{"pingpong", pingpong_server, pingpong_client, 0, NULL},
	{"poll", poll_server, poll_client, 0, NULL},
	{"epoll_level", epoll_server, epoll_client, 0, &level},
	{"epoll_edge", epoll_server, epoll_client, 0, &edge},
	{"half_close", half_server, half_client, 0, NULL},
	{"bulk", bulk_server, bulk_client, CASE_NOWARM, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
