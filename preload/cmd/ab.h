/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ab.h - shunt ab: the same work without and with shunt, in turn, and what the difference is.
 *
 *     ab.c         options; rounds until the answer is as exact as was asked for
 *     ab_run.c     one run of the command, or of a server and a client, one way
 *     ab_proc.c    a program: started, waited for, ended; what it has used
 *     ab_metric.c  the figure in a program's output
 *     ab_stats.c   what went through memory: the lines of shunt run --stats
 *     ab_math.c    medians, and the interval of their ratio
 *     ab_live.c    --live: one pair, switched off and on
 *     ab_text.c  ab_json.c  ab_html.c  ab_plot.c    the report
 *
 * A round is two runs, one each way, in random order. Only whole rounds count: what failed, and runs with shunt in which nothing went
 * through memory, are told and left out.
 */
#ifndef SHUNT_AB_H
#define SHUNT_AB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <wordexp.h>

#define AB_MAX_ROUNDS 1000
#define AB_LEAST 6		/* rounds, for an interval */
#define AB_OUTPUT_MAX (1 << 20) /* octets of a program's output that are looked at: the last ones */

enum ab_way { AB_KERNEL, AB_SHUNT, AB_WAYS };
enum ab_part { AB_SERVER, AB_CLIENT, AB_PARTS }; /* a command alone is the client */

/* ---- a program (ab_proc.c) ---- */

struct ab_usage {
	double cpu_s;	   /* of the program and of those of its children that it has waited for */
	uint64_t switches; /* context switches, of both kinds */
};

struct ab_proc {
	int pid; /* 0: none */
	int out; /* memfd: its stdout and stderr */
	struct ab_usage used;
	int status; /* wait status; valid once it has ended */
};

/* Starts argv in a process group of its own; `stats`: under shunt, with its counters there; NULL: without. 0 or -errno. */
int ab_start(struct ab_proc *p, char *const argv[], const char *stats);
/* Waits, at most `limit_s`. 1: it has ended; 0: it has not; -EINTR: the user wants to end. */
int ab_wait(struct ab_proc *p, double limit_s);
/* Asks its whole group to end (SIGTERM), and makes it after 5 s. */
void ab_stop(struct ab_proc *p);
/* Its output, 0-terminated, to be freed; NULL: out of memory. */
char *ab_output(const struct ab_proc *p);
void ab_proc_fini(struct ab_proc *p);
extern volatile int ab_interrupted; /* a signal number */
double ab_now(void);		    /* s, monotonic */

/* ---- the figure (ab_metric.c) ---- */

struct ab_metric {
	const char *name;  /* "wall time", "requests/s" ... */
	const char *unit;  /* "s", "/s"; "" */
	const char *regex; /* NULL: wall time */
	bool higher;	   /* higher is better */
	double scale;
};

/* The built-in reader for a program (its path, or name), or NULL. */
const struct ab_metric *ab_reader(const char *program);
/* The last match of the metric's regex in `text`: its first group that matched, or all of it. 0, -ENOENT, or -EINVAL: no such regex. */
int ab_metric_find(const struct ab_metric *m, const char *text, double *figure);
int ab_metric_check(const char *regex, char *why, size_t len);

/* ---- counters (ab_stats.c) ---- */

struct ab_bytes {
	uint64_t shm, kernel; /* received by all its processes */
	unsigned upgrades;
	char why[160]; /* reasons for sockets in the kernel, "reason (n)" */
};
int ab_stats_read(const char *path, struct ab_bytes *b);

/* ---- a run (ab_run.c) ---- */

struct ab_run {
	double wall_s, figure;
	struct ab_usage used[AB_PARTS];
	struct ab_bytes bytes;
	char error[320]; /* "": it went well */
};

struct ab_conf {
	char *const *command;	     /* or: */
	const char *server, *client; /* split as a shell would; {port} is replaced */
	const char *ready;	     /* a port, or a command; NULL: {port} */
	struct ab_metric metric;
	double precision; /* half the interval's width / the ratio */
	double max_time_s, run_limit_s;
	unsigned rounds, warmup; /* rounds: 0: as many as precision needs */
	double live_s;
	unsigned long seed;
	bool json, itself; /* itself: neither way with shunt */
	const char *html;
};

/* One run. false: error says why. */
bool ab_run(const struct ab_conf *c, enum ab_way way, struct ab_run *r);

/* A fresh server on a port of its own, ready, and the words of a client of it. */
struct ab_pair {
	wordexp_t server_words, client;
	struct ab_proc server;
};
/* `stats`: as ab_start. false: r->error says why; nothing is to be stopped then. */
bool ab_pair_start(const struct ab_conf *c, struct ab_pair *p, const char *stats, struct ab_run *r);
void ab_pair_stop(struct ab_pair *p);

/* ---- what it comes to (ab_math.c) ---- */

struct ab_interval {
	double value, low, high;
};

struct ab_result {
	unsigned n, n_narrow; /* rounds; looks in a row with a narrow interval */
	struct ab_run *run[AB_WAYS];
	double median[AB_WAYS];
	struct ab_interval ratio;  /* how many times better with shunt; low = high = 0: too few rounds */
	unsigned n_failed, n_same; /* rounds left out: failed; nothing in memory */
	char failed[320], same[320];
	double took_s;
	bool live;
};

double ab_median(double *x, size_t n); /* sorts x */
/* How many times better b is than a, n pairs of them (at least AB_LEAST), with the interval in which it lies with 95 % confidence. */
struct ab_interval ab_ratio(const double *a, const double *b, size_t n, bool higher, unsigned long seed);
/* All figures from the runs. */
void ab_evaluate(const struct ab_conf *c, struct ab_result *r);
/* Is it time to evaluate, after n rounds? At each of the first, then each time that there are a tenth more: each look is a chance to stop too early. */
bool ab_looks(unsigned n);
/* At three looks in a row: the first narrow interval is often one that is narrow by chance. */
bool ab_exact_enough(const struct ab_conf *c, struct ab_result *r);
/* CPU for the same work, with shunt / without; 0: not known. */
double ab_cpu_ratio(const struct ab_conf *c, const struct ab_result *r);
double ab_used(const struct ab_result *r, enum ab_way w, enum ab_part p, bool switches); /* the median */
double ab_share(const struct ab_result *r);						 /* of the bytes, through memory */
void ab_verdict(const struct ab_conf *c, const struct ab_result *r, char *buf, size_t len);

/* ---- the report ---- */

struct ab_machine {
	char kernel[200], cpu[96], libc[32];
	int cores;
	char when[32];
};
void ab_machine(struct ab_machine *m);
void ab_report_text(const struct ab_conf *c, const struct ab_result *r);
/* 0, or a complaint's status. */
int ab_report_json(const struct ab_conf *c, const struct ab_result *r);
int ab_report_html(const struct ab_conf *c, const struct ab_result *r);
/* A plot by gnuplot in `terminal` ("dumb ...", "svg ..."), to be freed; NULL: there is no gnuplot. */
char *ab_plot(const struct ab_conf *c, const struct ab_result *r, const char *terminal, const char *which);
const char *ab_number(double x, char buf[32]); /* three digits, with k, M, G or m, u */
void ab_command_text(const struct ab_conf *c, char *buf, size_t len);

/* --live (ab_live.c): sets the metric. */
void ab_live(struct ab_conf *c, struct ab_result *r);

#endif
