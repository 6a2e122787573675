/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heir.c - connections that two processes of a side hold. The first takes octets out of memory that are unread there, or throws away their second copy, which the kernel has, and may die over it; the other one goes on where it
 * was. None of this is a call that sends or receives, so it is known where that is.
 */
#include "mortal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream.h"

#define FIRST 3000 /* of the process that dies, */
#define READ 1000  /* of which so much has been read when the other one goes on, */
#define THEN 2000  /* with these */

/* The kernel's buffer is to have another size, and what is unread to fit into it: the direction leaves the ring. */
static void resize(void)
{
	int len = 0;
	socklen_t size = sizeof(len);
	getsockopt(stream_fd, SOL_SOCKET, SO_SNDBUF, &len, &size);
	len /= 2; /* the kernel doubles it */
	setsockopt(stream_fd, SOL_SOCKET, SO_SNDBUF, &len, sizeof(len));
}

/* The parent has done its part, or is dead: what its calls have sent is known. */
static _Noreturn void go_on(int until, uint64_t read_by_then)
{
	char none;
	if (read(until, &none, 1) == 0 && setjmp(stream_over) == 0) {
		await_witness(&w->side[!role].got, read_by_then);
		put(THEN);
		report("ok");
	}
	_exit(0);
}

static void write_in_turn(void)
{
	int over[2];
	uint64_t read_by_then = mine->done + READ;
	put(FIRST);
	if (pipe(over))
		exit(9);
	pid_t pid = fork();
	if (pid == 0) {
		close(over[1]);
		go_on(over[0], read_by_then);
	}
	close(over[0]);
	resize();
	close(stream_fd);
	close(over[1]);
	waitpid(pid, NULL, 0);
}

static void few_pings(void)
{
	for (int i = 0; i < 5; i++)
		ping(64);
}

bool left_to_heir(int who, bool reader_leaves)
{
	few_pings();
	if (role == who) {
		write_in_turn();
		return false;
	}
	uint64_t first = mine->got;
	await_witness(&w->side[who].done, first + FIRST);
	get(READ);
	await_witness(&w->side[who].done, first + FIRST + THEN);
	FILE *f = reader_leaves ? fdopen(dup(stream_fd), "r+") : NULL;
	expect_end();
	if (f)
		fclose(f);
	return true;
}

/* Asks how much is unread: what it has read itself is not. */
static void read_in_turn(void)
{
	char none;
	int over[2];
	uint64_t first = mine->got;
	await_witness(&w->side[!role].done, first + FIRST + THEN);
	get(READ);
	if (pipe(over))
		exit(9);
	pid_t pid = fork();
	if (pid == 0) {
		close(over[1]);
		if (read(over[0], &none, 1) == 0 && setjmp(stream_over) == 0) {
			get(FIRST - READ + THEN);
			put(1);
			report("ok");
		}
		_exit(0);
	}
	close(over[0]);
	await_unread(FIRST - READ + THEN);
	close(stream_fd);
	close(over[1]);
	waitpid(pid, NULL, 0);
}

bool read_by_heir(int who)
{
	few_pings();
	if (role == who) {
		read_in_turn();
		return false;
	}
	put(FIRST);
	resize();
	put(THEN);
	get(1); /* all has come */
	return true;
}
