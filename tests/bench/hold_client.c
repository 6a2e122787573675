/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold_client - holds connections to rr_server, and does with them what it is told, a line on standard input; answers a line. End of file: leaves.
 *
 *   open N        N more connections, each with one round trip       -> opened N
 *   use K         K round trips on each connection, in turn          -> used N
 *   rate MS       round trips on the first connection alone          -> rate R count N seconds S
 *   every US N    N of those, one every US microseconds              -> ns T T T ...
 *   first N       one, timed; then N more without a pause            -> ns T
 *   idle MS       waits that long, for nothing                       -> idle
 *
 * blocking: recv() waits; epoll: all connections are in one set, and a round trip is send(), epoll_wait(), recv(). The bytes of
 * every answer are compared with the request's.
 */
#include <sys/epoll.h>

#include "net.h"

#define MAX_CONNS 60000
#define PER_ALIAS 20000 /* connections from one address: there are fewer ports than connections that may be asked for */

static unsigned long port, len = 64;
static int fds[MAX_CONNS], ep = -1;
static unsigned long n_conn;
static char *msg, *answer;

static void await_input(int fd)
{
	struct epoll_event ev;
	int n;

	do
		n = epoll_wait(ep, &ev, 1, -1);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die("epoll_wait");
	if (ev.data.fd != fd) {
		errno = 0;
		die("an event on connection %d, and the request was sent on %d", ev.data.fd, fd);
	}
}

static void round_trip(int fd)
{
	size_t have = 0;

	send_all(fd, msg, len);
	if (ep < 0) {
		if (!recv_all(fd, answer, len))
			die("the server hung up");
		have = len;
	}
	while (have < len) {
		ssize_t n;

		await_input(fd);
		n = recv(fd, answer + have, len - have, 0);
		if (n <= 0)
			die("the server hung up");
		have += (size_t)n;
	}
	errno = 0;
	if (memcmp(answer, msg, len))
		die("the answer is not the request");
	msg[0]++; /* a late answer to an earlier request would be seen */
}

static void do_open(unsigned long n)
{
	while (n--) {
		struct epoll_event ev = {.events = EPOLLIN};
		int fd;

		if (n_conn == MAX_CONNS)
			die("more than %d connections", MAX_CONNS);
		fd = connect_from(n_conn / PER_ALIAS, port);
		fds[n_conn++] = ev.data.fd = fd;
		if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
			die("epoll_ctl");
		round_trip(fd);
	}
	printf("opened %lu\n", n_conn);
}

static void do_use(unsigned long rounds)
{
	unsigned long r, i;

	for (r = 0; r < rounds; r++)
		for (i = 0; i < n_conn; i++)
			round_trip(fds[i]);
	printf("used %lu\n", rounds * n_conn);
}

/* The first fifth of the time is not counted. */
static void do_rate(unsigned long ms)
{
	uint64_t from = now_ns(), to = from + ms * 1000000, t = from, n = 0;
	int counting = 0;

	while (t < to) {
		int i;

		for (i = 0; i < 16; i++, n++)
			round_trip(fds[0]);
		t = now_ns();
		if (!counting && t >= from + ms * 200000) {
			counting = 1;
			from = t;
			n = 0;
		}
	}
	report(n, t - from);
}

static uint64_t timed(void)
{
	uint64_t t = now_ns();

	round_trip(fds[0]);
	return now_ns() - t;
}

static void do_every(unsigned long us, unsigned long n)
{
	uint64_t next = now_ns();

	printf("ns");
	while (n--) {
		struct timespec ts;

		next += us * 1000;
		ts = (struct timespec){.tv_sec = (time_t)(next / 1000000000), .tv_nsec = (long)(next % 1000000000)};
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
			;
		printf(" %llu", (unsigned long long)timed());
	}
	putchar('\n');
}

static void do_first(unsigned long burst)
{
	printf("ns %llu\n", (unsigned long long)timed());
	while (burst--)
		round_trip(fds[0]);
}

static void do_idle(unsigned long ms)
{
	struct epoll_event ev;

	if (ep < 0)
		nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
	else if (epoll_wait(ep, &ev, 1, (int)ms))
		die("an event, and nobody had sent anything");
	puts("idle");
}

static void obey(const char *line)
{
	unsigned long a = 0, b = 0;
	char word[16];
	int n = sscanf(line, "%15s %lu %lu", word, &a, &b);

	errno = 0;
	if (n < 2)
		die("what is \"%s\"?", line);
	if (!strcmp(word, "open"))
		do_open(a);
	else if (!strcmp(word, "idle"))
		do_idle(a);
	else if (!n_conn)
		die("no connection is open");
	else if (!strcmp(word, "use"))
		do_use(a);
	else if (!strcmp(word, "rate"))
		do_rate(a);
	else if (!strcmp(word, "every"))
		do_every(a, b);
	else if (!strcmp(word, "first"))
		do_first(a);
	else
		die("what is \"%s\"?", line);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[80];
	int o, bad = 0;
	size_t i;

	while ((o = getopt(argc, argv, "p:m:s:")) != -1)
		switch (o) {
		case 'p':
			port = number("-p", optarg, 1, 65535);
			break;
		case 'm':
			bad |= strcmp(optarg, "epoll") && strcmp(optarg, "blocking");
			if (!strcmp(optarg, "epoll"))
				ep = epoll_create1(0);
			break;
		case 's':
			len = number("-s", optarg, 1, 1 << 20);
			break;
		default:
			bad = 1;
		}
	if (bad || optind != argc || !port) {
		fputs("usage: hold_client -p PORT [-m blocking|epoll] [-s LEN]\n", stderr);
		return 2;
	}
	raise_fd_limit();
	msg = malloc(len);
	answer = malloc(len);
	if (!msg || !answer)
		die("malloc");
	for (i = 0; i < len; i++)
		msg[i] = (char)(i * 7 + 1);
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	return 0;
}
