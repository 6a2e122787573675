/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flip.c - switches processes off and on as `shunt off` and `shunt on` do, but a thousand times a second.
 *
 *   flip PERIOD_US HOW PID...       HOW: together (all off, all on, ...), random (one of them, off or on, by chance)
 *   flip PERIOD_US measure PID     off and on again 20 times, and prints the median of how long "off" took until all has moved, in microseconds
 *   flip PERIOD_US HOW PATH         all that have the libshunt.so at PATH in their memory, whoever that is at the time
 *
 * Until SIGTERM, or none of the PIDs is left; they are on at the end. Prints how often it has switched.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "poke.h"

#define MAX 256

static volatile sig_atomic_t stop;
static unsigned long pids[MAX];
static int n_pids;
static const char *lib;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static int has_lib(unsigned long pid)
{
	char path[64], line[8192];
	int yes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%lu/maps", pid);
	f = fopen(path, "re");
	while (f && !yes && fgets(line, sizeof(line), f))
		yes = strstr(line, lib) != NULL;
	if (f)
		fclose(f);
	return yes;
}

static void look_around(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;

	n_pids = 0;
	while (proc && n_pids < MAX && (d = readdir(proc))) {
		unsigned long pid = strtoul(d->d_name, NULL, 10);

		if (pid && pid != (unsigned long)getpid() && has_lib(pid))
			pids[n_pids++] = pid;
	}
	if (proc)
		closedir(proc);
}

/* 1: done. It may have ended, or become another program. */
static int flip(unsigned long pid, int off)
{
	struct poke p;
	int ok;

	if (poke_open(&p, (uint32_t)pid))
		return 0;
	ok = !poke_switch(&p, off);
	poke_close(&p);
	return ok;
}

static int flip_all(int off)
{
	int n = 0;

	for (int i = 0; i < n_pids; i++)
		n += flip(pids[i], off);
	return n;
}

/* One that is just being started, or becomes another program, cannot be switched for a moment, and is there. */
static int any_lives(void)
{
	for (int i = 0; i < n_pids; i++)
		if (!kill((pid_t)pids[i], 0))
			return 1;
	return 0;
}

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Microseconds from the word until it has been carried out; -1: it has not, within a second. */
static int64_t timed(unsigned long pid, int off)
{
	int64_t begin = now_us(), us = -1;
	struct poke p;

	if (poke_open(&p, (uint32_t)pid))
		return -1;
	if (poke_switch(&p, off))
		begin = INT64_MIN;
	while (us < 0 && now_us() < begin + 1000000) {
		if (poke_done(&p) == 1)
			us = now_us() - begin;
		else
			usleep(50);
	}
	poke_close(&p);
	return us;
}

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static int measure(unsigned long pid, long period)
{
	int64_t us[20];

	for (int i = 0; i < 20; i++) {
		us[i] = timed(pid, 1);
		if (us[i] < 0 || timed(pid, 0) < 0)
			return 1;
		usleep((useconds_t)period);
	}
	qsort(us, 20, sizeof(*us), by_time);
	printf("%lld\n", (long long)us[10]);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_term};
	unsigned long n = 0;
	long period;
	int chance, off = 0, left = 1;

	if (argc < 4)
		return 2;
	period = atol(argv[1]);
	if (!strcmp(argv[2], "measure"))
		return measure(strtoul(argv[3], NULL, 10), period);
	chance = !strcmp(argv[2], "random");
	srandom((unsigned)getpid());
	if (!isdigit((unsigned char)argv[3][0]))
		lib = argv[3];
	for (int i = 3; !lib && i < argc && n_pids < MAX; i++)
		pids[n_pids++] = strtoul(argv[i], NULL, 10);
	sigaction(SIGTERM, &sa, NULL);
	while (!stop && (left || lib)) {
		struct timespec nap = {period / 1000000, period % 1000000 * 1000};

		if (lib)
			look_around();
		off = !off;
		if (!chance)
			left = flip_all(off) || any_lives();
		else if (n_pids)
			left = flip(pids[random() % n_pids], random() & 1) || any_lives();
		n++;
		nanosleep(&nap, NULL);
	}
	flip_all(0);
	printf("%lu\n", n);
	return 0;
}
