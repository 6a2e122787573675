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

#include "cmd.h"
#include "fam.h"
#include "ept.h"
#include "scan.h"
#include "why.h"

#define ADDR_LEN (INET6_ADDRSTRLEN + 16)

static int usage(void)
{
	puts("usage: shunt ps [--json]\n"
	     "\n"
	     "Lists every process under shunt of this user (of everybody, for root), and its TCP sockets that shunt follows.\n"
	     "TX is the path on which it sends, RX the one on which it receives: shm, or kernel and the reason. Bytes are "
	     "given as\n"
	     "by shared memory / by the kernel, since shunt has followed the socket. PEER ends with the process at the other "
	     "end, if it is listed too.\n"
	     "\n"
	     "  --json  the same and more as JSON\n"
	     "  --help  this text\n"
	     "\n"
	     "  shunt ps\n"
	     "\n"
	     "Reasons:");
	for (unsigned w = WHY_UP + 1; w < WHY_N; w++)
		printf("  %-12s %s\n", why_word(w), why_text(w));
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

static void print_sock(const struct scan *all, const struct scan_proc *p, const struct scan_sock *s)
{
	char own[ADDR_LEN], peer[ADDR_LEN], who[ADDR_LEN + 96], tx[64], rx[64], n_tx[48], n_rx[48];
	const struct scan_proc *other = s->peer_pid ? scan_find(all, s->peer_pid) : NULL;

	if (s->flags & FAM_LISTEN) {
		printf("%7u %-15s %4d tcp   %-21s (listens)\n", p->pid, p->comm, s->fd, addr_text(&s->own, own));
		return;
	}
	snprintf(who, sizeof(who), other ? "%s %u/%s" : "%s", addr_text(&s->peer, peer), s->peer_pid, other ? other->comm : "");
	snprintf(n_tx, sizeof(n_tx), "%llu/%llu", (unsigned long long)s->tx.shm_bytes, (unsigned long long)s->tx.kernel_bytes);
	snprintf(n_rx, sizeof(n_rx), "%llu/%llu", (unsigned long long)s->rx.shm_bytes, (unsigned long long)s->rx.kernel_bytes);
	printf("%7u %-15s %4d %s   %-21s %-37s %-18s %-21s %-18s %s\n", p->pid, p->comm, s->fd, proto(s),
		addr_text(&s->own, own), who, path_text(&s->tx, tx), n_tx, path_text(&s->rx, rx), n_rx);
}

static void print_table(const struct scan *all)
{
	size_t i, j;

	printf("%7s %-15s %4s %-5s %-21s %-37s %-18s %-21s %-18s %s\n", "PID", "COMM", "FD", "PROTO", "LOCAL", "PEER", "TX",
		"SHM/KERNEL", "RX", "SHM/KERNEL");
	for (i = 0; i < all->n_procs; i++) {
		const struct scan_proc *p = &all->procs[i];

		for (j = 0; j < p->n_socks; j++)
			print_sock(all, p, &p->socks[j]);
		if (!p->n_socks)
			printf("%7u %-15s    -\n", p->pid, p->comm);
	}
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
	static const struct option opts[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int o, json = 0, err;
	struct scan all;

	opterr = 0;
	while ((o = getopt_long(argc, argv, "+h", opts, NULL)) != -1)
		switch (o) {
		case 'j':
			json = 1;
			break;
		case 'h':
			return usage();
		default:
			return complain(EXIT_SHUNT, "%s: no such option; see `shunt ps --help`", argv[optind - 1]);
		}
	if (optind != argc)
		return complain(EXIT_SHUNT, "%s: takes no argument; see `shunt ps --help`", argv[optind]);
	ept_gc(geteuid() ? (uint32_t)geteuid() : (uint32_t)-1); /* what dead servers left: whoever looks, tidies up */
	err = scan_init(&all);
	if (err)
		err = complain(EXIT_SHUNT, "/proc: %s", strerror(-err));
	else if (json)
		err = print_json(&all);
	else
		print_table(&all);
	scan_fini(&all);
	if (fflush(stdout) && !err)
		err = complain(EXIT_SHUNT, "output: %s", strerror(errno));
	return err;
}
