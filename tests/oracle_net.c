/* SPDX-License-Identifier: BSD-2-Clause */
/* oracle_net.c - connections, data and conditions for the cases; see oracle.h. */
#include "oracle.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 5000

/* ---- connections ---- */

static socklen_t address(struct sockaddr_storage *ss, const char *ip, int port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof *ss);
	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		return sizeof *in;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)port);
	MUST(inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1 ? 0 : -1);
	return sizeof *in6;
}

int listen_on(const char *ip, int backlog, int *port)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, ip, 0);
	int off = 0, fd = (int)MUST(socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));

	if (ss.ss_family == AF_INET6)
		MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off));
	MUST(bind(fd, (struct sockaddr *)&ss, len));
	MUST(listen(fd, backlog));
	MUST(getsockname(fd, (struct sockaddr *)&ss, &len));
	*port = ntohs(
		ss.ss_family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port : ((struct sockaddr_in6 *)&ss)->sin6_port);
	return fd;
}

int connect_to(const char *ip, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, ip, port);
	int fd = (int)MUST(socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));

	if (connect(fd, (struct sockaddr *)&ss, len) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int serve_one(void)
{
	int port, lfd = listen_on("127.0.0.1", 16, &port);

	tell_number(port);
	return (int)MUST(accept(lfd, NULL, NULL));
}

int connect_one(void)
{
	return (int)MUST(connect_to("127.0.0.1", (int)await_number()));
}

int serve_warm(void)
{
	int fd = serve_one();

	warm_up(fd);
	return fd;
}

int connect_warm(void)
{
	int fd = connect_one();

	warm_up(fd);
	return fd;
}

void no_delay(int fd)
{
	int on = 1;

	MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

/* ---- data ---- */

void fill(void *buf, size_t len, unsigned stream, uint64_t pos)
{
	unsigned char *p = buf;

	for (size_t i = 0; i < len; i++) {
		uint64_t at = pos + i;
		p[i] = (unsigned char)(at * 31 + (at >> 8) * 7 + (at >> 16) * 5 + stream * 101);
	}
}

uint64_t sum_bytes(uint64_t sum, const void *buf, size_t len)
{
	const unsigned char *p = buf;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
	return sum;
}

#define CHUNK 65536

void put(int fd, size_t len, unsigned stream, uint64_t pos)
{
	static _Thread_local unsigned char buf[CHUNK];

	while (len > 0) {
		size_t want = len < sizeof buf ? len : sizeof buf;
		fill(buf, want, stream, pos);
		for (size_t done = 0; done < want;) {
			ssize_t n = send(fd, buf + done, want - done, 0);
			if (n < 0 && errno == EINTR)
				continue;
			done += (size_t)MUST(n);
		}
		pos += want;
		len -= want;
	}
}

void get(int fd, size_t len, unsigned stream, uint64_t pos)
{
	static _Thread_local unsigned char buf[CHUNK], good[CHUNK];

	while (len > 0) {
		ssize_t n = recv(fd, buf, len < sizeof buf ? len : sizeof buf, 0);
		if (n < 0 && errno == EINTR)
			continue;
		MUST(n);
		fill(good, (size_t)n, stream, pos);
		if (n == 0 || memcmp(buf, good, (size_t)n)) {
			say("FALSE: %s in stream %u at or after position %llu", n ? "a wrong byte" : "end of file", stream,
				(unsigned long long)pos);
			exit(98);
		}
		pos += (uint64_t)n;
		len -= (size_t)n;
	}
}

uint64_t get_to_eof(int fd, uint64_t *sum)
{
	static _Thread_local unsigned char buf[CHUNK];
	uint64_t total = 0;

	*sum = 0;
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (MUST(n) == 0)
			return total;
		*sum = sum_bytes(*sum, buf, (size_t)n);
		total += (uint64_t)n;
	}
}

/* ---- conditions ---- */

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t rare_ms(int64_t ms)
{
	return is_patient() ? ms : ms / 6;
}

int wait_until(int (*is_true)(void *), void *arg)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (int64_t end = now_ms() + LIMIT_MS; now_ms() < end; nanosleep(&pause, NULL))
		if (is_true(arg))
			return 1;
	return 0;
}

int task_state(int tid)
{
	char path[40], text[256] = "";

	snprintf(path, sizeof path, "/proc/%d/stat", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	const char *end = n > 0 ? strrchr(text, ')') : NULL;
	return end ? end[2] : 0;
}

struct readiness {
	int fd;
	unsigned events, want, got;
};

static int poll_reports(void *arg)
{
	struct readiness *r = arg;
	struct pollfd p = {.fd = r->fd, .events = (short)r->events};

	MUST(poll(&p, 1, 0));
	r->got = (unsigned short)p.revents;
	return r->got == r->want;
}

void poll_is(int fd, unsigned events, unsigned want)
{
	struct readiness r = {.fd = fd, .events = events, .want = want};

	wait_until(poll_reports, &r);
	say("poll is %s", event_names(r.got));
}

static int epoll_reports(void *arg)
{
	struct readiness *r = arg;
	struct epoll_event ev[4];
	long n = MUST(epoll_wait(r->fd, ev, 4, 0));

	r->got = n == 1 ? ev[0].events : n == 0 ? 0 : ~0u;
	return r->got == r->want;
}

void epoll_is(int ep, unsigned want)
{
	struct readiness r = {.fd = ep, .want = want};

	wait_until(epoll_reports, &r);
	say("epoll is %s", r.got == ~0u ? "more than one" : event_names(r.got));
}

static int unread_equals(void *arg)
{
	struct readiness *r = arg;
	int n = -1;

	MUST(ioctl(r->fd, FIONREAD, &n));
	r->got = (unsigned)n;
	return r->got == r->want;
}

void unread_is(int fd, int want)
{
	struct readiness r = {.fd = fd, .want = (unsigned)want};

	wait_until(unread_equals, &r);
	say("unread is %u", r.got);
}

void set_nonblock(int fd, int on)
{
	int fl = (int)MUST(fcntl(fd, F_GETFL));

	MUST(fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK));
}

/* ---- epoll sets ---- */

int new_set(void)
{
	return (int)MUST(epoll_create1(EPOLL_CLOEXEC));
}

void set_add(int ep, int fd, unsigned events, uint64_t tag)
{
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events, .data.u64 = tag}));
}

void set_mod(int ep, int fd, unsigned events, uint64_t tag)
{
	MUST(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = events, .data.u64 = tag}));
}

void set_del(int ep, int fd)
{
	MUST(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
}

static int by_tag(const void *a, const void *b)
{
	uint64_t x = ((const struct epoll_event *)a)->data.u64, y = ((const struct epoll_event *)b)->data.u64;

	return x < y ? -1 : x > y;
}

void set_says(int ep, int timeout)
{
	struct epoll_event ev[16];
	int n = epoll_wait(ep, ev, 16, timeout);
	char line[512];
	int at = sprintf(line, "%d:", n);

	qsort(ev, n > 0 ? (size_t)n : 0, sizeof *ev, by_tag);
	for (int i = 0; i < n; i++)
		at += sprintf(line + at, " [%llu] %s", (unsigned long long)ev[i].data.u64, event_names(ev[i].events));
	say("%s", line);
}

/* ---- a client that does as it is told ---- */

void send_as_told(int fd)
{
	uint64_t pos = 0;

	no_delay(fd);
	for (long n; (n = await_number()) > 0; pos += (uint64_t)n) {
		put(fd, (size_t)n, 1, pos);
		tell("sent");
	}
	TRY(close(fd));
	tell("closed");
}

void sender_client(void)
{
	send_as_told(connect_warm());
}

void send_me(long n)
{
	tell_number(n);
	await("sent");
}

void close_yours(void)
{
	tell_number(0);
	await("closed");
}

int run_through_stages(void)
{
	int fd = connect_warm();

	await("idle");
	put(fd, 5, 1, 0);
	tell("sent");
	await("read");
	TRY(shutdown(fd, SHUT_WR));
	tell("half");
	TRY(read(fd, (char[8]){0}, 8));
	return fd;
}

/* ---- threads ---- */

pthread_t start_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;

	MUST(pthread_create(&t, NULL, run, arg) ? -1 : 0);
	return t;
}

void pass_fd(int over, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {"f", 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	MUST(sendmsg(over, &msg, 0));
}

static int receive_fd(int over, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	int fd;

	MUST(recvmsg(over, &msg, flags));
	MUST(CMSG_FIRSTHDR(&msg) ? 0 : -1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fd);
	return fd;
}

int take_fd(int over)
{
	return receive_fd(over, MSG_CMSG_CLOEXEC);
}

int peek_fd(int over)
{
	return receive_fd(over, MSG_PEEK);
}
