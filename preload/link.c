/* SPDX-License-Identifier: BSD-2-Clause */
#include "link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "adopt.h"
#include "assoc.h"
#include "dg.h"
#include "dup.h"
#include "epset.h"
#include "fault.h"
#include "handler.h"
#include "hold.h"
#include "leave.h"
#include "log.h"
#include "move.h"
#include "notify.h"
#include "orphan.h"
#include "pass.h"
#include "stats.h"
#include "svc.h"
#include "switch.h"
#include "sys.h"
#include "token.h"
#include "trial.h"

#define STOP_NS INT64_C(1000000000) /* what the end of a process may take, once it has begun */
#define CLOSE_OLD_NS                                                                                                           \
	INT64_C(1000000) /* who was found alive when the number was given back, a moment ago, is not asked for again */
#define WORTH_OPS 2	 /* calls on a connection before it gets a channel: one request and its answer never pay for one */
#define WORTH_BYTES (64 * 1024) /* or this much at once */
#define OFF_OPS 16		/* one call in so many looks whether the other side is still switched off */

static void set_why(struct sock *s, enum why w)
{
	store_relaxed(&s->f->tx_why, w);
	store_relaxed(&s->f->rx_why, w);
}

/* Fill in the pointers and show the channel to this process's threads. */
static void attach(struct sock *s, struct assoc *a, uint32_t idx)
{
	struct chan *c = &s->chan;
	assoc_chan(a, idx, c);
	add_relaxed(&a->n_linked, 1u);
	s->trimmed = UINT64_MAX; /* the ring may hold pages of the channel's last user */
	store_release(&a->chan_sock[idx], s);
	handler_trap();
	svc_start();
	svc_watch(s);
	store_relaxed(&c->my->svc_bell, a->svc_bell);
	store_release(&s->linked, 1);
}

const char *addr_text(const struct diag_addr *a, char *buf, size_t len)
{
	char host[48];
	if (!inet_ntop(a->family, a->addr, host, sizeof(host)))
		host[0] = 0;
	fmt_buf(buf, len, a->family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, a->port);
	return buf;
}

/* The family record first: another holder may resolve it at once. */
void link_publish(struct sock *s, struct assoc *a, uint32_t idx)
{
	struct fam_sock *f = s->f;
	f->link_shmid = a->seg.shmid;
	f->link_nonce = a->seg.nonce;
	f->link_chan = idx;
	f->link_side = (uint32_t)a->side;
	FAULT_POINT("link: record, before attached");
	attach(s, a, idx);
	FAULT_POINT("link: attached, before linked flag");
	or_acqrel(&s->chan.my->flags, SM_END_LINKED | (barrier_ok ? 0 : SM_END_NO_BARRIER));
	FAULT_POINT("link: linked flag, before known to the family");
	store_release(&f->link, 2);
	fence_storeload(); /* against rx_inkernel: a thread that enters a kernel wait now sees the link (rx.c) */
	epset_linked(s);
	FAULT_POINT("link: known, before consent");
	link_consent(s);
	FAULT_POINT("link: consent");
	stats_link();
	char own[64], peer[64];
	log_line("tcp fd %d %s %s: shm (channel %u of segment %d, as %s)", s->fd, addr_text(&f->own, own, sizeof(own)),
		addr_text(&f->peer, peer, sizeof(peer)), idx, a->seg.shmid, a->side ? "server" : "client");
}

void link_consent(struct sock *s)
{
	int how = token_take(s, &s->f->rx_token);
	if (load_acquire(&s->linked) && !(sock_flags(s) & (FAM_PIN_RX | FAM_OFF)) && !hold_rx_inside(s))
		store_release(&s->chan.my->consent, 1);
	token_drop(s, &s->f->rx_token, how);
}

static bool offer(struct sock *s, struct assoc *a)
{
	struct fam_sock *f = s->f;
	int i = seg_chan_alloc(&a->seg);
	if (i < 0 && orphan_reap(a))
		i = seg_chan_alloc(&a->seg);
	if (i < 0)
		return false;
	FAULT_POINT("link: channel taken, before published");
	sock_inode(s);
	set_why(s, WHY_PEER);
	link_publish(s, a, (uint32_t)i);
	FAULT_POINT("link: published, before offer");
	seg_chan_offer(&a->seg, (uint32_t)i, IPPROTO_TCP, &f->own, &f->peer, f->cookie);
	FAULT_POINT("link: offer, before counted");
	rdv_offer(&a->endpoint->ref, 0);
	return true;
}

static bool established(int fd)
{
	struct {
		uint8_t state, pad[7];
	} ti = {0};
	socklen_t len = sizeof(ti);
	/* Only the first octet of TCP_INFO: the state. Half-closed connections stay where they are. */
	return sys5(SYS_getsockopt, fd, IPPROTO_TCP, 11 /* TCP_INFO */, &ti, &len) == 0 && ti.state == 1;
}

static bool try_client(struct sock *s)
{
	struct endpoint *e = s->endpoint;
	struct assoc *a = load_acquire(&e->assoc);
	if (a && (!load_acquire(&a->seg.hdr->server_attached) || !established(s->fd)))
		return false;
	if (!a || !endpoint_renew(e, s->fd)) {
		set_why(s, e->why ? e->why : WHY_NEW);
		endpoint_want(e, s->fd, &s->f->own, &s->f->peer);
		return false;
	}
	if (offer(s, a))
		return true;
	store_release(&e->assoc, NULL); /* its channels are all in use: the next connection makes another */
	set_why(s, WHY_NEW);
	return false;
}

/* Which channel on offer is this accepted connection's? */
static bool matches(const struct sm_chan *ch, const struct fam_sock *f)
{
	return load_acquire(&ch->state) == SM_CHAN_OFFERED && ch->proto == IPPROTO_TCP && ch->family == f->own.family &&
	       ch->client_port == f->peer.port && ch->server_port == f->own.port &&
	       memcmp(ch->client_addr, f->peer.addr, 16) == 0 && memcmp(ch->server_addr, f->own.addr, 16) == 0;
}

static bool accept_offer(struct sock *s, struct assoc *a, uint32_t i)
{
	struct sm_chan *ch = seg_chan(&a->seg, i);
	struct diag_sock d;
	int r = diag_conn(&s->f->peer, &s->f->own, &d);
	if (r < 0 || d.uid != a->seg.cuid || d.cookie != ch->client_cookie || !d.inode) {
		log_line("fd %d: channel %u of segment %d is not the peer's (%d; uid %u, creator %u)", s->fd, i, a->seg.shmid,
			r, d.uid, a->seg.cuid);
		set_why(s, WHY_REFUSED);
		return false;
	}
	sock_inode(s);
	if (!cas_acqrel(&ch->state, (uint32_t)SM_CHAN_OFFERED, (uint32_t)SM_CHAN_LINKED))
		return false;
	FAULT_POINT("link: taken, before off offer");
	and_acqrel(&a->seg.hdr->offered[i / 64], ~(UINT64_C(1) << (i % 64)));
	if (d.cookie != ch->client_cookie) { /* given back meanwhile, and offered again for another connection */
		seg_chan_leave(&a->seg, i, SM_SERVER);
		set_why(s, WHY_REFUSED);
		return false;
	}
	FAULT_POINT("link: off offer, before cookie");
	store_relaxed(&ch->server_cookie, s->f->cookie);
	set_why(s, WHY_PEER);
	FAULT_POINT("link: cookie, before published");
	link_publish(s, a, i);
	return true;
}

static int take_offer(struct assoc *a, uint32_t i, void *arg)
{
	struct sock *s = arg;
	if (!matches(seg_chan(&a->seg, i), s->f))
		return 0;
	return accept_offer(s, a, i) ? 1 : -1;
}

static bool try_server(struct sock *s)
{
	uint32_t seq = load_acquire(&s->server->ept.area->offer_seq);
	if (seq == s->seen_offer)
		return false;
	s->seen_offer = seq;
	int r = server_offers(take_offer, s);
	if (!r)
		set_why(s, WHY_NO_OFFER);
	return r > 0;
}

static bool try_role(struct sock *s)
{
	return s->endpoint ? try_client(s) : s->server && try_server(s);
}

static _Atomic uint32_t ender; /* the thread that ends the process; 0: none yet */
static bool all_ended;	       /* it has ended the links; under g_lock */
static int64_t end_since;      /* when it has begun to; 0: not yet. Under g_lock */

/* There would be no answer. */
static bool peer_is_off(const struct endpoint *e)
{
	return e && load_relaxed(&e->state) == EP_FOUND && load_relaxed(&e->ref.area->off);
}

/*
 * While several processes hold a connection that has no channel, none makes one: the others would not know of it. Those of them that sleep in an epoll set would wait for the kernel's
 * word, and octets come by the ring. (A channel that was there before the fork is known to all.) Under g_lock, as fork is; without it, a hint.
 */
static bool is_shared(struct sock *s)
{
	if (!hold_is_shared(s))
		return false;
	set_why(s, WHY_FORK);
	return true;
}

static bool try_locked(struct sock *s)
{
	if (leave_done() || load_acquire(&s->linked) || !load_acquire(&s->open) || load_acquire(&s->f->link) ||
		load_relaxed(&ender) || switch_is_off() || is_shared(s))
		return load_acquire(&s->linked);
	if (sock_names(s) < 0)
		return false;
	sock_inode(s);
	if (peer_is_off(s->endpoint) && (endpoint_renew(s->endpoint, s->fd) || peer_is_off(s->endpoint))) {
		set_why(s, WHY_OFF);
		return false;
	}
	enum why why;
	if (!svc_can(&why)) {
		if (why != WHY_NONE)
			set_why(s, why);
		return false;
	}
	/* One process of the family makes the link; the others resolve it. */
	if (!cas_acqrel(&s->f->link, 0u, 1u))
		return false;
	bool ok = (!s->arrived || adopt_link(s)) && (load_acquire(&s->linked) || try_role(s));
	if (!ok)
		store_release(&s->f->link, 0);
	return ok;
}

bool link_try(struct sock *s, size_t bytes)
{
	if (!s->endpoint && !s->server && !s->arrived)
		return false;
	if (sock_flags(s) & (FAM_LISTEN | FAM_BROKEN) || !(sock_flags(s) & FAM_CONNECTED))
		return false;
	if ((sock_flags(s) & (FAM_PIN_RX | FAM_PIN_TX)) == (FAM_PIN_RX | FAM_PIN_TX))
		return false;
	switch_look();
	if (__builtin_expect(switch_is_off(), 0)) {
		switch_keeps(s);
		return false;
	}
	if (++s->n_ops <= WORTH_OPS + (s->server != NULL) &&
		bytes < WORTH_BYTES) /* the server's last call finds the end of file */
		return false;
	if (s->server && load_relaxed(&s->server->ept.area->offer_seq) == s->seen_offer)
		return false; /* the usual answer, in one load */
	if (s->n_ops % OFF_OPS && load_relaxed(&s->f->tx_why) == WHY_OFF)
		return false;
	if ((s->arrived && !adopt_due(s)) || is_shared(s))
		return false;
	bool ok, again;
	do {
		struct guard g;
		guard_enter(&g);
		ok = try_locked(s);
		again = svc_comes(&g);
		guard_leave(&g);
	} while (again);
	return ok;
}

static bool resolve(struct sock *s)
{
	struct guard g;
	guard_enter(&g);
	uint32_t by = load_relaxed(&ender);
	if (by && (all_ended || by != (uint32_t)sys0(SYS_gettid))) {
		guard_leave(&g);
		return false;
	}
	if (!load_acquire(&s->linked) && load_acquire(&s->f->link) == 2 && !leave_done()) {
		struct assoc *a = assoc_find(s->f->link_shmid, s->f->link_nonce);
		struct seg seg;
		if (!a && seg_attach(&seg, s->f->link_shmid, s->f->link_nonce) == 0)
			a = assoc_add(&seg, (int)s->f->link_side);
		if (a) {
			attach(s, a, s->f->link_chan);
			epset_linked(s);
			switch_linked();
		}
	}
	guard_leave(&g);
	return load_acquire(&s->linked);
}

bool link_resolve(struct sock *s)
{
	if (resolve(s))
		return true;
	link_stop(s);
	return false;
}

void link_stop(struct sock *s)
{
	static const struct timespec nap = {.tv_nsec = 20000000};
	uint32_t by = load_acquire(&ender);
	if (!by || by == (uint32_t)sys0(SYS_gettid))
		return;
	for (int64_t until = now_ns() + STOP_NS; now_ns() < until;)
		sys2(SYS_nanosleep, &nap, 0);
	if (!load_acquire(&s->f->passes)) /* or it goes on elsewhere */
		sys2(SYS_shutdown, s->fd, SHUT_RDWR);
}

/* The peer may have to leave the ring after we are gone. What waits for a FIN to share its segment goes out now: should this end be a reset, it throws away what has not. tx token held. */
static void go_down(struct sock *s)
{
	move_look_back(s);
	if (s->f->tx_epoch & 1)
		move_down(s, WHY_CLOSED);
	if (load_acquire(&s->chan.peer->rx_head) != load_relaxed(&s->f->tx_tail)) {
		FAULT_POINT("end: down, before pushed");
		dup_push(s->fd);
	}
}

void link_before_end(struct sock *s)
{
	if (sock_is_dgram(s)) { /* the exec may fail: it can be linked anew */
		dg_unlink(s, WHY_EXEC);
		return;
	}
	if (!link_ready(s))
		return;
	int how = token_take(s, &s->f->tx_token);
	go_down(s);
	token_drop(s, &s->f->tx_token, how);
	how = token_take(s, &s->f->rx_token);
	move_ask_unread(s);
	FAULT_POINT("exec: down, before duplicate dropped");
	dup_drop(s);
	token_drop(s, &s->f->rx_token, how);
	FAULT_POINT("exec: duplicate dropped, before bell");
	notify_peer(&s->chan);
}

/* As the kernel does when a socket with unread octets is closed. What lies behind the end of a ring that we have left is in its socket, or will be, and it judges by itself. */
static bool end_by_reset(struct sock *s)
{
	struct linger lg = {.l_onoff = 1, .l_linger = 0};
	if (load_acquire(&s->chan.peer->tx_tail) == load_relaxed(&s->f->rx_head) || ring_is_left(s))
		return false;
	sys5(SYS_setsockopt, s->fd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
	return true;
}

/*
 * The marks are stored before the last look at the ring, and a sender publishes before it looks at the marks: either we see its octets (and reset), or it sees CLOSED and sends them by the
 * kernel, which resets. What is unread before makes a reset of it before the marks: should we be killed behind them, the end looks meant.
 *
 * Both tokens are held, and by who holds them until the socket is unlinked: behind CLOSED nobody reads here. Another thread that did would read what the sender, having seen CLOSED, gives to the kernel once more: in the ring,
 * and again in the kernel's socket, without a mark that tells the two apart. Nor does one send: it would go up again, and no duplicate be there of what it puts into the ring.
 */
static void end_marks(struct sock *s)
{
	struct chan *c = &s->chan;
	go_down(s);
	bool reset = end_by_reset(s);
	FAULT_POINT("end: down, before marks");
	or_acqrel(&c->my->flags, SM_END_FIN | SM_END_CLOSED);
	fence_for_sender(c);
	FAULT_POINT("end: marks, before look for unread");
	if (!reset && !end_by_reset(s) && dup_marked(s))
		dup_close(s);
}

/* A connection that never left the kernel: the log says why, once. */
static void log_kernel(struct sock *s)
{
	char own[64], peer[64];
	if (log_fd < 0 || !(sock_flags(s) & FAM_CONNECTED) ||
		(!s->endpoint && !s->server && load_relaxed(&s->f->tx_why) != WHY_NO_ENDPOINT &&
			load_relaxed(&s->f->tx_why) != WHY_CHROOT && load_relaxed(&s->f->tx_why) != WHY_RULE))
		return;
	if (sock_names(s) < 0) /* refused: there was none */
		return;
	log_line("tcp fd %d %s %s: kernel (%s: %s)", s->fd, addr_text(&s->f->own, own, sizeof(own)),
		addr_text(&s->f->peer, peer, sizeof(peer)), why_word(load_relaxed(&s->f->tx_why)),
		why_text(load_relaxed(&s->f->tx_why)));
}

/* ends: for the other side, too; else for us alone. */
static void unlink_chan(struct sock *s, bool ends)
{
	struct chan *c = &s->chan;
	struct assoc *a = c->assoc;
	trial_forget(s);
	/* Nobody is in the middle of a copy when the channel changes hands. */
	int tx = token_take(s, &s->f->tx_token), rx = token_take(s, &s->f->rx_token);
	if (ends)
		end_marks(s);
	FAULT_POINT("end: tokens, before unlinked");
	store_release(&s->linked, 0);
	token_drop(s, &s->f->rx_token, rx);
	token_drop(s, &s->f->tx_token, tx);
	if (ends) {
		FAULT_POINT("end: marks, before bell");
		notify_peer(c);
	}
	svc_unwatch(s);
	if (load_relaxed(&a->chan_sock[c->idx]) == s)
		store_release(&a->chan_sock[c->idx], NULL);
	assoc_chan_ends(a);
	FAULT_POINT("end: unwatched, before own sleepers");
	/* A process that is asleep on this socket in another thread must look again. */
	add_acqrel(&c->my->futex, 1u);
	notify_futex(c->my);
}

void link_leave(struct sock *s)
{
	if (load_acquire(&s->linked))
		unlink_chan(s, false);
}

bool link_end(struct sock *s)
{
	if (sock_is_dgram(s)) {
		dg_end(s);
		return true;
	}
	hold_reap(s, end_since ? end_since : now_ns() - CLOSE_OLD_NS);
	bool last = hold_is_last(s);
	if (last && load_acquire(&s->f->passes)) {
		pass_last(s);
		return true;
	}
	if (!link_ready(s)) {
		log_kernel(s);
		return last;
	}
	struct chan *c = &s->chan;
	struct assoc *a = c->assoc;
	if (!last)
		move_stop_serving(s);
	unlink_chan(s, last);
	if (!last)
		return false;
	FAULT_POINT("end: unlinked, before gone");
	/* The other side's process has given it up, and no other has taken it: it ends there too. */
	bool orphan = and_acqrel(&c->peer->flags, ~SM_END_ORPHAN) & SM_END_ORPHAN;
	seg_chan_leave(&a->seg, c->idx, c->side);
	if (orphan)
		seg_chan_leave(&a->seg, c->idx, !c->side);
	return true;
}

static void end_one(struct sock *s, void *arg)
{
	uint32_t gen;
	(void)arg;
	while (!link_end(s))
		if (hold_leave(s))
			return;
	hold_let_go(s, &gen);
}

void link_end_all(void)
{
	store_release(&ender, (uint32_t)sys0(SYS_gettid));
	end_since = now_ns();
	sock_each(end_one, NULL);
	all_ended = true;
}

bool link_ends(void)
{
	return load_relaxed(&ender) != 0;
}

void link_fork_child(void)
{
	store_relaxed(&ender, 0u);
	end_since = 0;
	all_ended = false;
}
