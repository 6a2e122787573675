/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_fd.c - descriptor numbers: duplicates, numbers used again, ranges closed, sockets on 0, 1 and 2. */
#include "oracle.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The client answers each message of up to 100 bytes with as many. */
static void echo_client(void)
{
	int fd = connect_warm();
	char buf[100];
	ssize_t n;

	while ((n = MUST(read(fd, buf, sizeof buf))) > 0)
		put(fd, (size_t)n, 2, 0);
	TRY(close(fd));
}

static void ask(int out, int in)
{
	for (unsigned i = 0; i < 20; i++) {
		put(out, 1 + i * 4, 1, 0);
		get(in, 1 + i * 4, 2, 0);
	}
}

static void dup_server(void)
{
	int fd = serve_warm(), a = (int)MUST(dup(fd)), b, c, d, e;

	ask(fd, a);
	ask(a, fd);
	b = (int)TRY(dup2(a, 50));
	ask(b, fd);
	c = (int)TRY(dup3(b, 51, O_CLOEXEC));
	TRY(fcntl(c, F_GETFD));
	ask(c, b);
	d = (int)TRY(fcntl(c, F_DUPFD, 60));
	TRY(fcntl(d, F_GETFD));
	e = (int)TRY(fcntl(d, F_DUPFD_CLOEXEC, 60));
	TRY(fcntl(e, F_GETFD));
	ask(d, e);
	TRY(close(fd));
	TRY(close(a));
	ask(b, c);
	TRY(close(c));
	TRY(close(d));
	ask(b, e);
	TRY(close(b));
	ask(e, e);
	TRY(shutdown(e, SHUT_WR));
	TRY(read(e, (char[1]){0}, 1));
	TRY(close(e));
}

/* dup2 over a live connection closes it; the number is then another socket, or a file. */
static void over_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);

	tell_number(port);
	int a = (int)MUST(accept(lfd, NULL, NULL)), b = (int)MUST(accept(lfd, NULL, NULL));
	warm_up(a);
	warm_up(b);
	TRY(dup2(b, a) == a);
	await("first ended");
	put(a, 30, 2, 0);
	get(b, 30, 1, 0);
	int file = (int)MUST(open("/dev/zero", O_RDONLY | O_CLOEXEC)); /* memory of a closed socket must not serve it */
	TRY(dup3(file, a, 0) == a);
	TRY(read(a, (char[8]){0}, 8));
	TRY(recv(a, (char[8]){0}, 8, 0));
	put(b, 30, 2, 30);
	MUST(close(file));
	TRY(close(a));
	TRY(close(b));
	TRY(close(lfd));
}

static void over_client(void)
{
	int port = (int)await_number(), a = (int)MUST(connect_to("127.0.0.1", port)),
	    b = (int)MUST(connect_to("127.0.0.1", port));

	warm_up(a);
	warm_up(b);
	TRY(read(a, (char[1]){0}, 1));
	tell("first ended");
	get(b, 30, 2, 0);
	put(b, 30, 1, 0);
	get(b, 30, 2, 30);
	TRY(read(b, (char[1]){0}, 1));
	TRY(close(a));
	TRY(close(b));
}

/* ---- the same number for something else, opened and closed in every way there is ---- */

static void reuse_server(void)
{
	char buf[16];
	int fd = serve_warm(), p[2], number = fd;

	ask(fd, fd);
	TRY(close(fd));
	int file = (int)MUST(open("/proc/self/comm", O_RDONLY));
	HOLDS(file == number);
	HOLDS(read(file, buf, sizeof buf) > 0);
	TRY(send(file, buf, 1, 0));
	MUST(close(file));
	MUST(pipe(p));
	HOLDS(p[0] == number || p[1] == number);
	MUST(write(p[1], "pipe", 4));
	TRY(read(p[0], buf, sizeof buf));
	MUST(close(p[0]));
	FILE *f = fopen("/dev/zero", "r");
	HOLDS(fileno(f) == number);
	TRY(fread(buf, 1, 8, f));
	MUST(fclose(f));
	DIR *dir = opendir("/");
	HOLDS(dirfd(dir) == number);
	HOLDS(readdir(dir) != NULL);
	MUST(closedir(dir));
	/* closed behind libc's back, as some programs do */
	int second = (int)MUST(connect_to("127.0.0.1", (int)await_number()));
	HOLDS(second == number);
	is_server = 0; /* for warm_up: this part has called connect */
	warm_up(second);
	MUST(syscall(SYS_close, second));
	await("ended");
	file = (int)MUST(open("/dev/zero", O_RDONLY));
	HOLDS(file == number);
	TRY(read(file, buf, sizeof buf));
	MUST(close(file));
}

static void reuse_client(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), fd = connect_warm();
	char buf[100];
	ssize_t n;

	while ((n = MUST(read(fd, buf, sizeof buf))) > 0)
		put(fd, (size_t)n, 2, 0);
	MUST(close(fd));
	tell_number(port);
	fd = (int)MUST(accept(lfd, NULL, NULL));
	is_server = 1;
	warm_up(fd);
	TRY(read(fd, buf, 1));
	tell("ended");
	MUST(close(fd));
	MUST(close(lfd));
}

/* ---- ranges ---- */

static void ranges_server(void)
{
	int port, fds[4], how = *(const int *)the_case->arg, lfd = listen_on("127.0.0.1", 8, &port);

	tell_number(port);
	for (int i = 0; i < 4; i++) {
		fds[i] = (int)MUST(dup2((int)MUST(accept(lfd, NULL, NULL)), 40 + i));
		close(3 + 1); /* accept's own number: 3 is the listener */
		warm_up(fds[i]);
	}
	if (how == 0)
		TRY(close_range(41, 42, 0));
	else if (how == 1)
		TRY(syscall(SYS_close_range, 41u, 42u, 0u));
	else
		for (int i = 41; i <= 42; i++)
			MUST(close(i));
	await("two ended");
	TRY(fcntl(41, F_GETFD));
	put(40, 10, 2, 0);
	put(43, 10, 2, 0);
	TRY(close_range(40, 43, CLOSE_RANGE_CLOEXEC));
	TRY(fcntl(43, F_GETFD));
	put(43, 10, 2, 10);
	TRY(close_range(43, 42, 0));
	TRY(close_range(3, ORACLE_FIRST_FD - 1, 0));
	await("all ended");
	TRY(fcntl(40, F_GETFD));
	/* what is ours is still there: a new connection works, and gets the lowest number */
	lfd = listen_on("127.0.0.1", 8, &port);
	HOLDS(lfd == 3);
	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	HOLDS(fd == 4);
	warm_up(fd);
	TRY(close(fd));
	closefrom(3000); /* nothing of the program's */
	MUST(close(lfd));
}

static void ranges_client(void)
{
	int fds[4], port = (int)await_number();

	for (int i = 0; i < 4; i++) {
		fds[i] = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fds[i]);
	}
	TRY(read(fds[1], (char[1]){0}, 1));
	TRY(read(fds[2], (char[1]){0}, 1));
	tell("two ended");
	get(fds[0], 10, 2, 0);
	get(fds[3], 20, 2, 0);
	TRY(read(fds[0], (char[1]){0}, 1));
	TRY(read(fds[3], (char[1]){0}, 1));
	tell("all ended");
	int fd = (int)MUST(connect_to("127.0.0.1", (int)await_number()));
	warm_up(fd);
	TRY(read(fd, (char[1]){0}, 1));
	MUST(close(fd));
}

/* closefrom in a child that then does its own business; the parent's connection lives. */
static void closefrom_server(void)
{
	int fd = serve_warm();
	pid_t pid = fork_part();

	if (pid == 0) {
		MUST(dup2(ORACLE_LOG, 2)); /* the transcript is closed as well */
		closefrom(3);
		int null = open("/dev/null", O_RDWR);
		_exit(null == 3 && write(null, "x", 1) == 1 && write(fd + 1, "x", 1) == -1 ? 0 : 1);
	}
	join_child(pid);
	ask(fd, fd);
	TRY(close(fd));
}

/* ---- which numbers a program gets ---- */

static void numbers_server(void)
{
	struct rlimit limit = {64, 64};
	int fds[64], n = 0;
	int fd = serve_warm();

	HOLDS(fd == 4); /* after the listener's 3 */
	ask(fd, fd);
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	while ((fds[n] = dup(fd)) >= 0)
		n++;
	say("%s", strerrorname_np(errno));
	say("first %d, last %d, %d of them", fds[0], fds[n - 1], n);
	ask(fds[n - 1], fds[0]);
	TRY(accept(fd, NULL, NULL));
	TRY(socket(AF_INET, SOCK_STREAM, 0));
	TRY(epoll_create1(0));
	while (n > 0)
		MUST(close(fds[--n]));
	TRY(dup2(fd, 64));
	TRY(dup2(fd, 63));
	ask(63, fd);
	TRY(close(63));
	TRY(close(fd));
}

/* ---- on 0, 1 and 2 ---- */

static void standard_server(void)
{
	char buf[100];
	int number = *(const int *)the_case->arg, fd = serve_warm();

	ask(fd, fd);
	MUST(close(number));
	if (number == 0)
		TRY(dup(fd));
	else
		TRY(dup2(fd, number));
	put(fd, 10, 1, 0);
	TRY(read(number, buf, 10));
	if (number == 0) {
		put(fd, 12, 1, 0);
		TRY(fread(buf, 1, 12, stdin));
	} else {
		TRY(fprintf(number == 1 ? stdout : stderr, "twelve bytes"));
		TRY(fflush(NULL));
		get(fd, 12, 2, 0);
	}
	TRY(write(number, "five!", 5));
	get(fd, 5, 2, 0);
	TRY(close(number));
	ask(fd, fd);
	TRY(close(fd));
}

static const int zero = 0, one = 1, two = 2;

const struct oracle_case oracle_cases[] = {
	{"dup", dup_server, echo_client, 0, NULL},
	{"dup2_over", over_server, over_client, 0, NULL},
	{"reuse", reuse_server, reuse_client, 0, NULL},
	{"close_range", ranges_server, ranges_client, 0, &zero},
	{"close_range_syscall", ranges_server, ranges_client, 0, &one},
	{"close_each", ranges_server, ranges_client, 0, &two},
	{"closefrom", closefrom_server, echo_client, 0, NULL},
	{"numbers", numbers_server, echo_client, 0, NULL},
	{"on_0", standard_server, echo_client, 0, &zero},
	{"on_1", standard_server, echo_client, 0, &one},
	{"on_2", standard_server, echo_client, 0, &two},
	{NULL, NULL, NULL, 0, NULL},
};
