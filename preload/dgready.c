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
	return load_acquire(&sl->bell->any) && dg_slot_lives(sl);
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

static void ring_held(struct dg *d)
{
	if (d->bell_fd <= 0 || d->rung)
		return;
	d->rung = true;
	bell_ring(svc_ring_fd(), d->bell_name);
}

/*
 * The bell holds a ring if a slot's `sleeping`, once stored, is gone; or if it has woken somebody: who took `sleeping` may ring later than we have been here, and a stranger may ring
 * as he likes. true: something was in it.
 */
static bool drain(struct dg *d)
{
	bool rung = d->rung || xchg_acqrel(&d->stray, 0u);
	for (struct dg_slot *sl = d->slots; sl; sl = sl->next)
		rung |= sl->set && dg_slot_lives(sl) && !load_acquire(&sl->bell->sleeping);
	rung = rung && bell_drain(d->bell_fd) > 0;
	d->rung = false;
	for (struct dg_slot *sl = d->slots; sl; sl = sl->next)
		if (dg_slot_lives(sl)) {
			store_relaxed(&sl->bell->sleeping, 1);
			sl->set = true;
		}
	return rung;
}

/* known: what has been reported already, though it may be unread still. */
static bool has_news(struct sock *s, const uint64_t *known)
{
	return dg_look_held(s) && (!known || s->dg->arrived != *known);
}

/* All are armed. Those whose ring is not empty go on being looked at: `known` can be unread. */
static void cool(struct dg *d)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < d->n_hot; i++) {
		struct dg_peer *p = d->hot[i];
		p->hot = load_acquire(&p->c.peer->tx_tail) != load_relaxed(&p->head);
		if (p->hot)
			d->hot[n++] = p;
	}
	d->n_hot = n;
}

/*
 * Is every hot peer still armed? One that is not has been rung for, perhaps for a datagram that was read meanwhile, by a sender who was slow to ring; and the second look has taken what
 * he left on the bell. Cold now, it would never be looked at again.
 */
static bool all_armed(const struct dg *d)
{
	for (uint32_t i = 0; i < d->n_hot; i++)
		if (!(load_acquire(&d->hot[i]->c.my->armed) & UINT64_C(1) << d->hot[i]->slot->idx))
			return false;
	return true;
}

static bool arm_held(struct sock *s, const uint64_t *known)
{
	struct dg *d = s->dg;
	bool lazy = false;
	if (has_news(s, known))
		return true;
	bool drained = drain(d);
	for (uint32_t i = 0; i < d->n_hot; i++)
		or_acqrel(&d->hot[i]->c.my->armed, UINT64_C(1) << d->hot[i]->slot->idx);
	fence_storeload(); /* faces the senders: publish, fence, armed; and notify: any, fence, sleeping */
	for (uint32_t i = 0; i < d->n_hot && !lazy; i++)
		lazy = load_acquire(&d->hot[i]->c.peer->lazy);
	if (lazy)
		barrier_everywhere(); /* one for all (notify.h) */
	if (has_news(s, known) || !all_armed(d)) {
		if (drained) /* it was meant for others too, who sleep on */
			ring_held(d);
		return true;
	}
	cool(d);
	return false;
}

bool dg_arm(struct sock *s, const uint64_t *known)
{
	if (!dg_linked(s))
		return false;
	int how = token_take(s, &s->f->rx_token);
	bool news = how == TOKEN_NESTED || arm_held(s, known);
	token_drop(s, &s->f->rx_token, how);
	return news;
}

void dg_ring_self(struct sock *s)
{
	int how = token_take(s, &s->f->rx_token);
	ring_held(s->dg);
	token_drop(s, &s->f->rx_token, how);
}

/* A hint, without the token: the peer may be another's by now, or half made; its memory is there all the same. */
void dg_prefetch(struct sock *s)
{
	struct dg *d = s->dg;
	if (!d->n_hot || !dg_linked(s))
		return;
	const struct dg_peer *p = d->hot[0];
	const struct sm_end *peer = p ? *(struct sm_end *const volatile *)&p->c.peer : NULL;
	const uint8_t *ring = p ? *(uint8_t *const volatile *)&p->c.rx_ring : NULL;
	if (peer && ring)
		__builtin_prefetch(ring + ((load_relaxed(&p->head) + load_relaxed(&peer->tx_shift)) & SM_RING_MASK));
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
