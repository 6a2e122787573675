/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run.c - shunt run: sets LD_PRELOAD, ASAN_OPTIONS, SHUNT_STATS, SHUNT_LOG, SHUNT_RULES, SHUNT_OFF, SHUNT_SPIN and SHUNT_SPIN_BUDGET, and becomes CMD. Nothing of shunt stays in between, so the exit
 * status, signals and job control are CMD's own.
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
#include "exe.h"
#include "log.h"
#include "rules.h"
#include "spin_opt.h"

static int usage(void)
{
	puts("usage: shunt run [OPTION...] [--] CMD [ARGUMENT...]\n"
	     "\n"
	     "Runs CMD with its local TCP and UDP traffic in shared memory, where the other\n"
	     "side runs under shunt too. All else is as without shunt. A program that cannot\n"
	     "be interposed (static, setuid, another C library) runs as it is; the log says\n"
	     "so.\n"
	     "\n"
	     "  --stats FILE  append a line of JSON when a process ends: what went which way\n"
	     "  --log FILE    append, for each local connection, which path it took and why\n"
	     "  --only RULE, --not RULE\n"
	     "                which sockets may be upgraded, e.g. 'port 5432': `shunt rules`\n"
	     "  --share WHOM  with processes of whom: user, group or all (the default)\n"
	     "  --start-off   keep its connections in the kernel until `shunt on`\n"
	     "  --spin HOW    how long a wait looks at the memory before it sleeps: auto, off,\n"
	     "                or a number of microseconds\n"
	     "  --spin-budget PERCENT  of one CPU that a process may spend so (100)\n"
	     "  --help        this text\n"
	     "\n"
	     "Exit status: CMD's; 127: CMD was not found; 126: it could not be executed; 125:\n"
	     "shunt itself failed.\n"
	     "\n"
	     "  shunt run --stats /tmp/stats redis-server --port 7000");
	return 0;
}

int cmd_find_lib(char lib[PATH_MAX])
{
	static const char *const at[] = {"libshunt.so", "../lib/shunt/libshunt.so"};
	char self[PATH_MAX], try[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t i;

	if (n < 0)
		return -errno;
	self[n] = 0;
	*(strrchr(self, '/') + 1) = 0;
	for (i = 0; i < sizeof(at) / sizeof(*at); i++) {
		snprintf(try, sizeof(try), "%s%s", self, at[i]);
		if (realpath(try, lib))
			return 0;
	}
	return -ENOENT;
}

/*
 * `path` made absolute (CMD may change its folder), after a try to open it for appending: a mistake should be told now, not be found
 * missing after a day's run. It need not be a regular file (/dev/stderr). 0, or a complaint's status.
 */
static int output_file(const char *option, const char *path, char abs[PATH_MAX])
{
	char folder[PATH_MAX];
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);

	if (fd < 0)
		return complain(EXIT_SHUNT, "%s %s: %s; name a file that can be written", option, path, strerror(errno));
	close(fd);
	if (path[0] == '/')
		folder[0] = 0;
	else if (!getcwd(folder, sizeof(folder)))
		return complain(EXIT_SHUNT, "%s %s: the working folder has no name: %s; give an absolute path", option, path,
			strerror(errno));
	if ((size_t)snprintf(abs, PATH_MAX, "%s%s%s", folder, folder[0] ? "/" : "", path) >= PATH_MAX)
		return complain(EXIT_SHUNT, "%s %s: the path is too long", option, path);
	return 0;
}

void cmd_resolve(const char *name, char path[PATH_MAX])
{
	const char *dirs = getenv("PATH"), *end;
	struct stat st;

	snprintf(path, PATH_MAX, "%s", name);
	if (strchr(name, '/'))
		return;
	for (dirs = dirs ? dirs : "/bin:/usr/bin";; dirs = end + 1) {
		end = dirs + strcspn(dirs, ":");
		if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)(end - dirs), dirs, end == dirs ? "" : "/", name) < PATH_MAX &&
			!access(path, X_OK) && !stat(path, &st) && S_ISREG(st.st_mode))
			return;
		if (!*end)
			break;
	}
	path[0] = 0;
}

/* What must be loaded even before libshunt.so: a sanitizer's runtime, in builds that have one. */
#ifdef SAN_LIB
#define FIRST SAN_LIB ":"
#else
#define FIRST ""
#endif

/* In front of what is preloaded already. 0 or -errno. */
static int preload(const char *lib)
{
	const char *old = getenv("LD_PRELOAD");
	char *all;
	size_t n = strlen(FIRST) + strlen(lib);
	int err;

	if (asprintf(&all, FIRST "%s:%s", lib, old ? old : "") < 0)
		return -ENOMEM;
	if (!old || !*old)
		all[n] = 0;
	if (old && !strncmp(old, all, n) && (!old[n] || strchr(": ", old[n])))
		err = 0; /* shunt run shunt run CMD */
	else
		err = setenv("LD_PRELOAD", all, 1) ? -errno : 0;
	free(all);
	return err;
}

/*
 * A program that was built with AddressSanitizer refuses to start when another library is loaded before the sanitizer's; ours works on either side of it. 0 or -errno.
 */
static int let_asan_start(void)
{
	static const char order[] = "verify_asan_link_order";
	const char *old = getenv("ASAN_OPTIONS");
	char *all;
	int err;

	if (old && strstr(old, order))
		return 0;
	if (asprintf(&all, "%s%s%s=0", old ? old : "", old && *old ? ":" : "", order) < 0)
		return -ENOMEM;
	err = setenv("ASAN_OPTIONS", all, 1) ? -errno : 0;
	free(all);
	return err;
}

static int become(char **argv, const char *log)
{
	char lib[PATH_MAX], path[PATH_MAX];
	const char *why;
	int err;

	cmd_resolve(argv[0], path);
	why = path[0] ? elf_why_not(path, "/proc/self/exe") : NULL;
	if (why) {
		if (log && log_open(log) == 0)
			log_line("%s: runs without shunt: %s", path, why);
	} else {
		err = cmd_find_lib(lib);
		if (err)
			return complain(EXIT_SHUNT, "libshunt.so: %s; it belongs beside the command or in ../lib/shunt",
				strerror(-err));
		if (strpbrk(lib, ": "))
			return complain(EXIT_SHUNT,
				"%s: LD_PRELOAD cannot hold a path with a space or a colon; install elsewhere", lib);
		err = preload(lib);
		if (!err)
			err = let_asan_start();
		if (err)
			return complain(EXIT_SHUNT, "environment: %s", strerror(-err));
	}
	execvp(argv[0], argv);
	err = errno;
	return complain(err == ENOENT ? EXIT_NOTFOUND : EXIT_NOEXEC, "%s: %s", argv[0], strerror(err));
}

static int check_spin(const char *how)
{
	return spin_parse_limit(how) != -1
		       ? 0
		       : complain(EXIT_SHUNT, "--spin %s: give auto, off, or microseconds (up to %d)", how, SPIN_LIMIT_MAX_US);
}

static int check_budget(const char *percent)
{
	return spin_parse_budget(percent) >= 0 ? 0
					       : complain(EXIT_SHUNT, "--spin-budget %s: give percent of one CPU, from 0 to %d",
							 percent, SPIN_BUDGET_MAX);
}

int cmd_run(int argc, char **argv)
{
	static const struct option opts[] = {
		{"start-off", no_argument, NULL, 'o'},
		{"stats", required_argument, NULL, 's'},
		{"log", required_argument, NULL, 'l'},
		{"spin", required_argument, NULL, 'p'},
		{"spin-budget", required_argument, NULL, 'b'},
		{"only", required_argument, NULL, 'O'},
		{"not", required_argument, NULL, 'N'},
		{"share", required_argument, NULL, 'S'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct rule_opts rules = {0};
	char stats[PATH_MAX] = "", log[PATH_MAX] = "";
	const char *spin = NULL, *budget = NULL;
	int o, off = 0, err = 0;

	opterr = 0;
	while (!err && (o = getopt_long(argc, argv, "+:h", opts, NULL)) != -1)
		switch (o) {
		case 'o':
			off = 1;
			break;
		case 's':
			err = output_file("--stats", optarg, stats);
			break;
		case 'l':
			err = output_file("--log", optarg, log);
			break;
		case 'p':
			spin = optarg;
			err = check_spin(spin);
			break;
		case 'b':
			budget = optarg;
			err = check_budget(budget);
			break;
		case 'O':
		case 'N':
			err = rules_option(&rules, o == 'O' ? 'o' : 'n', optarg);
			break;
		case 'S':
			err = rules_option(&rules, 's', optarg);
			break;
		case 'h':
			return usage();
		case ':':
			return complain(EXIT_SHUNT, "%s: its value is missing; see `shunt run --help`", argv[optind - 1]);
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt run --help`", argv[optind - 1]);
		}
	if (err)
		return err;
	if (optind == argc)
		return complain(EXIT_SHUNT, "no program given; see `shunt run --help`");
	if ((off && setenv("SHUNT_OFF", "1", 1)) || (stats[0] && setenv("SHUNT_STATS", stats, 1)) ||
		(log[0] && setenv("SHUNT_LOG", log, 1)) || (spin && setenv("SHUNT_SPIN", spin, 1)) ||
		(budget && setenv("SHUNT_SPIN_BUDGET", budget, 1)))
		return complain(EXIT_SHUNT, "environment: %s", strerror(errno));
	err = rules_export(&rules);
	if (err)
		return err;
	return become(argv + optind, log[0] ? log : getenv("SHUNT_LOG"));
}
