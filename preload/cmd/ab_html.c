/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_html.c - the report as one page that needs nothing else: no script, no font, no picture from elsewhere. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"
#include "cmd.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
	"content=\"width=device-width\">\n"
	"<link rel=\"icon\" href=\"data:,\">\n<title>shunt ab</title>\n<style>\n"
	"body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}\n"
	"h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}code{background:#f3f3f3;padding:.1em "
	".3em}\n"
	"table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.3rem 1rem .3rem 0;text-align:right}\n"
	"td:first-child,th:first-child{text-align:left}tr+tr{border-top:1px solid "
	"#ddd}.left{color:#a33}svg{max-width:100%;height:auto}\n"
	"</style></head><body>\n";

static void put_text(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			if ((unsigned char)*s >= ' ')
				fputc(*s, f);
		}
}

static void put_element(FILE *f, const char *tag, const char *text)
{
	fprintf(f, "<%s>", tag);
	put_text(f, text);
	fprintf(f, "</%s>", tag);
}

static void put_row(FILE *f, const char *what, double a, double b, const char *unit)
{
	char t[32];

	fputs("<tr>", f);
	put_element(f, "td", what);
	fprintf(f, "<td>%s%s</td>", ab_number(a, t), unit);
	fprintf(f, "<td>%s%s</td></tr>\n", ab_number(b, t), unit);
}

static void put_used(FILE *f, const struct ab_result *r, const char *what, enum ab_part p, bool switches)
{
	put_row(f, what, ab_used(r, AB_KERNEL, p, switches), ab_used(r, AB_SHUNT, p, switches), switches ? "" : "s");
}

static void put_table(FILE *f, const struct ab_conf *c, const struct ab_result *r)
{
	char what[64];

	fputs("<table><tr><th>median</th><th>kernel</th><th>shunt</th></tr>\n", f);
	snprintf(what, sizeof(what), "%s (%s is better)", c->metric.name, c->metric.higher ? "more" : "less");
	put_row(f, what, r->median[AB_KERNEL], r->median[AB_SHUNT], c->metric.unit);
	if (!r->live) {
		if (c->server) {
			put_used(f, r, "CPU of the server", AB_SERVER, false);
			put_used(f, r, "context switches of the server", AB_SERVER, true);
		}
		put_used(f, r, c->server ? "CPU of the client" : "CPU", AB_CLIENT, false);
		put_used(f, r, c->server ? "context switches of the client" : "context switches", AB_CLIENT, true);
		fprintf(f, "<tr><td>bytes through memory</td><td></td><td>%.1f %%</td></tr>\n", 100 * ab_share(r));
	}
	fputs("</table>\n", f);
}

/* What gnuplot makes, from its <svg on: an XML declaration has no place in a page. */
static void put_plot(
	FILE *f, const struct ab_conf *c, const struct ab_result *r, const char *title, const char *which, int height)
{
	char terminal[80];
	char *plot, *svg;

	snprintf(terminal, sizeof(terminal), "svg size 800,%d name \"%s\" enhanced font \"sans-serif,13\"", height, which);
	plot = ab_plot(c, r, terminal, which);
	svg = plot ? strstr(plot, "<svg") : NULL;
	put_element(f, "h2", title);
	fputs(svg ? svg : "<p>This needs gnuplot, which was not there.</p>\n", f);
	free(plot);
}

static void put_left_out(FILE *f, const struct ab_result *r)
{
	if (r->n_failed) {
		fprintf(f, "<p class=\"left\">%u left out, failed: ", r->n_failed);
		put_text(f, r->failed);
		fputs("</p>\n", f);
	}
	if (r->n_same) {
		fprintf(f, "<p class=\"left\">%u left out, nothing went through memory: ", r->n_same);
		put_text(f, r->same);
		fputs("</p>\n", f);
	}
}

int ab_report_html(const struct ab_conf *c, const struct ab_result *r)
{
	FILE *f = fopen(c->html, "we");
	char text[1024];
	struct ab_machine m;

	if (!f)
		return complain(EXIT_SHUNT, "--html %s: %s; name a file that can be written", c->html, strerror(errno));
	ab_machine(&m);
	fputs(head, f);
	ab_verdict(c, r, text, sizeof(text));
	put_element(f, "h1", text);
	ab_command_text(c, text, sizeof(text));
	fputs("<p>", f);
	put_element(f, "code", text);
	fprintf(f, "<br>%u %s in %.3g s, without and with shunt in random order.</p>\n", r->n,
		r->live ? "pairs of periods" : "rounds", r->took_s);
	put_left_out(f, r);
	if (r->n) {
		put_table(f, c, r);
		put_plot(f, c, r, "Each run", "runs", 200);
		put_plot(f, c, r, "As they came", "rounds", 320);
	}
	fputs("<h2>Where</h2>\n", f);
	snprintf(text, sizeof(text), "%s, %d cores; %s; %s; shunt %s; %s", m.cpu, m.cores, m.kernel, m.libc, SHUNT_VERSION,
		m.when);
	put_element(f, "p", text);
	fputs("\n</body></html>\n", f);
	if (fclose(f))
		return complain(EXIT_SHUNT, "--html %s: %s", c->html, strerror(errno));
	return 0;
}
