/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dgswitch.c - the channels of a UDP socket whose process is switched off (switch.h).
 *
 * Each goes down as it would for a call that only the kernel can answer, and the peer's service thread takes the other direction down; nothing is sent again, since both can go on reading: rings
 * first, then the kernel. When nothing is left to read in ours the channel ends: a socket without one costs what it costs without us.
 */
#include "dg.h"
#include "fault.h"
#include "notify.h"
#include "switch.h"

/* Has the peer gone down, and have we followed, and read all; and has it read ours? It may still ask for them (dg_give_back). */
static bool is_read(const struct dg_peer *p)
{
	uint32_t its = load_acquire(&p->c.peer->tx_epoch);
	return !(its & 1) && p->rx_epoch == its && load_acquire(&p->c.peer->tx_tail) == load_relaxed(&p->head) &&
	       load_acquire(&p->c.peer->rx_head) == load_relaxed(&p->tail);
}

static void leave_ring(struct dg_peer *p)
{
	int how = token_take(p->s, &p->s->f->tx_token);
	if (p->tx_epoch & 1 && how != TOKEN_NESTED)
		dg_leave_ring(p, WHY_OFF);
	token_drop(p->s, &p->s->f->tx_token, how);
}

static void goes_off(struct dg_peer *p, void *left)
{
	struct sock *s = p->s;
	struct chan *c = &p->c;
	or_acqrel(&c->my->flags, SM_END_OFF); /* before the consent: who sees that gone knows why */
	FAULT_POINT("dg off: mark, before consent withdrawn");
	store_release(&c->my->consent, 0);
	fence_storeload(); /* faces dg_up: epoch, fence, consent */
	FAULT_POINT("dg off: consent withdrawn, before down");
	leave_ring(p);
	FAULT_POINT("dg off: down, before told");
	switch_tell(c);
	FAULT_POINT("dg off: told, before followed");
	int how = token_take(s, &s->f->rx_token);
	dg_heat(s->dg, p);
	dg_look_held(s); /* follows */
	token_drop(s, &s->f->rx_token, how);
	if (is_read(p))
		dg_drop(p);
	else
		*(bool *)left = true;
}

static void comes_on(struct dg_peer *p, void *arg)
{
	(void)arg;
	and_acqrel(&p->c.my->flags, ~SM_END_OFF);
}

void dg_off(struct sock *s, bool *left)
{
	or_acqrel(&s->f->flags, FAM_OFF);
	dg_each(s, goes_off, left);
	if (!dg_linked(s)) /* for people */
		dg_shows_kernel(s, WHY_OFF);
}

void dg_on(struct sock *s)
{
	and_acqrel(&s->f->flags, ~FAM_OFF);
	dg_each(s, comes_on, NULL);
	dg_consent(s);
}

void dg_asked(struct sock *s, struct assoc *a, uint32_t idx)
{
	struct guard g;
	guard_enter(&g);
	struct dg_peer *p = sock_is_dgram(s) && load_acquire(&s->open) ? dg_peer_on(s, a, idx) : NULL;
	if (p && load_acquire(&p->c.peer->flags) & SM_END_OFF) {
		leave_ring(p);
		notify_peer(&p->c);
	}
	guard_leave(&g);
}
