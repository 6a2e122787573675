/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * udp_client - round trips of datagrams; or, with -m stream, a stream of them, of which those that have come are counted; what was lost is said on standard error.
 * The first fifth of the time is not counted.
 */
#include <poll.h>

#include "net.h"

static unsigned long len = 64, ms = 500;
static int fd, use_poll;

static void one(char *msg, uint32_t i)
{
	char buf[65536];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	memcpy(msg, &i, sizeof(i));
	if (send(fd, msg, len, 0) != (ssize_t)len)
		die("send");
	if (use_poll && poll(&p, 1, -1) < 0)
		die("poll");
	n = recv(fd, buf, sizeof(buf), 0);
	if (n != (ssize_t)len || memcmp(buf, msg, len)) {
		errno = 0;
		die("the answer is not the request");
	}
}

static void round_trips(char *msg)
{
	uint64_t begin = now_ns(), from = 0, n = 0, now;
	uint32_t i = 0;

	for (;;) {
		for (int k = 0; k < 16; k++)
			one(msg, i++);
		now = now_ns();
		if (!from && now >= begin + ms * 200000)
			from = now;
		else if (from)
			n += 16;
		if (from && now >= from + ms * 1000000)
			break;
	}
	report(n, now - from);
	msg[len - 1] = 'q';
	if (send(fd, msg, len, 0) < 0)
		die("send");
}

/* What has come is asked for at the end: everything lies before the question. */
static void stream(char *msg)
{
	uint64_t begin = now_ns(), n = 0, came, now;
	struct timeval tv = {.tv_sec = 2};
	char buf[64] = "";

	for (uint32_t i = 0; i < 100; i++) /* so that it is known */
		if (send(fd, msg, len, 0) != (ssize_t)len || usleep(100))
			die("send");
	begin = now_ns();
	do {
		for (int k = 0; k < 64; k++, n++)
			if (send(fd, msg, len, 0) != (ssize_t)len)
				die("send");
		now = now_ns();
	} while (now < begin + ms * 1000000);
	usleep(20000); /* what lies in the buffer is read: the question shall not be lost */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) || send(fd, "?", 1, 0) != 1 ||
		recv(fd, buf, sizeof(buf) - 1, 0) <= 0)
		die("no answer");
	came = strtoull(buf, NULL, 10) - 100;
	fprintf(stderr, "%llu sent, %.3f %% lost\n", (unsigned long long)n, 100.0 - 100.0 * (double)came / (double)n);
	report(came, now - begin);
}

int main(int argc, char **argv)
{
	static char msg[65536];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	unsigned long port = 0;
	int o, streams = 0;

	while ((o = getopt(argc, argv, "p:m:s:t:")) != -1)
		switch (o) {
		case 'p':
			port = number("-p", optarg, 1, 65535);
			break;
		case 'm':
			streams = !strcmp(optarg, "stream");
			use_poll = !strcmp(optarg, "poll");
			break;
		case 's':
			len = number("-s", optarg, 8, 65507);
			break;
		case 't':
			ms = number("-t", optarg, 1, 100000);
			break;
		default:
			return 2;
		}
	a.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	if (streams)
		stream(msg);
	else
		round_trips(msg);
	return 0;
}
