/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c - the `shunt` command: finds the subcommand. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *text;
} cmds[] = {
	{"run", cmd_run, "run a program with its local TCP and UDP traffic in shared memory"},
	{"ps", cmd_ps, "list the processes under shunt, and the path of each of their sockets"},
	{"off", cmd_switch, "take running processes out of shared memory"},
	{"on", cmd_switch, "let them use it again"},
	{"ab", cmd_ab, "run a program without and with shunt in turn: how much faster is it?"},
	{"ep", cmd_ep, "list the endpoint map: what servers have published"},
	{"gc", cmd_gc, "remove what killed processes left behind"},
	{"unit", cmd_unit, "print or write the systemd drop-in that starts a service under shunt"},
	{"doctor", cmd_doctor, "can this machine, a program or a process be upgraded, and what to do?"},
	{"rules", cmd_rules, "print, check and explain the rules: which sockets are upgraded"},
	{"tower", cmd_tower, "print the protocol tower of a string binding, and the reverse"},
};
#define N_CMDS (sizeof(cmds) / sizeof(*cmds))

static const char *sub; /* the subcommand, for messages */

#ifndef HAVE_AB
int cmd_ab(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return complain(EXIT_SHUNT, "built without it: apt-get install libgsl-dev libjansson-dev, then make");
}
#endif

int complain(int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "shunt%s%s: ", sub ? " " : "", sub ? sub : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

static int help(void)
{
	size_t i;

	puts("usage: shunt COMMAND [OPTION...] [ARGUMENT...]\n"
	     "\n"
	     "shunt moves TCP and UDP between programs on this machine out of the kernel and\n"
	     "into shared memory. The programs are not changed.\n");
	for (i = 0; i < N_CMDS; i++)
		printf("  %-6s %s\n", cmds[i].name, cmds[i].text);
	puts("\n"
	     "shunt COMMAND --help says more. Both sides of a connection must run under shunt:\n"
	     "\n"
	     "  shunt run redis-server &\n"
	     "  shunt run redis-benchmark -t get\n"
	     "  shunt ps");
	return 0;
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 2)
		return complain(EXIT_SHUNT, "no command given; `shunt --help` lists them");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help();
	if (!strcmp(argv[1], "--version")) {
		puts("shunt " SHUNT_VERSION);
		return 0;
	}
	for (i = 0; i < N_CMDS; i++)
		if (!strcmp(argv[1], cmds[i].name)) {
			sub = cmds[i].name;
			return cmds[i].run(argc - 1, argv + 1);
		}
	return complain(EXIT_SHUNT, "%s: no such command; `shunt --help` lists them", argv[1]);
}
