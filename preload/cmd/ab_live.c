/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ab_live.c - shunt ab --live: one pair of programs under shunt, switched off and on in turn, and what their connections carry in each period.
 *
 * The same connections are compared with themselves, so nothing but the path differs. The figure is bytes in both directions a second, counted by
 * shunt itself on both paths; connections that come or go in the middle of a period spoil it, and its pair is left out.
 */
#include <errno.h>
#include <gsl/gsl_rng.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ab.h"
#include "scan.h"

#define SETTLE_S 0.05 /* after a switch: it is done within 10 ms where the programs run */
#define START_S 5

struct traffic {
	unsigned n;	 /* connections */
	uint64_t inodes; /* their sum: the same connections, then */
	double bytes;
};

/* What the processes of the group `pgid` have carried on their connections, ever. */
static int look(int pgid, struct traffic *t)
{
	struct scan s;
	int e = scan_init(&s);

	*t = (struct traffic){0};
	for (size_t i = 0; !e && i < s.n_procs; i++) {
		const struct scan_proc *p = &s.procs[i];
		if (getpgid((pid_t)p->pid) != pgid)
			continue;
		for (size_t k = 0; k < p->n_socks; k++) {
			const struct scan_sock *x = &p->socks[k];
			double b = (double)(x->tx.shm_bytes + x->tx.kernel_bytes + x->rx.shm_bytes + x->rx.kernel_bytes);
			if (b <= 0)
				continue;
			t->n++;
			t->inodes += x->inode;
			t->bytes += b;
		}
	}
	scan_fini(&s);
	return e;
}

static void nap(double s)
{
	struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

	nanosleep(&t, NULL); /* a signal ends it: then the period is not whole, and its pair not counted */
}

/* All processes of the group, by the command that people use. */
static int turn(int pgid, bool on)
{
	struct scan s;
	int e = scan_init(&s);

	for (size_t i = 0; !e && i < s.n_procs; i++) {
		char pid[16],
			*argv[] = {(char *)(uintptr_t) "/proc/self/exe", (char *)(uintptr_t)(on ? "on" : "off"), pid, NULL};
		struct ab_proc p;
		if (getpgid((pid_t)s.procs[i].pid) != pgid)
			continue;
		snprintf(pid, sizeof(pid), "%u", s.procs[i].pid);
		e = ab_start(&p, argv, NULL);
		if (e)
			break;
		if (ab_wait(&p, START_S) != 1 || p.status)
			e = -ESRCH;
		ab_stop(&p);
		ab_proc_fini(&p);
	}
	scan_fini(&s);
	return e;
}

/* Bytes a second, switched like that. Negative: the connections were not the same at its end. */
static double period(int pgid, bool on, double length_s)
{
	struct traffic a, b;
	double from, to;

	if (turn(pgid, on))
		return -1;
	nap(SETTLE_S);
	from = ab_now();
	if (look(pgid, &a))
		return -1;
	nap(length_s);
	to = ab_now();
	if (look(pgid, &b) || ab_interrupted || a.n != b.n || a.inodes != b.inodes || b.bytes <= a.bytes)
		return -1;
	return (b.bytes - a.bytes) / (to - from);
}

static void pairs(const struct ab_conf *c, struct ab_result *r, struct ab_proc *client)
{
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_taus2);
	double begin = ab_now(), length = c->live_s / 40;

	length = length < 0.1 ? 0.1 : length > 2 ? 2 : length;
	gsl_rng_set(rng, c->seed);
	while (r->n < AB_MAX_ROUNDS && !ab_interrupted && ab_now() - begin + 2 * length < c->live_s &&
		ab_wait(client, 0) == 0) {
		bool shunt_first = gsl_rng_uniform_int(rng, 2);
		double x[AB_WAYS] = {0};
		bool good = true;
		for (int i = 0; i < AB_WAYS && good; i++) {
			int w = shunt_first ? !i : i;
			x[w] = period(client->pid, w == AB_SHUNT, length);
			good = x[w] > 0;
		}
		if (!good) {
			r->n_failed++;
			snprintf(r->failed, sizeof(r->failed), "connections came, went or were idle in a period");
			continue;
		}
		for (int w = 0; w < AB_WAYS; w++)
			r->run[w][r->n].figure = x[w];
		r->n++;
	}
	gsl_rng_free(rng);
	turn(client->pid, true);
	r->took_s = ab_now() - begin;
}

/* Waits until the client's connections carry something. */
static bool carries(struct ab_proc *client)
{
	double until = ab_now() + START_S;
	struct traffic t;

	while (ab_now() < until && !ab_interrupted && ab_wait(client, 0) == 0) {
		if (!look(client->pid, &t) && t.n)
			return true;
		nap(0.01);
	}
	return false;
}

static void live_client(const struct ab_conf *c, struct ab_result *r, char *const argv[])
{
	struct ab_proc p;

	if (ab_start(&p, argv, "/dev/null")) {
		snprintf(r->failed, sizeof(r->failed), "the client cannot be started: %s", strerror(errno));
		r->n_failed = 1;
		return;
	}
	if (carries(&p)) {
		pairs(c, r, &p);
	} else {
		r->n_failed = 1;
		snprintf(r->failed, sizeof(r->failed), "the client has no connection that shunt follows, or ended within %d s",
			START_S);
	}
	ab_stop(&p);
	ab_proc_fini(&p);
}

void ab_live(struct ab_conf *c, struct ab_result *r)
{
	static const struct ab_metric bytes = {"carried", "B/s", NULL, true, 1};
	struct ab_pair pair;
	struct ab_run run = {0};

	c->metric = bytes;
	r->live = true;
	if (!c->server) {
		live_client(c, r, c->command);
	} else if (ab_pair_start(c, &pair, "/dev/null", &run)) {
		live_client(c, r, pair.client.we_wordv);
		ab_pair_stop(&pair);
	} else {
		r->n_failed = 1;
		snprintf(r->failed, sizeof(r->failed), "%s", run.error);
	}
	ab_evaluate(c, r);
}
