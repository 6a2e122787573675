/* SPDX-License-Identifier: BSD-2-Clause */
/* rules.c - rules from where they may stand, for `shunt run`. */
#include "rules.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

#define SYSTEM_FILE "/etc/shunt.conf"

int rules_user(const char *name, uint32_t *uid)
{
	const struct passwd *pw = getpwnam(name);

	if (!pw)
		return -ENOENT;
	*uid = pw->pw_uid;
	return 0;
}

int rules_option(struct rule_opts *opts, int o, const char *text)
{
	if (o == 's') {
		opts->share = text;
		return rule_share_parse(text) < 0 ? complain(EXIT_SHUNT, "--share %s: give user, group or all", text) : 0;
	}
	if (opts->n == N_RULE_OPTS)
		return complain(
			EXIT_SHUNT, "more than %d rules on the command line; put them into ~/.config/shunt.conf", N_RULE_OPTS);
	if (text[strcspn(text, ";#\n")])
		return complain(EXIT_SHUNT, "--%s '%s': one rule, without `;` or `#`", o == 'o' ? "only" : "not", text);
	opts->opt[opts->n].only = o == 'o';
	opts->opt[opts->n++].text = text;
	return 0;
}

/* The lists that have come since there were `before` are of `source`. */
static void name_lists(struct rule_set *set, unsigned before, const char *source)
{
	for (unsigned i = before; i < set->rules.n_lists; i++)
		set->source[i] = source;
}

static int add_text(struct rule_set *set, const char *text, size_t len, const char *source)
{
	unsigned before = set->rules.n_lists;
	struct rule_error err;

	if (rules_parse(&set->rules, text, len, rules_user, &err))
		return complain(EXIT_SHUNT, "%s:%u:%u: %s", source, err.line, err.col, err.why);
	name_lists(set, before, source);
	return 0;
}

int rules_add_file(struct rule_set *set, const char *path, int must)
{
	static char text[RULE_TEXT_LEN + 2];
	FILE *f = fopen(path, "re");
	size_t n;
	int err;

	/* Where we may not even look nothing is ours: HOME is often somebody else's when root becomes another user. */
	if (!f && !must && (errno == ENOENT || errno == ENOTDIR || (errno == EACCES && access(path, F_OK))))
		return 0;
	if (!f)
		return complain(EXIT_SHUNT, "%s: %s; the rules in it cannot be obeyed", path, strerror(errno));
	n = fread(text, 1, sizeof(text) - 1, f);
	err = ferror(f) ? errno : 0;
	fclose(f);
	if (err)
		return complain(EXIT_SHUNT, "%s: %s; the rules in it cannot be obeyed", path, strerror(err));
	return add_text(set, text, n, path);
}

/* ~/.config/shunt.conf, as $XDG_CONFIG_HOME and $HOME have it; "": there is no home. */
static const char *user_file(void)
{
	static char path[PATH_MAX];
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	const struct passwd *pw;

	path[0] = '\0';
	if (config && config[0] == '/') {
		snprintf(path, sizeof(path), "%s/shunt.conf", config);
		return path;
	}
	if (!home || home[0] != '/') {
		pw = getpwuid(getuid());
		home = pw ? pw->pw_dir : NULL;
	}
	if (home)
		snprintf(path, sizeof(path), "%s/.config/shunt.conf", home);
	return path;
}

/* One list; a mistake is told of the option, not of a line. */
static int add_options(struct rule_set *set, const struct rule_opts *opts)
{
	static char text[RULE_TEXT_LEN];
	unsigned before = set->rules.n_lists;
	struct rule_error err;
	size_t n = 0;

	for (unsigned i = 0; i < opts->n && n < sizeof(text); i++)
		n += (size_t)snprintf(
			text + n, sizeof(text) - n, "%s %s\n", opts->opt[i].only ? "only" : "not", opts->opt[i].text);
	if (n >= sizeof(text))
		return complain(EXIT_SHUNT, "the rules on the command line are too long; put them into ~/.config/shunt.conf");
	if (rules_parse(&set->rules, text, n, rules_user, &err)) {
		const char *verb = opts->opt[err.line - 1].only ? "only" : "not";

		return complain(EXIT_SHUNT, "--%s '%s': column %u: %s", verb, opts->opt[err.line - 1].text,
			err.col - (uint32_t)strlen(verb) - 1, err.why);
	}
	name_lists(set, before, "the command line");
	if (opts->share && rule_share_parse(opts->share) > set->rules.share)
		set->rules.share = (uint8_t)rule_share_parse(opts->share);
	return 0;
}

int rules_load(struct rule_set *set, const struct rule_opts *opts)
{
	const char *env = getenv("SHUNT_RULES"), *own = user_file();
	int err = rules_add_file(set, SYSTEM_FILE, 0);

	if (!err && own[0])
		err = rules_add_file(set, own, 0);
	if (!err && env)
		err = add_text(set, env, strlen(env), "SHUNT_RULES");
	return err ? err : add_options(set, opts);
}

int rules_export(const struct rule_opts *opts)
{
	static struct rule_set set;
	static char text[RULE_TEXT_LEN];
	int err = rules_load(&set, opts);

	if (err)
		return err;
	if (rules_compose(&set.rules, text, sizeof(text)) < 0)
		return complain(EXIT_SHUNT, "the rules are too long: more than %d octets together", RULE_TEXT_LEN);
	if (!text[0] ? unsetenv("SHUNT_RULES") : setenv("SHUNT_RULES", text, 1))
		return complain(EXIT_SHUNT, "environment: %s", strerror(errno));
	return 0;
}
