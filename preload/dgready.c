/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dgready.c - is there something in a ring, and who is told when there will be.
 *
 * The sleeper's half of the protocol (notify.h), for any number of senders: all hot peers are armed with the socket's bell, then a fence, then a second look. Whoever rings leaves
 * the channel's bit in the slot of its association, and, if the slot's `sleeping` is still set, a message in the bell. That stays there, so that all who wait see it, until somebody
 * has found the rings empty and arms again.
 */
#include "barrier.h"
#include "bell.h"
#include "dg.h"
#include "dring.h"
#include "notify.h"
#include "svc.h"

static bool slot_rang(const struct dg_slot *sl)
{
	return load_acquire(&sl->bell->any) && load_acquire(&sl->a->live) && sl->a->seg.nonce == sl->nonce;
}

void dg_take_bells(struct dg *d)
{
	for (struct dg_slot *sl = d->slots; sl; sl = sl->next) {
		if (__builtin_expect(!slot_rang(sl), 1) || !xchg_acqrel(&sl->bell->any, 0u))
			continue;
		for (uint32_t w = 0; w < SM_N_CHAN / 64; w++) {
			uint64_t bits = xchg_acqrel(&sl->bell->ready[w], UINT64_C(0));
			for (; bits; bits &= bits - 1) {
				struct dg_peer *p = load_acquire(&sl->peer[w * 64 + (uint32_t)__builtin_ctzll(bits)]);
				if (p)
					dg_heat(d, p);
			}
		}
	}
}

bool dg_look_held(struct sock *s)
{
	struct dg *d = s->dg;
	bool any = false;
	dg_take_bells(d);
	for (uint32_t i = 0; i < d->n_hot; i++) {
		struct dg_peer *p = d->hot[i];
		uint32_t order = 0;
		uint64_t n = dg_unread(p, &order);
		/* A peer that has gone up is no news by itself: what it has put into the ring is. */
		if (!n && !(order && load_acquire(&p->c.peer->tx_tail) != load_relaxed(&p->head)))
			continue;
		any = true;
		uint64_t tail = load_relaxed(&p->c.peer->tx_tail);
		d->arrived += tail != p->seen;
		p->seen = tail;
	}
	return any;
}

bool dg_look(struct sock *s, uint64_t *arrived)
{
	if (!dg_linked(s))
		return false;
	int how = token_take(s, &s->f->rx_token);
	bool any = dg_look_held(s);
	if (arrived)
		*arrived = s->dg->arrived;
	token_drop(s, &s->f->rx_token, how);
	return any;
}

/* The bell holds a ring if a slot's `sleeping`, once stored, is gone. */
static void drain(struct dg *d)
{
	bool rung = d->rung;
	for (struct dg_slot *sl = d->slots; sl; sl = sl->next)
		rung |= sl->set && !load_acquire(&sl->bell->sleeping);
	if (rung)
		bell_drain(d->bell_fd);
	d->rung = false;
	for (struct dg_slot *sl = d->slots; sl; sl = sl->next) {
		store_relaxed(&sl->bell->sleeping, 1);
		sl->set = true;
	}
}

static bool arm_held(struct sock *s)
{
	struct dg *d = s->dg;
	bool lazy = false;
	if (dg_look_held(s))
		return true;
	drain(d);
	for (uint32_t i = 0; i < d->n_hot; i++)
		or_acqrel(&d->hot[i]->c.my->armed, UINT64_C(1) << d->hot[i]->slot->idx);
	fence_storeload(); /* faces the senders: publish, fence, armed; and notify: any, fence, sleeping */
	for (uint32_t i = 0; i < d->n_hot && !lazy; i++)
		lazy = load_acquire(&d->hot[i]->c.peer->lazy);
	if (lazy)
		barrier_everywhere(); /* one for all (notify.h) */
	if (dg_look_held(s))
		return true;
	for (uint32_t i = 0; i < d->n_hot; i++)
		d->hot[i]->hot = false;
	d->n_hot = 0;
	return false;
}

bool dg_arm(struct sock *s)
{
	if (!dg_linked(s))
		return false;
	int how = token_take(s, &s->f->rx_token);
	bool news = how == TOKEN_NESTED || arm_held(s);
	token_drop(s, &s->f->rx_token, how);
	return news;
}

void dg_ring_self(struct sock *s)
{
	int how = token_take(s, &s->f->rx_token);
	if (s->dg->bell_fd > 0 && !s->dg->rung) {
		s->dg->rung = true;
		bell_ring(svc_ring_fd(), s->dg->bell_name);
	}
	token_drop(s, &s->f->rx_token, how);
}

void dg_prefetch(struct sock *s)
{
	struct dg *d = s->dg;
	if (!d->n_hot || !dg_linked(s))
		return;
	const struct dg_peer *p = d->hot[0]; /* a hint: it may be another's by now, whose memory is there all the same */
	if (p)
		__builtin_prefetch(
			p->c.rx_ring + ((load_relaxed(&p->head) + load_relaxed(&p->c.peer->tx_shift)) & SM_RING_MASK));
}

void dg_publish_cpu(struct sock *s)
{
	int how = token_take(s, &s->f->rx_token);
	for (uint32_t i = 0; i < s->dg->n_hot && i < 4; i++)
		sock_publish_cpu(&s->dg->hot[i]->c);
	token_drop(s, &s->f->rx_token, how);
}

bool dg_spin_pays(struct sock *s, int cpu)
{
	bool pays = false;
	int how = token_take(s, &s->f->rx_token);
	for (uint32_t i = 0; i < s->dg->n_hot && i < 16 && !pays; i++)
		pays = (int)load_relaxed(&s->dg->hot[i]->c.peer->cpu) != cpu + 1;
	token_drop(s, &s->f->rx_token, how);
	return pays;
}
