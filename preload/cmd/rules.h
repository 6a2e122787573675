/* SPDX-License-Identifier: BSD-2-Clause */
/* rules.h - the rules that a program started now would run under: from the files, SHUNT_RULES and the command line. */
#ifndef SHUNT_CMD_RULES_H
#define SHUNT_CMD_RULES_H

#include "rule.h"

#define N_RULE_OPTS 64

/* --only, --not and --share, in their order. */
struct rule_opts {
	struct {
		int only;
		const char *text;
	} opt[N_RULE_OPTS];
	unsigned n;
	const char *share; /* NULL: not given */
};

struct rule_set {
	struct rules rules;
	const char *source[RULE_LISTS]; /* of each list */
};

/* Who is called so (rule.h)? */
int rules_user(const char *name, uint32_t *uid);
/* Note an option: `o` is 'o' (--only), 'n' (--not), 's' (--share). 0, or a complaint's status. */
int rules_option(struct rule_opts *opts, int o, const char *text);
/* /etc/shunt.conf, the user's shunt.conf, SHUNT_RULES, the options: 0, or a complaint's status about the first mistake. */
int rules_load(struct rule_set *set, const struct rule_opts *opts);
/* Those of one file; `must`: that it is not there is a mistake. 0, or a complaint's status. */
int rules_add_file(struct rule_set *set, const char *path, int must);
/* Load them and tell the program that we are about to become (SHUNT_RULES). 0, or a complaint's status. */
int rules_export(const struct rule_opts *opts);

#endif
