/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold.h - which processes hold a socket's family record, and how one finds out that others have been killed.
 *
 * fam_sock.holders is one word: a bit for each place at which a process holds the record, a count of the holders beyond (MORE), and the record's generation. All that is decided about holders is one
 * compare-and-swap on it: who lets go sees in the same step whether he was the last, and of two that let go at once one is.
 *
 * held_by[place] is the number of the process whose place it is, and says whose death takes it back (fam_proc_alive). It is set before the bit, and cleared behind it:
 *
 *     held_by   bit   the process
 *     0         0     none: the place is free
 *     number    0     is about to hold it (a fork that makes it); or has let go, and may come back (exec), or has threads inside of a kernel call still; or is just letting go
 *     number    1     holds it
 *     number | HOLD_TAKEN  ...   is dead, and the process with that number takes the place back
 *
 * Who changes it: from 0, anybody, by compare-and-swap to the number of a child that is about to be made; from a living process's number, that process; from a dead one's (HOLD_TAKEN or not), anybody,
 * by compare-and-swap to its own number | HOLD_TAKEN: so one of several survivors does the rest, alone (counts to 0, bit, held_by to 0), and if it is killed on the way somebody else does it again from the start,
 * which changes nothing: clearing a bit is no subtraction. Numbers are not given twice, so a compare-and-swap from one cannot mistake another holder for it.
 *
 * tx_inkernel[place], rx_inkernel[place] are the counts of that process's threads inside of kernel calls: they die with it. Only its own threads change them.
 *
 * A fork counts its child before there is one: its number, with its lifeline (fam.h), then its places. A parent that dies in between, or whose fork fails, leaves a lifeline that nobody has: the child was killed. A process
 * that executes another program has no lifeline either: what is left of its holds ends like that. Who is stopped has one.
 *
 * Memory order. A bit is set and cleared by read-modify-writes of `holders` (acq_rel): who sees it cleared sees all that the holder stored before; who sees it set sees held_by. held_by is cleared by a release,
 * and a place taken by an acquire, which hands over the counts. Against a bias: token.h. Against rx_inkernel and tx_inkernel (own count, fence, then link or consent; the other way round for who looks at the
 * counts): each thread's count is one word, and the fences are where they were needed for one.
 *
 * It costs a system call for each other process that is asked for, so it is done where somebody else's hold has just kept us from something, and for one process once in HOLD_OLD_NS; and at each end of a hold that others share.
 *
 * A record with more than 15 holders at once: those beyond stand in MORE, by number only; one of them that is killed counts as long as the record is in use. (A fork that fails is known to its parent, who gives back what it has counted.)
 */
#ifndef SHUNT_HOLD_H
#define SHUNT_HOLD_H

#include "sock.h"
#include "token.h"

#define HOLD_MORE (FAM_N_PLACE - 1) /* the place of those that have none of their own */
#define HOLD_TAKEN 0x80000000u
#define HOLD_OLD_NS INT64_C(10000000) /* who was alive so lately need not be asked for again */

/* The place's own part of the word, if it is in it; and what other holders have. */
static inline uint64_t hold_unit(uint32_t place)
{
	return place == HOLD_MORE ? UINT64_C(1) << 16 : UINT64_C(1) << place;
}
static inline uint64_t hold_mine(uint64_t word, uint32_t place)
{
	return word & (place == HOLD_MORE ? UINT64_C(0xffff0000) : UINT64_C(1) << place);
}
static inline uint64_t hold_others(uint64_t word, uint32_t place)
{
	return (uint32_t)word - (hold_mine(word, place) ? hold_unit(place) : 0);
}

/* ---- a record that fam_alloc() looks at: may somebody still use it? And: it is a's process's now; `before`: what the word was. Under g_lock. */
bool hold_is_in_use(struct fam_sock *f, struct arena *a);
void hold_first(struct fam_sock *f, const struct arena *a, uint64_t before);

/* ---- Does any other process hold it? (This one does; or did.) The dead count for HOLD_OLD_NS. Any thread. */
bool hold_others_live(struct sock *s);
static inline bool hold_is_shared(struct sock *s)
{
	return hold_others(load_acquire(&s->f->holders), s->hold) && hold_others_live(s);
}
/* Now: take back what dead ones have. since: as in fam_proc_alive_since(). */
void hold_reap(struct sock *s, int64_t since);
/* Does nobody? */
static inline bool hold_is_left(const struct sock *s)
{
	return !(uint32_t)load_acquire(&s->f->holders);
}

/*
 * The holder's word that it ends the socket, before it does: true: nobody else holds it, and from here on nobody comes back who has let go for an exec (the generation counts up in the same step). Under g_lock, as
 * often as one likes.
 */
bool hold_is_last(struct sock *s);
/* This process lets go, and has not ended the socket, since others hold it. false: nobody does any more (they have let go for an exec): it is the last now. */
bool hold_leave(struct sock *s);
/* This process lets go; the last holder's release frees the record. */
void hold_release(struct sock *s);
/*
 * This process lets go, and may come back: an exec that may fail. Who has let go last leaves the record in use, for as long as the process image lives. true: nobody holds it now. *gen is what
 * hold_again wants. That is false, and nothing has happened, if others have ended the socket meanwhile: the record is not this socket's any more.
 */
bool hold_let_go(struct sock *s, uint32_t *gen);
bool hold_again(struct sock *s, uint32_t gen);
/* This process is about to exec, and what it becomes has the socket without being known as a holder: its hold does not end with its lifeline. (Nor if the exec fails, and it is killed later.) */
void hold_outlives(struct sock *s);

/* ---- fork, under g_lock: a place for the child (arena.child_nr), kept in s->child_hold; the child takes it. */
void hold_for_child(struct sock *s);
void hold_fork_failed(struct sock *s); /* there is no child, as far as arena.child_dead says */
static inline void hold_as_child(struct sock *s)
{
	s->hold = s->child_hold;
	if (s->hold != HOLD_MORE &&
		s->arena->proc_nr !=
			s->arena->child_nr) /* it shares its parent's lifeline, and has a number that is its own instead */
		store_release(&s->f->held_by[s->hold], s->arena->proc_nr);
}

/* ---- threads inside of kernel calls. What faces the counts, and the fences: who calls these. */
/* Returns the count that it has gone into. */
static inline _Atomic uint16_t *hold_tx_enter(struct sock *s)
{
	_Atomic uint16_t *count = &s->f->tx_inkernel[s->hold];
	add_acqrel(count, 1u);
	return count;
}
static inline void hold_rx_enter(struct sock *s)
{
	add_acqrel(&s->f->rx_inkernel[s->hold], 1u);
}
/* true: no other thread of this process is. (A child of a handler that has interrupted such a call comes out of it without having gone in.) */
bool hold_leave_kernel(_Atomic uint16_t *count);
static inline void hold_tx_leave(struct sock *s)
{
	hold_leave_kernel(&s->f->tx_inkernel[s->hold]);
}
static inline bool hold_rx_leave(struct sock *s)
{
	return hold_leave_kernel(&s->f->rx_inkernel[s->hold]);
}
/* Is any? */
bool hold_any_inside(struct sock *s, _Atomic uint16_t counts[FAM_N_PLACE]);
static inline bool hold_tx_inside(struct sock *s)
{
	return hold_any_inside(s, s->f->tx_inkernel);
}
static inline bool hold_rx_inside(struct sock *s)
{
	return hold_any_inside(s, s->f->rx_inkernel);
}

#endif
