/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ab_math.c - medians, and how sure their ratio is.
 *
 * The interval is a bootstrap over rounds: both figures of a round are drawn together, since what the machine does changes from round to round for both. The percentiles are taken further
 * out than 2.5 and 97.5, by as much as Student's t is wider than the normal distribution for so few rounds: a plain percentile bootstrap of
 * few rounds says 95 % and means 88. tests/unit/test_ab.c measures how often it holds the truth.
 */
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"

#define N_BOOT 2000
#define CONFIDENCE 0.95
#define MIN_ROUNDS 10 /* before the interval may end it: few rounds that happen to lie close look exact */

double ab_median(double *x, size_t n)
{
	gsl_sort(x, 1, n);
	return n ? gsl_stats_median_from_sorted_data(x, 1, n) : 0;
}

static double better(double a, double b, bool higher)
{
	return higher ? b / a : a / b;
}

/* The probability below which the lower end lies. */
static double tail(size_t n)
{
	double t = gsl_cdf_tdist_Pinv((1 - CONFIDENCE) / 2, (double)n - 1);
	return gsl_cdf_ugaussian_P(t * sqrt((double)n / ((double)n - 1)));
}

struct ab_interval ab_ratio(const double *a, const double *b, size_t n, bool higher, unsigned long seed)
{
	static double boot[N_BOOT], x[AB_MAX_ROUNDS], y[AB_MAX_ROUNDS];
	struct ab_interval r;
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_taus2);

	gsl_rng_set(rng, seed);
	memcpy(x, a, n * sizeof(*x));
	memcpy(y, b, n * sizeof(*y));
	r.value = better(ab_median(x, n), ab_median(y, n), higher);
	for (int i = 0; i < N_BOOT; i++) {
		for (size_t k = 0; k < n; k++) {
			size_t from = gsl_rng_uniform_int(rng, n);
			x[k] = a[from];
			y[k] = b[from];
		}
		boot[i] = better(ab_median(x, n), ab_median(y, n), higher);
	}
	gsl_rng_free(rng);
	gsl_sort(boot, 1, N_BOOT);
	r.low = gsl_stats_quantile_from_sorted_data(boot, 1, N_BOOT, tail(n));
	r.high = gsl_stats_quantile_from_sorted_data(boot, 1, N_BOOT, 1 - tail(n));
	return r;
}

static double median_of(const struct ab_result *r, enum ab_way w, double (*get)(const struct ab_run *, int), int arg)
{
	static double x[AB_MAX_ROUNDS];

	for (unsigned i = 0; i < r->n; i++)
		x[i] = get(&r->run[w][i], arg);
	return ab_median(x, r->n);
}

static double get_cpu(const struct ab_run *r, int part)
{
	return r->used[part].cpu_s;
}

static double get_switches(const struct ab_run *r, int part)
{
	return (double)r->used[part].switches;
}

static double get_cpu_per_work(const struct ab_run *r, int higher)
{
	double cpu = r->used[AB_SERVER].cpu_s + r->used[AB_CLIENT].cpu_s;
	return higher ? cpu / (r->figure * r->wall_s) : cpu;
}

double ab_used(const struct ab_result *r, enum ab_way w, enum ab_part p, bool switches)
{
	return median_of(r, w, switches ? get_switches : get_cpu, p);
}

double ab_cpu_ratio(const struct ab_conf *c, const struct ab_result *r)
{
	double a = median_of(r, AB_KERNEL, get_cpu_per_work, c->metric.higher);
	double b = median_of(r, AB_SHUNT, get_cpu_per_work, c->metric.higher);

	return a > 0 && b > 0 ? b / a : 0;
}

double ab_share(const struct ab_result *r)
{
	double shm = 0, all = 0;

	for (unsigned i = 0; i < r->n; i++) {
		const struct ab_bytes *b = &r->run[AB_SHUNT][i].bytes;
		shm += (double)b->shm;
		all += (double)b->shm + (double)b->kernel;
	}
	return all > 0 ? shm / all : 0;
}

void ab_evaluate(const struct ab_conf *c, struct ab_result *r)
{
	static double x[AB_WAYS][AB_MAX_ROUNDS];
	static double sorted[AB_MAX_ROUNDS];

	for (int w = 0; w < AB_WAYS; w++) {
		for (unsigned i = 0; i < r->n; i++)
			x[w][i] = r->run[w][i].figure;
		memcpy(sorted, x[w], r->n * sizeof(*sorted));
		r->median[w] = ab_median(sorted, r->n);
	}
	r->ratio = (struct ab_interval){0};
	if (r->n >= AB_LEAST)
		r->ratio = ab_ratio(x[AB_KERNEL], x[AB_SHUNT], r->n, c->metric.higher, c->seed);
	else if (r->n)
		r->ratio.value = better(r->median[AB_KERNEL], r->median[AB_SHUNT], c->metric.higher);
}

bool ab_looks(unsigned n)
{
	unsigned at = MIN_ROUNDS;

	while (at < n)
		at += at / 10;
	return n <= MIN_ROUNDS || at == n;
}

bool ab_exact_enough(const struct ab_conf *c, struct ab_result *r)
{
	bool narrow = r->n >= MIN_ROUNDS && (r->ratio.high - r->ratio.low) / 2 <= c->precision * r->ratio.value;

	r->n_narrow = narrow ? r->n_narrow + 1 : 0;
	return r->n_narrow == 3;
}

static void cpu_words(double ratio, char *buf, size_t len)
{
	if (ratio <= 0)
		buf[0] = 0;
	else if (ratio > 0.95 && ratio < 1.05)
		snprintf(buf, len, ", the same CPU");
	else if (ratio >= 0.45 && ratio <= 0.55)
		snprintf(buf, len, ", half the CPU");
	else
		snprintf(buf, len, ratio < 0.1 ? ", %.2g of the CPU" : ", %.2f of the CPU", ratio);
}

void ab_verdict(const struct ab_conf *c, const struct ab_result *r, char *buf, size_t len)
{
	const struct ab_interval *i = &r->ratio;
	char cpu[64];

	cpu_words(r->live ? 0 : ab_cpu_ratio(c, r), cpu, sizeof(cpu));
	if (!r->n)
		snprintf(buf, len, "no result: no round could be counted");
	else if (!i->high)
		snprintf(buf, len,
			"no result: %u round%s say%s %.2f times, and %d are the least for an interval; give more --max-time",
			r->n, r->n == 1 ? "" : "s", r->n == 1 ? "s" : "", i->value, AB_LEAST);
	else if (i->low > 1)
		snprintf(buf, len, "%.3g times faster, 95 %% interval %.3g-%.3g%s", i->value, i->low, i->high, cpu);
	else if (i->high < 1)
		snprintf(buf, len, "slower: %.3g of the speed, 95 %% interval %.3g-%.3g%s", i->value, i->low, i->high, cpu);
	else
		snprintf(buf, len, "no difference that this many runs could show (%.3g times, 95 %% interval %.3g-%.3g)",
			i->value, i->low, i->high);
}
