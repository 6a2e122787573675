/* SPDX-License-Identifier: BSD-2-Clause */
#include "notify.h"

#include <errno.h>
#include <limits.h>

#include "assoc.h"
#include "bell.h"
#include "fault.h"
#include "stats.h"
#include "svc.h"

void notify_futex(struct sm_end *e)
{
	futex_wake(&e->futex, INT_MAX);
}

/* false: nobody has that bell any more. */
static bool ring_bell(struct chan *c, int side, uint32_t slot)
{
	struct sm_bell *b = seg_bell(&c->assoc->seg, side, slot);
	or_acqrel(&b->ready[c->idx / 64], UINT64_C(1) << (c->idx % 64));
	FAULT_POINT("bell: ready, before any");
	store_release(&b->any, 1);
	FAULT_POINT("bell: any, before look");
	fence_storeload(); /* faces the sleeper: it stores `sleeping`, fences, and looks at `any` */
	if (load_relaxed(&b->sleeping) && xchg_acqrel(&b->sleeping, 0u)) {
		FAULT_POINT("bell: taken, before rung");
		stats_bells();
		return bell_ring(svc_ring_fd(), b->name) != -ECONNREFUSED;
	}
	return true;
}

void notify_bells(struct chan *c)
{
	uint64_t m = load_acquire(&c->assoc->seg.hdr->bell_used[!c->side]) & ((UINT64_C(1) << SM_N_BELL) - 1);
	for (; m; m &= m - 1)
		ring_bell(c, !c->side, (uint32_t)__builtin_ctzll(m));
}

void notify_bell(struct chan *c, uint32_t slot)
{
	if (slot < SM_N_BELL && !ring_bell(c, !c->side, slot))
		notify_bells(c);
}

/* Whoever sleeps at end e, which is `side`'s. */
static bool ring_all(struct chan *c, struct sm_end *e, int side)
{
	uint64_t m = xchg_acqrel(&e->armed, UINT64_C(0));
	bool heard = true;
	FAULT_POINT("bell: armed taken, before any wake");
	if (m & SM_ARM_FUTEX) {
		add_acqrel(&e->futex, 1u);
		FAULT_POINT("bell: futex changed, before wake");
		stats_bells();
		notify_futex(e);
	}
	for (m &= (UINT64_C(1) << SM_N_BELL) - 1; m; m &= m - 1)
		heard &= ring_bell(c, side, (uint32_t)__builtin_ctzll(m));
	return heard;
}

bool notify_slow(struct chan *c)
{
	return ring_all(c, c->peer, !c->side);
}

void notify_grow_lazy(struct chan *c)
{
	if (!barrier_ok || load_relaxed(&c->peer->flags) & SM_END_NO_BARRIER)
		return;
	store_relaxed(&c->my->lazy, 1);
	FAULT_POINT("bell: lazy, before fence");
	fence_storeload(); /* faces fence_for_sender: armed, fence, lazy */
}

void notify_own_service(struct chan *c)
{
	uint32_t bell = load_relaxed(&c->my->svc_bell);
	if (bell - 1 < SM_N_BELL)
		ring_bell(c, c->side, bell - 1);
}

bool notify_has_service(const struct chan *c)
{
	uint32_t bell = load_relaxed(&c->my->svc_bell);
	if (bell - 1 >= SM_N_BELL)
		return false;
	stats_bells();
	return bell_ring(svc_ring_fd(), seg_bell(&c->assoc->seg, c->side, bell - 1)->name) != -ECONNREFUSED;
}

void notify_peer(struct chan *c)
{
	fence_storeload();
	notify_armed(c);
}

void notify_own(struct chan *c)
{
	fence_storeload();
	if (load_relaxed(&c->my->armed))
		ring_all(c, c->my, c->side);
}
