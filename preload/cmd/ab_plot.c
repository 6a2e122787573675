/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_plot.c - plots of a comparison, by gnuplot, for the terminal and for the page. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ab.h"

#define PLOT_S 20

/* Each run's round and figure, as blocks of data $kernel and $shunt. */
static void put_data(FILE *f, const struct ab_result *r)
{
	for (int w = 0; w < AB_WAYS; w++) {
		fprintf(f, "$%s << EOD\n", w == AB_SHUNT ? "shunt" : "kernel");
		for (unsigned i = 0; i < r->n; i++)
			fprintf(f, "%u %.9g\n", i + 1, r->run[w][i].figure);
		fputs("EOD\n", f);
	}
}

static void put_script(FILE *f, const struct ab_conf *c, const struct ab_result *r, const char *terminal, const char *which)
{
	bool far = r->median[AB_KERNEL] > 4 * r->median[AB_SHUNT] || r->median[AB_SHUNT] > 4 * r->median[AB_KERNEL];
	bool dumb = !strncmp(terminal, "dumb", 4);
	const char *unit = c->metric.unit;

	fprintf(f, "set terminal %s\nset key off\nset border 3\nset tics nomirror\n", terminal);
	put_data(f, r);
	if (!strcmp(which, "runs")) {
		fprintf(f,
			"set jitter\nset yrange [0.4:2.6]\nset ytics scale 0 ('kernel' 2, 'shunt' 1)\nset format x "
			"'%%.1s%%c%s'\n",
			unit);
		if (far)
			fputs("set logscale x\n", f);
		if (dumb)
			fputs("set lmargin 8\nplot $kernel using 2:(2) pt 'k', $shunt using 2:(1) pt 's'\n", f);
		else
			fputs("plot $kernel using 2:(2) pt 7 ps 0.8 lc rgb '#8a8a8a', $shunt using 2:(1) pt 7 ps 0.8 lc rgb "
			      "'#1f77b4'\n",
				f);
	} else {
		fprintf(f, "set xlabel '%s'\nset key top right\nset format y '%%.1s%%c%s'\n", r->live ? "period" : "round",
			unit);
		fputs(far ? "set logscale y\n" : "set yrange [0:*]\n", f);
		fputs("plot $kernel with linespoints pt 7 ps 0.6 lc rgb '#8a8a8a' title 'kernel', "
		      "$shunt with linespoints pt 7 ps 0.6 lc rgb '#1f77b4' title 'shunt'\n",
			f);
	}
}

char *ab_plot(const struct ab_conf *c, const struct ab_result *r, const char *terminal, const char *which)
{
	char file[] = "/tmp/shunt-ab-XXXXXX", *argv[] = {(char *)(uintptr_t) "gnuplot", file, NULL}, *text = NULL;
	int fd = mkstemp(file);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	struct ab_proc p;

	if (!f)
		return NULL;
	put_script(f, c, r, terminal, which);
	fclose(f);
	if (!ab_start(&p, argv, NULL)) {
		if (ab_wait(&p, PLOT_S) == 1 && WIFEXITED(p.status) && !WEXITSTATUS(p.status))
			text = ab_output(&p);
		ab_stop(&p);
		ab_proc_fini(&p);
	}
	unlink(file);
	return text;
}
