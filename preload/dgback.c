/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dgback.c - a UDP socket leaves shared memory: for a moment (before its address changes, or another process gets it), or for good.
 *
 * The reader withdraws its consent, and asks each peer that sends through the ring to go down; the peer's service thread does so, and sends once more, by the kernel, what the reader has
 * not read: from the same socket to the same address, so that it lies in the reader's kernel queue as if it had never been elsewhere. The reader holds its token meanwhile; then
 * both leave the channel. Of a sender that has ended, or left the channel before us, nobody sends anything again: its ring stays ours to read, as long as this process can.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "dg.h"
#include "dring.h"
#include "epset.h"
#include "fault.h"
#include "log.h"
#include "notify.h"
#include "sys.h"

#define WAIT_NS INT64_C(200000000) /* for the peers' service threads, all together */
#define NAP_NS INT64_C(2000000)	   /* between two looks for who waits for us */

/* ---- the sender's part */

static void destination(const struct dg_peer *p, struct msghdr *m)
{
	if (load_relaxed(&p->s->dg->connected) && diag_addr_eq(&p->s->dg->to, &p->addr))
		return;
	m->msg_name = (void *)(uintptr_t)&p->name;
	m->msg_namelen = p->name_len;
}

void dg_send_again(struct dg_peer *p, uint64_t from)
{
	struct chan *c = &p->c;
	uint64_t tail = load_relaxed(&p->tail), head = from;
	while (head != tail && tail - head <= SM_RING_LEN) {
		uint64_t at = head + p->shift;
		int64_t len = dring_len(c->tx_ring, at, tail - head);
		if (len < 0)
			return;
		/* It may wrap: two pieces. */
		size_t off = (at + sizeof(struct dring_hdr)) & SM_RING_MASK, one = SM_RING_LEN - off;
		struct iovec iov[2] = {{c->tx_ring + off, (size_t)len < one ? (size_t)len : one},
			{c->tx_ring, (size_t)len < one ? 0 : (size_t)len - one}};
		struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
		destination(p, &m);
		sys3(SYS_sendmsg, p->s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		head += dring_size((size_t)len);
	}
}

struct dg_peer *dg_peer_on(struct sock *s, const struct assoc *a, uint32_t idx)
{
	for (struct dg_slot *sl = s->dg->slots; sl; sl = sl->next)
		if (sl->a == a && sl->nonce == a->seg.nonce)
			return load_acquire(&sl->peer[idx]);
	return NULL;
}

void dg_give_back(struct sock *s, struct assoc *a, uint32_t idx)
{
	struct guard g;
	guard_enter(&g); /* the peer stays */
	struct dg_peer *p = sock_is_dgram(s) && load_acquire(&s->open) ? dg_peer_on(s, a, idx) : NULL;
	if (p) {
		struct chan *c = &p->c;
		int how = token_take(s, &s->f->tx_token);
		uint32_t want = load_acquire(&c->peer->want_back);
		if (want != load_relaxed(&c->my->did_back)) {
			FAULT_POINT("dg back: request seen, before down");
			if (p->tx_epoch & 1)
				dg_down(p, WHY_PEER);
			FAULT_POINT("dg back: down, before sent again");
			dg_send_again(p, load_acquire(&c->peer->rx_head)); /* what it has not read */
			FAULT_POINT("dg back: sent again, before answered");
			store_release(&c->my->did_back, want);
		}
		token_drop(s, &s->f->tx_token, how);
		FAULT_POINT("dg back: answered, before bell");
		notify_peer(c);
	}
	guard_leave(&g);
}

/* ---- the reader's part */

static void withdraw(struct dg_peer *p, void *arg)
{
	(void)arg;
	store_release(&p->c.my->consent, 0);
}

static bool is_gone(const struct dg_peer *p)
{
	return load_acquire(&p->c.peer->flags) & SM_END_CLOSED || load_relaxed(&p->c.assoc->ended) || load_relaxed(&p->deaf);
}

/* Does it have to do something for us before we leave? */
static bool owes(const struct dg_peer *p)
{
	if (is_gone(p) || !(load_acquire(&p->c.peer->flags) & SM_END_LINKED))
		return false;
	if (load_relaxed(&p->c.my->want_back))
		return load_acquire(&p->c.peer->did_back) != load_relaxed(&p->c.my->want_back);
	return load_acquire(&p->c.peer->tx_epoch) & 1 || load_acquire(&p->c.peer->tx_tail) != load_relaxed(&p->head);
}

static void ask_ourselves(const struct dg_peer *p)
{
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		struct assoc *a = assoc_tab[i];
		struct sock *s = load_acquire(&a->live) && a->seg.shmid == p->c.assoc->seg.shmid && a->side != p->c.side
					 ? load_acquire(&a->chan_sock[p->c.idx])
					 : NULL;
		if (s && sock_is_dgram(s))
			dg_give_back(s, a, p->c.idx);
	}
}

static void ask(struct dg_peer *p, void *arg)
{
	struct chan *c = &p->c;
	uint32_t bell = load_relaxed(&c->peer->svc_bell);
	(void)arg;
	if (!owes(p))
		return;
	FAULT_POINT("dg back: consent withdrawn, before asked");
	store_release(&c->my->want_back, load_relaxed(&c->my->want_back) + 1);
	fence_storeload();
	FAULT_POINT("dg back: asked, before bell");
	if (c->assoc->seg.peer == (uint32_t)sys0(SYS_getpid)) /* our own service thread would wait for our lock */
		ask_ourselves(p);
	else if (bell)
		notify_bell(c, bell - 1);
}

/* While we hold g_lock our service thread cannot, and the peer may be doing what we do, and wait for us. */
static void serve_peer(struct dg_peer *p, void *arg)
{
	(void)arg;
	if (load_acquire(&p->c.peer->want_back) != load_relaxed(&p->c.my->did_back))
		dg_give_back(p->s, p->c.assoc, p->c.idx);
}

static void serve_others(struct sock *s, void *arg)
{
	if (sock_is_dgram(s) && dg_linked(s))
		dg_each(s, serve_peer, arg);
}

/* arg: until when. */
static void await(struct dg_peer *p, void *arg)
{
	const int64_t *end = arg;
	struct chan *c = &p->c;
	for (;;) {
		sock_each(serve_others, NULL);
		uint32_t val = load_acquire(&c->my->futex);
		or_acqrel(&c->my->armed, SM_ARM_FUTEX);
		fence_storeload();
		int64_t left = *end - now_ns();
		if (!owes(p) || left <= 0)
			return;
		futex_wait(&c->my->futex, val, left < NAP_NS ? left : NAP_NS);
	}
}

/* Our own sending: nothing of it is lost, the peer reads what is in the ring. */
static void end_sending(struct dg_peer *p, void *arg)
{
	struct sock *s = p->s;
	(void)arg;
	int how = token_take(s, &s->f->tx_token);
	if (p->tx_epoch & 1)
		dg_down(p, WHY_CLOSED);
	FAULT_POINT("dg end: down, before closed");
	or_acqrel(&p->c.my->flags, SM_END_CLOSED);
	token_drop(s, &s->f->tx_token, how);
	FAULT_POINT("dg end: closed, before bell");
	notify_peer(&p->c);
}

/* It has left something unread, and nobody will send that again. (If it has answered before it left, that is in the kernel.) */
static bool left_behind(const struct dg_peer *p)
{
	uint32_t want = load_relaxed(&p->c.my->want_back);
	return is_gone(p) && (!want || load_acquire(&p->c.peer->did_back) != want) &&
	       load_acquire(&p->c.peer->tx_tail) != load_relaxed(&p->head);
}

/* What is left behind goes when it has been read (reap). arg: this process will not be able to read it. */
static void leave_peer(struct dg_peer *p, void *arg)
{
	const bool *for_good = arg;
	if (!*for_good && left_behind(p))
		return;
	FAULT_POINT("dg back: answered, before left");
	end_sending(p, NULL);
	dg_detach(p);
}

void dg_drop(struct dg_peer *p)
{
	withdraw(p, NULL);
	end_sending(p, NULL);
	dg_detach(p);
}

static void unlink_all(struct sock *s, bool for_good)
{
	int64_t end = now_ns() + WAIT_NS;
	int how = token_take(s, &s->f->rx_token);
	dg_each(s, withdraw, NULL);
	fence_storeload(); /* faces dg_up: epoch, fence, consent */
	dg_each(s, ask, NULL);
	dg_each(s, await, &end);
	dg_each(s, leave_peer,
		&for_good); /* still with the token: what has been sent again is not to be read in the ring, too */
	token_drop(s, &s->f->rx_token, how);
}

void dg_shows_kernel(struct sock *s, enum why why)
{
	store_relaxed(&s->f->tx_why, why);
	store_relaxed(&s->f->rx_why, why);
	if (!dg_linked(s)) {
		s->f->tx_epoch = 0;
		store_relaxed(&s->f->rx_epoch, 0);
	}
}

void dg_unlink(struct sock *s, enum why why)
{
	struct guard g;
	guard_enter(&g);
	if (dg_linked(s)) {
		unlink_all(s, why == WHY_EXEC || why == WHY_PROCESS); /* what calls other than stdio's can still read stays */
		dg_shows_kernel(s, why);
	}
	guard_leave(&g);
}

void dg_pin(struct sock *s, enum why why)
{
	uint32_t both = FAM_PIN_RX | FAM_PIN_TX;
	if ((or_acqrel(&s->f->flags, both) & both) != both) {
		store_relaxed(&s->f->tx_why, why);
		store_relaxed(&s->f->rx_why, why);
	} else if (!dg_linked(s)) {
		return; /* done already: some ask at each call */
	}
	dg_unlink(s, why);
}

void dg_fork_prepare(struct sock *s)
{
	if (dg_linked(s)) {
		unlink_all(s, false); /* what stays is the parent's to read */
		store_relaxed(&s->f->tx_why, WHY_FORK);
		store_relaxed(&s->f->rx_why, WHY_FORK);
	}
}

/* ---- ends */

static void reap(struct dg_peer *p, void *arg)
{
	bool broken = load_relaxed(&p->c.my->flags) & SM_END_CLOSED;
	uint32_t ahead = load_acquire(&p->c.peer->tx_epoch) - p->rx_epoch;
	(void)arg;
	/* Read to its end, or never to be read. */
	if (broken || ahead > 2 || (is_gone(p) && load_acquire(&p->c.peer->tx_tail) == load_relaxed(&p->head)))
		dg_drop(p);
}

void dg_reap(struct sock *s)
{
	struct guard g;
	guard_enter(&g);
	if (sock_is_dgram(s) && load_acquire(&s->open)) {
		store_release(&s->dg->reap, 0);
		dg_each(s, reap, NULL);
	}
	guard_leave(&g);
}

static void end_peer(struct dg_peer *p, void *arg)
{
	(void)arg;
	dg_drop(p);
}

void dg_end(struct sock *s)
{
	dg_each(s, end_peer, NULL);
	dg_fini(s);
}
