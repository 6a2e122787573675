/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoint.c - the client's side of the endpoint map: where connect() leads, and making associations there. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>

#include "assoc.h"
#include "fault.h"
#include "link.h"
#include "log.h"
#include "policy.h"
#include "probe.h"
#include "svc.h"
#include "switch.h"
#include "sys.h"

#define N_ENDPOINT 256		     /* cached; the oldest unused gives way */
#define NONE_NS INT64_C(100000000)   /* believe for so long that nothing is published there */
#define NONE_UDP_NS INT64_C(5000000) /* of datagrams: a socket is published after some have come */
#define NOBODY_NS INT64_C(1000000)   /* nor does anybody listen, or he dies: who tries again must not miss the next one */
#define FOUND_NS INT64_C(200000000)  /* and for so long, without looking, that it still is */
#define RDV_MS 500
#define RETRY_NS INT64_C(200000000) /* after a failed rendezvous; doubles */

static struct endpoint endpoints[N_ENDPOINT];
static _Atomic uint32_t n_endpoints; /* only grows */

/* A datagram socket connected to an address of this host gets one as its own (no packet is sent). */
bool endpoint_source(const struct diag_addr *to, struct diag_addr *own)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u = {0};
	u.sa.sa_family = to->family;
	socklen_t len;
	if (to->family == AF_INET) {
		u.in.sin_port = htons(to->port);
		memcpy(&u.in.sin_addr, to->addr, 4);
		len = sizeof(u.in);
	} else {
		u.in6.sin6_port = htons(to->port);
		memcpy(&u.in6.sin6_addr, to->addr, 16);
		len = sizeof(u.in6);
	}
	long fd = sys3(SYS_socket, to->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool local = sys3(SYS_connect, fd, &u, len) == 0;
	len = sizeof(u);
	local = local && sys3(SYS_getsockname, fd, &u, &len) == 0 && diag_addr_from(own, &u.sa, len) == 0 &&
		(diag_addr_is_loopback(to) || memcmp(own->addr, to->addr, 16) == 0);
	own->port = 0;
	sys1(SYS_close, fd);
	return local;
}

static bool is_local(const struct diag_addr *to)
{
	struct diag_addr own;
	return diag_addr_is_loopback(to) || endpoint_source(to, &own);
}

static struct endpoint *slot_for(const struct diag_addr *to, bool udp)
{
	struct endpoint *old = NULL;
	for (uint32_t i = 0; i < load_acquire(&n_endpoints); i++) {
		struct endpoint *e = &endpoints[i];
		if (e->udp == udp && diag_addr_eq(&e->to, to))
			return e;
		if (load_relaxed(&e->state) == EP_NONE && (!old || e->check_ns < old->check_ns))
			old = e;
	}
	if (load_relaxed(&n_endpoints) < N_ENDPOINT)
		old = &endpoints[add_acqrel(&n_endpoints, 1u)];
	if (!old)
		return NULL;
	memset((void *)old, 0, sizeof(*old));
	old->to = *to;
	old->udp = udp;
	return old;
}

static void forget(struct endpoint *e)
{
	ept_ref_drop(&e->ref);
	store_release(&e->assoc, NULL);
	store_relaxed(&e->state, EP_UNKNOWN);
	e->failures = 0;
	e->retry_ns = 0;
	e->announced = false;
}

/* For how long the answer is believed. */
static int64_t look_up(struct endpoint *e, int fd)
{
	int r = !is_local(&e->to) ? -1
		: e->udp	  ? ept_lookup_udp(&e->ref, &e->to, diag_netns(fd))
				  : ept_lookup(&e->ref, &e->to, diag_netns(fd));
	store_relaxed(&e->state, r == 0 ? EP_FOUND : EP_NONE);
	return r == 0 ? FOUND_NS : e->udp ? NONE_UDP_NS : r == -ECONNREFUSED ? NOBODY_NS : NONE_NS;
}

/* The acceptors shall know that connections of ours may be upgraded. */
static void announce(struct endpoint *e)
{
	if (e->announced)
		return;
	FAULT_POINT("assoc: endpoint found, before announced");
	rdv_offer(&e->ref, 0);
	e->announced = true;
}

static struct endpoint *find(const struct diag_addr *to, int fd, bool udp)
{
	struct guard g;
	guard_enter(&g);
	int64_t now = now_ns(), believed = FOUND_NS;
	struct endpoint *e = slot_for(to, udp);
	if (e && now >= e->check_ns) {
		if (load_relaxed(&e->state) == EP_FOUND && !load_acquire(&e->want) && !ept_ref_is_current(&e->ref))
			forget(e);
		if (load_relaxed(&e->state) != EP_FOUND)
			believed = look_up(e, fd);
		e->check_ns = now + believed;
	}
	bool found = e && load_relaxed(&e->state) == EP_FOUND;
	if (found)
		announce(e);
	guard_leave(&g);
	return found ? e : NULL;
}

/* Off the map: its server has closed the listener, and may live on with what it has accepted. While nobody else listens there, the association with it is as good as before. */
static bool is_left(const struct endpoint *e)
{
	struct diag_sock listener;
	return !e->udp && load_acquire(&e->assoc) && diag_listener(&e->to, &listener) == -ENOENT;
}

bool endpoint_renew(struct endpoint *e, int fd)
{
	if (load_relaxed(&e->state) == EP_FOUND && (load_acquire(&e->want) || ept_ref_is_current(&e->ref) || is_left(e)))
		return true;
	forget(e);
	look_up(e, fd);
	e->check_ns = 0;
	if (load_relaxed(&e->state) == EP_FOUND)
		announce(e);
	else
		e->retry_ns = now_ns() + NONE_NS;
	return false;
}

struct endpoint *endpoint_find(const struct diag_addr *to, int fd)
{
	return find(to, fd, false);
}

/*
 * What leads out of a changed root directory is a way out for whoever breaks into the program: no descriptor of the map's folder is kept. What has been
 * linked goes on, and listeners are found as before; new connections to others find the map only if it is below the new root too.
 */
static _Atomic bool root_moved;

void endpoint_root_moves(void)
{
	store_release(&root_moved, true);
}

enum why endpoint_none(void)
{
	return load_acquire(&root_moved) && !ept_map_is_there() ? WHY_CHROOT : WHY_NO_ENDPOINT;
}

struct endpoint *endpoint_find_udp(const struct diag_addr *to, int fd)
{
	return find(to, fd, true);
}

void endpoint_ended(struct assoc *a)
{
	if (!a->endpoint || load_acquire(&a->endpoint->assoc) != a)
		return;
	store_release(&a->endpoint->assoc, NULL);
	a->endpoint->check_ns = 0;
}

void endpoint_want(struct endpoint *e, int fd, const struct diag_addr *own, const struct diag_addr *peer)
{
	if (load_relaxed(&e->want) || now_ns() < e->retry_ns)
		return;
	if (!endpoint_renew(e, fd) && load_relaxed(&e->state) != EP_FOUND)
		return;
	e->want_own = *own;
	e->want_peer = *peer;
	store_release(&e->want, 1);
	svc_kick();
}

static void serve_own(void *arg)
{
	struct guard g;
	(void)arg;
	svc_is_told(); /* a capability that is given up does not matter here: the endpoint's semaphores are open to all, and ours belong to who has made them */
	guard_enter(&g);
	server_serve_all();
	guard_leave(&g);
	svc_serve_requests(); /* whom we wait for may hold its lock, and wait for us */
	switch_serve();
}

/* The endpoint is gone. Its server may have published it anew (an exec): connections that it has accepted are looked for there. */
static bool look_again(struct endpoint *e)
{
	struct ept_ref r;
	if (e->udp || ept_lookup(&r, &e->to, e->ref.key.netns) < 0)
		return false;
	ept_ref_drop(&e->ref);
	e->ref = r;
	e->announced = false;
	return true;
}

/* Who accepted the connection is who gets the segment: the kernel's word, whatever the map says. */
static int make_assoc(struct endpoint *e)
{
	struct ept_ref ref = e->ref; /* while `want` is set nobody forgets the entry */
	struct diag_sock d = {0};
	struct seg seg;
	struct guard g;
	int r = e->udp ? diag_udp(&e->want_peer, &e->want_own, &d) : diag_conn(&e->want_peer, &e->want_own, &d);
	if ((r == -ENOENT && !e->udp) || (r == 0 && !d.inode))
		r = -11; /* over already, or not accepted yet: the next one asks again */
	if (r == 0 && !(policy_accepts(d.uid, (uint32_t)-1) || (d.uid == ref.owner && policy_accepts(d.uid, ref.gid))))
		r = -13; /* EACCES: the group is known of the one who published */
	if (r == 0)
		r = rdv_call(&seg, &ref, d.uid, RDV_MS, serve_own, NULL);
	guard_enter(&g);
	if (r == 0) {
		struct assoc *a = assoc_add(&seg, SM_CLIENT);
		if (a) {
			FAULT_POINT("assoc: made, before known");
			a->endpoint = e;
			e->failures = 0;
			store_release(&e->assoc, a);
			log_line("association with %s: segment %d", ref.binding.path, seg.shmid);
		} else {
			seg_detach(&seg);
		}
	} else {
		e->why = r == -28 /* ENOSPC */ ? WHY_SYSV : r == -13 ? WHY_SHARE : WHY_REFUSED;
		if (r != -11 && !(r == -43 /* EIDRM */ && look_again(e)))
			e->retry_ns = now_ns() + (RETRY_NS << (e->failures < 8 ? e->failures++ : 8));
		log_line("no association with %s: error %d", ref.binding.path, -r);
	}
	PROBE3(rendezvous, SM_CLIENT, d.uid, r == 0 ? seg.shmid : r);
	FAULT_POINT("assoc: known, before asked for no more");
	store_release(&e->want, 0);
	guard_leave(&g);
	return r;
}

void endpoint_serve_wants(void)
{
	for (uint32_t i = 0; i < load_acquire(&n_endpoints) && !svc_is_told();
		i++) { /* who comes after us begins with the rest */
		struct endpoint *e = &endpoints[i];
		if (load_acquire(&e->want) && load_relaxed(&e->state) == EP_FOUND)
			make_assoc(e);
	}
}
