/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * brief.c - clients that do a few calls and end at once, or go on calling until they end, each in a process of its own, in any of the ways in which a process ends.
 *
 *   brief serve PORT                  echoes; SIGTERM ends it
 *   brief clients PORT TIMES HOW SEED TIMES clients, one after the other; status 1 when one ended otherwise than it should
 *
 * HOW: exit, _exit, quick_exit, term (SIGTERM), kill (SIGKILL), exec (becomes true(1)), noexec (an exec fails first), thread (another
 * thread exits while the first one waits), fork (so do a child's last moments), or all: these in turn, but kill.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_CONN 32
#define N_CALLS 6
/* A rendezvous begins with the third call, or so, and takes less than that; or than so many times as long as the calls have, on a busy machine. */
#define LATEST_NS 2000000
#define TIMES_AS_LONG 4

static const char *const ways[] = {"exit", "_exit", "quick_exit", "term", "exec", "noexec", "thread", "fork"};
#define N_WAYS (sizeof(ways) / sizeof(*ways))

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "brief: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static struct sockaddr_in address(const char *port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void serve(const char *port)
{
	struct sockaddr_in sa = address(port);
	struct pollfd p[N_CONN + 1] = {{.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN}};
	nfds_t n = 1;
	int one = 1;

	setsockopt(p[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(p[0].fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(p[0].fd, N_CONN))
		fail("listen");
	for (;;) {
		p[0].events = n <= N_CONN ? POLLIN : 0;
		if (poll(p, n, -1) < 0)
			fail("poll");
		for (nfds_t i = n; --i > 0;) {
			char b[256];
			ssize_t len;

			if (!p[i].revents)
				continue;
			len = recv(p[i].fd, b, sizeof(b), 0);
			if (len <= 0 || send(p[i].fd, b, (size_t)len, MSG_NOSIGNAL) != len) {
				close(p[i].fd);
				p[i] = p[--n];
			}
		}
		if (p[0].revents) {
			p[n] = (struct pollfd){.fd = accept(p[0].fd, NULL, NULL), .events = POLLIN};
			if (p[n].fd >= 0)
				n++;
		}
	}
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* The moment of the end: computing, since a sleep would be longer than all of it. */
static void spend(int64_t ns)
{
	for (int64_t end = now_ns() + ns; now_ns() < end;)
		;
}

static void talk(int fd)
{
	char b[16];

	for (int i = 0; i < N_CALLS; i++) {
		if (send(fd, "0123456789abcdef", sizeof(b), 0) != sizeof(b))
			fail("send");
		if (recv(fd, b, sizeof(b), MSG_WAITALL) != sizeof(b) || memcmp(b, "0123456789abcdef", sizeof(b)))
			fail("recv");
	}
}

static int64_t moment; /* in thousandths of the time that it may take; then in ns */
static int talks;      /* until then, or computes */

static void *ends_all(void *arg)
{
	(void)arg;
	spend(moment);
	exit(0);
}

static _Noreturn void end(const char *how, int fd)
{
	char *argv[] = {(char[]){"true"}, NULL};
	pthread_t t;
	char b;

	if (!strcmp(how, "thread") && !pthread_create(&t, NULL, ends_all, NULL))
		for (;;)
			recv(fd, &b, 1, 0);
	if (talks)
		for (int64_t until = now_ns() + moment; now_ns() < until;)
			talk(fd);
	else
		spend(moment);
	if (!strcmp(how, "_exit"))
		_exit(0);
	if (!strcmp(how, "quick_exit"))
		quick_exit(0);
	if (!strcmp(how, "term"))
		raise(SIGTERM);
	if (!strcmp(how, "kill"))
		raise(SIGKILL);
	if (!strcmp(how, "exec"))
		execv("/bin/true", argv);
	if (!strcmp(how, "noexec") && execv("/nowhere/true", argv))
		talk(fd);
	if (!strcmp(how, "fork")) {
		pid_t pid = fork();

		if (pid)
			waitpid(pid, NULL, 0);
		else
			talk(fd);
	}
	exit(0);
}

static _Noreturn void client(const char *port, const char *how)
{
	struct sockaddr_in sa = address(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		fail("connect");
	int64_t begin = now_ns();
	talk(fd);
	int64_t latest = TIMES_AS_LONG * (now_ns() - begin);
	moment = moment * (latest > LATEST_NS ? latest : LATEST_NS) / 1000;
	end(how, fd);
}

static int ended_well(const char *how, int status)
{
	if (!strcmp(how, "term"))
		return WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	if (!strcmp(how, "kill"))
		return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	return status == 0;
}

static int clients(const char *port, int times, const char *how, unsigned seed)
{
	srandom(seed);
	for (int i = 0; i < times; i++) {
		const char *way = strcmp(how, "all") ? how : ways[(size_t)i % N_WAYS];
		int status;
		pid_t pid;

		moment = random() % 1000;
		talks = i % 2;
		pid = fork();
		if (pid < 0)
			fail("fork");
		if (pid == 0)
			client(port, way);
		if (waitpid(pid, &status, 0) != pid || !ended_well(way, status)) {
			fprintf(stderr, "brief: client %d (%s) ended with status %#x\n", i, way, (unsigned)status);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc == 6 && !strcmp(argv[1], "clients"))
		return clients(argv[2], atoi(argv[3]), argv[4], (unsigned)atoi(argv[5]));
	return 2;
}
