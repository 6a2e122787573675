/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unit.c - shunt unit: the systemd drop-in that starts one service under shunt. It sets LD_PRELOAD and what `shunt run` would set, and leaves the unit's own
 * command alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "rules.h"

#define DROP_IN "shunt.conf"

static int usage(void)
{
	puts("usage: shunt unit [--enable | --disable] [--user] [--root DIR] [--only RULE]\n"
	     "                  [--not RULE] [--share WHOM] NAME.service\n"
	     "\n"
	     "Prints a drop-in for systemd that starts the service under shunt. The clients\n"
	     "must run under shunt too. The rules in force and those of the options go into\n"
	     "it.\n"
	     "\n"
	     "  --enable    write to /etc/systemd/system/NAME.service.d/shunt.conf (as root)\n"
	     "  --disable   remove it from there\n"
	     "  --user      for a service of the user's own systemd: in ~/.config/systemd/user\n"
	     "  --root DIR  of another system, below this folder\n"
	     "  --help      this text\n"
	     "\n"
	     "systemd must be told then: systemctl daemon-reload, and systemctl restart\n"
	     "NAME.service; with --user, systemctl --user.\n"
	     "\n"
	     "Exit status: 0, or 125 if an error occurs.\n"
	     "\n"
	     "  shunt unit --enable --not 'by pg_dump' postgresql@15-main.service");
	return 0;
}

struct unit {
	const char *name;
	const char *root; /* "" or a folder */
	int user;
	char lib[PATH_MAX];
	const char *rules; /* SHUNT_RULES, composed; NULL: none */
};

/* As systemd names units: letters, digits, and these. */
static int is_service(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\-@");

	return !name[n] && n > strlen(".service") && n < 256 && name[0] != '.' &&
	       !strcmp(name + n - strlen(".service"), ".service");
}

/* In double quotes of a unit file: % \ and " mean something there. */
static void put_quoted(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			fputc('\\', f);
		if (*text == '%')
			fputc('%', f);
		fputc(*text, f);
	}
}

static void put_env(FILE *f, const char *name, const char *value)
{
	fprintf(f, "Environment=\"%s=", name);
	put_quoted(f, value);
	fputs("\"\n", f);
}

static void put_unit(FILE *f, const struct unit *u)
{
	const char *map = getenv("SHUNT_MAP");

	fprintf(f,
		"# Starts %s under shunt; see shunt(1). Made by `shunt unit`,\n"
		"# removed by `shunt unit --disable%s %s`.\n"
		"[Service]\n",
		u->name, u->user ? " --user" : "", u->name);
	put_env(f, "LD_PRELOAD", u->lib);
	if (map && map[0])
		put_env(f, "SHUNT_MAP", map);
	if (u->rules)
		put_env(f, "SHUNT_RULES", u->rules);
	fputs("# The endpoint map and System V memory must be those of its clients.\n", f);
	if (!u->user)
		fputs("PrivateIPC=no\nReadWritePaths=-/run/shunt\n", f);
	if (!map || !map[0])
		fputs("# A service with a /tmp of its own (PrivateTmp=yes) needs the map in /run/shunt,\n"
		      "# which tmpfiles.d makes.\n",
			f);
}

/* Folder of its drop-ins. 0, or a complaint's status. */
static int folder(const struct unit *u, char path[PATH_MAX])
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;

	if (!u->user)
		n = snprintf(path, PATH_MAX, "%s/etc/systemd/system/%s.d", u->root, u->name);
	else if (config && config[0] == '/')
		n = snprintf(path, PATH_MAX, "%s%s/systemd/user/%s.d", u->root, config, u->name);
	else if (home && home[0] == '/')
		n = snprintf(path, PATH_MAX, "%s%s/.config/systemd/user/%s.d", u->root, home, u->name);
	else
		return complain(EXIT_SHUNT, "--user: HOME is not set");
	return n < PATH_MAX - 32 ? 0 : complain(EXIT_SHUNT, "--root: the path is too long");
}

static int make_folders(const char *path)
{
	char part[PATH_MAX];

	for (const char *p = path + 1;; p++)
		if (!*p || *p == '/') {
			snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
			if (mkdir(part, 0755) && errno != EEXIST)
				return complain(EXIT_SHUNT, "%s: %s%s", part, strerror(errno),
					errno == EACCES ? "; as root, or --user for a service of your own" : "");
			if (!*p)
				return 0;
		}
}

static void tell_systemd(const struct unit *u, const char *what)
{
	const char *user = u->user ? " --user" : "";

	printf("Let it %s:\n  systemctl%s daemon-reload\n  systemctl%s restart %s\n", what, user, user, u->name);
}

/* Whole or not at all: systemd may read it at any moment. */
static int enable(const struct unit *u)
{
	char dir[PATH_MAX] = "", path[PATH_MAX + 32], tmp[PATH_MAX + 32];
	int err = folder(u, dir);
	FILE *f;

	if (!err)
		err = make_folders(dir);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/" DROP_IN, dir);
	snprintf(tmp, sizeof(tmp), "%s/." DROP_IN ".new", dir);
	f = fopen(tmp, "we");
	if (!f)
		return complain(EXIT_SHUNT, "%s: %s%s", path, strerror(errno),
			errno == EACCES ? "; as root, or --user for a service of your own" : "");
	put_unit(f, u);
	err = ferror(f);
	if (fclose(f) || err || chmod(tmp, 0644) || rename(tmp, path)) {
		err = errno;
		unlink(tmp);
		return complain(EXIT_SHUNT, "%s: %s", path, strerror(err));
	}
	puts(path);
	tell_systemd(u, "begin");
	return 0;
}

static int disable(const struct unit *u)
{
	char dir[PATH_MAX] = "", path[PATH_MAX + 32];
	int err = folder(u, dir);

	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/" DROP_IN, dir);
	if (unlink(path))
		return complain(EXIT_SHUNT, "%s: %s%s", path, strerror(errno),
			errno == ENOENT ? "; it was not enabled" : "; as root, or --user for a service of your own");
	rmdir(dir); /* if nothing else is in it */
	printf("removed %s\n", path);
	tell_systemd(u, "end");
	return 0;
}

/* What the program is told: library and rules. 0, or a complaint's status. */
static int prepare(struct unit *u, const struct rule_opts *opts)
{
	int err = cmd_find_lib(u->lib);

	if (err)
		return complain(
			EXIT_SHUNT, "libshunt.so: %s; it belongs beside the command or in ../lib/shunt", strerror(-err));
	if (strpbrk(u->lib, ": "))
		return complain(
			EXIT_SHUNT, "%s: LD_PRELOAD cannot hold a path with a space or a colon; install elsewhere", u->lib);
	err = rules_export(opts);
	u->rules = getenv("SHUNT_RULES");
	return err;
}

int cmd_unit(int argc, char **argv)
{
	static const struct option opts[] = {{"enable", no_argument, NULL, 'e'}, {"disable", no_argument, NULL, 'd'},
		{"user", no_argument, NULL, 'u'}, {"root", required_argument, NULL, 'r'},
		{"only", required_argument, NULL, 'o'}, {"not", required_argument, NULL, 'n'},
		{"share", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
	static struct unit u = {.root = ""};
	struct rule_opts rules = {0};
	int o, what = 0, err = 0;

	opterr = 0;
	while (!err && (o = getopt_long(argc, argv, "+:h", opts, NULL)) != -1)
		switch (o) {
		case 'e':
		case 'd':
			err = what && what != o ? complain(EXIT_SHUNT, "--enable or --disable, not both") : 0;
			what = o;
			break;
		case 'u':
			u.user = 1;
			break;
		case 'r':
			u.root = optarg;
			break;
		case 'o':
		case 'n':
		case 's':
			err = rules_option(&rules, o, optarg);
			break;
		case 'h':
			return usage();
		case ':':
			return complain(EXIT_SHUNT, "%s: its value is missing; see `shunt unit --help`", argv[optind - 1]);
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt unit --help`", argv[optind - 1]);
		}
	if (err)
		return err;
	if (optind + 1 != argc)
		return complain(EXIT_SHUNT, "give one service; see `shunt unit --help`");
	u.name = argv[optind];
	if (!is_service(u.name))
		return complain(EXIT_SHUNT, "%s: a unit whose name ends with .service is wanted", u.name);
	if (u.root[0] && u.root[0] != '/')
		return complain(EXIT_SHUNT, "--root %s: give an absolute path", u.root);
	if (what != 'd')
		err = prepare(&u, &rules);
	if (err)
		return err;
	if (what == 'e')
		err = enable(&u);
	else if (what == 'd')
		err = disable(&u);
	else
		put_unit(stdout, &u);
	return fflush(stdout) && !err ? complain(EXIT_SHUNT, "output: %s", strerror(errno)) : err;
}
