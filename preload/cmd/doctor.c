/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor.c - shunt doctor: can this machine, and this program, be upgraded, and what is to be done? */
#include "doctor.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "advice.h"
#include "cmd.h"
#include "table.h"

static const char *const words[] = {[STATE_OK] = "ok", [STATE_LIMIT] = "limit", [STATE_NO] = "no"};

static int usage(void)
{
	puts("usage: shunt doctor [--json] [CMD | PID]\n"
	     "\n"
	     "Says whether sockets can be upgraded on this machine, and those of a program or\n"
	     "of a running process, and what is to be done.\n"
	     "\n"
	     "  ok     as it should be\n"
	     "  limit  works, but not for all, or not as well\n"
	     "  no     nothing can be upgraded\n"
	     "\n"
	     "  --json  an object: verdict, and checks with state, check, text and advice\n"
	     "  --help  this text\n"
	     "\n"
	     "Exit status: 0: all is well; 1: with limits; 2: nothing can be upgraded; 125: an\n"
	     "error.\n"
	     "\n"
	     "  shunt doctor redis-server");
	return 0;
}

void report(struct report *r, enum state state, const char *id, const char *advice, const char *fmt, ...)
{
	struct check *c = &r->check[r->n];
	va_list ap;

	if (r->n == MAX_CHECKS)
		return;
	r->n++;
	c->state = state;
	c->id = id;
	c->advice = advice;
	va_start(ap, fmt);
	vsnprintf(c->text, sizeof(c->text), fmt, ap);
	va_end(ap);
	for (char *p = c->text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

static enum state verdict(const struct report *r)
{
	enum state worst = STATE_OK;

	for (size_t i = 0; i < r->n; i++)
		if (r->check[i].state > worst)
			worst = r->check[i].state;
	return worst;
}

static void print_text(const struct report *r)
{
	static const char *const said[] = {
		"All is well.", "It can be upgraded, within the limits above.", "Nothing can be upgraded."};
	unsigned width = term_width();

	for (size_t i = 0; i < r->n; i++) {
		char line[320];

		snprintf(line, sizeof(line), "%-5s  %s", words[r->check[i].state], r->check[i].text);
		print_wrapped(line, 0, 7, width);
		if (r->check[i].advice)
			print_wrapped(r->check[i].advice, 9, 0, width);
	}
	puts(said[verdict(r)]);
}

#ifdef HAVE_JANSSON
static int print_json(const struct report *r)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < r->n; i++)
		json_array_append_new(
			checks, json_pack("{s:s, s:s, s:s, s:s?}", "check", r->check[i].id, "state", words[r->check[i].state],
					"text", r->check[i].text, "advice", r->check[i].advice));
	return json_out(json_pack("{s:s, s:o}", "verdict", words[verdict(r)], "checks", checks));
}
#else
static int print_json(const struct report *r)
{
	(void)r;
	return json_missing();
}
#endif

/* A number is a process, anything else a program. 0, or a complaint's status. */
static int examine(struct report *r, const char *what)
{
	char path[PATH_MAX], proc[64];
	unsigned long pid;
	char *end;

	pid = strtoul(what, &end, 10);
	if (isdigit((unsigned char)what[0]) && !*end) {
		snprintf(proc, sizeof(proc), "/proc/%lu", pid);
		if (access(proc, F_OK))
			return complain(
				EXIT_SHUNT, "%s: there is no such process (a program of that name: give its path)", what);
		check_process(r, (uint32_t)pid);
		return 0;
	}
	cmd_resolve(what, path);
	if (!path[0] || access(path, R_OK))
		return complain(EXIT_SHUNT, "%s: %s", what, path[0] ? strerror(errno) : "not found; give its path");
	check_program(r, path);
	return 0;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option opts[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	static struct report r;
	int o, json = 0, err = 0;

	opterr = 0;
	while ((o = getopt_long(argc, argv, "+h", opts, NULL)) != -1)
		switch (o) {
		case 'j':
			json = 1;
			break;
		case 'h':
			return usage();
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt doctor --help`", argv[optind - 1]);
		}
	if (optind + 1 < argc)
		return complain(
			EXIT_SHUNT, "%s: one program or process at a time; see `shunt doctor --help`", argv[optind + 1]);
	check_machine(&r);
	if (optind < argc)
		err = examine(&r, argv[optind]);
	if (err)
		return err;
	if (json)
		err = print_json(&r);
	else
		print_text(&r);
	if (fflush(stdout) && !err)
		err = complain(EXIT_SHUNT, "output: %s", strerror(errno));
	return err ? err : (int)verdict(&r);
}
