/* SPDX-License-Identifier: BSD-2-Clause */
/* gc.c - shunt gc: removes what dead processes left. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "ept.h"

static int usage(void)
{
	puts("usage: shunt gc [-n]\n"
	     "\n"
	     "Removes what processes under shunt that were killed have left behind, and prints\n"
	     "a line for each thing: endpoints that no process holds (file, semaphores,\n"
	     "message area), and semaphores and segments of a rendezvous whose maker is dead.\n"
	     "Of this user; for root, of everybody. What a living process uses, and what is\n"
	     "not certainly shunt's, stays.\n"
	     "\n"
	     "Nobody has to call it: the next program under shunt that listens, and\n"
	     "`shunt ps`, do the same.\n"
	     "\n"
	     "  -n, --dry-run  remove nothing; say what would be removed\n"
	     "  --help         this text\n"
	     "\n"
	     "Exit status: 0, also when there was nothing to do; 125 if an error occurs.\n"
	     "\n"
	     "  shunt gc -n");
	return 0;
}

static void say(const struct ept_gc_thing *t, void *arg)
{
	const char *verb = *(int *)arg ? "would remove" : "removed";

	switch (t->kind) {
	case EPT_GC_ENDPOINT:
		printf("%s endpoint %u/%s\n", verb, t->uid, t->name);
		break;
	case EPT_GC_SEM:
		printf("%s semaphores %d of uid %u\n", verb, t->id, t->uid);
		break;
	case EPT_GC_SEG:
		printf("%s segment %d of uid %u\n", verb, t->id, t->uid);
		break;
	}
}

int cmd_gc(int argc, char **argv)
{
	static const struct option opts[] = {{"dry-run", no_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};
	uint32_t uid = geteuid() ? (uint32_t)geteuid() : UINT32_MAX;
	int o, dry = 0, n;

	opterr = 0;
	while ((o = getopt_long(argc, argv, "+nh", opts, NULL)) != -1)
		switch (o) {
		case 'n':
			dry = 1;
			break;
		case 'h':
			return usage();
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt gc --help`", argv[optind - 1]);
		}
	if (optind != argc)
		return complain(EXIT_SHUNT, "%s: takes no argument; see `shunt gc --help`", argv[optind]);
	n = ept_gc_each(uid, dry, say, &dry);
	if (fflush(stdout))
		return complain(EXIT_SHUNT, "output: %s", strerror(errno));
	if (n == -EBUSY)
		return complain(EXIT_SHUNT, "the endpoint map is being changed by another process; try again");
	return n < 0 ? complain(EXIT_SHUNT, "the endpoint map: %s", strerror(-n)) : 0;
}
