/* SPDX-License-Identifier: BSD-2-Clause */
/* rulescmd.c - shunt rules: what is in force, is it right, and what does it say of a socket? */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "rules.h"

#define EXIT_NO 1 /* --check: a mistake; --explain: the kernel */

static int usage(void)
{
	puts("usage: shunt rules [--only RULE] [--not RULE] [--share WHOM]\n"
	     "                   [--check FILE] [--explain SOCKET]\n"
	     "\n"
	     "Prints the rules that `shunt run` would start a program with: of\n"
	     "/etc/shunt.conf, ~/.config/shunt.conf, SHUNT_RULES and the options. In each of\n"
	     "these lists the first rule that is true of a socket decides; all lists must let\n"
	     "it.\n"
	     "\n"
	     "  --check FILE      look at this file instead of all those; print its rules, or\n"
	     "                    its first mistake with line and column\n"
	     "  --explain SOCKET  say whether such a socket may be upgraded, and which rule\n"
	     "                    forbids it\n"
	     "  --help            this text\n"
	     "\n"
	     "A RULE is one or more of: tcp, udp, listen, connect,\n"
	     "ADDRESS[/BITS][:PORT[-PORT]], port PORT[-PORT], by PROGRAM, user USER; or any.\n"
	     "In files `only` or `not` stands before it. See shunt.conf(5).\n"
	     "\n"
	     "Status: 0; 1: the file has a mistake, or the socket stays in the kernel; 125: an\n"
	     "error.\n"
	     "\n"
	     "  shunt rules --explain 'tcp connect 127.0.0.1:5432 by psql'\n"
	     "  shunt rules --not 'listen port 22' --explain 'tcp listen 0.0.0.0:22 by sshd'");
	return 0;
}

static void print_place(const struct rule_set *set, const struct rule *r)
{
	const char *source = set->source[r->list];

	if (strcmp(source, "the command line"))
		printf("%s:%u:%u: ", source, r->line, r->col);
	else
		printf("%s: ", source);
}

static void print_rules(const struct rule_set *set)
{
	char text[RULE_STR_LEN];

	if (set->rules.share != SHARE_ALL)
		printf("share %s\n", rule_share_word(set->rules.share));
	for (unsigned i = 0; i < set->rules.n; i++) {
		print_place(set, &set->rules.rule[i]);
		rule_compose(&set->rules.rule[i], text, sizeof(text));
		puts(text);
	}
}

static int explain(const struct rule_set *set, const char *text)
{
	char name[RULE_BY_LEN], rule[RULE_STR_LEN];
	struct rule_sock s = {.exe = name, .comm = name, .uid = (uint32_t)geteuid()};
	struct rule_answer a;
	struct rule_error err;

	if (rule_sock_parse(&s, name, text, rules_user, &err))
		return complain(EXIT_SHUNT, "--explain '%s': column %u: %s", text, err.col, err.why);
	rules_ask(&set->rules, &s, &a);
	if (a.may) {
		puts(a.depends	       ? "shared memory, unless the address of a connection is one that a rule forbids"
			: set->rules.n ? "shared memory: no rule forbids it"
				       : "shared memory: there are no rules");
		return 0;
	}
	printf("kernel: ");
	if (a.rule) {
		print_place(set, a.rule);
		rule_compose(a.rule, rule, sizeof(rule));
		puts(rule);
	} else {
		printf("%s: no `only` is true of it\n", set->source[a.list]);
	}
	return EXIT_NO;
}

/* 0, or the status to end with. */
static int get_options(int argc, char **argv, struct rule_opts *opts, const char **file, const char **sock)
{
	static const struct option o_long[] = {{"only", required_argument, NULL, 'o'}, {"not", required_argument, NULL, 'n'},
		{"share", required_argument, NULL, 's'}, {"check", required_argument, NULL, 'c'},
		{"explain", required_argument, NULL, 'e'}, {"help", no_argument, NULL, 'h'}, {0}};
	int o, err = 0;

	opterr = 0;
	while (!err && (o = getopt_long(argc, argv, "+:h", o_long, NULL)) != -1)
		switch (o) {
		case 'o':
		case 'n':
		case 's':
			err = rules_option(opts, o, optarg);
			break;
		case 'c':
			*file = optarg;
			break;
		case 'e':
			*sock = optarg;
			break;
		case 'h':
			usage();
			return -1;
		case ':':
			return complain(EXIT_SHUNT, "%s: its value is missing; see `shunt rules --help`", argv[optind - 1]);
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt rules --help`", argv[optind - 1]);
		}
	if (!err && optind != argc)
		err = complain(EXIT_SHUNT, "%s: takes no argument; see `shunt rules --help`", argv[optind]);
	if (!err && *file && (opts->n || opts->share))
		err = complain(EXIT_SHUNT, "--check: looks at the file alone; leave --only, --not and --share out");
	return err;
}

int cmd_rules(int argc, char **argv)
{
	static struct rule_set set;
	struct rule_opts opts = {0};
	const char *file = NULL, *sock = NULL;
	int err = get_options(argc, argv, &opts, &file, &sock);

	if (err)
		return err < 0 ? 0 : err;
	if (file && access(file, R_OK))
		return complain(EXIT_SHUNT, "%s: %s", file, strerror(errno));
	err = file ? rules_add_file(&set, file, 1) : rules_load(&set, &opts);
	if (err)
		return file ? EXIT_NO : err;
	if (sock)
		err = explain(&set, sock);
	else
		print_rules(&set);
	if (fflush(stdout))
		return complain(EXIT_SHUNT, "output: %s", strerror(errno));
	return err;
}
