/* SPDX-License-Identifier: BSD-2-Clause */
/* test_ab.c - how often the interval of shunt ab holds the truth, and what it reads out of other programs' output. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "cmd/ab.h"

static gsl_rng *rng;

static int make_rng(void **state)
{
	(void)state;
	rng = gsl_rng_alloc(gsl_rng_taus2);
	gsl_rng_set(rng, 1);
	return 0;
}

static int free_rng(void **state)
{
	(void)state;
	gsl_rng_free(rng);
	return 0;
}

/* Times as machines have them: a long tail, and now and then something else altogether. */
static double a_time(double middle)
{
	double t = middle * gsl_ran_lognormal(rng, 0, 0.08);

	return gsl_rng_uniform(rng) < 0.05 ? t * 3 : t;
}

/* Of so many comparisons of n rounds each, in how many does the interval hold the true ratio? */
static double coverage(size_t n, double truth, int tries)
{
	double a[64], b[64];
	int held = 0;

	for (int i = 0; i < tries; i++) {
		struct ab_interval r;
		for (size_t k = 0; k < n; k++) {
			a[k] = a_time(truth);
			b[k] = a_time(1);
		}
		r = ab_ratio(a, b, n, false, gsl_rng_get(rng));
		assert_true(r.low <= r.value && r.value <= r.high);
		held += r.low <= truth && truth <= r.high;
	}
	return held / (double)tries;
}

static void test_interval_holds_the_truth(void **state)
{
	static const size_t n[] = {AB_LEAST, 10, 30};

	(void)state;
	for (size_t i = 0; i < sizeof(n) / sizeof(*n); i++) {
		double same = coverage(n[i], 1, 150), twice = coverage(n[i], 2, 150);
		print_message("# %zu rounds: %.3f %.3f\n", n[i], same, twice);
		assert_true(same >= 0.91);
		assert_true(twice >= 0.91);
	}
}

static void test_interval_holds_the_truth_when_it_decides_the_end(void **state)
{
	static struct ab_run run[AB_WAYS][AB_MAX_ROUNDS];
	struct ab_conf c = {.precision = 0.05, .metric = {"wall time", "s", NULL, false, 1}};
	int held = 0;
	const int tries = 80;

	(void)state;
	for (int i = 0; i < tries; i++) {
		struct ab_result r = {.run = {run[AB_KERNEL], run[AB_SHUNT]}};
		c.seed = gsl_rng_get(rng);
		do {
			for (int w = 0; w < AB_WAYS; w++)
				run[w][r.n].figure = a_time(1);
			r.n++;
			if (ab_looks(r.n))
				ab_evaluate(&c, &r);
		} while (!(ab_looks(r.n) && ab_exact_enough(&c, &r)) && r.n < 300);
		held += r.ratio.low <= 1 && 1 <= r.ratio.high;
	}
	print_message("# %.3f\n", held / (double)tries);
	assert_true(held >= 0.9 * tries);
}

static void test_more_is_better_turns_the_ratio(void **state)
{
	const double a[] = {10, 11, 12, 10, 11}, b[] = {20, 22, 24, 20, 22};
	struct ab_interval up = ab_ratio(a, b, 5, true, 1), down = ab_ratio(a, b, 5, false, 1);

	(void)state;
	assert_float_equal(up.value, 2, 1e-9);
	assert_float_equal(down.value, 0.5, 1e-9);
}

static void reads(const char *program, const char *text, double want)
{
	const struct ab_metric *m = ab_reader(program);
	double x = 0;

	assert_non_null(m);
	assert_int_equal(ab_metric_find(m, text, &x), 0);
	assert_float_equal(x, want, want * 1e-9);
}

static void test_readers(void **state)
{
	(void)state;
	reads("/usr/bin/redis-benchmark",
		"GET: rps=100.0 (overall: 90.0) avg_msec=0.2\nGET: 12345.67 requests per second, p50=0.031 msec\n\n", 12345.67);
	reads("redis-benchmark", "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"2222.50\",\"0.033\"\n", 2222.5);
	reads("redis-benchmark",
		"Summary:\n  throughput summary: 3333.33 requests per second\n  latency summary (msec):\n    0.1\n", 3333.33);
	reads("wrk", "Running 1s test\n  2 threads and 10 connections\nRequests/sec:  54321.00\nTransfer/sec:     43.20MB\n",
		54321);
	reads("pgbench",
		"latency average = 0.1 ms\ninitial connection time = 2 ms\ntps = 1234.567890 (without initial connection "
		"time)\n",
		1234.56789);
	reads("iperf3",
		"[  5]   0.00-1.00   sec  1.1 GBytes  9.45 Gbits/sec    0   sender\n"
		"[  5]   0.00-1.00   sec  1.1 GBytes  9.25 Gbits/sec        receiver\n",
		9.25e9);
	reads("iperf3", "{ \"bits_per_second\":\t1.5e+9, \"retransmits\": 0 }\n\"bits_per_second\": 2000000\n", 2e6);
	reads("sockperf", "sockperf: ====> avg-latency=12.500 (std-dev=1.1)\n", 12.5);
	assert_null(ab_reader("cat"));
}

static void test_regex_takes_the_last_match_and_its_first_group(void **state)
{
	struct ab_metric m = {"figure", "", "took ([0-9.]+) ms", true, 1};
	double x;

	(void)state;
	assert_int_equal(ab_metric_find(&m, "took 1.5 ms\ntook 2.5 ms", &x), 0);
	assert_float_equal(x, 2.5, 1e-9);
	assert_int_equal(ab_metric_find(&m, "it took ages\n", &x), -2);
	assert_int_equal(ab_metric_find(&m, "", &x), -2);
	m.regex = "[0-9]*";
	assert_int_equal(ab_metric_find(&m, "a 17 b", &x), 0);
	assert_float_equal(x, 17, 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interval_holds_the_truth),
		cmocka_unit_test(test_interval_holds_the_truth_when_it_decides_the_end),
		cmocka_unit_test(test_more_is_better_turns_the_ratio),
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_regex_takes_the_last_match_and_its_first_group),
	};

	return cmocka_run_group_tests(tests, make_rng, free_rng);
}
