/* SPDX-License-Identifier: BSD-2-Clause */
#include "hold.h"

#include <signal.h>

#include "fault.h"
#include "sys.h"

#define GEN UINT64_C(0x100000000)

static uint32_t gen_of(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

static bool has_inside(const struct fam_sock *f, uint32_t place)
{
	return load_acquire(&f->tx_inkernel[place]) || load_acquire(&f->rx_inkernel[place]);
}

/* ---- places */

/* By who is alone with it: nobody else changes the place until it is free. */
static void free_place(struct fam_sock *f, uint32_t place)
{
	FAULT_POINT("hold: dead one's place taken, before its counts");
	store_relaxed(&f->tx_inkernel[place], (uint16_t)0);
	store_relaxed(&f->rx_inkernel[place], (uint16_t)0);
	and_acqrel(&f->holders, ~hold_unit(place));
	FAULT_POINT("hold: dead one's hold ended, before its place is free");
	store_release(&f->held_by[place], 0);
}

/* The place's process is dead; if no other survivor is quicker. No handler comes between, which might not return. */
static void take_back(struct fam_sock *f, const struct arena *a, uint32_t place, uint32_t who)
{
	static const uint64_t all = ~UINT64_C(0);
	uint64_t old;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(old));
	if (cas_acqrel(&f->held_by[place], who, a->proc_nr | HOLD_TAKEN))
		free_place(f, place);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
}

/* all: else up to the first other holder that lives: then it does not matter who else does. */
static void reap(struct fam_sock *f, struct arena *a, int64_t since, bool all)
{
	for (uint32_t i = 0; i < HOLD_MORE; i++) {
		uint32_t who = load_acquire(&f->held_by[i]);
		if (!who || (who & ~HOLD_TAKEN) == a->proc_nr)
			continue;
		if (!fam_proc_alive_since(a, who & ~HOLD_TAKEN, since))
			take_back(f, a, i, who);
		else if (!all)
			return;
	}
}

static bool is_free(const struct fam_sock *f, uint32_t place)
{
	return !load_acquire(&f->held_by[place]) && !has_inside(f, place);
}

static uint32_t find_place(struct fam_sock *f, uint32_t nr)
{
	for (uint32_t i = 0; i < HOLD_MORE; i++)
		if (is_free(f, i) && cas_acquire(&f->held_by[i], 0u, nr))
			return i;
	return HOLD_MORE;
}

/* The bit is clear. Whose threads are inside keeps the place: their counts are in it. */
static void leave_place(struct sock *s)
{
	if (s->hold != HOLD_MORE && !has_inside(s->f, s->hold))
		cas_acqrel(&s->f->held_by[s->hold], s->arena->proc_nr, 0u);
}

void hold_for_child(struct sock *s)
{
	struct fam_sock *f = s->f;
	uint32_t nr = s->arena->child_nr, place = find_place(f, nr);
	if (place == HOLD_MORE) { /* the first that finds none asks in any case */
		bool first = !hold_mine(load_relaxed(&f->holders), HOLD_MORE);
		reap(f, s->arena, first ? FAM_NOW : now_ns() - HOLD_OLD_NS, true);
		place = find_place(f, nr);
	}
	FAULT_POINT("fork: child's place, before it holds");
	add_acqrel(&f->holders, hold_unit(place));
	s->child_hold = (uint8_t)place;
}

void hold_fork_failed(struct sock *s)
{
	if (!s->arena->child_dead)
		return;
	if (s->child_hold == HOLD_MORE)
		sub_acqrel(&s->f->holders, hold_unit(HOLD_MORE));
	else
		take_back(s->f, s->arena, s->child_hold, s->arena->child_nr);
}

/* ---- records */

void hold_first(struct fam_sock *f, const struct arena *a, uint64_t before)
{
	store_relaxed(&f->held_by[0], a->proc_nr);
	store_relaxed(&f->holders, (before & ~(GEN - 1)) + GEN + hold_unit(0));
}

/* By whom? Ours: held, or let go for an exec that may fail. */
static bool is_ours(const struct fam_sock *f, const struct arena *a)
{
	for (uint32_t i = 0; i < HOLD_MORE; i++)
		if (load_relaxed(&f->held_by[i]) == a->proc_nr)
			return hold_mine(load_relaxed(&f->holders), i) || load_relaxed(&f->flags) & FAM_USED ||
			       has_inside(f, i);
	return false;
}

bool hold_is_in_use(struct fam_sock *f, struct arena *a)
{
	if (is_ours(f, a))
		return true;
	reap(f, a, now_ns() - HOLD_OLD_NS, false);
	if ((uint32_t)load_acquire(&f->holders)) /* also of one that is just being released: its flags go first */
		return true;
	for (uint32_t i = 0; i < FAM_N_PLACE; i++)
		if (has_inside(f, i) || (load_relaxed(&f->held_by[i]) && load_relaxed(&f->flags) & FAM_USED))
			return true;
	return false;
}

/* ---- holders */

void hold_reap(struct sock *s, int64_t since)
{
	if (hold_others(load_acquire(&s->f->holders), s->hold))
		reap(s->f, s->arena, since, false);
}

bool hold_others_live(struct sock *s)
{
	reap(s->f, s->arena, now_ns() - HOLD_OLD_NS, false);
	return hold_others(load_acquire(&s->f->holders), s->hold);
}

bool hold_is_last(struct sock *s)
{
	uint64_t h;
	do {
		h = load_acquire(&s->f->holders);
		if (!hold_mine(h, s->hold) || hold_others(h, s->hold))
			return false;
	} while (!cas_acqrel(&s->f->holders, h, h + GEN));
	return true;
}

bool hold_let_go(struct sock *s, uint32_t *gen)
{
	uint64_t h;
	do {
		h = load_acquire(&s->f->holders);
		*gen = gen_of(h);
		if (!hold_mine(h, s->hold))
			return false;
	} while (!cas_acqrel(&s->f->holders, h, h - hold_unit(s->hold)));
	return !hold_others(h, s->hold);
}

bool hold_again(struct sock *s, uint32_t gen)
{
	uint64_t h;
	do {
		h = load_acquire(&s->f->holders);
		if (gen_of(h) != gen) {
			if (!hold_mine(h, s->hold)) /* the record may be another socket's of ours by now, in the same place */
				leave_place(s);
			return false;
		}
	} while (!cas_acqrel(&s->f->holders, h, h + hold_unit(s->hold)));
	return true;
}

void hold_outlives(struct sock *s)
{
	uint64_t h;
	uint32_t place = s->hold;
	do {
		h = load_acquire(&s->f->holders);
		if (place == HOLD_MORE || !hold_mine(h, place) || has_inside(s->f, place))
			return;
	} while (!cas_acqrel(&s->f->holders, h, h - hold_unit(place) + hold_unit(HOLD_MORE)));
	leave_place(s);
	s->hold = HOLD_MORE;
}

bool hold_leave(struct sock *s)
{
	uint64_t h;
	do {
		h = load_acquire(&s->f->holders);
		if (!hold_mine(h, s->hold)) /* it has been left, as the process ends */
			return true;
		if (!hold_others(h, s->hold))
			return false;
	} while (!cas_acqrel(&s->f->holders, h, h - hold_unit(s->hold)));
	leave_place(s);
	return true;
}

void hold_release(struct sock *s)
{
	while (!hold_is_last(s)) /* who has let go for an exec meanwhile must see another generation */
		if (hold_leave(s))
			return;
	store_relaxed(&s->f->flags, 0);
	sub_acqrel(&s->f->holders, hold_unit(s->hold)); /* from here on it is free: the flags are seen by who sees this */
	leave_place(s);
	fam_count_free();
}

/* ---- threads inside of kernel calls */

bool hold_leave_kernel(_Atomic uint16_t *count)
{
	return load_relaxed(count) && sub_acqrel(count, 1u) == 1;
}

static bool any_inside(const _Atomic uint16_t counts[FAM_N_PLACE], uint32_t but)
{
	for (uint32_t i = 0; i < FAM_N_PLACE; i++)
		if (i != but && load_acquire(&counts[i]))
			return true;
	return false;
}

bool hold_any_inside(struct sock *s, _Atomic uint16_t counts[FAM_N_PLACE])
{
	if (load_acquire(&counts[s->hold]))
		return true;
	if (__builtin_expect(!any_inside(counts, s->hold), 1))
		return false;
	reap(s->f, s->arena, now_ns() - HOLD_OLD_NS, true);
	return any_inside(counts, FAM_N_PLACE);
}
