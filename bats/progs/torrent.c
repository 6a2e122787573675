/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torrent.c - two programs that send each other as much as they can, and compare every octet. They know nothing of shunt; whatever is done to the connection meanwhile must not be
 * felt.
 *
 *   torrent serve MODE MIB           prints its port, serves one peer
 *   torrent connect MODE MIB PORT
 *
 * MODE: blocking (a thread for each direction), level, edge (epoll, one thread), turns (three threads a direction take turns on the socket): MIB MiB each way at once, in pieces of all
 * sizes. rr, rrpoll: request and response of all sizes, MIB seconds long. udp: the same with datagrams; udpstream: datagrams both ways at once, never more under way than a receive
 * buffer takes, MIB seconds long: none may be lost, or overtake another.
 *
 * Prints "ok" and what was received, in MiB or messages; anything else is a failure, status 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE 200000
#define N_TURNS 3
#define DGRAM_MAX 1400
#define WINDOW 24 /* datagrams under way */

static int fd, is_server;
static struct sockaddr_in peer; /* of datagrams: the server's socket is not connected */
static const char *mode;
static uint64_t amount; /* octets, or seconds */

static _Noreturn void fail(const char *what)
{
	printf("FAILED %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Octets of the stream from position pos on. Each side sends another one. */
static void make(uint8_t *buf, size_t len, uint64_t pos, int stream)
{
	for (size_t i = 0; i < len; i++, pos++) {
		uint64_t word = (pos >> 3) * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)stream;

		if (!(pos & 7) && len - i >= 8) {
			memcpy(buf + i, &word, 8);
			i += 7;
			pos += 7;
		} else {
			buf[i] = (uint8_t)(word >> 8 * (pos & 7));
		}
	}
}

static void check(const uint8_t *buf, size_t len, uint64_t pos, const char *what)
{
	uint8_t want[4096];

	for (size_t at = 0; at < len;) {
		size_t n = len - at < sizeof(want) ? len - at : sizeof(want);

		make(want, n, pos + at, !is_server);
		if (memcmp(want, buf + at, n) != 0) {
			for (size_t i = 0; i < n; i++)
				if (want[i] != buf[at + i]) {
					printf("WRONG octet %llu: %02x, not %02x\n", (unsigned long long)(pos + at + i),
						buf[at + i], want[i]);
					fflush(stdout);
					break;
				}
			errno = 0;
			fail(what);
		}
		at += n;
	}
}

/* Lengths of all orders of magnitude. */
static size_t some(unsigned *seed, size_t max)
{
	size_t n = (size_t)rand_r(seed) % ((size_t)2 << rand_r(seed) % 18) + 1;

	return n < max ? n : max;
}

/* ---- streams */

struct way {
	uint64_t pos;
	unsigned seed;
	int over;
	uint8_t buf[PIECE];
};
static struct way out = {.seed = 1}, in = {.seed = 2};
static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER, in_lock = PTHREAD_MUTEX_INITIALIZER;

/* One send. 0: all is sent. -1: not now. */
static int send_some(int flags)
{
	uint64_t left = amount - out.pos;
	size_t n = some(&out.seed, left < PIECE ? (size_t)left : PIECE);
	ssize_t r;

	if (!left)
		return 0;
	make(out.buf, n, out.pos, is_server);
	r = send(fd, out.buf, n, flags);
	if (r < 0 && errno == EAGAIN)
		return -1;
	if (r <= 0)
		fail("send");
	out.pos += (uint64_t)r;
	return 1;
}

static int receive_some(int flags)
{
	ssize_t r = recv(fd, in.buf, some(&in.seed, PIECE), flags);

	if (r < 0 && errno == EAGAIN)
		return -1;
	if (r < 0)
		fail("recv");
	check(in.buf, (size_t)r, in.pos, "recv");
	in.pos += (uint64_t)r;
	if (!r && in.pos != amount)
		fail("an early end of file");
	return r > 0;
}

static void end_sending(void)
{
	if (!out.over && shutdown(fd, SHUT_WR))
		fail("shutdown");
	out.over = 1;
}

static void *sender(void *arg)
{
	int more = 1;

	while (more) {
		pthread_mutex_lock(&out_lock);
		more = send_some(0);
		if (!more)
			end_sending();
		pthread_mutex_unlock(&out_lock);
	}
	return arg;
}

static void *receiver(void *arg)
{
	while (!in.over) {
		pthread_mutex_lock(&in_lock);
		if (!in.over && !receive_some(0))
			in.over = 1;
		pthread_mutex_unlock(&in_lock);
	}
	return arg;
}

static void by_threads(int n)
{
	pthread_t t[2 * N_TURNS];

	for (int i = 0; i < n; i++) {
		pthread_create(&t[2 * i], NULL, sender, NULL);
		pthread_create(&t[2 * i + 1], NULL, receiver, NULL);
	}
	for (int i = 0; i < 2 * n; i++)
		pthread_join(t[i], NULL);
}

static void by_epoll(uint32_t edge)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | edge};
	int ep = epoll_create1(0), r;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	while (!in.over || !out.over) {
		if (epoll_wait(ep, &ev, 1, 20000) != 1)
			fail("no event");
		if (!in.over && ev.events & EPOLLIN) {
			do
				r = receive_some(0);
			while (edge && r > 0);
			in.over = !r;
		}
		if (!out.over && ev.events & EPOLLOUT) {
			do
				r = send_some(0);
			while (edge && r > 0);
			if (!r) {
				end_sending();
				ev.events = EPOLLIN | edge;
				epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
			}
		}
	}
}

/* ---- request and response */

static void all(int sending, uint8_t *buf, size_t len, int by_poll)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (size_t at = 0; at < len;) {
		if (!sending && by_poll && poll(&p, 1, 20000) != 1)
			fail("poll");
		ssize_t r = sending ? send(fd, buf + at, len - at, 0) : recv(fd, buf + at, len - at, 0);

		if (r <= 0)
			fail(sending ? "send" : "recv");
		at += (size_t)r;
	}
}

/* The first four octets of a request say how long it is, and its answer; 0: the last. */
static uint64_t request_response(int by_poll)
{
	int64_t end = now_ms() + (int64_t)amount * 1000;
	uint64_t n = 0;

	for (uint32_t len = 1; len; n++) {
		if (!is_server) {
			len = now_ms() < end ? (uint32_t)some(&out.seed, 60000) : 0;
			memcpy(out.buf, &len, 4);
			make(out.buf + 4, len, out.pos, 0);
			all(1, out.buf, 4 + len, by_poll);
		}
		all(0, in.buf, 4, by_poll);
		memcpy(&len, in.buf, 4);
		if (len > 60000)
			fail("length");
		all(0, in.buf + 4, len, by_poll);
		check(in.buf + 4, len, in.pos, is_server ? "request" : "response");
		in.pos += len;
		if (is_server) {
			memcpy(out.buf, &len, 4);
			make(out.buf + 4, len, out.pos, 1);
			all(1, out.buf, 4 + len, by_poll);
		}
		out.pos += len;
	}
	return n;
}

/* ---- datagrams: number, length, octets */

static void send_dgram(uint64_t number, unsigned *seed)
{
	uint8_t buf[DGRAM_MAX];
	size_t len = 8 + some(seed, DGRAM_MAX - 8);

	memcpy(buf, &number, 8);
	make(buf + 8, len - 8, number * 8, is_server);
	if (sendto(fd, buf, len, 0, is_server ? (struct sockaddr *)&peer : NULL, is_server ? sizeof(peer) : 0) != (ssize_t)len)
		fail("send");
}

/* Its number; UINT64_MAX: none within ms. */
static uint64_t receive_dgram(int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t buf[DGRAM_MAX];
	uint64_t number;
	ssize_t r;

	if (poll(&p, 1, ms) != 1)
		return UINT64_MAX;
	r = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (r < 8)
		return UINT64_MAX;
	memcpy(&number, buf, 8);
	check(buf + 8, (size_t)r - 8, number * 8, "datagram");
	return number;
}

static uint64_t dgrams(int stream)
{
	int64_t end = now_ms() + (int64_t)amount * 1000, last = now_ms();
	uint64_t sent = 0, got = 0, window = stream ? WINDOW : 1;

	/* A side sends no more than it has received, and the window: so both stay as far. Who is first over goes on answering until the other is, too. */
	for (;;) {
		int over = now_ms() >= end;

		while (sent < got + (is_server && !stream ? 0 : window) && (!over || is_server))
			send_dgram(sent++, &out.seed);
		if (over && !is_server && got >= sent)
			break;
		uint64_t n = receive_dgram(200);

		if (n == UINT64_MAX) {
			if (is_server && now_ms() >= end + 1000)
				break;
			if (now_ms() > last + 5000) {
				printf("LOST: sent %llu, got %llu\n", (unsigned long long)sent, (unsigned long long)got);
				fail("datagrams");
			}
			continue;
		}
		last = now_ms();
		if (n != got) {
			printf("datagram %llu came as the %llu-th\n", (unsigned long long)n, (unsigned long long)got);
			fail("order");
		}
		got++;
	}
	return got;
}

/* ---- */

static void meet(int type, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, type, 0);
	char c = 0;

	if (is_server) {
		if (bind(l, (struct sockaddr *)&a, len) || (type == SOCK_STREAM && listen(l, 1)))
			fail("bind");
		getsockname(l, (struct sockaddr *)&a, &len);
		printf("%d\n", ntohs(a.sin_port));
		fflush(stdout);
		fd = type == SOCK_STREAM ? accept(l, NULL, NULL) : l;
		if (type == SOCK_DGRAM && (recvfrom(l, &c, 1, 0, (struct sockaddr *)&peer, &len) != 1 ||
						  sendto(l, &c, 1, 0, (struct sockaddr *)&peer, len) != 1))
			fail("recvfrom");
	} else {
		fd = l;
		if (type == SOCK_DGRAM && bind(fd, (struct sockaddr *)&a, len))
			fail("bind");
		a.sin_port = htons((uint16_t)atoi(port));
		if (connect(fd, (struct sockaddr *)&a, len))
			fail("connect");
		if (type == SOCK_DGRAM && (send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1))
			fail("recv");
	}
}

int main(int argc, char **argv)
{
	uint64_t n = 0;
	int udp;

	if (argc < 4)
		return 2;
	is_server = !strcmp(argv[1], "serve");
	mode = argv[2];
	udp = !strncmp(mode, "udp", 3);
	amount = strtoull(argv[3], NULL, 10);
	meet(udp ? SOCK_DGRAM : SOCK_STREAM, argc > 4 ? argv[4] : "0");
	if (udp) {
		n = dgrams(!strcmp(mode, "udpstream"));
	} else if (!strncmp(mode, "rr", 2)) {
		n = request_response(!strcmp(mode, "rrpoll"));
	} else {
		amount <<= 20;
		if (!strcmp(mode, "level") || !strcmp(mode, "edge"))
			by_epoll(mode[0] == 'e' ? EPOLLET : 0);
		else
			by_threads(!strcmp(mode, "turns") ? N_TURNS : 1);
		n = in.pos >> 20;
	}
	printf("ok %llu\n", (unsigned long long)n);
	return 0;
}
