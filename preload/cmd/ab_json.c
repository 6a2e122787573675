/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_json.c - the report as JSON; its fields are described in shunt(1), and only get more. */
#include <jansson.h>
#include <stdlib.h>

#include "ab.h"
#include "cmd.h"

static json_t *way(const struct ab_conf *c, const struct ab_result *r, enum ab_way w)
{
	json_t *figures = json_array(), *o;

	for (unsigned i = 0; i < r->n; i++)
		json_array_append_new(figures, json_real(r->run[w][i].figure));
	o = json_pack("{s:f, s:o}", "median", r->median[w], "figures", figures);
	if (r->live || !r->n)
		return o;
	json_object_set_new(o, "cpu_s",
		json_pack("{s:f, s:f}", "server", ab_used(r, w, AB_SERVER, false), "client", ab_used(r, w, AB_CLIENT, false)));
	json_object_set_new(o, "context_switches",
		json_pack("{s:f, s:f}", "server", ab_used(r, w, AB_SERVER, true), "client", ab_used(r, w, AB_CLIENT, true)));
	if (w == AB_SHUNT && !c->itself)
		json_object_set_new(o, "shm_share", json_real(ab_share(r)));
	return o;
}

int ab_report_json(const struct ab_conf *c, const struct ab_result *r)
{
	char text[1024], verdict[512];
	struct ab_machine m;
	json_t *o;

	ab_machine(&m);
	ab_command_text(c, text, sizeof(text));
	ab_verdict(c, r, verdict, sizeof(verdict));
	o = json_pack("{s:s, s:{s:s, s:s, s:s, s:i}, s:s, s:s, s:{s:s, s:s, s:b}, s:b, s:i, s:i, s:i, s:f}", "shunt",
		SHUNT_VERSION, "machine", "kernel", m.kernel, "cpu", m.cpu, "libc", m.libc, "cores", m.cores, "when", m.when,
		"command", text, "metric", "name", c->metric.name, "unit", c->metric.unit, "higher_is_better", c->metric.higher,
		"live", r->live, "rounds", (int)r->n, "failed", (int)r->n_failed, "not_upgraded", (int)r->n_same, "took_s",
		r->took_s);
	if (!o)
		return complain(EXIT_SHUNT, "the report cannot be written as JSON: a name in it is not UTF-8");
	json_object_set_new(o, "kernel", way(c, r, AB_KERNEL));
	json_object_set_new(o, "with_shunt", way(c, r, AB_SHUNT));
	if (r->ratio.high)
		json_object_set_new(o, "ratio",
			json_pack("{s:f, s:f, s:f, s:f}", "value", r->ratio.value, "low", r->ratio.low, "high", r->ratio.high,
				"confidence", 0.95));
	if (r->n && !r->live)
		json_object_set_new(o, "cpu_ratio", json_real(ab_cpu_ratio(c, r)));
	if (r->failed[0])
		json_object_set_new(o, "why_failed", json_string(r->failed));
	if (r->same[0])
		json_object_set_new(o, "why_not_upgraded", json_string(r->same));
	json_object_set_new(o, "verdict", json_string(verdict));
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(o);
	return 0;
}
