/* SPDX-License-Identifier: BSD-2-Clause */
/* server.c - the server's side: endpoints published by listen(), associations accepted there. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "assoc.h"
#include "log.h"
#include "startup.h"
#include "svc.h"
#include "sys.h"

#define N_SERVER 64
#define LINGER_NS INT64_C(1000000000) /* how long an endpoint outlives its listener for the sake of a rendezvous */

static struct server servers[N_SERVER];
static uint32_t n_servers;

struct server *server_at(uint32_t i)
{
	return i < n_servers ? &servers[i] : NULL;
}

static int key_of(struct ept_key *k, int fd)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in6 in6;
	} u;
	socklen_t len = sizeof(u);
	memset(k, 0, sizeof(*k));
	long r = sys3(SYS_getsockname, fd, &u, &len);
	if (r == 0)
		r = diag_addr_from(&k->at, &u.sa, len);
	if (r < 0)
		return (int)r;
	if (u.sa.sa_family == AF_INET6 && diag_addr_is_any(&k->at)) {
		int only = 0;
		len = sizeof(only);
		k->dual = sys5(SYS_getsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) == 0 && !only;
	}
	k->netns = diag_netns(fd);
	return 0;
}

struct server *server_publish(int fd)
{
	struct guard g;
	struct ept_key key;
	struct server *v = NULL;
	guard_enter(&g);
	for (uint32_t i = 0; i < n_servers && !v; i++)
		if (!servers[i].refs && !servers[i].users && !servers[i].retract_ns)
			v = &servers[i];
	if (!v && n_servers < N_SERVER)
		v = &servers[n_servers++];
	int r = v && fdtab_init() ? key_of(&key, fd) : -12;
	if (r == 0) {
		memset((void *)v, 0, sizeof(*v));
		r = ept_publish(&v->ept, &key, (uint32_t)sys0(SYS_geteuid));
	}
	if (r == 0) {
		v->refs = 1;
		signal_guard();
		store_release(&v->live, 1);
	} else {
		log_line("listener fd %d: not published: error %d", fd, -r);
		v = NULL;
	}
	guard_leave(&g);
	return v;
}

static void unmap_if_unused(struct server *v, struct sm_area *area)
{
	v->ept.area = area;
	if (v->refs || v->users)
		return;
	store_release(&v->live, 0);
	if (area)
		sys1(SYS_shmdt, area);
	v->ept.area = NULL;
}

/* Names and descriptors now, the area with the last accepted connection. */
static void retract(struct server *v)
{
	struct sm_area *area = v->ept.area;
	v->retract_ns = 0;
	v->ept.area = NULL; /* not to be unmapped yet */
	if (v->ept.owner_pid == (uint32_t)sys0(SYS_getpid))
		ept_retract(&v->ept);
	else
		ept_drop(&v->ept);
	unmap_if_unused(v, area);
}

/*
 * The listener goes. Servers that accept one connection and close the listener at once are common: if a client has shown interest, its rendezvous is waited for,
 * and the service thread takes the endpoint off the map a little later.
 */
void server_release(struct server *v)
{
	if (--v->refs)
		return;
	if (v->watched && v->users)
		v->retract_ns = now_ns() + LINGER_NS;
	else
		retract(v);
}

void server_retract_late(int64_t now)
{
	for (uint32_t i = 0; i < n_servers; i++)
		if (servers[i].retract_ns && (now >= servers[i].retract_ns || !servers[i].users))
			retract(&servers[i]);
}

bool server_retracts(void)
{
	bool any = false;
	for (uint32_t i = 0; i < n_servers; i++)
		any |= servers[i].retract_ns != 0;
	return any;
}

void server_use(struct server *v)
{
	v->users++;
}

void server_unuse(struct server *v)
{
	v->users--;
	if (!v->refs && !v->retract_ns)
		unmap_if_unused(v, v->ept.area);
	else if (!v->refs && !v->users)
		retract(v);
}

static int known(int shmid, void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++)
		if (load_acquire(&assoc_tab[i]->live) && assoc_tab[i]->side == SM_SERVER && assoc_tab[i]->seg.shmid == shmid)
			return 1;
	return 0;
}

static void add(struct server *v, const struct seg *seg)
{
	struct assoc *a = assoc_add(seg, SM_SERVER);
	if (!a)
		return;
	a->server = v;
	log_line("association from uid %u: segment %d", seg->cuid, seg->shmid);
}

void server_serve_all(void)
{
	for (uint32_t i = 0; i < n_servers; i++) {
		struct server *v = &servers[i];
		struct seg seg;
		int r;
		if (!load_acquire(&v->live))
			continue;
		while ((v->refs || v->retract_ns) && (r = rdv_answer(&v->ept, &seg)) != 0) {
			if (r < 0) {
				log_line("rendezvous refused: error %d", -r);
				break;
			}
			add(v, &seg);
		}
		while (rdv_adopt(&v->ept, &seg, known, NULL) == 1)
			add(v, &seg);
	}
}

/* Only what this process published; a child that goes on listening finds it gone, and its connections stay in the kernel. */
void server_end_all(void)
{
	for (uint32_t i = 0; i < n_servers; i++) {
		struct server *v = &servers[i];
		if (load_acquire(&v->live) && (v->refs || v->retract_ns) && v->ept.owner_pid == (uint32_t)sys0(SYS_getpid)) {
			struct sm_area *area = v->ept.area;
			v->ept.area = NULL; /* other threads may still look at it */
			ept_retract(&v->ept);
			v->ept.area = area;
		}
	}
}
