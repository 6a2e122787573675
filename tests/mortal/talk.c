/* SPDX-License-Identifier: BSD-2-Clause */
/* talk.c - the conversations: for each letter what both roles do, in step. */
#include "mortal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream.h"

#define PINGS 60
#define GIVEN 5		   /* and then it is somebody else's */
#define WATCHED_US 1000	   /* for a service thread to do what it is asked meanwhile */
#define LARGE (600 * 1024) /* more than a ring; the kernel takes it without a reader */

/* Number `from` up to `to`, of several lengths. */
static void pings(int from, int to)
{
	for (int i = from; i < to; i++)
		ping(1 + (size_t)i * 37 % 300);
}

/* Each waits for the other to wake it. */
static void slow_pings(void)
{
	for (int i = 0; i < 12; i++) {
		if (i % 2 == role)
			nap(2000);
		ping(64);
	}
}

static void talk_pings(void)
{
	pings(0, PINGS);
	slow_pings();
}

static void talk_waits(void)
{
	waiting = WAIT_POLL;
	pings(0, PINGS);
	slow_pings();
	waiting = WAIT_EPOLL;
	pings(0, PINGS);
	slow_pings();
	waiting = WAIT_NOT;
}

/* A reader that comes late finds a full ring, and what has gone by the kernel behind it. */
static void one_way(int from)
{
	if (role == from) {
		put(LARGE);
	} else {
		await_unread(200000);
		nap(5000);
		get(LARGE);
	}
	pings(0, 20);
}

static void set_blocking(bool on)
{
	int fl = fcntl(stream_fd, F_GETFL);
	fcntl(stream_fd, F_SETFL, on ? fl & ~O_NONBLOCK : fl | O_NONBLOCK);
}

static void talk_bulk(void)
{
	one_way(CLIENT);
	one_way(SERVER);
	waiting = WAIT_POLL;
	set_blocking(false);
	one_way(CLIENT);
	one_way(SERVER);
	set_blocking(true);
	waiting = WAIT_NOT;
}

/* The reader has come as far as to what went by the kernel, and what is sent then need not go that way. */
static void behind(int from)
{
	uint64_t before = role == from ? mine->done : mine->got;
	if (role == from) {
		put(LARGE);
		await_witness(&w->side[!from].got, before + LARGE - 50000);
		put(1000);
	} else {
		await_unread(200000);
		nap(5000);
		get(LARGE - 50000);
		await_witness(&w->side[from].done, before + LARGE + 1000);
		get(51000);
	}
	pings(0, 20);
}

static void talk_behind(void)
{
	behind(CLIENT);
	behind(SERVER);
}

/* Small pieces one behind the other, the reader at work. */
static void talk_stream(void)
{
	for (int from = 0; from < 2; from++) {
		for (int i = 0; i < 1500; i++)
			role == from ? put(100) : get(100);
		pings(0, 4);
	}
}

static void talk_half(void)
{
	if (role == CLIENT) {
		put(3000);
		shutdown(stream_fd, SHUT_WR);
		nap(3000);
		expect_end();
	} else {
		nap(1000);
		expect_end();
		put(3000);
	}
}

/* Closed with octets unread: a reset for who sent them. */
static void unread(int who)
{
	if (role != who) {
		put(5000);
		get(1);
	} else {
		await_unread(5000);
		get(1000);
	}
}

/* Sends on and on while the other one closes. */
static void into_closed(int who)
{
	if (role != who)
		for (;;)
			put(100);
	get(20000);
}

/* stdio reads around us: what is unread has to be in the kernel. */
static void to_stdio(int who)
{
	if (role == who) {
		await_unread(2000);
		FILE *f = fdopen(dup(stream_fd), "r+");
		get(2000);
		pings(0, 10);
		fclose(f);
	} else {
		put(2000);
		pings(0, 10);
	}
}

static void talk_stdio(void)
{
	to_stdio(CLIENT);
}

static void talk_stdio_server(void)
{
	to_stdio(SERVER);
}

/* One that holds the connection, and is killed. */
static void lose_child(void)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* `who` goes on in a child; its parent lets go at once. Perhaps it has lost another one before. */
static bool forked(int who, bool loses_one)
{
	if (role != who) {
		pings(0, PINGS);
		return true;
	}
	pings(0, GIVEN);
	if (loses_one)
		lose_child();
	pid_t pid = fork();
	if (pid == 0) {
		if (setjmp(stream_over) == 0) {
			pings(GIVEN, PINGS);
			report("ok");
		}
		_exit(0);
	}
	close(stream_fd);
	waitpid(pid, NULL, 0);
	return false;
}

/* Both use it, one after the other. */
static void shared_by_fork(int who)
{
	if (role != who) {
		pings(0, PINGS);
		return;
	}
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		if (setjmp(stream_over) == 0)
			pings(0, PINGS / 2);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		longjmp(stream_over, 1); /* it has died, and nobody knows where it was */
	pings(PINGS / 2, PINGS);
}

/* Another program: this one again. */
static _Noreturn void execute(const char *fd)
{
	setenv("MORTAL_FD", fd, 1);
	execv(self, (char *const[]){(char *)(uintptr_t)self, NULL});
	report("exec failed");
	exit(5);
}

static bool executed(int who)
{
	char fd[16];
	if (role != who) {
		pings(0, PINGS);
		return true;
	}
	pings(0, GIVEN);
	snprintf(fd, sizeof(fd), "%d", stream_fd);
	fcntl(stream_fd, F_SETFD, 0);
	say("executes\n");
	execute(fd);
}

/* Another process that was there before. */
static bool passed(int who, char letter)
{
	if (role != who) {
		pings(0, PINGS);
		return true;
	}
	pings(0, GIVEN);
	helper_give(stream_fd, letter);
	close(stream_fd);
	if (read(helper_fd, &letter, 1) != 1) /* done; or it has died */
		report("the helper is gone");
	return false;
}

/* From the first octet on, so that much is under way by the kernel when it need not go that way any more. */
static void talk_cold(void)
{
	for (int from = 0; from < 2; from++) {
		for (int i = 0; i < 1500; i++)
			role == from ? put(100) : get(100);
		pings(0, 4);
	}
}

/* Who has shut his reading side reads the end of file, and the other one goes on. */
static void talk_shut_rd(void)
{
	if (role == CLIENT) {
		shutdown(stream_fd, SHUT_RD);
		expect_end();
		put(2000);
	} else {
		get(2000);
	}
}

/* Another program, which does not get it. */
static bool left_by_exec(int who)
{
	if (role != who) {
		expect_end();
		return true;
	}
	say("executes\n");
	report("ok");
	execute("-1");
}

/* Somebody outside does something to the client meanwhile, twice, and then to the server. The other one waits for it in between: what it is asked for comes while it does nothing itself. */
static void talk_watched(void)
{
	for (uint32_t stage = 1; stage <= 4; stage++) {
		bool slow = role == (stage <= 2 ? CLIENT : SERVER);
		if (role == CLIENT) {
			w->last_ping = 0;
			w->stage = stage;
		}
		bool last = false;
		for (uint64_t n = 1; !last; n++) {
			if (role == SERVER) {
				get(64);
				last = w->last_ping == n; /* told before it was sent */
			} else if (w->reached >= stage) {
				w->last_ping = n;
				last = true;
			}
			if (slow)
				nap(WATCHED_US);
			put(64);
			if (role == CLIENT)
				get(64);
		}
		pings(0, 20);
	}
}

static void left_by_exit(int who)
{
	if (role != who) {
		expect_end();
		return;
	}
	report("ok");
	exit(0);
}

/* false: it is not ours any more. */
static bool part(char letter)
{
	switch (letter) {
	case 'p':
	case 'q': /* with a server that is not the first to listen */
		talk_pings();
		break;
	case 'w':
		talk_waits();
		break;
	case 'b':
		talk_bulk();
		break;
	case 's':
		talk_stream();
		break;
	case 'h':
		talk_half();
		break;
	case 'u':
		unread(SERVER);
		break;
	case 'U':
		unread(CLIENT);
		break;
	case 'c':
		into_closed(SERVER);
		break;
	case 'C':
		into_closed(CLIENT);
		break;
	case 't':
		talk_stdio();
		break;
	case 'T':
		talk_stdio_server();
		break;
	case 'k':
		shared_by_fork(SERVER);
		break;
	case 'K':
		shared_by_fork(CLIENT);
		break;
	case 'o':
		talk_watched();
		break;
	case 'f':
		return forked(SERVER, false);
	case 'F':
		return forked(CLIENT, false);
	case 'm':
		return forked(SERVER, true);
	case 'M':
		return forked(CLIENT, true);
	case 'x':
		return executed(SERVER);
	case 'X':
		return executed(CLIENT);
	case 'g':
		return passed(SERVER, letter);
	case 'G':
		return passed(CLIENT, letter);
	case 'r':
		talk_shut_rd();
		break;
	case 'y':
		return left_by_exec(SERVER);
	case 'Y':
		return left_by_exec(CLIENT);
	case 'e':
		left_by_exit(SERVER);
		break;
	case 'E':
		left_by_exit(CLIENT);
		break;
	case 'n':
		talk_cold();
		break;
	case 'j':
		shut_meanwhile(SERVER);
		break;
	case 'J':
		shut_meanwhile(CLIENT);
		break;
	case 'A':
		exit_meanwhile(SERVER);
		break;
	case 'B':
		talk_behind();
		break;
	case 'v':
		return left_to_heir(SERVER, false);
	case 'V':
		return left_to_heir(CLIENT, false);
	case 'l':
		return left_to_heir(SERVER, true);
	case 'L':
		return left_to_heir(CLIENT, true);
	case 'i':
		return read_by_heir(SERVER);
	case 'I':
		return read_by_heir(CLIENT);
	default:
		break;
	}
	return true;
}

static void done(int fd)
{
	report("ok");
	close(fd);
}

bool converse(int fd, char letter)
{
	stream_fd = fd;
	if (setjmp(stream_over)) {
		close(fd);
		return false;
	}
	bool is_warm = letter != 'n' && warm();
	if (letter == 'a' && role == CLIENT)
		report(is_warm ? "memory" : "kernel");
	if (!part(letter))
		return false;
	done(fd);
	return true;
}

bool resume(int fd, char letter)
{
	(void)letter;
	stream_fd = fd;
	if (setjmp(stream_over)) {
		close(fd);
		return false;
	}
	pings(GIVEN, PINGS);
	done(fd);
	return true;
}
