/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rr_client - sends a request of LEN bytes, waits for the answer of LEN bytes, and again; prints how many round trips a second.
 *
 * blocking: a thread a connection; poll, epoll: one thread, and one request under way on each connection. The first fifth of
 * the time is not counted. The bytes of every answer are compared with the request's.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

#include "net.h"

#define MAX_CONNS 1000
#define MAX_FDS 1100

static unsigned long port, len = 64, n_conn = 1, ms = 500;
static char *msg;

struct conn {
	size_t have; /* how much of the answer has come */
	char *buf;
};
static struct conn conns[MAX_FDS];

struct count {
	uint64_t from, to; /* what is counted */
	uint64_t n;
	unsigned tick;
	int counting;
};

static struct count count_from_now(void)
{
	uint64_t t = now_ns();

	return (struct count){.from = t + ms * 200000, .to = t + ms * 1200000};
}

/* One more round trip; the clock is read at every 16th. 0: time is up. */
static int count_one(struct count *c)
{
	uint64_t t;

	c->n++;
	if (++c->tick % 16)
		return 1;
	t = now_ns();
	if (!c->counting && t >= c->from) {
		c->counting = 1;
		c->from = t;
		c->n = 0;
		c->to = t + ms * 1000000;
	}
	if (!c->counting || t < c->to)
		return 1;
	c->to = t;
	return 0;
}

static void check_answer(const char *buf)
{
	errno = 0;
	if (memcmp(buf, msg, len))
		die("the answer is not the request");
}

static void *one_blocking(void *arg)
{
	struct count *c = arg;
	char *buf = malloc(len);
	int fd = connect_to(port);

	if (!buf)
		die("malloc");
	*c = count_from_now();
	do {
		send_all(fd, msg, len);
		if (!recv_all(fd, buf, len))
			die("the server hung up");
		check_answer(buf);
	} while (count_one(c));
	close(fd);
	free(buf);
	return NULL;
}

static void blocking(struct count *sum)
{
	static struct count c[MAX_CONNS];
	static pthread_t id[MAX_CONNS];
	unsigned long i;

	for (i = 1; i < n_conn; i++)
		if (pthread_create(&id[i], NULL, one_blocking, &c[i]))
			die("pthread_create");
	one_blocking(&c[0]);
	*sum = c[0];
	for (i = 1; i < n_conn; i++) {
		pthread_join(id[i], NULL);
		sum->n += c[i].n;
	}
}

/* Something to read: one recv; when the answer is whole, the next request, until time is up. 0: this connection has ended. */
static int conn_step(int fd, struct count *count)
{
	static int time_is_up;

	struct conn *c = &conns[fd];
	ssize_t n = recv(fd, c->buf + c->have, len - c->have, 0);

	if (n <= 0)
		die("the server hung up");
	c->have += (size_t)n;
	if (c->have < len)
		return 1;
	check_answer(c->buf);
	c->have = 0;
	time_is_up = time_is_up || !count_one(count);
	if (time_is_up)
		close(fd);
	else
		send_all(fd, msg, len);
	return !time_is_up;
}

static int conn_open(void)
{
	int fd = connect_to(port);

	if (fd >= MAX_FDS)
		die("too many descriptors");
	conns[fd].buf = malloc(len);
	if (!conns[fd].buf)
		die("malloc");
	send_all(fd, msg, len);
	return fd;
}

static void with_poll(struct count *sum)
{
	static struct pollfd p[MAX_CONNS];
	unsigned long i;

	for (i = 0; i < n_conn; i++)
		p[i] = (struct pollfd){.fd = conn_open(), .events = POLLIN};
	*sum = count_from_now();
	while (n_conn) {
		if (poll(p, n_conn, -1) < 0)
			die("poll");
		for (i = n_conn; i-- > 0;)
			if (p[i].revents && !conn_step(p[i].fd, sum))
				p[i] = p[--n_conn];
	}
}

static void with_epoll(struct count *sum)
{
	struct epoll_event ev = {.events = EPOLLIN}, got[64];
	int ep = epoll_create1(0), n, i;
	unsigned long k;

	for (k = 0; k < n_conn; k++) {
		ev.data.fd = conn_open();
		if (epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev))
			die("epoll_ctl");
	}
	*sum = count_from_now();
	for (k = n_conn; k;) {
		n = epoll_wait(ep, got, 64, -1);
		if (n < 0)
			die("epoll_wait");
		for (i = 0; i < n; i++)
			k -= !conn_step(got[i].data.fd, sum);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct count *sum);
	} modes[] = {{"blocking", blocking}, {"poll", with_poll}, {"epoll", with_epoll}};
	struct count sum;
	size_t m = 0, i;
	int o;

	while ((o = getopt(argc, argv, "p:m:s:c:t:")) != -1)
		switch (o) {
		case 'm':
			for (m = 0; m < 3 && strcmp(modes[m].name, optarg); m++)
				;
			break;
		case 's':
			len = number("-s", optarg, 1, 1 << 24);
			break;
		case 'c':
			n_conn = number("-c", optarg, 1, MAX_CONNS);
			break;
		default:
			if (!client_option(o, &port, &ms))
				m = 3;
		}
	if (m == 3 || optind != argc || !port) {
		fputs("usage: rr_client -p PORT [-m blocking|poll|epoll] [-s LEN] [-c CONNECTIONS] [-t MILLISECONDS]\n",
			stderr);
		return 2;
	}
	msg = malloc(len);
	if (!msg)
		die("malloc");
	for (i = 0; i < len; i++)
		msg[i] = (char)(i * 7 + 1);
	modes[m].run(&sum);
	report(sum.n, sum.to - sum.from);
	return 0;
}
