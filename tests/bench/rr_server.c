/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rr_server - answers each request of LEN bytes with LEN bytes.
 *
 * serial: one connection after the other in blocking calls; thread: a thread a connection; poll, epoll: one thread for all.
 * Leaves after N connections have ended (0: never).
 */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

#include "net.h"

#define MAX_CONNS 65536

static unsigned long len = 64;
static unsigned long left; /* connections still to end; counted down from -n */
static unsigned long limit;

/* In poll and epoll modes a request may arrive in parts: what has come of it so far. */
struct conn {
	size_t have;
	char *buf;
};
static struct conn conns[MAX_CONNS];

static int ended(void)
{
	return limit && --left == 0;
}

static void serve_blocking(int fd)
{
	char *buf = malloc(len);

	if (!buf)
		die("malloc");
	while (recv_all(fd, buf, len))
		send_all(fd, buf, len);
	free(buf);
	close(fd);
}

static void *serve_thread(void *arg)
{
	serve_blocking((int)(intptr_t)arg);
	return NULL;
}

static int take(int ls)
{
	int fd = accept(ls, NULL, NULL);

	if (fd < 0)
		die("accept");
	nodelay(fd);
	return fd;
}

static void serial(int ls)
{
	do
		serve_blocking(take(ls));
	while (!ended());
}

static void threads(int ls)
{
	unsigned long i;
	static pthread_t id[MAX_CONNS];

	for (i = 0; !limit || i < limit; i++) {
		int fd = take(ls);

		if (pthread_create(&id[i % MAX_CONNS], NULL, serve_thread, (void *)(intptr_t)fd))
			die("pthread_create");
		if (!limit)
			pthread_detach(id[i % MAX_CONNS]);
	}
	for (i = 0; i < limit; i++)
		pthread_join(id[i], NULL);
}

static void conn_new(int fd)
{
	if (fd >= MAX_CONNS)
		die("too many connections");
	if (!conns[fd].buf)
		conns[fd].buf = malloc(len);
	if (!conns[fd].buf)
		die("malloc");
	conns[fd].have = 0;
}

/* Something to read: one recv, and the answer when the request is whole. 0: the connection has ended. */
static int conn_step(int fd)
{
	struct conn *c = &conns[fd];
	ssize_t n = recv(fd, c->buf + c->have, len - c->have, 0);

	if (n < 0)
		die("recv");
	if (n == 0) {
		close(fd);
		return 0;
	}
	c->have += (size_t)n;
	if (c->have == len) {
		c->have = 0;
		send_all(fd, c->buf, len);
	}
	return 1;
}

static void with_poll(int ls)
{
	static struct pollfd p[MAX_CONNS];
	nfds_t n = 1, i;

	p[0] = (struct pollfd){.fd = ls, .events = POLLIN};
	for (;;) {
		if (poll(p, n, -1) < 0)
			die("poll");
		for (i = n; i-- > 1;)
			if (p[i].revents && !conn_step(p[i].fd)) {
				p[i] = p[--n];
				if (ended())
					return;
			}
		if (p[0].revents) {
			p[n] = (struct pollfd){.fd = take(ls), .events = POLLIN};
			conn_new(p[n++].fd);
		}
	}
}

static void with_epoll(int ls)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = ls}, got[64];
	int ep = epoll_create1(0), n, i;

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev))
		die("epoll");
	for (;;) {
		n = epoll_wait(ep, got, 64, -1);
		if (n < 0)
			die("epoll_wait");
		for (i = 0; i < n; i++) {
			if (got[i].data.fd == ls) {
				ev.data.fd = take(ls);
				conn_new(ev.data.fd);
				if (epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev))
					die("epoll_ctl");
			} else if (!conn_step(got[i].data.fd) && ended()) {
				close(ep);
				return;
			}
		}
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(int ls);
	} modes[] = {{"serial", serial}, {"thread", threads}, {"poll", with_poll}, {"epoll", with_epoll}};
	unsigned long port = 0;
	size_t m = 0;
	int o;

	while ((o = getopt(argc, argv, "p:m:s:n:")) != -1)
		switch (o) {
		case 'p':
			port = number("-p", optarg, 0, 65535);
			break;
		case 'm':
			for (m = 0; m < 4 && strcmp(modes[m].name, optarg); m++)
				;
			break;
		case 's':
			len = number("-s", optarg, 1, 1 << 24);
			break;
		case 'n':
			limit = left = number("-n", optarg, 0, MAX_CONNS);
			break;
		default:
			m = 4;
		}
	if (m == 4 || optind != argc) {
		fputs("usage: rr_server [-p PORT] [-m serial|thread|poll|epoll] [-s LEN] [-n CONNECTIONS]\n", stderr);
		return 2;
	}
	raise_fd_limit();
	modes[m].run(listen_on(port));
	return 0;
}
