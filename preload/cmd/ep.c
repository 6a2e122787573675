/* SPDX-License-Identifier: BSD-2-Clause */
/* ep.c - shunt ep: the endpoint map, as far as we may list it. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "cmd.h"
#include "ept.h"
#include "holders.h"
#include "table.h"
#include "twr.h"

#define NAME_LEN (INET6_ADDRSTRLEN + 32)

static int usage(void)
{
	puts("usage: shunt ep [--long | --json]\n"
	     "\n"
	     "Lists the endpoint map: what servers under shunt have published, of this user,\n"
	     "or of everybody for root.\n"
	     "\n"
	     "  ENDPOINT  where the kernel's socket is; of programs that use ncadg_sm(3): sm-\n"
	     "            and the name\n"
	     "  STATE     alive: a process holds it; stale: nobody does, `shunt gc` removes it\n"
	     "  OWNER     the user who published it\n"
	     "  PID       processes that hold it, the lowest of them; - if we cannot see it\n"
	     "  ASSOC     associations: client processes whose memory is attached to it\n"
	     "  BINDING   the string binding\n"
	     "\n"
	     "  -l, --long  the protocol tower of each binding too\n"
	     "  --json      the same as JSON\n"
	     "  --help      this text\n"
	     "\n"
	     "Exit status: 0, or 125 if an error occurs.\n"
	     "\n"
	     "  shunt ep");
	return 0;
}

struct entry {
	char name[NAME_LEN]; /* of the endpoint, for people */
	char binding[BINDING_STR_LEN], tower[2 * TWR_LEN + 1];
	struct ept_ref ref;
	int alive, assocs; /* -1: not known */
	struct holders held;
};

struct list {
	struct entry *all;
	size_t n;
};

static void name_of(char buf[NAME_LEN], const struct ept_ref *r)
{
	const struct diag_addr *a = &r->key.at;
	const char *slash = strrchr(r->binding.path, '/');
	char ip[INET6_ADDRSTRLEN];

	if (!a->family || !inet_ntop(a->family, a->addr, ip, sizeof(ip)))
		snprintf(buf, NAME_LEN, "%s", slash ? slash + 1 : "?");
	else
		snprintf(buf, NAME_LEN, a->family == AF_INET6 ? "%s [%s]:%u" : "%s %s:%u", r->key.udp ? "udp" : "tcp", ip,
			a->port);
	for (char *p = buf; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

static void tower_of(char hex[2 * TWR_LEN + 1], const struct binding *b)
{
	struct twr t = {.xfer = twr_ndr, .bnd = {.protseq = PROTSEQ_NCADG_SM, .sm = *b}};
	uint8_t oct[TWR_LEN];
	int n = twr_compose(&t, oct, sizeof(oct));

	hex[0] = 0;
	for (int i = 0; i < n; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", oct[i]);
}

static int note(const struct ept_ref *r, uint32_t owner, int alive, void *arg)
{
	struct list *l = arg;
	struct entry *e = realloc(l->all, (l->n + 1) * sizeof(*e));
	uint32_t maker;

	(void)owner;
	if (!e)
		return -ENOMEM;
	l->all = e;
	e += l->n++;
	memset(e, 0, sizeof(*e));
	e->ref = *r;
	e->alive = alive;
	name_of(e->name, r);
	binding_compose(&r->binding, e->binding, sizeof(e->binding));
	tower_of(e->tower, &r->binding);
	e->assocs = ept_count_assocs(r, &maker);
	if (alive)
		holders_find(&e->held, r->binding.path);
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int d = memcmp(x->ref.key.at.addr, y->ref.key.at.addr, sizeof(x->ref.key.at.addr));

	if (x->ref.key.udp != y->ref.key.udp)
		return x->ref.key.udp - y->ref.key.udp;
	if (x->ref.key.at.port != y->ref.key.at.port)
		return x->ref.key.at.port < y->ref.key.at.port ? -1 : 1;
	return d ? d : strcmp(x->binding, y->binding);
}

static const char *user(uint32_t uid, char buf[32])
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		snprintf(buf, 32, "%s", pw->pw_name);
	else
		snprintf(buf, 32, "%u", uid);
	return buf;
}

/* A path may hold any octet. */
static void plain(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static int print_table(struct list *l, int with_tower)
{
	static const struct table_col cols[] = {{"ENDPOINT", 0, 15, 0}, {"STATE", 0, 0, 0}, {"OWNER", 0, 6, 0},
		{"PID", 1, 0, 0}, {"ASSOC", 1, 0, 0}, {"BINDING", 0, 20, 0}, {"TOWER", 0, 0, TABLE_BELOW}};
	char name[32];
	struct table t;
	int err;

	table_init(&t, cols, with_tower ? 7 : 6);
	for (size_t i = 0; i < l->n; i++) {
		struct entry *e = &l->all[i];

		plain(e->binding);
		table_cell(&t, "%s", e->name);
		table_cell(&t, "%s", e->alive ? "alive" : "stale");
		table_cell(&t, "%s", user(e->ref.owner, name));
		if (e->held.n)
			table_cell(&t, "%u%s", e->held.pid[0], e->held.n > 1 ? "+" : "");
		else
			table_cell(&t, "-");
		if (e->assocs < 0)
			table_cell(&t, "-");
		else
			table_cell(&t, "%d", e->assocs);
		table_cell(&t, "%s", e->binding);
		if (with_tower)
			table_cell(&t, "%s", e->tower);
	}
	err = table_print(&t, term_width());
	table_fini(&t);
	return err ? complain(EXIT_SHUNT, "%s", strerror(-err)) : 0;
}

#ifdef HAVE_JANSSON
static json_t *json_entry(const struct entry *e)
{
	const struct diag_addr *a = &e->ref.key.at;
	json_t *pids = json_array(), *o;

	for (size_t i = 0; i < e->held.n; i++)
		json_array_append_new(pids, json_integer(e->held.pid[i]));
	o = json_pack("{s:s, s:s?, s:s, s:I, s:I, s:b, s:o, s:s, s:s}", "endpoint", e->name, "proto",
		!a->family	 ? NULL
		: e->ref.key.udp ? "udp"
				 : "tcp",
		"state", e->alive ? "alive" : "stale", "owner", (json_int_t)e->ref.owner, "netns", (json_int_t)e->ref.key.netns,
		"dual", (int)e->ref.key.dual, "pids", pids, "binding", e->binding, "tower", e->tower);
	if (o)
		json_object_set_new(o, "associations", e->assocs < 0 ? json_null() : json_integer(e->assocs));
	return o;
}

static int print_json(const struct list *l)
{
	json_t *all = json_array();

	for (size_t i = 0; i < l->n; i++) {
		json_t *o = json_entry(&l->all[i]);

		if (json_array_append_new(all, o ? o : json_pack("{s:s}", "error", "not UTF-8")))
			break;
	}
	return json_out(all);
}
#else
static int print_json(const struct list *l)
{
	(void)l;
	return json_missing();
}
#endif

int cmd_ep(int argc, char **argv)
{
	static const struct option opts[] = {
		{"json", no_argument, NULL, 'j'}, {"long", no_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'}, {0}};
	int o, json = 0, with_tower = 0, err;
	struct list l = {0};

	opterr = 0;
	while ((o = getopt_long(argc, argv, "+hl", opts, NULL)) != -1)
		switch (o) {
		case 'j':
			json = 1;
			break;
		case 'l':
			with_tower = 1;
			break;
		case 'h':
			return usage();
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt ep --help`", argv[optind - 1]);
		}
	if (optind != argc)
		return complain(EXIT_SHUNT, "%s: takes no argument; see `shunt ep --help`", argv[optind]);
	err = ept_each(note, &l);
	if (l.n)
		qsort(l.all, l.n, sizeof(*l.all), by_place);
	if (err)
		err = complain(EXIT_SHUNT, "the endpoint map: %s", strerror(-err));
	else
		err = json ? print_json(&l) : print_table(&l, with_tower);
	free(l.all);
	if (fflush(stdout) && !err)
		err = complain(EXIT_SHUNT, "output: %s", strerror(errno));
	return err;
}
