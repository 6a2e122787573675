/* SPDX-License-Identifier: BSD-2-Clause */
/* stream.c - sending and receiving with a witness, and what the conversations are made of. */
#include "mortal.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

#define PING_LEN 64
#define STILL 6			/* looks in a row at which the kernel has carried nothing more */
#define PATIENCE_MS (15 * 1000) /* in a call: what takes longer has been forgotten */
#define IMPATIENCE_MS 3000
#define CLOSE_WAIT 8 /* TCP_CLOSE_WAIT of <netinet/tcp.h>, which cannot stand beside <linux/tcp.h> */

struct witness *w;
struct side *mine;
int role;
enum waiting waiting;
int stream_fd = -1;
jmp_buf stream_over;

static uint8_t octet(uint64_t i)
{
	return (uint8_t)(i * 0x9e3779b97f4a7c15u >> 56);
}

void nap(long us)
{
	nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

void begin(int fd)
{
	static struct timeval limit = {PATIENCE_MS / 1000, 0};
	stream_fd = fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	mine->begun = mine->done = mine->asked = mine->got = 0;
	mine->conn = role == CLIENT ? mine->conn + 1 : w->side[CLIENT].conn;
}

void say(const char *line)
{
	size_t len = strlen(line);
	if (write(1, line, len) != (ssize_t)len)
		exit(3);
}

void report(const char *how)
{
	char line[160];
	snprintf(line, sizeof(line), "conn %llu got %llu sent %llu %s\n", (unsigned long long)mine->conn,
		(unsigned long long)mine->got, (unsigned long long)mine->done, how);
	say(line);
}

/* The number of octets, if they are those that come next. */
static void received(const uint8_t *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != octet(mine->got + i)) {
			report("WRONG octet");
			exit(4);
		}
	mine->got += n;
	mine->asked = mine->got;
}

ssize_t receive(int fd, void *buf, size_t len)
{
	ssize_t n;
	do
		n = recv(fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

/* The peer has ended: what it has sent before is still to be had. */
static _Noreturn void over(int err)
{
	static uint8_t buf[65536];
	bool reset = err == ECONNRESET || err == EPIPE;
	ssize_t n;
	mine->asked = mine->got;
	while ((n = receive(stream_fd, buf, sizeof(buf))) > 0)
		received(buf, (size_t)n);
	if (n < 0 && errno != ECONNRESET && errno != EPIPE && errno != ENOTCONN)
		err = errno;
	reset |= n < 0;
	report(err && err != ECONNRESET && err != EPIPE ? strerror(err) : reset ? "reset" : "eof");
	longjmp(stream_over, 1);
}

/* Nobody reads any more, and the kernel says it to nobody: a peer that had no room when it shut down and closed answers probes for a minute (the fin timeout), without shunt too. */
static bool kernel_probes(void)
{
	struct tcp_info ti = {0};
	socklen_t len = sizeof(ti);
	getsockopt(stream_fd, IPPROTO_TCP, TCP_INFO, &ti, &len);
	return ti.tcpi_state == CLOSE_WAIT && ti.tcpi_notsent_bytes > 0 && ti.tcpi_backoff > 0;
}

void put_impatiently(void)
{
	static struct timeval limit = {IMPATIENCE_MS / 1000, 0};
	setsockopt(stream_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

void put(size_t len)
{
	static uint8_t buf[65536];
	while (len) {
		size_t n = len < sizeof(buf) ? len : sizeof(buf);
		for (size_t i = 0; i < n; i++)
			buf[i] = octet(mine->done + i);
		mine->begun = mine->done + n;
		ssize_t r = send(stream_fd, buf, n, MSG_NOSIGNAL);
		if (r < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = stream_fd, .events = POLLOUT};
			mine->begun = mine->done;
			if (kernel_probes())
				over(ECONNRESET);
			if (poll(&p, 1, PATIENCE_MS) == 0)
				over(ETIMEDOUT);
			continue;
		}
		if (r < 0) {
			mine->begun = mine->done;
			over(errno);
		}
		mine->done += (size_t)r;
		mine->begun = mine->done;
		len -= (size_t)r;
	}
}

static void wait_for_input(void)
{
	struct pollfd p = {.fd = stream_fd, .events = POLLIN};
	struct epoll_event ev = {.events = EPOLLIN};
	static int set = -1;
	int r;
	if (waiting == WAIT_POLL) {
		r = poll(&p, 1, PATIENCE_MS);
	} else {
		if (set < 0)
			set = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(set, EPOLL_CTL_ADD, stream_fd, &ev); /* or it is a member already */
		r = epoll_wait(set, &ev, 1, PATIENCE_MS);
	}
	if (r == 0)
		over(ETIMEDOUT);
}

/* Up to len octets; 0: the end. */
static size_t get_some(size_t len)
{
	static uint8_t buf[65536];
	size_t n = len < sizeof(buf) ? len : sizeof(buf);
	if (waiting)
		wait_for_input();
	mine->asked = mine->got + n;
	ssize_t r = receive(stream_fd, buf, n);
	if (r < 0 && errno == EAGAIN && waiting)
		return get_some(len);
	if (r < 0)
		over(errno == EAGAIN ? ETIMEDOUT : errno);
	received(buf, (size_t)r);
	return (size_t)r;
}

void get(size_t len)
{
	while (len) {
		size_t n = get_some(len);
		if (!n)
			over(0);
		len -= n;
	}
}

void expect_end(void)
{
	while (get_some(65536))
		;
}

void await_unread(int n)
{
	int64_t end = now_ms() + PATIENCE_MS;
	int in = 0;
	while (ioctl(stream_fd, FIONREAD, &in) == 0 && in < n && now_ms() < end) {
		struct pollfd p = {.fd = stream_fd, .events = POLLRDHUP};
		if (poll(&p, 1, 0) > 0)
			over(0);
		nap(100);
	}
}

void await_witness(const _Atomic uint64_t *count, uint64_t n)
{
	int64_t end = now_ms() + PATIENCE_MS;
	while (*count < n && now_ms() < end) {
		struct pollfd p = {.fd = stream_fd, .events = POLLRDHUP};
		if (poll(&p, 1, 0) > 0)
			over(0);
		nap(100);
	}
}

void ping(size_t len)
{
	if (role == CLIENT)
		put(len);
	get(len);
	if (role == SERVER)
		put(len);
}

static uint64_t kernel_carried(void)
{
	struct tcp_info ti = {0};
	socklen_t len = sizeof(ti);
	getsockopt(stream_fd, IPPROTO_TCP, TCP_INFO, &ti, &len);
	return ti.tcpi_bytes_sent + ti.tcpi_bytes_received;
}

/* A connection that stays in the kernel stays there. */
static int warm_ms(void)
{
	const char *v = getenv("MORTAL_WARM_MS");
	return v ? atoi(v) : 5000;
}

/* How many there are is the client's word, said in front of the last one. */
static bool warm_client(void)
{
	int64_t end = now_ms() + warm_ms();
	unsigned still = 0;
	w->last_ping = 0;
	for (uint64_t n = 1;; n++) {
		uint64_t before = kernel_carried();
		bool last = still == STILL || now_ms() > end;
		if (last)
			w->last_ping = n;
		ping(PING_LEN);
		if (last)
			return still == STILL;
		still = kernel_carried() == before ? still + 1 : 0;
		if (!still && n % 4 == 0)
			nap(200);
	}
}

bool warm(void)
{
	if (role == CLIENT)
		return warm_client();
	for (uint64_t n = 1;; n++) {
		get(PING_LEN);
		bool last = w->last_ping == n; /* told before it was sent */
		put(PING_LEN);
		if (last)
			return true;
	}
}
