/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ab_proc.c - a program that is measured: started in a process group of its own, its output kept in a memfd, its end seen by a pidfd,
 * what it has used told by wait4(). Under shunt it is started by `shunt run`, as anybody would.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ab.h"

#define STOP_S 5
#define N_ARGS 256

volatile int ab_interrupted;

double ab_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* In the child. */
static void become(char *const argv[], const char *stats, int out)
{
	const char *all[N_ARGS + 6] = {"shunt", "run", "--stats", stats, "--"};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t n;

	setpgid(0, 0);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	if (stats) {
		for (n = 0; n < N_ARGS && argv[n]; n++)
			all[5 + n] = argv[n];
		all[5 + n] = NULL;
		execv("/proc/self/exe", (char *const *)(uintptr_t)all);
	} else {
		execvp(argv[0], argv);
	}
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int ab_start(struct ab_proc *p, char *const argv[], const char *stats)
{
	*p = (struct ab_proc){.out = memfd_create("shunt-ab", MFD_CLOEXEC)};
	if (p->out < 0)
		return -errno;
	p->pid = fork();
	if (p->pid < 0) {
		int e = errno;
		p->pid = 0;
		ab_proc_fini(p);
		return -e;
	}
	if (!p->pid)
		become(argv, stats, p->out);
	setpgid(p->pid, p->pid); /* whoever is first; the child may have executed already */
	return 0;
}

static void reap(struct ab_proc *p)
{
	struct rusage u;

	while (wait4(p->pid, &p->status, 0, &u) < 0 && errno == EINTR)
		;
	p->used.cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	p->used.switches = (uint64_t)u.ru_nvcsw + (uint64_t)u.ru_nivcsw;
	p->pid = 0;
}

int ab_wait(struct ab_proc *p, double limit_s)
{
	struct pollfd f = {.fd = p->pid ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1, .events = POLLIN};
	double until = ab_now() + limit_s;
	int r = 0;

	if (!p->pid)
		return 1;
	while (r == 0 && !ab_interrupted) {
		double left = until - ab_now();
		r = poll(&f, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
		if (r < 0 && errno == EINTR)
			r = 0;
		else if (r == 0 && left <= 0)
			break;
	}
	close(f.fd);
	if (r == 1)
		reap(p);
	return ab_interrupted && r != 1 ? -EINTR : r;
}

void ab_stop(struct ab_proc *p)
{
	int pgid = p->pid, asked = ab_interrupted;

	if (!p->pid)
		return;
	ab_interrupted = 0; /* ending what we have started is not to be interrupted */
	kill(-pgid, SIGTERM);
	if (ab_wait(p, STOP_S) != 1) {
		kill(-pgid, SIGKILL);
		reap(p);
	}
	kill(-pgid, SIGKILL); /* what it has left behind in its group */
	if (asked)
		ab_interrupted = asked;
}

char *ab_output(const struct ab_proc *p)
{
	off_t end = lseek(p->out, 0, SEEK_END);
	off_t from = end > AB_OUTPUT_MAX ? end - AB_OUTPUT_MAX : 0;
	char *text = calloc(1, (size_t)(end - from) + 1);
	ssize_t n = text ? pread(p->out, text, (size_t)(end - from), from) : 0;

	for (ssize_t i = 0; i < n; i++) /* regexec() ends at a 0; a progress line ends in \r */
		if (!text[i] || text[i] == '\r')
			text[i] = '\n';
	return text;
}

void ab_proc_fini(struct ab_proc *p)
{
	if (p->out > 0)
		close(p->out);
	p->out = -1;
}
