/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpcall.c - every call that sends or receives datagrams, on warm sockets. */
#include "oracle_udp.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- what the client sends by each call is one datagram each; the server sends it back by another call ---- */

static void vector_of(struct iovec *v, int n, char *buf, size_t len)
{
	for (int i = 0; i < n; i++) {
		size_t part = i == n - 1 ? len : len / (size_t)(n - i);
		v[i] = (struct iovec){buf, part};
		buf += part;
		len -= part;
	}
}

static ssize_t send_by(unsigned call, int fd, const struct addr *to, char *buf, size_t len)
{
	struct iovec v[5];
	struct msghdr m = {
		.msg_name = to ? (void *)&to->sa : NULL, .msg_namelen = to ? to->len : 0, .msg_iov = v, .msg_iovlen = 5};
	struct mmsghdr mm = {.msg_hdr = m};

	vector_of(v, 5, buf, len);
	switch (to ? call % 3 : call) {
	case 0:
		return sendto(fd, buf, len, 0, to ? &to->sa : NULL, to ? to->len : 0);
	case 1:
		return sendmsg(fd, &m, 0);
	case 2:
		return sendmmsg(fd, &mm, 1, 0) == 1 ? (ssize_t)mm.msg_len : -1;
	case 3:
		return send(fd, buf, len, 0);
	case 4:
		return write(fd, buf, len);
	case 5:
		return writev(fd, v, 5);
	default:
		return pwritev2(fd, v, 5, -1, 0);
	}
}
#define SEND_CALLS 7

static ssize_t receive_by(unsigned call, int fd, char *buf, size_t len)
{
	struct iovec v[5];
	struct addr from = {.len = sizeof from.ss};
	struct msghdr m = {.msg_name = &from.sa, .msg_namelen = sizeof from.ss, .msg_iov = v, .msg_iovlen = 5};
	struct mmsghdr mm = {.msg_hdr = m};

	vector_of(v, 5, buf, len);
	switch (call) {
	case 0:
		return recv(fd, buf, len, 0);
	case 1:
		return recvfrom(fd, buf, len, 0, &from.sa, &from.len);
	case 2:
		return recvmsg(fd, &m, 0);
	case 3:
		return recvmmsg(fd, &mm, 1, 0, NULL) == 1 ? (ssize_t)mm.msg_len : -1;
	case 4:
		return read(fd, buf, len);
	case 5:
		return readv(fd, v, 5);
	default:
		return preadv2(fd, v, 5, -1, 0);
	}
}
#define RECEIVE_CALLS 7

static void all_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	char buf[3000], good[3000];

	for (int connected = 0; connected < 2; connected++) {
		for (unsigned i = 0; i < SEND_CALLS * RECEIVE_CALLS * 4; i++) {
			size_t len = 5 + i * 13 % 2900;
			ssize_t n = receive_by(i % RECEIVE_CALLS, fd, buf, sizeof buf);
			fill(good, len, 1, i);
			if (n != (ssize_t)len || memcmp(buf, good, len))
				say("FALSE: call %u receives %zd of %zu octets, or others", i % RECEIVE_CALLS, n, len);
			n = send_by(i / 7, fd, connected ? NULL : &client, buf, len);
			if (n != (ssize_t)len)
				say("FALSE: call %u sends %zd of %zu octets", i / 7, n, len);
		}
		TRY(connect(fd, &client.sa, client.len));
		meet("connected");
	}
}

static void all_client(void)
{
	struct addr server;
	int fd = udp_call(&server);
	char buf[3000];

	for (int connected = 0; connected < 2; connected++) {
		for (unsigned i = 0; i < SEND_CALLS * RECEIVE_CALLS * 4; i++) {
			size_t len = 5 + i * 13 % 2900;
			fill(buf, len, 1, i);
			ssize_t n = send_by(i % SEND_CALLS, fd, connected ? NULL : &server, buf, len);
			if (n != (ssize_t)len)
				say("FALSE: call %u sends %zd of %zu octets", i % SEND_CALLS, n, len);
			take(fd, len, 1, i);
		}
		TRY(connect(fd, &server.sa, server.len));
		meet("connected");
	}
	say("both");
}

/* ---- a part that sends what it is told; the other one looks at what comes: 1000 * length of each + how many ---- */

static void sends_as_told(void)
{
	struct addr server;
	int fd = udp_call(&server);
	uint64_t pos = 0;

	for (long what; (what = await_number()) >= 0;) {
		for (long i = 0; i < what % 1000; i++)
			hit(fd, &server, (size_t)what / 1000, 1, pos++);
		tell("sent");
	}
	TRY(close(fd));
}

static void get_sent(long len, long n)
{
	tell_number(len * 1000 + n);
	await("sent");
}

/* What was sent is there when the call that sent it has returned; this says so, and how long the first one is. */
static void all_are_there(int fd, unsigned len)
{
	unread_is(fd, (int)len);
	poll_is(fd, POLLIN, POLLIN);
}

/* ---- lengths: a buffer that is too short loses the rest of that datagram and nothing of the next one ---- */

static void short_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	char buf[100];
	struct iovec v[3] = {{buf, 10}, {buf + 10, 0}, {buf + 20, 7}};

	get_sent(50, 12);
	all_are_there(fd, 50);
	TRY(recv(fd, buf, 10, 0));
	TRY(recv(fd, buf, 10, MSG_TRUNC));
	TRY(recv(fd, buf, 0, 0));
	TRY(recv(fd, NULL, 0, MSG_TRUNC));
	TRY(read(fd, buf, 1));
	TRY(readv(fd, v, 3));
	TRY(recv(fd, buf, 20, MSG_PEEK | MSG_TRUNC));
	TRY(recv(fd, buf, 20, MSG_PEEK));
	say_message(fd, 30, 0, MSG_PEEK);
	say_message(fd, 30, 0, 0);
	say_message(fd, 30, 0, MSG_TRUNC);
	say_message(fd, 50, 0, MSG_TRUNC);
	say_message(fd, 51, 0, MSG_TRUNC);
	say_message(fd, 0, 0, 0);
	take(fd, 50, 1, 11);
	TRY(read(fd, buf, 0)); /* reading nothing does not wait for a datagram; recv of nothing does */
	none_is_there(fd);
	tell_number(-1);
}

/* ---- recvmmsg ---- */

#define MM 8

struct many {
	struct mmsghdr h[MM];
	struct iovec v[MM];
	struct addr from[MM];
	char buf[MM][100];
};

static struct many *many_of(size_t len)
{
	static struct many m;

	memset(&m, 0, sizeof m);
	for (int i = 0; i < MM; i++) {
		m.v[i] = (struct iovec){m.buf[i], len};
		m.h[i].msg_hdr = (struct msghdr){
			.msg_name = &m.from[i].sa, .msg_namelen = sizeof m.from[i].ss, .msg_iov = &m.v[i], .msg_iovlen = 1};
	}
	return &m;
}

static void say_many(struct many *m, int n, uint64_t pos, unsigned step)
{
	char good[100];

	for (int i = 0; i < n; i++) {
		m->from[i].len = m->h[i].msg_hdr.msg_namelen;
		fill(good, sizeof good, 1, pos + step * (unsigned)i);
		say("  %u%s from %s%s", m->h[i].msg_len, m->h[i].msg_hdr.msg_flags & MSG_TRUNC ? " TRUNC" : "",
			addr_text(&m->from[i]),
			memcmp(m->buf[i], good, m->v[i].iov_len < 40 ? m->v[i].iov_len : 40) ? " FALSE" : "");
	}
}

static void receive_many(int fd, unsigned vlen, int flags, long timeout_ms, size_t len, uint64_t pos)
{
	struct many *m = many_of(len);
	struct timespec ts = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};

	errno = 0;
	int n = recvmmsg(fd, m->h, vlen, flags, timeout_ms >= 0 ? &ts : NULL);
	say_result("recvmmsg", n);
	say_many(m, n, pos, !(flags & MSG_PEEK));
}

static void mmsg_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	get_sent(40, 5);
	all_are_there(fd, 40);
	receive_many(fd, 3, 0, -1, 100, 0); /* full vectors */
	receive_many(fd, 0, 0, -1, 100, 0);
	receive_many(fd, 2, 0, 3000, 30, 3);
	receive_many(fd, MM, MSG_DONTWAIT, -1, 100, 0);
	get_sent(40, 5);
	all_are_there(fd, 40);
	receive_many(fd, MM, MSG_WAITFORONE, -1, 100, 5); /* what is there */
	get_sent(40, 4);
	all_are_there(fd, 40);
	receive_many(fd, MM, MSG_DONTWAIT, -1, 40, 10);
	get_sent(40, 4);
	all_are_there(fd, 40);
	receive_many(fd, 2, MSG_PEEK, -1, 100, 14); /* the same one twice */
	receive_many(fd, 4, MSG_TRUNC, -1, 10, 14);
	get_sent(40, 3);
	all_are_there(fd, 40);
	receive_many(fd, MM, MSG_WAITFORONE, 0, 100, 18); /* the time is looked at after each datagram */
	receive_many(fd, MM, MSG_WAITFORONE, -1, 100, 19);
	tell_number(-1);
}

static void mmsg_blocks_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	for (int i = 0; i < 50; i++) {
		tell_number(40 * 1000 + 4); /* not awaited: the call below is there first, or not */
		struct many *m = many_of(100);
		int n = recvmmsg(fd, m->h, 4, 0, NULL);
		if (n != 4)
			say("FALSE: recvmmsg = %d", n);
		say_many(m, i ? 0 : n, 0, 1);
		await("sent");
	}
	none_is_there(fd);
	tell_number(-1);
}

/* ---- sendmmsg: some good, one bad ---- */

static void sendmmsg_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);

	for (unsigned i = 0; i < 6; i++)
		take(fd, 40, 1, i);
	take(fd, 40, 1, 0);
	take(fd, 40, 1, 1);
	meet("sent");
	none_is_there(fd);
}

static void sendmmsg_client(void)
{
	struct addr server, bad;
	int fd = udp_call(&server);
	struct many *m = many_of(40);

	for (unsigned i = 0; i < MM; i++) {
		fill(m->buf[i], 40, 1, i);
		m->h[i].msg_hdr.msg_name = &server.sa;
		m->h[i].msg_hdr.msg_namelen = server.len;
	}
	TRY(sendmmsg(fd, m->h, 6, 0));
	say("%u", m->h[5].msg_len);
	bad = server;
	bad.sa.sa_family = AF_UNIX;
	m->h[2].msg_hdr.msg_name = &bad.sa;
	TRY(sendmmsg(fd, m->h, 6, 0)); /* two went; the error is not kept */
	TRY(sendmmsg(fd, m->h + 2, 1, 0));
	TRY(sendmmsg(fd, m->h, 0, 0));
	meet("sent");
}

/* ---- calls of files ---- */

static void files_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), p[2];
	char buf[64];

	MUST(pipe(p));
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(pread(fd, buf, 1, 0));
	TRY(pwrite(fd, buf, 1, 0));
	take(fd, 100, 1, 0); /* sendfile */
	get_sent(50, 3);
	all_are_there(fd, 50);
	TRY(ftruncate(fd, 0));
	TRY(splice(fd, NULL, p[1], NULL, 50, 0));
	TRY(read(p[0], buf, sizeof buf));
	TRY(read(fd, buf, sizeof buf));
	TRY(preadv2(fd, &(struct iovec){buf, 20}, 1, -1, RWF_NOWAIT));
	TRY(preadv2(fd, &(struct iovec){buf, 20}, 1, -1, RWF_NOWAIT));
	tell_number(0);
	take(fd, 3, 1, 0);
	tell("done");
}

static void files_client(void)
{
	struct addr server;
	int fd = udp_call_connected(&server), file = (int)MUST(memfd_create("f", 0)), p[2];
	char buf[100];

	fill(buf, sizeof buf, 1, 0);
	MUST(write(file, buf, sizeof buf));
	off_t at = 0;
	TRY(sendfile(fd, file, &at, 100));
	for (long i = 0, what = await_number(); i < what % 1000; i++)
		hit(fd, NULL, (size_t)what / 1000, 1, (uint64_t)i);
	tell("sent");
	MUST(pipe(p));
	MUST(write(p[1], buf, 3));
	await("0");
	TRY(splice(p[0], NULL, fd, NULL, 3, 0));
	await("done");
}

const struct oracle_case oracle_cases[] = {
	{"all", all_server, all_client, 0, NULL},
	{"short", short_server, sends_as_told, 0, NULL},
	{"mmsg", mmsg_server, sends_as_told, 0, NULL},
	{"mmsg_blocks", mmsg_blocks_server, sends_as_told, 0, NULL},
	{"sendmmsg", sendmmsg_server, sendmmsg_client, 0, NULL},
	{"files", files_server, files_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
