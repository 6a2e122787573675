/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_text.c - the report for people, on stdout. */
#include <gnu/libc-version.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "ab.h"
#include "table.h"

const char *ab_number(double x, char buf[32])
{
	static const char *const prefix[] = {"n", "u", "m", "", "k", "M", "G", "T"};
	int i = 3;

	while (x != 0 && fabs(x) < 0.9995 && i > 0) {
		x *= 1000;
		i--;
	}
	while (fabs(x) >= 999.5 && i < 7) {
		x /= 1000;
		i++;
	}
	snprintf(buf, 32, "%.*f%s", fabs(x) >= 99.95 ? 0 : fabs(x) >= 9.995 ? 1 : 2, x, prefix[i]);
	return buf;
}

void ab_machine(struct ab_machine *m)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256], *colon;
	struct utsname u;
	time_t now = time(NULL);

	*m = (struct ab_machine){.cores = (int)sysconf(_SC_NPROCESSORS_ONLN)};
	uname(&u);
	snprintf(m->kernel, sizeof(m->kernel), "%s %s %s", u.sysname, u.release, u.machine);
	snprintf(m->libc, sizeof(m->libc), "glibc %s", gnu_get_libc_version());
	strftime(m->when, sizeof(m->when), "%Y-%m-%d %H:%M", localtime(&now));
	while (f && !m->cpu[0] && fgets(line, sizeof(line), f))
		if (!strncmp(line, "model name", 10) && (colon = strchr(line, ':'))) {
			colon[strcspn(colon, "\n")] = 0;
			snprintf(m->cpu, sizeof(m->cpu), "%s", colon + 2);
		}
	if (f)
		fclose(f);
}

void ab_command_text(const struct ab_conf *c, char *buf, size_t len)
{
	size_t n = 0;

	if (c->server) {
		snprintf(buf, len, "server: %s; client: %s", c->server, c->client);
		return;
	}
	buf[0] = 0;
	for (char *const *a = c->command; *a && n < len; a++)
		n += (size_t)snprintf(buf + n, len - n, "%s%s", n ? " " : "", *a);
}

/* The longest that there is, `transactions/s (more is better)` with a note of 25 letters, fits 80 columns. */
static void row(const char *what, const char *a, const char *b, const char *note)
{
	printf("%-31s %10s %10s%s%s\n", what, a, b, *note ? "  " : "", note);
}

static void row_used(const struct ab_result *r, const char *what, enum ab_part p, bool switches)
{
	double x[AB_WAYS];
	char a[40], b[40], t[32];

	for (int w = 0; w < AB_WAYS; w++)
		x[w] = ab_used(r, w, p, switches);
	snprintf(a, sizeof(a), "%s%s", ab_number(x[AB_KERNEL], t), switches ? "" : "s");
	snprintf(b, sizeof(b), "%s%s", ab_number(x[AB_SHUNT], t), switches ? "" : "s");
	row(what, a, b, "");
}

static void table(const struct ab_conf *c, const struct ab_result *r)
{
	char a[64], b[64], t[32], what[64], note[64];

	snprintf(what, sizeof(what), "%s (%s is better)", c->metric.name, c->metric.higher ? "more" : "less");
	snprintf(a, sizeof(a), "%s%s", ab_number(r->median[AB_KERNEL], t), c->metric.unit);
	snprintf(b, sizeof(b), "%s%s", ab_number(r->median[AB_SHUNT], t), c->metric.unit);
	if (r->ratio.high)
		snprintf(note, sizeof(note), "%.3g times (%.3g-%.3g)", r->ratio.value, r->ratio.low, r->ratio.high);
	else
		snprintf(note, sizeof(note), "%.3g times", r->ratio.value);
	row("", "kernel", "shunt", "");
	row(what, a, b, note);
	if (r->live)
		return;
	if (c->server)
		row_used(r, "CPU of the server", AB_SERVER, false);
	row_used(r, c->server ? "CPU of the client" : "CPU", AB_CLIENT, false);
	if (c->server)
		row_used(r, "context switches, server", AB_SERVER, true);
	row_used(r, c->server ? "context switches, client" : "context switches", AB_CLIENT, true);
	snprintf(b, sizeof(b), "%.1f %%", 100 * ab_share(r));
	row("bytes through memory", "-", b, "");
}

/* gnuplot fills its lines with spaces, and begins and ends with empty ones. */
static void put_trimmed(char *plot)
{
	char *save, *line;

	putchar('\n');
	for (line = strtok_r(plot, "\n\f", &save); line; line = strtok_r(NULL, "\n\f", &save)) {
		size_t n = strlen(line);
		while (n && line[n - 1] == ' ')
			n--;
		if (n)
			printf("%.*s\n", (int)n, line);
	}
	putchar('\n');
}

static void print_left_out(unsigned n, const char *what, const char *why)
{
	char line[512];

	if (!n)
		return;
	snprintf(line, sizeof(line), "%u round%s left out, %s: %s", n, n == 1 ? "" : "s", what, why);
	print_line(line, 4);
}

void ab_report_text(const struct ab_conf *c, const struct ab_result *r)
{
	char buf[512], terminal[64];
	struct winsize ws = {.ws_col = 80};
	char *plot;

	if (r->n) {
		printf("%u %s in %.3g s; medians\n\n", r->n, r->live ? "pairs of periods" : "rounds", r->took_s);
		table(c, r);
		if (isatty(1))
			ioctl(1, TIOCGWINSZ, &ws);
		snprintf(terminal, sizeof(terminal), "dumb %d 11 noenhanced",
			ws.ws_col > 40 && ws.ws_col < 120 ? ws.ws_col - 1 : 79);
		plot = ab_plot(c, r, terminal, "runs");
		if (plot)
			put_trimmed(plot);
		else
			puts("\n(the runs are drawn here when there is gnuplot: apt-get install gnuplot-nox)\n");
		free(plot);
	}
	print_left_out(r->n_failed, "failed", r->failed);
	print_left_out(r->n_same, "nothing went through memory", r->same);
	ab_verdict(c, r, buf, sizeof(buf));
	print_line(buf, 0);
}
