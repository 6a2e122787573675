/* SPDX-License-Identifier: BSD-2-Clause */
/* switch.c - shunt off, shunt on: the connections of running processes go to the kernel and stay there, or may leave it again. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "poke.h"

#define WAIT_MS 100  /* for a process to follow */
#define LIMIT_S 5    /* for one process, all in all */
#define CHILD_OK 200 /* exit status of the child that deals with it: this + result, or an errno */
#define N_PASS 8     /* over /proc, with --all: processes fork meanwhile */
#define N_TRY 5	     /* of a process that becomes another program meanwhile */

static int usage(const char *sub)
{
	int off = !strcmp(sub, "off");

	printf("usage: shunt %s PID...\n"
	       "       shunt %s --all\n"
	       "\n",
		sub, sub);
	puts(off ? "Takes the connections of running processes out of shared memory: both directions\n"
		   "of each go to the kernel, in the middle of the stream, within milliseconds, and\n"
		   "stay there, as do new ones, until `shunt on`. The programs notice nothing; the\n"
		   "other side's processes need not be named. What the processes start is switched\n"
		   "off too.\n"
		 : "Lets the connections of processes that were switched off (`shunt off`,\n"
		   "`shunt run --start-off`) go through shared memory again: those that they have,\n"
		   "as soon as they are used, and new ones.\n");
	puts("  --all   every process under shunt of this user (of everybody, for root)\n"
	     "  --help  this text\n"
	     "\n"
	     "Exit status: 0 if all of them have been switched, and 125 otherwise. A process\n"
	     "that is stopped follows when it runs again.\n");
	puts(off ? "  shunt off $(pidof redis-server)" : "  shunt on --all");
	return 0;
}

/* Why it could not be, and what to do. */
static int complain_of(uint32_t pid, int err)
{
	switch (-err) {
	case ESRCH:
		return complain(EXIT_SHUNT, "%u: no such process; `shunt ps` lists those under shunt", pid);
	case ENOENT:
		return complain(EXIT_SHUNT, "%u: does not run under shunt; start it by `shunt run`", pid);
	case EPROTO:
		return complain(EXIT_SHUNT, "%u: runs another version of shunt; use that one's command, or start it anew", pid);
	case EACCES:
		return complain(EXIT_SHUNT,
			"%u: is another user's, has changed its user, or may not be traced (kernel.yama.ptrace_scope); try as "
			"root",
			pid);
	case ETIMEDOUT:
		return complain(
			EXIT_SHUNT, "%u: its memory does not answer; it is hostile, or on a file system that hangs", pid);
	default:
		return complain(EXIT_SHUNT, "%u: %s", pid, strerror(-err));
	}
}

/* Until it has followed. What has no thread of ours follows with its next call. */
static int await(struct poke *p)
{
	static const struct timespec nap = {.tv_nsec = 200000};
	int r = 0;

	for (int i = 0; load_relaxed(&p->w.runs) & SWITCH_RINGS && i < WAIT_MS * 5 && !(r = poke_done(p)); i++)
		nanosleep(&nap, NULL);
	if (!r && load_relaxed(&p->w.runs) & SWITCH_RINGS)
		fprintf(stderr, "shunt: %u does not answer (is it stopped?); it follows when it runs\n", p->pid);
	return r < 0 ? r : 0;
}

/* 0; or -errno as poke_open has it. `if_other`: only if that changes something; then 1. */
static int switch_one(uint32_t pid, int off, int if_other)
{
	static const struct timespec nap = {.tv_nsec = 2000000};
	int r = -ESRCH;

	/* In the moment of an exec the word of the old program counts no more, and the new one's is not there yet. */
	for (int i = 0; i < N_TRY && (r == -ESRCH || r == -EPROTO); i++) {
		struct poke p;
		int other;

		if (i)
			nanosleep(&nap, NULL);
		r = poke_open(&p, pid);
		if (r < 0)
			continue;
		other = (load_relaxed(&p.w.wish) & SWITCH_OFF) != (off ? SWITCH_OFF : 0);
		if (!if_other || other)
			r = poke_switch(&p, off);
		if (!r)
			r = await(&p);
		if (!r && if_other)
			r = other;
		poke_close(&p);
	}
	return r;
}

/*
 * The same by a child of ours with a time limit. Whose memory it is decides what a look at it does: pages can come from a file system of its own making, or never; and only death ends that wait.
 */
static int switch_safely(uint32_t pid, int off, int if_other)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(LIMIT_S);
		status = switch_one(pid, off, if_other);
		_exit(status < 0 ? -status : CHILD_OK + status);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -errno;
	if (!WIFEXITED(status))
		return -ETIMEDOUT;
	return WEXITSTATUS(status) >= CHILD_OK ? WEXITSTATUS(status) - CHILD_OK : -WEXITSTATUS(status);
}

/* One look at all processes: how many had to be switched; -1: /proc cannot be read. */
static int pass(int off, int *status)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	int n = 0;

	if (!proc)
		return -1;
	while ((d = readdir(proc))) {
		char *end;
		unsigned long pid = strtoul(d->d_name, &end, 10);
		int r;

		if (!isdigit((unsigned char)d->d_name[0]) || *end || pid == (unsigned long)getpid())
			continue;
		r = poke_may((uint32_t)pid) ? switch_safely((uint32_t)pid, off, 1) : 0;
		n += r == 1;
		if (r == -EPROTO || r == -ETIMEDOUT) /* others are not ours, not under shunt, or gone */
			*status = complain_of((uint32_t)pid, r);
	}
	closedir(proc);
	return n;
}

static int switch_all(int off)
{
	int status = 0, n = 1;

	for (int i = 0; i < N_PASS && n > 0 && !status; i++)
		n = pass(off, &status);
	return n < 0 ? complain(EXIT_SHUNT, "/proc: %s", strerror(errno)) : status;
}

static int switch_named(const char *word, int off)
{
	char *end;
	unsigned long pid = strtoul(word, &end, 10);
	int r;

	if (!isdigit((unsigned char)word[0]) || *end || !pid || pid > INT32_MAX)
		return complain(EXIT_SHUNT, "%s: not the number of a process; `shunt ps` lists them", word);
	r = switch_safely((uint32_t)pid, off, 0);
	return r < 0 ? complain_of((uint32_t)pid, r) : 0;
}

int cmd_switch(int argc, char **argv)
{
	static const struct option opts[] = {{"all", no_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'}, {0}};
	int off = !strcmp(argv[0], "off"), all = 0, status = 0, o;

	opterr = 0;
	while ((o = getopt_long(argc, argv, "+h", opts, NULL)) != -1)
		switch (o) {
		case 'a':
			all = 1;
			break;
		case 'h':
			return usage(argv[0]);
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt %s --help`", argv[optind - 1], argv[0]);
		}
	if (all == (optind < argc))
		return complain(EXIT_SHUNT,
			all ? "%s: --all takes no process; see `shunt %s --help`" : "%sno process given; see `shunt %s --help`",
			all ? argv[optind] : "", argv[0]);
	if (all)
		return switch_all(off);
	for (; optind < argc; optind++)
		if (switch_named(argv[optind], off))
			status = EXIT_SHUNT;
	return status;
}
