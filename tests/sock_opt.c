/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_opt.c - time-outs, low-water mark, FIONREAD, SIOCOUTQ, FIONBIO, O_NONBLOCK, names and the options that only tell. */
#include "oracle.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void set_time_limit(int fd, int option, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	TRY(setsockopt(fd, SOL_SOCKET, option, &tv, sizeof tv));
}

/* The client of cases in which it only has to be there. */
static void idle_client(void)
{
	int fd = connect_warm();

	await("done");
	TRY(close(fd));
}

static void rcvtimeo_server(void)
{
	char buf[8];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = serve_warm();

	set_time_limit(fd, SO_RCVTIMEO, 120);
	int64_t start = now_ms();
	TRY(recv(fd, buf, sizeof buf, 0));
	HOLDS(now_ms() - start >= 119);
	start = now_ms();
	TRY(read(fd, buf, sizeof buf));
	TRY(recvmsg(fd, &msg, 0));
	TRY(recv(fd, buf, sizeof buf, MSG_PEEK));
	HOLDS(now_ms() - start >= 357);
	start = now_ms();
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	HOLDS(now_ms() - start < 119);
	set_time_limit(fd, SO_RCVTIMEO, 0);
	set_nonblock(fd, 1);
	TRY(recv(fd, buf, sizeof buf, 0));
	tell("done");
	TRY(close(fd));
}

/* MSG_WAITALL with a time limit gives what has come. */
static void waitall_server(void)
{
	char buf[64];
	int fd = serve_warm();

	set_time_limit(fd, SO_RCVTIMEO, 150);
	await("sent");
	unread_is(fd, 10);
	int64_t start = now_ms();
	TRY(recv(fd, buf, 20, MSG_WAITALL));
	HOLDS(now_ms() - start >= 149);
	TRY(recv(fd, buf, 20, MSG_WAITALL));
	tell("done");
	TRY(close(fd));
}

static void waitall_client(void)
{
	int fd = connect_warm();

	put(fd, 10, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

static void sndtimeo_server(void)
{
	size_t len = 4 << 20;
	char *buf = calloc(1, len);
	int fd = serve_warm();
	uint64_t total = 0;
	ssize_t n;

	set_time_limit(fd, SO_SNDTIMEO, 150);
	int64_t start;
	do { /* whole or in part, as the kernel moves bytes over; at last nothing goes any more for the whole time */
		start = now_ms();
		n = send(fd, buf, len, 0);
		total += n > 0 ? (uint64_t)n : 0;
	} while (n > 0);
	say_result("send", n);
	HOLDS(now_ms() - start >= 149);
	HOLDS(total >= 1000000);
	tell_number((long)total);
	TRY(shutdown(fd, SHUT_WR));
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
	free(buf);
}

static void sndtimeo_client(void)
{
	int fd = connect_warm();
	long total = await_number();
	uint64_t sum;

	HOLDS((long)get_to_eof(fd, &sum) == total);
	TRY(close(fd));
}

static void lowat_server(void)
{
	char buf[64];
	int n, low = 10, fd = serve_warm();
	socklen_t len = sizeof low;

	TRY(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
	low = 0;
	TRY(getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, &len));
	say("low-water mark %d", low);
	tell("go");
	await("five");
	unread_is(fd, 5);
	poll_is(fd, POLLIN, 0);
	TRY(ioctl(fd, FIONREAD, &n));
	TRY(recv(fd, buf, 3, 0)); /* asks for less than the mark */
	TRY(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	tell("go");
	TRY(recv(fd, buf, sizeof buf, 0)); /* waits for ten; pieces of five would not wake it */
	tell("got");
	await("ten");
	unread_is(fd, 10);
	TRY(recv(fd, buf, sizeof buf, 0));
	tell("go");
	await("nine");
	unread_is(fd, 9);
	poll_is(fd, POLLIN | POLLRDHUP, 0);
	tell("go");
	await("closed");
	poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP); /* the end of file counts, however little there is */
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(recv(fd, buf, sizeof buf, 0));
	TRY(close(fd));
}

static void lowat_client(void)
{
	int fd = connect_warm();

	no_delay(fd);
	await("go");
	put(fd, 5, 1, 0);
	tell("five");
	await("go");
	usleep(20000); /* the reader sleeps, or does not yet: the same for it */
	put(fd, 10, 1, 0);
	await("got");
	put(fd, 5, 1, 0);
	put(fd, 5, 1, 5);
	tell("ten");
	await("go");
	put(fd, 9, 1, 0);
	tell("nine");
	await("go");
	TRY(close(fd));
	tell("closed");
}

/* ---- what is queued ---- */

static int nothing_out(void *arg)
{
	int n = -1;

	MUST(ioctl(*(int *)arg, SIOCOUTQ, &n));
	return n == 0;
}

static void queue_server(void)
{
	char buf[100];
	int n, fd = serve_warm();

	unread_is(fd, 0);
	tell("go");
	await("sent");
	unread_is(fd, 5000);
	get(fd, 1, 1, 0);
	unread_is(fd, 4999);
	TRY(recv(fd, buf, 99, MSG_PEEK));
	unread_is(fd, 4999);
	get(fd, 4998, 1, 1);
	unread_is(fd, 1);
	get(fd, 1, 1, 4999);
	unread_is(fd, 0);
	TRY(ioctl(fd, SIOCINQ, &n));
	tell("read");
	await("closed");
	unread_is(fd, 7);
	get(fd, 7, 1, 0);
	unread_is(fd, 0);
	TRY(close(fd));
}

static void queue_client(void)
{
	int fd = connect_warm();

	await("go");
	put(fd, 5000, 1, 0);
	tell("sent");
	await("read");
	HOLDS(wait_until(nothing_out, &fd));
	put(fd, 7, 1, 0);
	TRY(close(fd));
	tell("closed");
}

/* ---- who blocks ---- */

static void nonblock_server(void)
{
	char buf[8];
	int on = 1, off = 0, fd = serve_warm(), other;

	TRY(ioctl(fd, FIONBIO, &on));
	TRY(fcntl(fd, F_GETFL) & O_NONBLOCK);
	TRY(read(fd, buf, 8));
	other = (int)MUST(dup(fd));
	TRY(read(other, buf, 8));
	TRY(ioctl(other, FIONBIO, &off));
	TRY(fcntl(fd, F_GETFL) & O_NONBLOCK);
	TRY(fcntl(other, F_SETFL, O_NONBLOCK));
	TRY(read(fd, buf, 8));
	TRY(fcntl(fd, F_SETFL, O_RDWR));
	tell("go");
	TRY(read(fd, buf, 8)); /* blocks */
	TRY(read(other, buf, 8));
	set_nonblock(fd, 1);
	TRY(readv(other, &(struct iovec){buf, 8}, 1));
	TRY(recv(other, buf, 8, MSG_WAITALL));
	TRY(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND));
	TRY((fcntl(fd, F_GETFL) & O_APPEND) == O_APPEND);
	TRY(fcntl(fd, F_GETFD));
	TRY(ioctl(fd, FIOCLEX));
	TRY(fcntl(fd, F_GETFD));
	TRY(ioctl(fd, FIONCLEX));
	TRY(fcntl(other, F_GETFD));
	TRY(close(fd));
	TRY(read(other, buf, 8));
	tell("done");
	TRY(close(other));
}

static void nonblock_client(void)
{
	int fd = connect_warm();

	await("go");
	usleep(20000);
	put(fd, 16, 1, 0);
	await("done");
	TRY(close(fd));
}

/* ---- names, types ---- */

static void tell_port_of(int fd, int peer)
{
	struct sockaddr_in in;
	socklen_t len = sizeof in;

	TRY((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&in, &len));
	say("family %d, length %u, %s", in.sin_family, len, inet_ntoa(in.sin_addr));
	tell_number(in.sin_port);
	len = 4;
	memset(&in, 0x55, sizeof in);
	TRY((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&in, &len));
	say("length %u, family %d, beyond %x", len, in.sin_family, in.sin_addr.s_addr);
}

static int port_of(int fd, int peer)
{
	struct sockaddr_in in;
	socklen_t len = sizeof in;

	MUST((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&in, &len));
	return in.sin_port;
}

static void say_option(int fd, const char *name, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof value;

	if (getsockopt(fd, level, option, &value, &len))
		say("%s: %s", name, strerrorname_np(errno));
	else
		say("%s = %d (%u bytes)", name, value, len);
}

static void names_part(int fd)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stat st;
	int on = 1;

	tell_port_of(fd, 0);
	tell_port_of(fd, 1);
	HOLDS(await_number() == port_of(fd, 1));
	HOLDS(await_number() == port_of(fd, 0));
	say_option(fd, "SO_TYPE", SOL_SOCKET, SO_TYPE);
	say_option(fd, "SO_DOMAIN", SOL_SOCKET, SO_DOMAIN);
	say_option(fd, "SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL);
	say_option(fd, "SO_ERROR", SOL_SOCKET, SO_ERROR);
	say_option(fd, "SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN);
	say_option(fd, "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT);
	say_option(fd, "SO_SNDLOWAT", SOL_SOCKET, SO_SNDLOWAT);
	say_option(fd, "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE);
	say_option(fd, "unknown", SOL_SOCKET, 9999);
	say_option(fd, "TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY);
	TRY(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	TRY(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
	TRY(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, 1));
	say_option(fd, "TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY);
	say_option(fd, "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE);
	TRY(connect(fd, (struct sockaddr *)&to, sizeof to));
	TRY(listen(fd, 5));
	TRY(accept(fd, NULL, NULL));
	TRY(bind(fd, (struct sockaddr *)&to, sizeof to));
	TRY(fstat(fd, &st));
	HOLDS(S_ISSOCK(st.st_mode));
	meet("asked");
	TRY(close(fd));
	TRY(getpeername(fd, NULL, NULL));
}

static void names_server(void)
{
	names_part(serve_warm());
}
static void names_client(void)
{
	names_part(connect_warm());
}

const struct oracle_case oracle_cases[] = {
	{"rcvtimeo", rcvtimeo_server, idle_client, CASE_ALONE, NULL},
	{"waitall_rcvtimeo", waitall_server, waitall_client, 0, NULL},
	{"sndtimeo", sndtimeo_server, sndtimeo_client, 0, NULL},
	{"rcvlowat", lowat_server, lowat_client, 0, NULL},
	{"queues", queue_server, queue_client, 0, NULL},
	{"nonblock", nonblock_server, nonblock_client, 0, NULL},
	{"names", names_server, names_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
