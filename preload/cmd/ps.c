/* SPDX-License-Identifier: BSD-2-Clause */
/* ps.c - shunt ps: who runs under shunt, and which path each direction of each socket is on, and why. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "advice.h"
#include "cmd.h"
#include "fam.h"
#include "ept.h"
#include "scan.h"
#include "table.h"
#include "why.h"

#define ADDR_LEN (INET6_ADDRSTRLEN + 16)

static int usage(void)
{
	puts("usage: shunt ps [--why | --json]\n"
	     "       shunt ps --reasons\n"
	     "\n"
	     "Lists every process under shunt of this user (of everybody, for root), and its\n"
	     "TCP and UDP sockets that shunt follows. TX is the path on which it sends, RX the\n"
	     "one on which it receives: shm, or kernel and the reason. Bytes are given as by\n"
	     "shared memory / by the kernel, since shunt has followed the socket. PEER ends\n"
	     "with the process at the other end, if it is listed too. On a narrow terminal\n"
	     "columns are left out and cells are cut; piped, never.\n"
	     "\n"
	     "  --why      each path through the kernel, by reason, in words, and what to do\n"
	     "  --reasons  all the reasons that there are\n"
	     "  --json     the same as the table and more as JSON\n"
	     "  --help     this text\n"
	     "\n"
	     "Exit status: 0, or 125 if an error occurs.\n"
	     "\n"
	     "  shunt ps --why");
	return 0;
}

static const char *addr_text(const struct diag_addr *a, char buf[ADDR_LEN])
{
	char ip[INET6_ADDRSTRLEN];

	if ((a->family != AF_INET && a->family != AF_INET6) || !inet_ntop(a->family, a->addr, ip, sizeof(ip)))
		snprintf(buf, ADDR_LEN, "-");
	else
		snprintf(buf, ADDR_LEN, a->family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, a->port);
	return buf;
}

static const char *path_text(const struct scan_dir *d, char buf[64])
{
	if (d->on_shm)
		return "shm";
	snprintf(buf, 64, "kernel %s", why_word(d->why));
	return buf;
}

static const char *proto(const struct scan_sock *s)
{
	return s->flags & FAM_DGRAM ? "udp" : "tcp";
}

static const struct table_col cols[] = {
	{"PID", 1, 0, 0},
	{"COMM", 0, 6, 0},
	{"FD", 1, 0, 0},
	{"PROTO", 0, 0, 3},
	{"LOCAL", 0, 9, 0},
	{"PEER", 0, 9, 0},
	{"TX", 0, 6, 0},
	{"SHM/KERNEL", 0, 0, 1},
	{"RX", 0, 6, 0},
	{"SHM/KERNEL", 0, 0, 2},
};

static void add_peer(struct table *t, const struct scan *all, const struct scan_sock *s)
{
	const struct scan_proc *other = s->peer_pid ? scan_find(all, s->peer_pid) : NULL;
	char peer[ADDR_LEN];

	if (other)
		table_cell(t, "%s %u/%s", addr_text(&s->peer, peer), s->peer_pid, other->comm);
	else
		table_cell(t, "%s", addr_text(&s->peer, peer));
}

static void add_dir(struct table *t, const struct scan_dir *d, int narrow)
{
	char path[64];

	table_cell(t, "%s", narrow && !d->on_shm ? why_word(d->why) : path_text(d, path));
	table_cell(t, "%llu/%llu", (unsigned long long)d->shm_bytes, (unsigned long long)d->kernel_bytes);
}

static void add_empty(struct table *t, int n)
{
	while (n--)
		table_cell(t, "%s", "");
}

static void add_sock(struct table *t, const struct scan *all, const struct scan_sock *s, int narrow)
{
	char own[ADDR_LEN];

	table_cell(t, "%d", s->fd);
	table_cell(t, "%s", proto(s));
	table_cell(t, "%s", addr_text(&s->own, own));
	if (s->flags & FAM_LISTEN) {
		table_cell(t, s->tx.why == WHY_RULE ? "(listens, rule)" : "(listens)");
		add_empty(t, 4);
		return;
	}
	add_peer(t, all, s);
	add_dir(t, &s->tx, narrow);
	add_dir(t, &s->rx, narrow);
}

/* `narrow`: the reason alone, without "kernel". */
static void fill(struct table *t, const struct scan *all, int narrow)
{
	table_init(t, cols, sizeof(cols) / sizeof(*cols));
	for (size_t i = 0; i < all->n_procs; i++) {
		const struct scan_proc *p = &all->procs[i];

		for (size_t j = 0; j < p->n_socks || j == 0; j++) {
			table_cell(t, "%u", p->pid);
			table_cell(t, "%s", p->comm);
			if (p->n_socks) {
				add_sock(t, all, &p->socks[j], narrow);
			} else {
				table_cell(t, "-");
				add_empty(t, 7);
			}
		}
	}
}

static int print_table(const struct scan *all)
{
	unsigned width = term_width();
	struct table t;
	int err;

	fill(&t, all, 0);
	if (width && table_width(&t) > width) {
		table_fini(&t);
		fill(&t, all, 1);
	}
	err = table_print(&t, width);
	table_fini(&t);
	return err ? complain(EXIT_SHUNT, "%s", strerror(-err)) : 0;
}

/* ---- --why ---- */

static int is_why(const struct scan_sock *s, const struct scan_dir *d, unsigned why)
{
	return !(s->flags & FAM_LISTEN) && !d->on_shm && d->why == why;
}

static int each_of(const struct scan *all, unsigned why, int print, unsigned width)
{
	int n = 0;

	for (size_t i = 0; i < all->n_procs; i++)
		for (size_t j = 0; j < all->procs[i].n_socks; j++) {
			const struct scan_proc *p = &all->procs[i];
			const struct scan_sock *s = &p->socks[j];
			int tx = is_why(s, &s->tx, why), rx = is_why(s, &s->rx, why);
			char line[256], own[ADDR_LEN], peer[ADDR_LEN];

			n += tx || rx;
			if (!print || !(tx || rx))
				continue;
			snprintf(line, sizeof(line), "%u %s fd %d %s %s %s:%s%s", p->pid, p->comm, s->fd, proto(s),
				addr_text(&s->own, own), addr_text(&s->peer, peer), tx ? " sending" : "",
				rx ? tx ? ", receiving" : " receiving" : "");
			print_wrapped(line, 2, 4, width);
		}
	return n;
}

static void print_why(const struct scan *all)
{
	unsigned width = term_width(), any = 0;
	char line[256];

	for (unsigned w = 0; w < WHY_N; w++) {
		if (!each_of(all, w, 0, width))
			continue;
		snprintf(line, sizeof(line), "%s: %s", why_word(w), why_text(w));
		print_wrapped(line, 0, 2, width);
		print_wrapped(why_advice(w), 4, 0, width);
		each_of(all, w, 1, width);
		any = 1;
	}
	if (!any)
		puts(all->n_procs ? "Every socket that shunt follows goes through shared memory."
				  : "No process that we may look at runs under shunt.");
}

#ifdef HAVE_JANSSON
static json_t *json_dir(const struct scan_dir *d)
{
	return json_pack("{s:s, s:s, s:I, s:I}", "path", d->on_shm ? "shm" : "kernel", "why", why_word(d->why), "shm_bytes",
		(json_int_t)d->shm_bytes, "kernel_bytes", (json_int_t)d->kernel_bytes);
}

static json_t *json_sock(const struct scan_sock *s)
{
	char own[ADDR_LEN], peer[ADDR_LEN];
	int listens = !!(s->flags & FAM_LISTEN);
	json_t *o = json_pack("{s:i, s:s, s:I, s:b, s:s}", "fd", s->fd, "proto", proto(s), "inode", (json_int_t)s->inode,
		"listens", listens, "local", addr_text(&s->own, own));

	if (!o || listens)
		return o;
	json_object_set_new(o, "peer", json_string(addr_text(&s->peer, peer)));
	json_object_set_new(o, "peer_pid", s->peer_pid ? json_integer(s->peer_pid) : json_null());
	json_object_set_new(o, "tx", json_dir(&s->tx));
	json_object_set_new(o, "rx", json_dir(&s->rx));
	json_object_set_new(o, "upgrades", json_integer(s->ups));
	json_object_set_new(o, "downgrades", json_integer(s->downs));
	return o;
}

static int print_json(const struct scan *all)
{
	json_t *procs = json_array();
	size_t i, j;

	for (i = 0; i < all->n_procs; i++) {
		const struct scan_proc *p = &all->procs[i];
		json_t *socks = json_array();

		for (j = 0; j < p->n_socks; j++)
			json_array_append_new(socks, json_sock(&p->socks[j]));
		json_array_append_new(procs, json_pack("{s:I, s:s, s:I, s:o}", "pid", (json_int_t)p->pid, "comm", p->comm,
						     "uid", (json_int_t)p->uid, "sockets", socks));
	}
	return json_out(procs);
}
#else
static int print_json(const struct scan *all)
{
	(void)all;
	return json_missing();
}
#endif

int cmd_ps(int argc, char **argv)
{
	static const struct option opts[] = {{"json", no_argument, NULL, 'j'}, {"why", no_argument, NULL, 'w'},
		{"reasons", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'}, {0}};
	int o, json = 0, why = 0, err;
	struct scan all;

	opterr = 0;
	while ((o = getopt_long(argc, argv, "+h", opts, NULL)) != -1)
		switch (o) {
		case 'j':
			json = 1;
			break;
		case 'w':
			why = 1;
			break;
		case 'r':
			print_reasons(term_width());
			return fflush(stdout) ? complain(EXIT_SHUNT, "output: %s", strerror(errno)) : 0;
		case 'h':
			return usage();
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt ps --help`", argv[optind - 1]);
		}
	if (optind != argc)
		return complain(EXIT_SHUNT, "%s: takes no argument; see `shunt ps --help`", argv[optind]);
	if (json && why)
		return complain(EXIT_SHUNT, "--why is for people; --json tells the reasons too");
	ept_gc(geteuid() ? (uint32_t)geteuid() : (uint32_t)-1); /* what dead servers left: whoever looks, tidies up */
	err = scan_init(&all);
	if (err)
		err = complain(EXIT_SHUNT, "/proc: %s", strerror(-err));
	else if (json)
		err = print_json(&all);
	else if (why)
		print_why(&all);
	else
		err = print_table(&all);
	scan_fini(&all);
	if (fflush(stdout) && !err)
		err = complain(EXIT_SHUNT, "output: %s", strerror(errno));
	return err;
}
