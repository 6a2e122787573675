/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle_heir.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- what is said before, and after ---- */

void answer(int fd, unsigned n, uint64_t at)
{
	for (unsigned i = 0; i < n; i++) {
		get(fd, ASK, 1, at + i * ASK);
		put(fd, ANSWER, 2, at + i * ANSWER);
	}
}

void ask(int fd, unsigned n, uint64_t at)
{
	for (unsigned i = 0; i < n; i++) {
		put(fd, ASK, 1, at + i * ASK);
		get(fd, ANSWER, 2, at + i * ANSWER);
	}
}

/* The heir: some octets are left over for it; then it goes on for as long as it takes anybody to find out that it may. */
void go_on(int fd, int left_over)
{
	if (left_over)
		get(fd, WAITING - BEFORE, 1, BEFORE);
	warm_up(fd);
	answer(fd, TURNS, 0);
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

void rest_of_client(int fd)
{
	warm_up(fd);
	ask(fd, TURNS, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

void adopt_client(void)
{
	int fd = connect_warm();

	put(fd, WAITING, 1, 0);
	meet("sent");
	rest_of_client(fd);
}

void adopt_fresh_client(void)
{
	rest_of_client(connect_one());
}

/* Some of what waits is read; the rest is the heir's. */
int serve_some(void)
{
	int fd = serve_warm();

	await("sent");
	unread_is(fd, WAITING);
	get(fd, BEFORE, 1, 0);
	tell("sent");
	return fd;
}

/* ---- another program: this one, once more, with HEIR in its environment ---- */

const char *heir(void)
{
	return getenv("HEIR");
}

void become_heir(int fd, const char *what)
{
	MUST(dup2(fd, HEIR_FD));
	close(fd);
	MUST(setenv("HEIR", what, 1));
	execl("/proc/self/exe", "heir", the_case->name, is_server ? "server" : "client", (char *)NULL);
	_exit(127);
}

/* ---- both directions at full speed ---- */

#define PART 10000

uint64_t echo(int fd, uint64_t at, uint64_t until)
{
	char buf[PART];

	while (at < until) {
		ssize_t n = MUST(read(fd, buf, sizeof buf));
		if (!n)
			break;
		for (ssize_t done = 0; done < n;)
			done += MUST(write(fd, buf + done, (size_t)(n - done)));
		at += (uint64_t)n;
	}
	return at;
}

/* Sends and receives as it can; what comes is what went. */
void adopt_busy_client(void)
{
	char out[PART], in[PART], want[PART];
	uint64_t sent = 0, got = 0;
	int fd = connect_warm(), bad = 0;

	set_nonblock(fd, 1);
	while (got < MUCH) {
		struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < MUCH ? POLLOUT : 0))};
		MUST(poll(&p, 1, -1));
		ssize_t n = read(fd, in, sizeof in);
		if (n == 0)
			break;
		if (n > 0) {
			fill(want, (size_t)n, 1, got);
			bad += memcmp(want, in, (size_t)n) != 0;
			got += (uint64_t)n;
		}
		size_t len = MUCH - sent < sizeof out ? (size_t)(MUCH - sent) : sizeof out;
		fill(out, len, 1, sent);
		n = len ? write(fd, out, len) : 0;
		if (n > 0)
			sent += (uint64_t)n;
	}
	HOLDS(got == MUCH);
	HOLDS(!bad);
	set_nonblock(fd, 0);
	for (unsigned i = 0; i < TURNS; i++) { /* and slowly, for as long as it may take to find its way back into memory */
		put(fd, ASK, 1, MUCH + i * ASK);
		get(fd, ASK, 1, MUCH + i * ASK);
		if (i % 20 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, in, 1));
	TRY(close(fd));
}
