/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_metric.c - the figure in a program's output: by the user's regex, or by a built-in reader, which is one that we keep. */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"

#define N_GROUPS 10
#define NUMBER "([0-9]+\\.?[0-9]*)"

static const struct {
	const char *program;
	struct ab_metric m;
} readers[] = {
	/* As it prints by itself, with -q, and with --csv (whose first number of a line is the rate). */
	{"redis-benchmark", {"requests/s", "/s", NUMBER " requests per second|^\"[^\"]+\",\"" NUMBER "\"", true, 1}},
	{"wrk", {"requests/s", "/s", "^Requests/sec: +" NUMBER, true, 1}},
	{"pgbench", {"transactions/s", "/s", "^tps = " NUMBER, true, 1}},
	/* Its JSON (-J), whose last rate is what was received; or its summary, with a unit. */
	{"iperf3", {"bit/s", "bit/s", "\"bits_per_second\":[ \t]*([0-9.e+]+)|" NUMBER " ([KMGT]?)bits/sec.*receiver", true, 1}},
	{"sockperf", {"latency", "us", "avg-lat(ency)?= *" NUMBER, false, 1}},
};
#define N_READERS (sizeof(readers) / sizeof(*readers))

const struct ab_metric *ab_reader(const char *program)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;

	for (size_t i = 0; i < N_READERS; i++)
		if (!strcmp(name, readers[i].program))
			return &readers[i].m;
	return NULL;
}

int ab_metric_check(const char *regex, char *why, size_t len)
{
	regex_t re;
	int r = regcomp(&re, regex, REG_EXTENDED | REG_NEWLINE);

	if (r) {
		regerror(r, &re, why, len);
		return -EINVAL;
	}
	regfree(&re);
	return 0;
}

static double unit_factor(const char *s)
{
	const char *at = *s ? strchr("KMGT", *s) : NULL;
	double f = 1;

	for (const char *u = "KMGT"; at && u <= at; u++)
		f *= 1000;
	return f;
}

/* The first group that holds a number; a group behind it may be the number's unit. */
static int number_in(const char *text, const regmatch_t *g, size_t n, double *figure)
{
	for (size_t i = n > 1 ? 1 : 0; i < n; i++) {
		char *end;
		const char *s = text + g[i].rm_so;
		if (g[i].rm_so < 0)
			continue;
		*figure = strtod(s, &end);
		if (end == s)
			continue;
		if (i + 1 < n && g[i + 1].rm_so >= 0 && g[i + 1].rm_so == g[i].rm_eo + 1)
			*figure *= unit_factor(text + g[i + 1].rm_so);
		return 0;
	}
	return -ENOENT;
}

int ab_metric_find(const struct ab_metric *m, const char *text, double *figure)
{
	regex_t re;
	regmatch_t g[N_GROUPS];
	int r = -ENOENT, flags = 0;

	if (regcomp(&re, m->regex, REG_EXTENDED | REG_NEWLINE))
		return -EINVAL;
	while (*text && !regexec(&re, text, N_GROUPS, g, flags)) {
		double x;
		size_t n = re.re_nsub + 1 < N_GROUPS ? re.re_nsub + 1 : N_GROUPS;
		if (!number_in(text, g, n, &x)) {
			*figure = x * m->scale;
			r = 0;
		}
		text += g[0].rm_eo;
		if (g[0].rm_eo == g[0].rm_so && *text)
			text++;
		else if (!*text)
			break;
		flags = text[-1] == '\n' ? 0 : REG_NOTBOL;
	}
	regfree(&re);
	return r;
}
