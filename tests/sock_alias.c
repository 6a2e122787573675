/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_alias.c - the second names that libc has for its calls: with two underscores, with 64, and libio's. Programs that were built long ago, or with large
 * files, reach the kernel by them.
 */
#include "oracle.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* The headers do not have them. */
extern ssize_t __read(int, void *, size_t);
extern ssize_t __write(int, const void *, size_t);
extern ssize_t __send(int, const void *, size_t, int);
extern int __connect(int, const struct sockaddr *, socklen_t);
extern int __close(int);
extern int __dup2(int, int);
extern int __fcntl(int, int, ...);
extern int __poll(struct pollfd *, nfds_t, int);
extern int __select(int, fd_set *, fd_set *, fd_set *, struct timeval *);
extern FILE *_IO_fdopen(int, const char *);
extern int _IO_fclose(FILE *);

static int readable(int fd)
{
	struct timeval tv = {.tv_sec = 5};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return __select(fd + 1, &set, NULL, NULL, &tv);
}

static void data_server(void)
{
	char buf[64];
	struct iovec iov = {buf, 10};
	int fd = serve_warm();

	no_delay(fd);
	for (unsigned i = 0; i < 50; i++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (__poll(&p, 1, 5000) != 1 || p.revents != POLLIN)
			say("FALSE: __poll");
		if (__read(fd, buf, 10) != 10)
			say("FALSE: __read");
		if (readable(fd) != 1)
			say("FALSE: __select");
		if (preadv64v2(fd, &iov, 1, -1, 0) != 10)
			say("FALSE: preadv64v2");
		memset(buf, 'a', sizeof buf);
		if (__write(fd, buf, 10) != 10 || __send(fd, buf, 10, 0) != 10 || pwritev64v2(fd, &iov, 1, -1, 0) != 10)
			say("FALSE: __write, __send or pwritev64v2");
	}
	TRY(__read(fd, buf, 10));
	TRY(__close(fd));
	TRY(__read(fd, buf, 10));
}

static void data_client(void)
{
	char buf[30];
	int fd = connect_warm();

	no_delay(fd);
	for (unsigned i = 0; i < 50; i++) {
		put(fd, 10, 1, i);
		put(fd, 10, 1, i);
		if (recv(fd, buf, 30, MSG_WAITALL) != 30 || buf[0] != 'a' || buf[29] != 'a')
			say("FALSE: recv");
	}
	TRY(close(fd));
}

/* Numbers: what they change is true for every other name. */
static void numbers_server(void)
{
	char buf[8];
	int fd = serve_warm(), other, third = 90;

	TRY(__fcntl(fd, F_SETFL, O_NONBLOCK));
	TRY(recv(fd, buf, 8, 0));
	TRY(fcntl64(fd, F_SETFL, 0));
	tell("go");
	other = (int)MUST(fcntl64(fd, F_DUPFD_CLOEXEC, 50));
	TRY(__dup2(fd, third));
	TRY(close(fd));
	for (unsigned i = 0; i < 50; i++) {
		get(i % 2 ? other : third, 8, 1, i);
		put(i % 2 ? third : other, 8, 2, i);
	}
	int devnull = (int)MUST(open("/dev/null", O_RDWR | O_CLOEXEC));
	TRY(__dup2(devnull, third)); /* a number of the socket leads elsewhere now */
	TRY(write(third, "x", 1));
	TRY(read(third, buf, 1));
	get(other, 8, 1, 50);
	TRY(__close(other)); /* the last one */
	TRY(read(other, buf, 1));
	close(third);
	close(devnull);
}

static void numbers_client(void)
{
	int fd = connect_warm();

	await("go");
	for (unsigned i = 0; i < 50; i++) {
		put(fd, 8, 1, i);
		get(fd, 8, 2, i);
	}
	put(fd, 8, 1, 50);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void sendfile64_server(void)
{
	off64_t at = 1000;
	FILE *f = tmpfile();
	char buf[5000];
	int fd = serve_warm();

	MUST(f ? 0 : -1);
	fill(buf, sizeof buf, 2, 0);
	MUST(fwrite(buf, 1, sizeof buf, f) == sizeof buf ? 0 : -1);
	MUST(fflush(f));
	TRY(sendfile64(fd, fileno(f), &at, 3000));
	TRY(at);
	TRY(sendfile64(fd, fileno(f), &at, 3000));
	TRY(at);
	TRY(sendfile64(fd, fileno(f), &at, 3000));
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, buf, 1));
	TRY(close(fd));
	fclose(f);
}

static void sendfile64_client(void)
{
	int fd = connect_warm();

	get(fd, 4000, 2, 1000);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* A connection by __connect, which libio then reads and closes; the number is a file's afterwards. */
static void stdio_server(void)
{
	int fd = serve_one();

	warm_up(fd);
	put(fd, 100, 2, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void stdio_client(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	char buf[100], good[100];

	to.sin_port = htons((uint16_t)await_number());
	TRY(__connect(fd, (struct sockaddr *)&to, sizeof to));
	warm_up(fd);
	FILE *f = _IO_fdopen(fd, "r");
	MUST(f ? 0 : -1);
	TRY((long)fread(buf, 1, sizeof buf, f));
	fill(good, sizeof good, 2, 0);
	HOLDS(memcmp(buf, good, sizeof good) == 0);
	TRY(_IO_fclose(f));
	TRY(read(fd, buf, 1));
	HOLDS(open("/dev/zero", O_RDONLY | O_CLOEXEC) == fd);
	TRY(read(fd, buf, sizeof buf));
	HOLDS(buf[0] == 0 && buf[99] == 0);
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"data", data_server, data_client, 0, NULL},
	{"numbers", numbers_server, numbers_client, 0, NULL},
	{"sendfile64", sendfile64_server, sendfile64_client, 0, NULL},
	{"stdio", stdio_server, stdio_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
