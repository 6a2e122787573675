/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pass_bench - what a call costs on a descriptor that is no local connection: nanoseconds, the least of many short rounds.
 *
 * Rounds are short and the least of them counts, because what is looked for (a few ns) is less than what any disturbance adds.
 */
#include <fcntl.h>
#include <poll.h>

#include "net.h"

#define ROUNDS 2000
#define CALLS 200

static int null_fd, pipe_fd[2], udp_fd;
static char buf[64];

static void read_null(void)
{
	if (read(null_fd, buf, sizeof(buf)) != 0)
		die("read");
}

static void write_null(void)
{
	if (write(null_fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
		die("write");
}

static void read_pipe(void)
{
	if (read(pipe_fd[0], buf, 1) != -1)
		die("read");
}

static void recv_udp(void)
{
	if (recv(udp_fd, buf, sizeof(buf), MSG_DONTWAIT) != -1)
		die("recv");
}

static void poll_pipe(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};

	if (poll(&p, 1, 0) != 0)
		die("poll");
}

static double least_ns(void (*call)(void))
{
	uint64_t least = UINT64_MAX, t;
	int r, i;

	for (r = 0; r < ROUNDS; r++) {
		t = now_ns();
		for (i = 0; i < CALLS; i++)
			call();
		t = now_ns() - t;
		if (t < least)
			least = t;
	}
	return (double)least / CALLS;
}

int main(void)
{
	static const struct {
		const char *name;
		void (*call)(void);
	} calls[] = {{"read_null", read_null}, {"write_null", write_null}, {"read_pipe", read_pipe}, {"recv_udp", recv_udp},
		{"poll_pipe", poll_pipe}};
	size_t i;

	null_fd = open("/dev/null", O_RDWR);
	udp_fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (null_fd < 0 || udp_fd < 0 || pipe2(pipe_fd, O_NONBLOCK))
		die("open");
	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		printf("%s %.2f\n", calls[i].name, least_ns(calls[i].call));
	return 0;
}
