/* SPDX-License-Identifier: BSD-2-Clause */
/* net.h - what the bench programs share: plain sockets, options, the clock. They know nothing of shunt. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

UNUSED __attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, err ? ": %s\n" : "\n", strerror(err));
	exit(1);
}

UNUSED static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

UNUSED static unsigned long number(const char *what, const char *s, unsigned long min, unsigned long max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || end == s || *end || v < min || v > max) {
		errno = 0;
		die("%s: %s is not a number from %lu to %lu", what, s, min, max);
	}
	return v;
}

/* What the clients have in common: -p PORT and -t MILLISECONDS. 0: `o` is neither. */
UNUSED static int client_option(int o, unsigned long *port, unsigned long *ms)
{
	if (o == 'p')
		*port = number("-p", optarg, 1, 65535);
	else if (o == 't')
		*ms = number("-t", optarg, 1, 600000);
	else
		return 0;
	return 1;
}

/* A listening socket on 127.0.0.1; port 0 takes a free one. Prints "port N", so that whoever started us can wait for it. */
UNUSED static int listen_on(unsigned long port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)))
		die("socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 512) || getsockname(fd, (struct sockaddr *)&a, &len))
		die("cannot listen on 127.0.0.1:%lu", port);
	printf("port %u\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

/* The same for a datagram socket. */
UNUSED static int bind_datagrams(unsigned long port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || getsockname(fd, (struct sockaddr *)&a, &len))
		die("cannot bind 127.0.0.1:%lu", port);
	printf("port %u\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

UNUSED static void nodelay(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY");
}

/* A connection to 127.0.0.1, from the loopback address number `alias` (0: whatever the kernel takes): each has ports of its own. */
UNUSED static int connect_from(unsigned long alias, unsigned long port)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)alias)};
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0)
		die("socket");
	if (alias && (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) ||
			     bind(fd, (struct sockaddr *)&own, sizeof(own))))
		die("bind");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("cannot connect to 127.0.0.1:%lu", port);
	nodelay(fd);
	return fd;
}

UNUSED static int connect_to(unsigned long port)
{
	return connect_from(0, port);
}

/* As many descriptors as we may have: the usual soft limit is 1024. */
UNUSED static void raise_fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		die("getrlimit");
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		die("setrlimit");
}

/* 1: all of it; 0: end of file before the first byte. */
UNUSED static int recv_all(int fd, char *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("recv");
		if (n == 0 && got == 0)
			return 0;
		if (n == 0) {
			errno = 0;
			die("end of file inside a message");
		}
		got += (size_t)n;
	}
	return 1;
}

UNUSED static void send_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("send");
		buf += n;
		len -= (size_t)n;
	}
}

/* The one line that the driver reads. */
UNUSED static void report(uint64_t count, uint64_t ns)
{
	printf("rate %.1f count %llu seconds %.6f\n", (double)count * 1e9 / (double)ns, (unsigned long long)count,
		(double)ns / 1e9);
}

#endif
