/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dglink.c - which peers of a UDP socket get a channel.
 *
 * Whoever sends for the third time to an address where a socket is published offers a channel there, which bears both addresses and its socket's cookie. A socket that bind() has given
 * its address is published once datagrams of this host have really come by the kernel; it takes what is offered to it if the kernel says that its datagrams to the client's address
 * would go to the socket with that cookie, of the segment's creator, and the client's to itself.
 *
 * A port that several sockets may share (SO_REUSEADDR, SO_REUSEPORT) stays in the kernel: who gets its datagrams can change at any moment.
 */
#include <string.h>
#include <sys/socket.h>

#include "dg.h"
#include "fault.h"
#include "hold.h"
#include "leave.h"
#include "link.h"
#include "log.h"
#include "policy.h"
#include "svc.h"
#include "switch.h"
#include "sys.h"

#define WORTH_SENT                                                                                                             \
	3 /* datagrams to one address, before it is asked for in the endpoint map; then at twice as many each time ... */
#define TRY_EVERY 64 /* ... and at last every so many */
#define WORTH_CAME 2 /* datagrams of this host, before the socket is published */
#define MAX_ASKED 16 /* senders with other addresses than loopback that are asked for */

static void set_why(struct sock *s, enum why w)
{
	if (dg_linked(s) ||
		load_relaxed(&s->f->tx_why) == WHY_RULE) /* that it may not is more to the point than that nobody is there */
		return;
	store_relaxed(&s->f->tx_why, w);
	store_relaxed(&s->f->rx_why, w);
}

/* The process is. */
static bool is_off(struct sock *s)
{
	switch_look();
	if (__builtin_expect(!switch_is_off(), 1))
		return false;
	if (!dg_linked(s) && !(sock_flags(s) & (FAM_PIN_RX | FAM_PIN_TX)))
		switch_keeps(s);
	return true;
}

static bool option(const struct sock *s, int name)
{
	int v = 0;
	socklen_t len = sizeof(v);
	return sys5(SYS_getsockopt, s->fd, SOL_SOCKET, name, &v, &len) == 0 && v;
}

/* May this socket have a channel at all, now? */
static bool may_link(struct sock *s)
{
	if (leave_done() || !load_acquire(&s->open) || link_ends() || hold_is_shared(s) || switch_is_off())
		return false;
	if (sock_flags(s) & (FAM_PIN_RX | FAM_PIN_TX | FAM_BROKEN | FAM_RD_SHUT | FAM_WR_SHUT))
		return false;
	if (option(s, SO_REUSEADDR) || option(s, SO_REUSEPORT)) {
		set_why(s, WHY_REUSE);
		return false;
	}
	enum why why;
	bool ok = svc_can(&why);
	if (why != WHY_NONE)
		set_why(s, why);
	return ok;
}

static bool bound_to(const struct sock *s, struct diag_addr *own)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	return sys3(SYS_getsockname, s->fd, &sa, &len) == 0 && diag_addr_from(own, (struct sockaddr *)&sa, len) == 0 &&
	       own->port;
}

/* The address that what this socket sends to `to` comes from. */
static bool source_of(const struct sock *s, const struct diag_addr *to, struct diag_addr *own)
{
	struct diag_addr at;
	if (!bound_to(s, &at))
		return false;
	*own = at;
	if (!diag_addr_is_any(&at))
		return at.family == to->family;
	if (!endpoint_source(to, own))
		return false;
	own->port = at.port;
	return true;
}

/* What IP_PKTINFO says of the interface: of loopback addresses we know it, of others of this host's only the kernel does. */
static bool tells_all(const struct sock *s, const struct diag_addr *own)
{
	return diag_addr_is_loopback(own) || !load_relaxed(&s->dg->pktinfo);
}

/* The names, for `shunt ps` and the log. */
static void note(struct sock *s, const struct diag_addr *own, const struct diag_addr *peer, const struct dg_peer *p)
{
	char a[64], b[64];
	dg_limit(s);
	sock_inode(s);
	s->f->own = *own;
	s->f->peer = *peer;
	or_acqrel(&s->f->flags, FAM_CONNECTED);
	log_line("udp fd %d %s %s: shm (channel %u of segment %d, as %s)", s->fd, addr_text(own, a, sizeof(a)),
		addr_text(peer, b, sizeof(b)), p->c.idx, p->c.assoc->seg.shmid, p->c.side ? "server" : "client");
}

/* ---- the offer */

static void make_offer(struct sock *s, struct endpoint *e, struct assoc *a, const struct diag_addr *own)
{
	int i = seg_chan_alloc(&a->seg);
	FAULT_POINT("dg link: channel taken, before peer");
	struct dg_peer *p = i < 0 ? NULL : dg_attach(s, a, (uint32_t)i, &e->to, own);
	if (!p) { /* its channels or bells are all in use: the next one makes another */
		if (i >= 0)
			seg_chan_free(&a->seg, (uint32_t)i);
		store_release(&e->assoc, NULL);
		return;
	}
	FAULT_POINT("dg link: peer, before offer");
	p->same_source = true;
	note(s, own, &e->to, p);
	seg_chan_offer(&a->seg, (uint32_t)i, IPPROTO_UDP, own, &e->to, s->f->cookie);
	FAULT_POINT("dg link: offer, before counted");
	rdv_offer(&e->ref, 0);
}

static void offer_to(struct sock *s, const struct diag_addr *to)
{
	struct diag_addr own;
	struct endpoint *e;
	sock_inode(s);
	if (policy_forbids(RULE_UDP, RULE_CONNECT, to)) {
		set_why(s, WHY_RULE);
		return;
	}
	e = endpoint_find_udp(to, s->fd);
	if (!e) {
		set_why(s, endpoint_none());
		return;
	}
	if (load_relaxed(&e->ref.area->off)) {
		set_why(s, WHY_OFF);
		return;
	}
	if (!may_link(s) || !source_of(s, to, &own) || !tells_all(s, &own))
		return;
	struct assoc *a = load_acquire(&e->assoc);
	if (!a) {
		set_why(s, e->why ? e->why : WHY_NEW);
		endpoint_want(e, s->fd, &own, to);
	} else if (load_acquire(&a->seg.hdr->server_attached) && svc_watch_life(a)) {
		make_offer(s, e, a, &own);
	}
}

static struct dg_cand *candidate(struct dg *d, const struct diag_addr *to)
{
	struct dg_cand *c = &d->cand[(to->port ^ to->addr[3] ^ to->addr[15]) % DG_N_CAND];
	if (!diag_addr_eq(&c->to, to))
		*c = (struct dg_cand){.to = *to, .next_try = WORTH_SENT};
	return c;
}

void dg_sent(struct sock *s, const struct diag_addr *to)
{
	if (is_off(s))
		return;
	struct dg_cand *c = candidate(s->dg, to);
	bool again;
	/* A guess that threads may spoil: an address is asked for a little sooner or later. */
	if (__builtin_expect(++c->n < c->next_try, 1))
		return;
	c->next_try = c->n < TRY_EVERY ? 2 * c->n : c->n + TRY_EVERY;
	do {
		struct guard g;
		guard_enter(&g);
		if (load_acquire(&s->open) && !dg_find(s->dg, to)) {
			offer_to(s, to);
			if (!dg_find(s->dg, to) && (load_relaxed(&s->f->tx_why) == WHY_NEW || svc_starts()))
				c->next_try = c->n + 1; /* the association is being made, or the thread that makes it */
		}
		again = svc_comes(&g);
		guard_leave(&g);
	} while (again);
	dg_consent(s);
}

/* ---- the acceptance */

void dg_bound(struct sock *s)
{
	s->dg->bound = true;
}

void dg_connected(struct sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct diag_addr to;
	bool known = sa && diag_addr_from(&to, sa, len) == 0;
	int how = token_take(s, &s->f->tx_token);
	if (known)
		s->dg->to = to;
	store_release(&s->dg->connected, known);
	token_drop(s, &s->f->tx_token, how);
}

static struct diag_addr client_of(const struct sm_chan *ch)
{
	struct diag_addr a = {.family = ch->family, .port = ch->client_port};
	memcpy(a.addr, ch->client_addr, 16);
	return a;
}

static struct diag_addr server_of(const struct sm_chan *ch)
{
	struct diag_addr a = {.family = ch->family, .port = ch->server_port};
	memcpy(a.addr, ch->server_addr, 16);
	return a;
}

/* What an offer says. Read once: the client can write another address there after one has been checked. */
struct offer {
	struct diag_addr from, at;
	uint64_t cookie;
};

static bool is_offered(const struct sm_chan *ch, struct offer *o)
{
	if (load_acquire(&ch->state) != SM_CHAN_OFFERED || ch->proto != IPPROTO_UDP)
		return false;
	*o = (struct offer){client_of(ch), server_of(ch), ch->client_cookie};
	__asm__ volatile("" ::: "memory"); /* and not once more below */
	return true;
}

/* Is it an offer to us? */
static bool is_ours(const struct offer *o, const struct diag_addr *own, bool is_v6)
{
	if (o->at.port != own->port)
		return false;
	if (diag_addr_is_any(own))
		return o->at.family == own->family || is_v6;
	return diag_addr_eq(&o->at, own);
}

/* The kernel's word: the client's address leads to the socket that the segment's creator has, and its datagrams to us. */
static bool is_true(struct sock *s, const struct assoc *a, const struct offer *o)
{
	struct diag_sock d;
	int r = diag_udp(&o->from, &o->at, &d);
	if (r == 0 && d.uid == a->seg.cuid && d.inode && d.cookie == o->cookie) {
		sock_inode(s);
		r = diag_udp(&o->at, &o->from, &d);
		if (r == 0 && d.cookie == s->f->cookie)
			return true;
	}
	log_line("udp fd %d: an offer in segment %d is not the peer's (%d; uid %u, creator %u)", s->fd, a->seg.shmid, r, d.uid,
		a->seg.cuid);
	return false;
}

static bool addr_before(const struct diag_addr *a, const struct diag_addr *b)
{
	int c = memcmp(a->addr, b->addr, 16);
	return c < 0 || (c == 0 && a->port < b->port);
}

/* Both have offered at once: the one with the lower address shall be the client. false: that is us. */
static bool gives_way(struct dg_peer *p, const struct diag_addr *from, const struct diag_addr *at)
{
	if (p->c.side != SM_CLIENT || load_acquire(&p->c.shm->state) != SM_CHAN_OFFERED || !addr_before(from, at))
		return false;
	dg_drop(p);
	return true;
}

static void accept_one(struct sock *s, struct assoc *a, uint32_t i, const struct offer *o)
{
	struct sm_chan *ch = seg_chan(&a->seg, i);
	struct diag_addr source;
	struct dg_peer *p = dg_find(s->dg, &o->from);
	if (load_relaxed(&s->dg->connected) && !diag_addr_eq(&o->from, &s->dg->to))
		return;
	if (policy_forbids(RULE_UDP, RULE_LISTEN, &o->at)) {
		set_why(s, WHY_RULE);
		return;
	}
	if (!tells_all(s, &o->at) || !is_true(s, a, o) || (p && !gives_way(p, &o->from, &o->at)) || !svc_watch_life(a))
		return;
	if (!cas_acqrel(&ch->state, (uint32_t)SM_CHAN_OFFERED, (uint32_t)SM_CHAN_LINKED))
		return;
	FAULT_POINT("dg link: taken, before off offer");
	and_acqrel(&a->seg.hdr->offered[i / 64], ~(UINT64_C(1) << (i % 64)));
	FAULT_POINT("dg link: off offer, before peer");
	p = dg_attach(s, a, i, &o->from, &o->at);
	if (!p) {
		or_acqrel(&ch->end[SM_SERVER].flags, SM_END_CLOSED);
		or_acqrel(&ch->gone, 1u << SM_SERVER);
		set_why(s, WHY_FDS);
		return;
	}
	FAULT_POINT("dg link: peer, before cookie");
	ch->server_cookie = s->f->cookie;
	p->same_source = source_of(s, &o->from, &source) && diag_addr_eq(&source, &o->at);
	note(s, &o->at, &o->from, p);
}

struct taker {
	struct sock *s;
	struct diag_addr own;
};

/* All of them: an offer that is not to us, or not true, is no end. */
static int take_offer(struct assoc *a, uint32_t i, void *arg)
{
	const struct taker *t = arg;
	struct offer o;
	if (is_offered(seg_chan(&a->seg, i), &o) && is_ours(&o, &t->own, t->s->dg->is_v6))
		accept_one(t->s, a, i, &o);
	return 0;
}

/* false: it must be looked at once more, when there is a service thread. */
static bool accept_offers(struct sock *s)
{
	struct taker t = {.s = s};
	if (may_link(s) && bound_to(s, &t.own))
		server_offers(take_offer, &t);
	return !svc_starts();
}

static void publish(struct sock *s)
{
	if (!may_link(s))
		return;
	sock_inode(s);
	if (server_is_forbidden(s->fd, true)) {
		set_why(s, WHY_RULE);
		s->dg->bound = false;
		return;
	}
	s->server = server_publish_udp(s->fd);
	set_why(s, s->server ? WHY_NO_OFFER : WHY_SYSV);
	if (!s->server)
		s->dg->bound = false; /* once is enough */
}

/* Loopback; or an address of this host's, which costs some system calls to find out: no more than a few times. */
static bool is_from_here(struct dg *d, const struct diag_addr *from)
{
	struct diag_addr own;
	if (diag_addr_is_loopback(from))
		return true;
	return d->n_asked < MAX_ASKED && ++d->n_asked && endpoint_source(from, &own);
}

static void look_for_offers(struct sock *s)
{
	if (!s->server)
		publish(s);
	if (!s->server)
		return;
	uint32_t seq = load_acquire(&s->server->ept.area->offer_seq);
	if (accept_offers(s))
		s->dg->seen_offer = seq;
}

void dg_came(struct sock *s, const struct diag_addr *from)
{
	struct dg *d = s->dg;
	bool again;
	if (is_off(s))
		return;
	if (!s->server) {
		if (!d->bound || !from || !is_from_here(d, from) || ++d->n_local < WORTH_CAME)
			return;
	} else if (load_relaxed(&s->server->ept.area->offer_seq) == d->seen_offer) {
		return; /* the usual answer, in one load */
	}
	if (hold_is_shared(s)) /* what is offered waits until it is not */
		return;
	do {
		struct guard g;
		guard_enter(&g);
		if (sock_is_dgram(s) && load_acquire(&s->open))
			look_for_offers(s);
		again = svc_comes(&g);
		guard_leave(&g);
	} while (again);
	dg_consent(s);
}

/* ---- consent */

static void publish_limit(struct dg_peer *p, void *arg)
{
	uint32_t limit = *(uint32_t *)arg;
	if (limit > load_relaxed(&p->limit))
		store_relaxed(&p->limit, limit);
	store_release(&p->c.my->rx_limit, limit); /* behind ours: who puts more there has seen it */
}

void dg_limit(struct sock *s)
{
	uint32_t v = 0;
	socklen_t len = sizeof(v);
	struct guard g;
	guard_enter(&g);
	if (dg_linked(s) && sys5(SYS_getsockopt, s->fd, SOL_SOCKET, SO_RCVBUF, &v, &len) == 0)
		dg_each(s, publish_limit, &v);
	guard_leave(&g);
}

static void consent(struct dg_peer *p, void *arg)
{
	(void)arg;
	FAULT_POINT("dg link: before consent");
	if (!load_relaxed(&p->c.my->consent))
		store_release(&p->c.my->consent, 1);
}

void dg_consent(struct sock *s)
{
	struct guard g;
	if (!dg_linked(s))
		return;
	guard_enter(&g);
	fence_storeload(); /* faces dg_kernel_enter: rx_inkernel, fence, n_linked */
	if (!(sock_flags(s) & (FAM_PIN_RX | FAM_OFF)) && !hold_rx_inside(s) && !hold_is_shared(s))
		dg_each(s, consent, NULL);
	guard_leave(&g);
}

bool dg_kernel_enter(struct sock *s)
{
	hold_rx_enter(s);
	fence_storeload(); /* faces dg_consent: n_linked, fence, rx_inkernel */
	return dg_linked(s);
}

void dg_kernel_leave(struct sock *s)
{
	if (hold_rx_leave(s))
		dg_consent(s);
}

/* ---- death */

void dg_peer_died(struct assoc *a)
{
	for (uint32_t i = 0; i < SM_N_CHAN; i++) {
		struct sock *s = load_acquire(&a->chan_sock[i]);
		if (s && sock_is_dgram(s))
			store_release(&s->dg->reap, 1);
	}
}
