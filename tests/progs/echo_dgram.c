/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * echo_dgram.c - a plain server that echoes datagrams, and a plain client that plays ping-pong with several of them, in one of three manners: poll, epoll, threads (blocking; the server's share its
 * socket, a client's have one each). In the latter two it makes a child now and then, which has the sockets for a moment. It knows nothing of shunt; what one of its peers does must not be felt by another.
 *
 *   echo_dgram serve MANNER                  prints its port; ends by SIGTERM
 *   echo_dgram ping MANNER HONEST... [-PORT]  plays with HONEST, and with PORT, which may answer what it likes; at SIGTERM prints the rounds with HONEST (the one that
 *                                            has had fewest) and the longest of them in ms; status 1 if one of those answered wrongly
 *
 * What is lost is sent again: they are datagrams.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_PEER 8
#define N_THREAD 2 /* of a server */
#define N_FLIGHT 4 /* datagrams of a round, at most */
#define LEN 9000   /* of one */
#define FORK_EVERY_MS 300
#define AGAIN_MS 20 /* what has not been answered by then is sent again */

struct peer {
	int fd, port, honest;
	uint32_t round, n; /* which one, and how many datagrams it has */
	uint32_t missing;  /* bits: those that were not answered */
	int64_t begin, sent;
	long rounds, longest;
};

static struct peer peers[N_PEER];
static int n_peer;
static volatile sig_atomic_t stop;

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "echo_dgram: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static struct sockaddr_in address(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int udp_socket(int own_port, int patience_ms)
{
	struct sockaddr_in sa = address(own_port);
	struct timeval tv = {0, patience_ms * 1000};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
		(patience_ms && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0))
		fail("socket");
	return fd;
}

/* Some with ancillary data, which only the kernel understands: what was sent before stays before. */
static void send_to(int fd, const struct sockaddr_in *to, const uint8_t *b, size_t len, int special)
{
	struct iovec iov = {(void *)(uintptr_t)b, len};
	union {
		struct cmsghdr head;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL}};
	struct msghdr m = {.msg_name = (void *)(uintptr_t)to, .msg_namelen = sizeof(*to), .msg_iov = &iov, .msg_iovlen = 1};
	int ttl = 64;
	if (special) {
		memcpy(CMSG_DATA(&control.head), &ttl, sizeof(ttl));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	sendmsg(fd, &m, MSG_DONTWAIT);
}

/* A process that has the socket too is made from time to time, and ends at once. */
static void fork_now_and_then(const char *manner)
{
	static int64_t last;
	int64_t now = now_ms();
	if (!strcmp(manner, "poll") || now - last < FORK_EVERY_MS)
		return;
	last = now;
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* It asks how much there is, too. */
static ssize_t receive(int fd, void *b, size_t len, int flags, struct sockaddr_in *from)
{
	static _Atomic uint32_t count;
	socklen_t from_len = sizeof(*from);
	int n;
	if (count++ % 16 == 0 && ioctl(fd, FIONREAD, &n) < 0)
		fail("FIONREAD");
	return recvfrom(fd, b, len, flags, (struct sockaddr *)from, &from_len);
}

/* ---- the server */

/* 0: nothing was there. */
static int echo_one(int fd, int flags)
{
	static _Atomic uint32_t count;
	uint8_t b[65536];
	struct sockaddr_in from;
	ssize_t n = receive(fd, b, sizeof(b), flags, &from);
	if (n >= 0)
		send_to(fd, &from, b, (size_t)n, count++ % 64 == 0);
	return n >= 0;
}

static void *serve_thread(void *arg)
{
	for (;;)
		echo_one(*(int *)arg, 0);
	return NULL;
}

static _Noreturn void serve(const char *manner)
{
	int fd = udp_socket(0, 0), ep = -1;
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct epoll_event ev = {.events = EPOLLIN};
	pthread_t t;
	getsockname(fd, (struct sockaddr *)&sa, &len);
	printf("%d\n", ntohs(sa.sin_port));
	fflush(stdout);
	for (int i = 0; !strcmp(manner, "threads") && i < N_THREAD; i++)
		if (pthread_create(&t, NULL, serve_thread, &fd))
			fail("pthread_create");
	while (!strcmp(manner, "threads")) {
		fork_now_and_then(manner);
		poll(NULL, 0, FORK_EVERY_MS);
	}
	if (!strcmp(manner, "epoll") && ((ep = epoll_create1(0)) < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0))
		fail("epoll");
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if ((ep >= 0 ? epoll_wait(ep, &ev, 1, -1) : poll(&p, 1, -1)) == 1)
			for (int i = 0; i < 16 && echo_one(fd, MSG_DONTWAIT); i++)
				;
		fork_now_and_then(manner);
	}
}

/* ---- the client */

/* What datagram i of a round holds follows from its head: the round, and i. */
struct head {
	uint32_t round, i;
};

static size_t content(struct head h, uint8_t *b)
{
	uint32_t r = (h.round * N_FLIGHT + h.i + 1) * 2654435761u;
	size_t len = sizeof(h) + (r % 8 ? (r >> 8) % 600 : (r >> 8) % (LEN - sizeof(h)));
	memset(b, (int)(r >> 24), len);
	memcpy(b, &h, sizeof(h));
	return len;
}

static void send_missing(struct peer *p)
{
	uint8_t b[LEN];
	struct sockaddr_in to = address(p->port);
	for (uint32_t i = 0; i < p->n; i++)
		if (p->missing & 1u << i)
			send_to(p->fd, &to, b, content((struct head){p->round, i}, b), p->round % 64 == 0);
	p->sent = now_ms();
}

static void new_round(struct peer *p)
{
	p->round++;
	p->n = 1 + p->round * 7 % N_FLIGHT;
	p->missing = (1u << p->n) - 1;
	p->begin = now_ms();
	send_missing(p);
}

static void answered(struct peer *p, const uint8_t *b, size_t n)
{
	uint8_t sent[LEN];
	struct head h = {p->round, (uint32_t)__builtin_ctz(p->missing)}; /* a stranger's word is as good as any */
	if (p->honest) {
		if (n < sizeof(h) || n > LEN || (memcpy(&h, b, sizeof(h)), content(h, sent)) != n || memcmp(b, sent, n))
			fail("the honest one answered wrongly");
		if (h.round != p->round || h.i >= p->n) /* sent twice, and late */
			return;
	}
	p->missing &= ~(1u << h.i);
	if (p->missing)
		return;
	long ms = (long)(now_ms() - p->begin);
	p->rounds++;
	if (ms > p->longest)
		p->longest = ms;
	new_round(p);
}

/* 0: nothing was there. */
static int hear(int fd, int flags)
{
	uint8_t b[65536];
	struct sockaddr_in from;
	ssize_t n = receive(fd, b, sizeof(b), flags, &from);
	for (int i = 0; n >= 0 && i < n_peer; i++)
		if (peers[i].port == ntohs(from.sin_port) && peers[i].fd == fd)
			answered(&peers[i], b, (size_t)n);
	return n >= 0;
}

static void send_late(struct peer *p)
{
	if (now_ms() - p->sent >= AGAIN_MS)
		send_missing(p);
}

static void *play_thread(void *arg)
{
	struct peer *p = arg;
	new_round(p);
	while (!stop) {
		hear(p->fd, 0);
		send_late(p);
	}
	return NULL;
}

static void play_threads(void)
{
	pthread_t t[N_PEER];
	for (int i = 0; i < n_peer; i++)
		if (pthread_create(&t[i], NULL, play_thread, &peers[i]))
			fail("pthread_create");
	while (!stop) {
		fork_now_and_then("threads");
		poll(NULL, 0, FORK_EVERY_MS);
	}
	for (int i = 0; i < n_peer; i++)
		pthread_join(t[i], NULL);
}

static void play(int fd, int ep)
{
	struct epoll_event ev = {.events = EPOLLIN};
	if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		fail("epoll_ctl");
	for (int i = 0; i < n_peer; i++)
		new_round(&peers[i]);
	while (!stop) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if ((ep >= 0 ? epoll_wait(ep, &ev, 1, AGAIN_MS) : poll(&p, 1, AGAIN_MS)) == 1)
			for (int i = 0; i < 16 && hear(fd, MSG_DONTWAIT); i++)
				;
		for (int i = 0; i < n_peer; i++)
			send_late(&peers[i]);
		fork_now_and_then(ep >= 0 ? "epoll" : "poll");
	}
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static void result(void)
{
	long fewest = -1, longest = 0;
	for (int i = 0; i < n_peer; i++) {
		struct peer *p = &peers[i];
		long ms = (long)(now_ms() - p->begin); /* a round that has not ended is as long as it has lasted */
		if (!p->honest)
			continue;
		if (fewest < 0 || p->rounds < fewest)
			fewest = p->rounds;
		longest = p->longest > longest ? p->longest : longest;
		longest = ms > longest ? ms : longest;
	}
	printf("%ld %ld\n", fewest, longest);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "serve"))
		serve(argv[2]);
	int threads = !strcmp(argv[2], "threads"), fd = threads ? -1 : udp_socket(0, 0);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
	for (n_peer = 0; n_peer + 3 < argc && n_peer < N_PEER; n_peer++) {
		struct peer *p = &peers[n_peer];
		p->port = abs(atoi(argv[n_peer + 3]));
		p->honest = *argv[n_peer + 3] != '-';
		p->fd = threads ? udp_socket(0, AGAIN_MS) : fd;
	}
	if (threads)
		play_threads();
	else
		play(fd, !strcmp(argv[2], "epoll") ? epoll_create1(0) : -1);
	result();
	return 0;
}
