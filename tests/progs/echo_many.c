/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * echo_many.c - a plain server that echoes on many connections, and a plain client that plays ping-pong on several, in one of three manners: poll, epoll, threads
 * (one a connection, blocking). It knows nothing of shunt; what is done to one of its connections must not be felt on another.
 *
 *   echo_many serve MANNER                prints its port; ends by SIGTERM
 *   echo_many ping MANNER HONEST [-PORT]  plays with HONEST, and with PORT (which may be hung up on, and is connected to again); at SIGTERM prints the rounds with
 *                                         HONEST and the longest of them in ms; status 1 if HONEST ended or answered wrongly
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define N_CONN 64
#define LEN 16384

struct conn {
	int fd, port; /* fd < 0: free. port: where a player is connected to; 0: a served connection */
	int honest, events;
	size_t want;	  /* player: octets of this round that have not come back */
	size_t held, off; /* octets to be sent */
	int64_t begin;
	uint8_t first; /* player: the round's octets count up from this */
	uint8_t buf[LEN];
};

static struct conn conns[N_CONN];
static volatile sig_atomic_t stop;
static int ep = -1, listener = -1;
static _Atomic long rounds, longest;

static int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "echo_many: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static struct sockaddr_in address(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void fill(struct conn *c)
{
	static _Atomic uint32_t seed = 1;
	uint32_t r = seed++ * 2654435761u;
	c->want = c->held = r % 8 ? 1 + (r >> 8) % 600 : 1 + (r >> 8) % LEN;
	c->off = 0;
	c->first = (uint8_t)r;
	for (size_t i = 0; i < c->held; i++)
		c->buf[i] = (uint8_t)(c->first + i);
	c->begin = now_ns();
}

static void round_done(struct conn *c)
{
	long ms = (long)((now_ns() - c->begin) / 1000000);
	if (c->honest) {
		rounds++;
		if (ms > longest)
			longest = ms;
	}
	fill(c);
}

/* Octets of the current round came back. 0, or -1: not those. A stranger may answer as he likes. */
static int answered(struct conn *c, const uint8_t *b, size_t n, size_t len)
{
	if (n > c->want)
		n = c->honest ? 0 : c->want;
	for (size_t i = 0; c->honest && i < n; i++)
		if (b[i] != (uint8_t)(c->first + len - c->want + i))
			n = 0;
	c->want -= n;
	return n ? 0 : -1;
}

static void ready_for(struct conn *c, int op, int events)
{
	struct epoll_event ev = {.events = (uint32_t)events, .data.ptr = c};
	c->events = events;
	if (ep >= 0 && epoll_ctl(ep, op, c->fd, &ev) < 0)
		fail("epoll_ctl");
}

static void begin(struct conn *c)
{
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	c->held = c->off = 0;
	if (c->port)
		fill(c);
	ready_for(c, EPOLL_CTL_ADD, c->port ? POLLIN | POLLOUT : POLLIN);
}

static void join(struct conn *c)
{
	struct sockaddr_in sa = address(c->port);
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (c->honest)
			fail("connect");
		close(c->fd);
		c->fd = -1;
	}
}

static void end(struct conn *c)
{
	if (c->honest)
		fail("the honest connection ended");
	close(c->fd);
	c->fd = -1;
	if (!c->port)
		return;
	join(c);
	if (c->fd >= 0)
		begin(c);
}

static void greet(void)
{
	int fd = accept(listener, NULL, NULL);
	for (int i = 0; fd >= 0 && i < N_CONN; i++) {
		if (conns[i].fd >= 0)
			continue;
		conns[i].fd = fd;
		begin(&conns[i]);
		return;
	}
	close(fd);
}

static int flush(struct conn *c)
{
	while (c->off < c->held) {
		ssize_t n = send(c->fd, c->buf + c->off, c->held - c->off, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -1;
		c->off += (size_t)n;
	}
	int events = c->off < c->held ? POLLOUT | (c->port ? POLLIN : 0) : POLLIN;
	if (events != c->events)
		ready_for(c, EPOLL_CTL_MOD, events);
	return 0;
}

static int hear(struct conn *c)
{
	uint8_t b[LEN];
	ssize_t n = recv(c->fd, c->port ? b : c->buf, LEN, 0);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return -1;
	if (!c->port) {
		c->held = (size_t)n;
		c->off = 0;
	} else if (answered(c, b, (size_t)n, c->held) < 0) {
		return -1;
	} else if (!c->want) {
		round_done(c);
	}
	return flush(c);
}

static void serve_one(struct conn *c, int events)
{
	int r = 0;
	if (c->fd < 0)
		return;
	if (events & POLLOUT)
		r = flush(c);
	if (r == 0 && events & ~POLLOUT)
		r = hear(c);
	if (r < 0)
		end(c);
}

static void turn_poll(void)
{
	struct pollfd p[N_CONN + 1];
	struct conn *of[N_CONN + 1];
	nfds_t n = 0;
	for (int i = 0; i < N_CONN; i++) {
		if (conns[i].fd < 0)
			continue;
		of[n] = &conns[i];
		p[n++] = (struct pollfd){.fd = conns[i].fd, .events = (short)conns[i].events};
	}
	of[n] = NULL;
	p[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
	if (poll(p, n, 100) <= 0)
		return;
	for (nfds_t i = 0; i < n; i++) {
		if (p[i].revents && of[i])
			serve_one(of[i], p[i].revents);
		else if (p[i].revents)
			greet();
	}
}

static void turn_epoll(void)
{
	struct epoll_event ev[16];
	int n = epoll_wait(ep, ev, 16, 100);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr)
			serve_one(ev[i].data.ptr, (int)ev[i].events);
		else
			greet();
	}
}

static int all_of(int fd, uint8_t *b, size_t len)
{
	while (len) {
		ssize_t n = send(fd, b, len, MSG_NOSIGNAL);
		if (n <= 0)
			return -1;
		b += n, len -= (size_t)n;
	}
	return 0;
}

static void *thread(void *arg)
{
	struct conn *c = arg;
	uint8_t b[LEN];
	for (;;) {
		ssize_t n = 1;
		if (c->port) {
			fill(c);
			n = all_of(c->fd, c->buf, c->held) ? -1 : 1;
		}
		while (n > 0 && (n = recv(c->fd, b, LEN, 0)) > 0) {
			if (!c->port ? all_of(c->fd, b, (size_t)n) : answered(c, b, (size_t)n, c->held))
				n = -1;
			if (c->port && !c->want)
				break;
		}
		if (n > 0) {
			round_done(c);
			continue;
		}
		if (c->honest && !stop)
			fail("the honest connection ended");
		close(c->fd);
		if (!c->port)
			break;
		join(c);
		if (c->fd < 0)
			return NULL;
	}
	c->fd = -1;
	return NULL;
}

static void start_thread(struct conn *c)
{
	pthread_t t;
	if (pthread_create(&t, NULL, thread, c))
		fail("pthread_create");
	pthread_detach(t);
}

static void run_threads(void)
{
	for (int i = 0; i < N_CONN; i++)
		if (conns[i].fd >= 0)
			start_thread(&conns[i]);
	while (!stop) {
		int fd = listener >= 0 ? accept(listener, NULL, NULL) : (pause(), -1);
		for (int i = 0; fd >= 0 && i < N_CONN; i++) {
			if (conns[i].fd >= 0)
				continue;
			conns[i].fd = fd;
			start_thread(&conns[i]);
			fd = -1;
		}
		close(fd);
	}
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static void open_listener(void)
{
	struct sockaddr_in sa = address(0);
	socklen_t len = sizeof(sa);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&sa, len) < 0 || listen(listener, 64) < 0 ||
		getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		fail("listen");
	printf("%d\n", ntohs(sa.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	int threads = !strcmp(argv[2], "threads"), serve = !strcmp(argv[1], "serve");
	for (int i = 0; i < N_CONN; i++)
		conns[i].fd = -1;
	if (!strcmp(argv[2], "epoll"))
		ep = epoll_create1(0);
	if (serve)
		open_listener();
	else
		sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
	for (int i = 3; i < argc; i++) {
		struct conn *c = &conns[i - 3];
		c->port = abs(atoi(argv[i]));
		c->honest = *argv[i] != '-';
		join(c);
		if (c->fd >= 0 && !threads)
			begin(c);
	}
	if (ep >= 0 && serve && epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN}) < 0)
		fail("epoll_ctl");
	if (threads)
		run_threads();
	while (!stop)
		ep >= 0 ? turn_epoll() : turn_poll();
	for (int i = 0; i < N_CONN; i++) /* a round that has not ended is as long as it has lasted */
		if (conns[i].fd >= 0 && conns[i].honest && (now_ns() - conns[i].begin) / 1000000 > longest)
			longest = (long)((now_ns() - conns[i].begin) / 1000000);
	printf("%ld %ld\n", rounds, longest);
	fflush(stdout);
	_exit(0);
}
