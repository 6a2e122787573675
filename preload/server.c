/* SPDX-License-Identifier: BSD-2-Clause */
/* server.c - the server's side: endpoints published by listen(), associations accepted there. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "assoc.h"
#include "fault.h"
#include "flight.h"
#include "handler.h"
#include "hold.h"
#include "log.h"
#include "policy.h"
#include "probe.h"
#include "startup.h"
#include "svc.h"
#include "switch.h"
#include "sys.h"

#define N_SERVER 64
#define SHARE_NS INT64_C(500000000) /* between two looks whether the process that published what we share is still there */
#define LINGER_NS                                                                                                              \
	INT64_C(10000000000) /* an endpoint outlives its listener so long: a client may be slow to come to a rendezvous */

static struct server servers[N_SERVER];
static _Atomic uint32_t n_servers; /* only grows */

struct server *server_at(uint32_t i)
{
	return i < load_acquire(&n_servers) ? &servers[i] : NULL;
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

bool server_is_forbidden(int fd, bool udp)
{
	struct ept_key key;
	return policy_has_rules && key_of(&key, fd) == 0 && policy_forbids(udp ? RULE_UDP : RULE_TCP, RULE_LISTEN, &key.at);
}

static struct server *free_entry(void)
{
	for (uint32_t i = 0; i < load_acquire(&n_servers); i++)
		if (!servers[i].refs && !servers[i].users && !load_relaxed(&servers[i].retract_ns))
			return &servers[i];
	return load_relaxed(&n_servers) < N_SERVER ? &servers[add_acqrel(&n_servers, 1u)] : NULL;
}

static void clear(struct server *v)
{
	if (v->ept.area)
		sys1(SYS_shmdt, v->ept.area);
	memset((void *)v, 0, sizeof(*v));
}

/* Clients look in the folder of the user whose socket it is: it was made by another one, or before this process gave up root. */
static bool is_anothers(int fd)
{
	struct stat st;
	uint32_t euid = (uint32_t)sys0(SYS_geteuid);
	if (sys2(SYS_fstat, fd, &st) < 0 || st.st_uid == euid)
		return false;
	log_line("listener fd %d: not published: it is a socket of user %u's, and this process is user %u's now", fd, st.st_uid,
		euid);
	return true;
}

static struct server *publish(int fd, bool udp)
{
	struct guard g;
	struct ept_key key;
	struct server *v = NULL;
	guard_enter(&g);
	/* Closed: startup_end() has been here, or waits for the lock: nobody would retract it. */
	if (flight_is_closed() || is_anothers(fd)) {
		guard_leave(&g);
		return NULL;
	}
	v = free_entry();
	int r = v && fdtab_init() ? key_of(&key, fd) : -ENOMEM;
	if (r == 0 && !key.at.port) { /* not bound yet */
		guard_leave(&g);
		return NULL;
	}
	key.udp = udp;
	if (r == 0) {
		clear(v);
		r = ept_publish(&v->ept, &key, (uint32_t)sys0(SYS_geteuid));
	}
	if (r == 0) {
		FAULT_POINT("ept: named, before known here");
		v->refs = 1;
		store_relaxed(&v->ept.area->off, switch_is_off());
		handler_guard();
		store_release(&v->live, 1);
	} else {
		log_line("listener fd %d: not published: error %d", fd, -r);
		v = NULL;
	}
	guard_leave(&g);
	return v;
}

struct server *server_publish(int fd)
{
	return publish(fd, false);
}

struct server *server_publish_udp(int fd)
{
	return publish(fd, true);
}

struct server *server_find(const struct diag_addr *own, int fd)
{
	struct ept_ref r;
	struct server *v = NULL;
	if (ept_lookup(&r, own, diag_netns(fd)) < 0)
		return NULL;
	for (uint32_t i = 0; i < load_acquire(&n_servers) && !v; i++)
		if (load_acquire(&servers[i].live) && servers[i].ept.area &&
			!memcmp(servers[i].ept.nonce, r.nonce, sizeof(r.nonce)))
			v = &servers[i];
	if (v) {
		v->ept.semid = r.semid; /* it may have been retracted here meanwhile */
		v->ept.shmid = r.shmid;
		ept_ref_drop(&r);
		return v;
	}
	v = free_entry();
	if (!v) {
		ept_ref_drop(&r);
		return NULL;
	}
	clear(v);
	v->ept.key = r.key;
	v->ept.lock_fd = v->ept.bell_fd = -1;
	v->ept.semid = r.semid;
	v->ept.shmid = r.shmid;
	v->ept.area = r.area;
	memcpy(v->ept.nonce, r.nonce, sizeof(r.nonce));
	store_release(&v->live, 1);
	return v;
}

/*
 * It is there for as long as we are, from now on; the right to that may be given up later. What came over a fork is the parent's hold, who ends it for both when his listener ends, and knows nothing of
 * another one of ours.
 */
static void join(struct server *v)
{
	struct ept e = v->ept;
	if ((e.lock_fd >= 0 && e.owner_pid == (uint32_t)sys0(SYS_getpid)) || flight_is_closed())
		return;
	int r = fdtab_init() ? ept_join(&e) : -ENOMEM;
	if (r < 0)
		return;
	FAULT_POINT("ept: joined, before known here");
	if (v->ept.lock_fd >= 0) {
		svc_unserve(v);
		fdtab_close_hidden(v->ept.bell_fd);
		fdtab_close_hidden(v->ept.lock_fd);
	}
	v->ept = e;
	log_line("endpoint %s: one more holds it", v->ept.binding.path);
	v->watched = false;
	handler_guard();
}

/* Others listen there too, and one of them has published it; we accept what comes to us, and find its associations. */
struct server *server_share(int fd)
{
	struct guard g;
	struct ept_key key;
	struct server *v = NULL;
	guard_enter(&g);
	if (key_of(&key, fd) == 0 && (v = server_find(&key.at, fd))) {
		v->refs++;
		store_relaxed(&v->retract_ns, 0); /* it is not left any more */
		join(v);
	}
	guard_leave(&g);
	return v;
}

void server_share_again(struct sock *l)
{
	struct guard g;
	int64_t now = now_ns();
	guard_enter(&g);
	struct server *old = l->server, *v = NULL;
	if (load_acquire(&l->open) && old && old->ept.lock_fd < 0 && now >= old->share_ns) { /* no other thread has been here */
		old->share_ns = now + SHARE_NS;
		v = server_publish(l->fd);
		v = v ? v : server_share(l->fd); /* or another one has published it anew */
	}
	if (v && v == old) { /* it is the same still, and this listener is counted there already */
		v->refs--;
	} else if (v) {
		l->server = v;
		server_release(old, false);
	}
	guard_leave(&g);
}

static uint32_t
	left_by; /* the process that has left names of its own to others, who may have no right to remove them: it looks once more at its end */

/*
 * Off the map: names and descriptors. The area stays mapped until the entry is used again: accepted connections, in any thread, look at it as long as they
 * live. The last process that listens removes the names, whoever published them (a daemon's parent is gone by then).
 */
static void retract(struct server *v, bool last)
{
	struct ept e = v->ept;
	e.area = NULL; /* not to be unmapped */
	store_relaxed(&v->retract_ns, 0);
	svc_unserve(v);
	v->ept.lock_fd = v->ept.bell_fd = v->ept.semid = -1;
	if (last) {
		e.owner_pid = (uint32_t)sys0(SYS_getpid);
		ept_retract(&e);
	} else {
		if (e.owner_pid == (uint32_t)sys0(SYS_getpid))
			left_by = e.owner_pid;
		ept_drop(&e);
		ept_gc((uint32_t)sys0(SYS_geteuid)); /* other holders that have been killed do not count: the lock tells */
	}
	if (!v->users)
		store_release(&v->live, 0);
}

/*
 * The listener goes. Servers that accept one connection and close the listener at once are common: if a client has shown interest, its rendezvous is waited for,
 * and the service thread takes the endpoint off the map a little later.
 */
void server_release(struct server *v, bool last)
{
	v->left |= !last; /* workers of a master go on, which may have no right to remove the names */
	if (--v->refs)
		return;
	if (v->watched && v->users) {
		store_relaxed(&v->retract_ns, now_ns() + LINGER_NS);
		svc_nudge(); /* it may be asleep until something happens, and this is all that will */
	} else {
		retract(v, !v->left);
	}
}

void server_withdraw(struct server *v)
{
	struct guard g;
	guard_enter(&g);
	server_release(v, true);
	guard_leave(&g);
}

void server_retract_late(int64_t now)
{
	for (uint32_t i = 0; i < load_acquire(&n_servers); i++)
		if (load_relaxed(&servers[i].retract_ns) && (now >= load_relaxed(&servers[i].retract_ns) || !servers[i].users))
			retract(&servers[i], !servers[i].left);
}

bool server_retracts(void)
{
	bool any = false;
	for (uint32_t i = 0; i < load_acquire(&n_servers); i++)
		any |= load_relaxed(&servers[i].retract_ns) != 0;
	return any;
}

void server_use(struct server *v)
{
	v->users++;
}

void server_unuse(struct server *v)
{
	if (--v->users || v->refs)
		return;
	if (load_relaxed(&v->retract_ns))
		retract(v, !v->left);
	else
		store_release(&v->live, 0);
}

static int known(int shmid, void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++)
		if (load_acquire(&assoc_tab[i]->live) && assoc_tab[i]->side == SM_SERVER && assoc_tab[i]->seg.shmid == shmid)
			return 1;
	return 0;
}

/* false: it could not be noted, and is let go: to ask for the next would give the same again. */
static bool add(struct server *v, struct seg *seg)
{
	struct assoc *a = assoc_add(seg, SM_SERVER);
	if (!a) {
		seg_detach(seg);
		return false;
	}
	FAULT_POINT("assoc: accepted, before its server");
	a->server = v;
	PROBE3(rendezvous, SM_SERVER, seg->cuid, seg->shmid);
	log_line("association from uid %u: segment %d", seg->cuid, seg->shmid);
	return true;
}

/* Without room for another association nobody is answered, and he stays in the kernel. */
void server_serve_all(void)
{
	for (uint32_t i = 0; i < load_acquire(&n_servers); i++) {
		struct server *v = &servers[i];
		struct seg seg;
		int r;
		if (!load_acquire(&v->live))
			continue;
		while ((v->refs || load_relaxed(&v->retract_ns)) && assoc_room() && (r = rdv_answer(&v->ept, &seg)) != 0) {
			if (r < 0) {
				log_line("rendezvous refused: error %d", -r);
				break;
			}
			if (!add(v, &seg))
				break;
		}
		while (assoc_room() && rdv_adopt(&v->ept, &seg, known, NULL) == 1 && add(v, &seg))
			;
	}
}

int server_offers(int (*take)(struct assoc *a, uint32_t i, void *arg), void *arg)
{
	int r = 0;
	svc_serve();
	for (uint32_t n = 0; n < load_acquire(&n_assoc); n++) {
		struct assoc *a = assoc_tab[n];
		if (!load_acquire(&a->live) || a->side != SM_SERVER)
			continue;
		for (uint32_t w = 0; w < SM_N_CHAN / 64; w++) {
			uint64_t on = load_acquire(&a->seg.hdr->offered[w]);
			for (; on && !r; on &= on - 1)
				r = take(a, w * 64 + (uint32_t)__builtin_ctzll(on), arg);
			if (r)
				return r;
		}
	}
	return 0;
}

static void end_listener(struct sock *s, void *arg)
{
	(void)arg;
	if (s->server && sock_flags(s) & (FAM_LISTEN | FAM_DGRAM) && s->server->ept.lock_fd >= 0)
		retract(s->server, !hold_is_shared(s));
}

/* At exit, names that others still listen under stay: a daemon's parent leaves so. */
void server_end_all(void)
{
	for (uint32_t i = 0; i < load_acquire(&n_servers); i++)
		if (load_relaxed(&servers[i].retract_ns))
			retract(&servers[i], !servers[i].left);
	sock_each(end_listener, NULL);
	if (left_by == (uint32_t)sys0(SYS_getpid))
		ept_gc((uint32_t)sys0(SYS_geteuid));
}
