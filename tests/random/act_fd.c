/* SPDX-License-Identifier: BSD-2-Clause */
/* act_fd.c - descriptors: duplicates, flags, ends, and those that are no sockets. */
#include "actor.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* close SLOT HOW(0 close, 1 by number, 2 close_range, 3 fclose) */
static void act_close(const struct command *c)
{
	int fd = slot(c->arg[0]);
	FILE *f;

	if (c->arg[1] == 1)
		say_result(syscall(SYS_close, fd));
	else if (c->arg[1] == 2 && fd >= 0)
		say_result(close_range((unsigned)fd, (unsigned)fd, 0));
	else if (c->arg[1] == 3 && (f = fdopen(fd, "r")))
		say_result(fclose(f));
	else
		say_result(close(fd));
	for (int i = 0; i < N_SLOT; i++)
		if (slots[i] == fd)
			slots[i] = -1;
}

/* dup SLOT TO HOW(0 dup, 1 F_DUPFD, 2 F_DUPFD_CLOEXEC, 3 dup2, 4 dup3, 5 dup2 by number) NUMBER(-1: that of TO, which is replaced) */
static void act_dup(const struct command *c)
{
	int from = slot(c->arg[0]), to = c->arg[3] >= 0 ? (int)c->arg[3] : slot(c->arg[1]), fd;

	switch (c->arg[2]) {
	case 1:
		fd = fcntl(from, F_DUPFD, 0);
		break;
	case 2:
		fd = fcntl(from, F_DUPFD_CLOEXEC, 5);
		break;
	case 3:
		fd = dup2(from, to);
		break;
	case 4:
		fd = dup3(from, to, O_CLOEXEC);
		break;
	case 5:
		fd = (int)syscall(SYS_dup3, from, to, 0);
		break;
	default:
		fd = dup(from);
	}
	say_descriptor(fd);
	set_slot(c->arg[1], fd);
}

/* nonblock SLOT ON HOW(0 fcntl, 1 ioctl, 2 by number) */
static void act_nonblock(const struct command *c)
{
	int fd = slot(c->arg[0]), on = (int)c->arg[1];
	int flags = fcntl(fd, F_GETFL);

	say_result(flags < 0 ? -1 : flags & (O_NONBLOCK | O_ACCMODE));
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	if (c->arg[2] == 0)
		say_result(fcntl(fd, F_SETFL, flags));
	else if (c->arg[2] == 1)
		say_result(ioctl(fd, FIONBIO, &on));
	else
		say_result(syscall(SYS_fcntl, fd, F_SETFL, flags));
}

/* cloexec SLOT ON */
static void act_cloexec(const struct command *c)
{
	say_result(fcntl(slot(c->arg[0]), F_GETFD));
	say_result(fcntl(slot(c->arg[0]), F_SETFD, c->arg[1] ? FD_CLOEXEC : 0));
}

/* unread SLOT HOW */
static void act_unread(const struct command *c)
{
	int n = 0;
	long r = c->arg[1] ? syscall(SYS_ioctl, slot(c->arg[0]), FIONREAD, &n) : ioctl(slot(c->arg[0]), FIONREAD, &n);

	say_result(r);
	if (!r)
		say(" %d", n);
}

/* file SLOT LEN KEY: an ordinary file of so many octets, at its beginning */
static void act_file(const struct command *c)
{
	size_t len = (size_t)c->arg[1];
	char *buf = malloc(len + 1);
	int fd = memfd_create("random", 0);

	fill(buf, len, (uint64_t)c->arg[2]);
	say_descriptor(fd);
	say_result(write(fd, buf, len));
	say_result(lseek(fd, 0, SEEK_SET));
	set_slot(c->arg[0], fd);
	free(buf);
}

/* contents SLOT: all of a file, by number: what was written to it, and by whom, is seen here */
static void act_contents(const struct command *c)
{
	char buf[4096];
	uint64_t sum = 0;
	ssize_t n;
	off_t at = 0;

	while ((n = pread(slot(c->arg[0]), buf, sizeof(buf), at)) > 0) {
		sum = sum_bytes(sum, buf, (size_t)n);
		at += n;
	}
	say_result(n);
	say(" length %ld sum %016llx", (long)at, (unsigned long long)sum);
}

/* pipe FROM TO */
static void act_pipe(const struct command *c)
{
	int p[2];
	int r = pipe2(p, O_NONBLOCK);

	say_result(r);
	if (r)
		return;
	set_slot(c->arg[0], p[0]);
	set_slot(c->arg[1], p[1]);
}

/* pair SLOT SLOT: AF_UNIX */
static void act_pair(const struct command *c)
{
	int p[2];
	int r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p);

	say_result(r);
	if (r)
		return;
	set_slot(c->arg[0], p[0]);
	set_slot(c->arg[1], p[1]);
}

const struct word fd_words[] = {
	{"close", act_close},
	{"dup", act_dup},
	{"nonblock", act_nonblock},
	{"cloexec", act_cloexec},
	{"unread", act_unread},
	{"file", act_file},
	{"contents", act_contents},
	{"pipe", act_pipe},
	{"pair", act_pair},
	{NULL, NULL},
};
