/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_leave.c - a reader hands its socket to somebody else (stdio, another program, another process) while octets wait in it, and their writer has ended, is dead, or
 * is in the middle of a long send.
 */
#include "oracle.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)
#define HEAD 100

static const int lengths[] = {1, 64, 4096, 65536, 200000};
#define FITS                                                                                                                   \
	65536 /* longer ones wait in part on the writer's side, and so does FIN: what the reader sees is a matter of time */
#define N_LENGTHS (sizeof lengths / sizeof *lengths)

enum end { SHUT, CLOSE, EXIT };
enum leave { READ, STDIO, PROGRAM, PASS };
struct way {
	enum end end;
	enum leave leave;
};

/* ---- ways to leave; each reads to the end of file ---- */

static void by_stdio(int fd)
{
	static char buf[1 << 16];
	FILE *f = fdopen(fd, "r");
	uint64_t sum = 0, total = 0;
	size_t n;

	MUST(f ? 0 : -1);
	while ((n = fread(buf, 1, sizeof buf, f)) > 0) {
		sum = sum_bytes(sum, buf, n);
		total += n;
	}
	say("stdio: %llu bytes, sum %016llx, error %d", (unsigned long long)total, (unsigned long long)sum, ferror(f));
	fclose(f);
}

/* As inetd and CGI servers do. */
static void by_program(int fd)
{
	pid_t pid = fork_part();

	if (pid == 0) {
		MUST(dup2(fd, 0));
		MUST(dup2(ORACLE_LOG, 1));
		close(fd);
		execlp("cksum", "cksum", (char *)NULL);
		_exit(127);
	}
	close(fd);
	join_child(pid);
}

static void read_all(int fd)
{
	uint64_t sum, total = get_to_eof(fd, &sum);

	say("%llu bytes, sum %016llx", (unsigned long long)total, (unsigned long long)sum);
	TRY(close(fd));
}

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void by_passing(int fd)
{
	union control control = {0};
	struct iovec iov = {"f", 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	MUST(sendmsg(sv[0], &msg, 0));
	close(fd);
	pid_t pid = fork_part();
	if (pid == 0) {
		char byte;
		iov.iov_base = &byte;
		MUST(recvmsg(sv[1], &msg, MSG_CMSG_CLOEXEC));
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fd);
		read_all(fd);
		exit(0);
	}
	close(sv[0]);
	close(sv[1]);
	join_child(pid);
}

static void leave(int fd, enum leave how)
{
	if (how == STDIO)
		by_stdio(fd);
	else if (how == PROGRAM)
		by_program(fd);
	else if (how == PASS)
		by_passing(fd);
	else
		read_all(fd);
}

/* ---- the writer has ended ---- */

static void ended_client(void)
{
	const struct way *w = the_case->arg;

	for (size_t i = 0; i < N_LENGTHS; i++) {
		pid_t pid = fork_part();
		if (pid) {
			join_child(pid);
			continue;
		}
		int fd = connect_warm();
		put(fd, (size_t)lengths[i], 1, 0);
		if (w->end == SHUT)
			TRY(shutdown(fd, SHUT_WR));
		else if (w->end == CLOSE)
			TRY(close(fd));
		else
			exit(0);
		tell("ended");
		await("done");
		if (w->end == SHUT) {
			TRY(recv(fd, (char[1]){0}, 1, 0));
			TRY(close(fd));
		}
		exit(0);
	}
}

/* What a reader sees that looks at each step. */
static void look(int fd, int ep, int edge, int unread)
{
	static char buf[FITS];

	poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP);
	epoll_is(ep, EPOLLIN | EPOLLRDHUP);
	set_says(edge, 0);
	unread_is(fd, unread);
	long n = TRY(recv(fd, buf, sizeof buf, MSG_PEEK | MSG_DONTWAIT));
	say("sum %016llx", (unsigned long long)sum_bytes(0, buf, n > 0 ? (size_t)n : 0));
}

static void look_and_read(int fd, int len, int third, int all)
{
	int ep = new_set(), edge = new_set();

	set_add(ep, fd, EPOLLIN | EPOLLRDHUP, 1);
	poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	set_add(edge, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, 2);
	look(fd, ep, edge, len);
	get(fd, (size_t)third, 1, 0);
	look(fd, ep, edge, len - third);
	if (all) {
		get(fd, (size_t)(len - third), 1, (unsigned)third);
		look(fd, ep, edge, 0);
	}
	close(ep);
	close(edge);
}

static void ended_server(void)
{
	const struct way *w = the_case->arg;

	for (size_t i = 0; i < N_LENGTHS; i++) {
		int fd = serve_warm(), third = lengths[i] / 3;
		if (w->end != EXIT)
			await("ended");
		if (lengths[i] <= FITS)
			look_and_read(fd, lengths[i], third, w->leave == READ);
		else
			get(fd, (size_t)third, 1, 0);
		leave(fd, w->leave);
		if (w->end != EXIT)
			tell("done");
	}
}

/* ---- the writer is in the middle of a long send: the ring is full, the rest is on its way by the kernel ---- */

#define LONG 10000000

static int stands_still(void *arg)
{
	static int before = -1, same;
	int n = 0;

	MUST(ioctl(*(int *)arg, FIONREAD, &n));
	same = n == before ? same + 1 : 0;
	before = n;
	return n > 1000 && same > 20;
}

static void long_server(void)
{
	int fd = serve_warm();

	get(fd, HEAD, 1, 0);
	HOLDS(wait_until(stands_still, &fd));
	leave(fd, *(const enum leave *)the_case->arg);
}

static void long_client(void)
{
	int fd = connect_warm();

	put(fd, LONG, 1, 0);
	TRY(shutdown(fd, SHUT_WR));
	TRY(recv(fd, (char[1]){0}, 1, 0));
	TRY(close(fd));
}

/* All of it in one call, whose result is all of it. */
static void one_call_client(void)
{
	int fd = connect_warm();
	char *buf = malloc(LONG);

	fill(buf, LONG, 1, 0);
	TRY(send(fd, buf, LONG, 0));
	TRY(close(fd));
	free(buf);
}

static void nonblock_client(void)
{
	int fd = connect_warm();
	static char buf[30000];

	set_nonblock(fd, 1);
	for (size_t pos = 0; pos < LONG;) {
		size_t want = LONG - pos < sizeof buf ? LONG - pos : sizeof buf;
		fill(buf, want, 1, pos);
		ssize_t n = send(fd, buf, want, 0);
		if (n < 0)
			MUST(errno == EAGAIN ? poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1) : -1);
		else
			pos += (size_t)n;
	}
	TRY(close(fd));
}

/* Two processes write in turn, and both are held up. */
static void two_clients(void)
{
	int fd = connect_warm(), turn[2];

	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(read(turn[0], (char[1]){0}, 1));
		put(fd, LONG / 2, 1, LONG / 2);
		exit(0);
	}
	put(fd, LONG / 2, 1, 0);
	MUST(write(turn[1], "t", 1));
	TRY(close(fd));
	join_child(pid);
}

/* Parent and child have both read from it before the child leaves. */
static void two_readers_server(void)
{
	int fd = serve_warm(), turn[2];

	MUST(pipe(turn));
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(read(turn[0], (char[1]){0}, 1));
		get(fd, 50000, 1, 70000);
		HOLDS(wait_until(stands_still, &fd));
		leave(fd, *(const enum leave *)the_case->arg);
		exit(0);
	}
	get(fd, 70000, 1, 0);
	MUST(write(turn[1], "t", 1));
	TRY(close(fd));
	join_child(pid);
}

/* The writer is killed while it is held up: what it has sent comes all the same. */
static void killed_client(void)
{
	int sent[2];

	MUST(pipe(sent));
	pid_t pid = fork_part();
	if (pid == 0) {
		int fd = connect_warm();
		static char buf[300000];
		fill(buf, sizeof buf, 1, 0);
		size_t n = 0;
		set_nonblock(fd, 1);
		while (n < sizeof buf)
			n += (size_t)MUST(send(fd, buf + n, sizeof buf - n, 0));
		MUST(write(sent[1], "s", 1));
		pause();
	}
	MUST(read(sent[0], (char[1]){0}, 1));
	tell("sent");
	await("kill");
	kill(pid, SIGKILL);
	MUST(waitpid(pid, NULL, 0));
	tell("dead");
	await("done");
}

static void killed_server(void)
{
	int fd = serve_warm();

	await("sent");
	HOLDS(wait_until(stands_still, &fd));
	get(fd, HEAD, 1, 0);
	tell("kill");
	await("dead");
	leave(fd, *(const enum leave *)the_case->arg);
	tell("done");
}

/* ---- both ends in one process ---- */

static void *self_writer(void *arg)
{
	put(*(int *)arg, LONG / 4, 1, 0);
	close(*(int *)arg);
	return NULL;
}

static void *self_acceptor(void *arg)
{
	int fd = (int)MUST(accept(*(int *)arg, NULL, NULL));

	for (unsigned i = 0; i < 300; i++) {
		get(fd, 50, 2, i);
		put(fd, 50, 2, i);
	}
	*(int *)arg = fd;
	return NULL;
}

static void self_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 1, &port), other = lfd;
	pthread_t t = start_thread(self_acceptor, &other);
	int fd = (int)MUST(connect_to("127.0.0.1", port));

	for (unsigned i = 0; i < 300; i++) {
		put(fd, 50, 2, i);
		get(fd, 50, 2, i);
	}
	pthread_join(t, NULL);
	t = start_thread(self_writer, &fd);
	get(other, HEAD, 1, 0);
	HOLDS(wait_until(stands_still, &other));
	leave(other, *(const enum leave *)the_case->arg);
	pthread_join(t, NULL);
	close(lfd);
}

static void nothing(void)
{
}

/* ---- the reader closes as soon as it has read everything, while the writer ends: nobody is reset ---- */

static void last_read_server(void)
{
	for (unsigned i = 0; i < 25; i++) {
		int fd = serve_warm(), len = lengths[i % N_LENGTHS], ep = new_set();
		set_add(ep, fd, EPOLLIN, 1);
		for (int pos = 0; pos < len;) {
			char buf[65536];
			struct epoll_event ev;
			MUST(epoll_wait(ep, &ev, 1, -1));
			ssize_t n = MUST(recv(fd, buf, sizeof buf, MSG_DONTWAIT));
			if (n == 0)
				say("FALSE: end of file");
			pos += (int)n;
		}
		close(fd);
		close(ep);
	}
}

static void last_read_client(void)
{
	for (unsigned i = 0; i < 25; i++) {
		int fd = connect_warm(), error = 0;
		put(fd, (size_t)lengths[i % N_LENGTHS], 1, 0);
		shutdown(fd, SHUT_WR);
		TRY(recv(fd, (char[1]){0}, 1, 0));
		poll_is(fd, ALL, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}));
		HOLDS(error == 0);
		close(fd);
	}
}

/* ---- readiness with SO_RCVLOWAT while the kernel holds what has been read already ---- */

#define A_RING 262144

static void lowat_server(void)
{
	int fd = serve_warm(), low = 3000;

	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
	await("sent");
	get(fd, A_RING - 1999, 1, 0);
	unread_is(fd, 2000);
	TRY(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 20));
	tell("more");
	poll_is(fd, POLLIN, POLLIN);
	unread_is(fd, 4000);
	get(fd, 4000, 1, A_RING - 1999);
	TRY(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 20));
	tell("end");
	poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	TRY(recv(fd, (char[1]){0}, 1, 0));
	TRY(close(fd));
}

static void lowat_client(void)
{
	int fd = connect_warm();
	char buf[2000];

	set_nonblock(fd, 1); /* a full ring is left at once */
	put(fd, A_RING, 1, 0);
	put(fd, 1, 1, A_RING);
	tell("sent");
	await("more");
	fill(buf, sizeof buf, 1, A_RING + 1);
	TRY(send(fd, buf, sizeof buf, 0));
	await("end");
	TRY(close(fd));
}

static const enum leave plain = READ, stdio = STDIO, program = PROGRAM, pass = PASS;
#define WAY(e, l)                                                                                                              \
	&(const struct way)                                                                                                    \
	{                                                                                                                      \
		e, l                                                                                                           \
	}

const struct oracle_case oracle_cases[] = {
	{"shut_read", ended_server, ended_client, 0, WAY(SHUT, READ)},
	{"shut_stdio", ended_server, ended_client, 0, WAY(SHUT, STDIO)},
	{"shut_program", ended_server, ended_client, 0, WAY(SHUT, PROGRAM)},
	{"shut_pass", ended_server, ended_client, 0, WAY(SHUT, PASS)},
	{"close_read", ended_server, ended_client, 0, WAY(CLOSE, READ)},
	{"close_stdio", ended_server, ended_client, 0, WAY(CLOSE, STDIO)},
	{"close_program", ended_server, ended_client, 0, WAY(CLOSE, PROGRAM)},
	{"close_pass", ended_server, ended_client, 0, WAY(CLOSE, PASS)},
	{"exit_read", ended_server, ended_client, 0, WAY(EXIT, READ)},
	{"exit_stdio", ended_server, ended_client, 0, WAY(EXIT, STDIO)},
	{"exit_program", ended_server, ended_client, 0, WAY(EXIT, PROGRAM)},
	{"exit_pass", ended_server, ended_client, 0, WAY(EXIT, PASS)},
	{"long_read", long_server, long_client, 0, &plain},
	{"long_stdio", long_server, long_client, 0, &stdio},
	{"long_program", long_server, long_client, 0, &program},
	{"long_pass", long_server, long_client, 0, &pass},
	{"one_call", long_server, one_call_client, 0, &program},
	{"nonblock", long_server, nonblock_client, 0, &program},
	{"two_writers", long_server, two_clients, 0, &program},
	{"two_readers", two_readers_server, long_client, 0, &program},
	{"two_readers_stdio", two_readers_server, nonblock_client, 0, &stdio},
	{"killed_read", killed_server, killed_client, CASE_KILLED, &plain},
	{"killed_program", killed_server, killed_client, CASE_KILLED, &program},
	{"self_stdio", self_server, nothing, CASE_SELF, &stdio},
	{"self_program", self_server, nothing, CASE_SELF, &program},
	{"last_read", last_read_server, last_read_client, CASE_SLOW, NULL},
	{"lowat", lowat_server, lowat_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
