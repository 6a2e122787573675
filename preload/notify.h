/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify.h - waking who sleeps on a channel.
 *
 * A sleeper announces itself in its end's `armed` (a locked operation, so a full fence on x86; an explicit one elsewhere), looks again, and only then
 * sleeps. Whoever has changed something that the sleeper may wait for publishes it, fences, and loads `armed`: 0 in the usual case. Otherwise he
 * exchanges it for 0 and rings each bell that was in it. Either he sees the announcement, or the sleeper's second look sees the change.
 *
 * A sender that has found nobody asleep LAZY_AFTER times in a row says so in its end's `lazy`, fences once, and from then on leaves its fence to the sleeper: who has announced
 * himself (and fenced) looks at `lazy`, and if it is set has the sender fenced (barrier.h) before the second look. The sender clears it, under its token, when it
 * finds somebody asleep or leaves the ring: what it published before is visible to whoever sees it cleared.
 */
#ifndef SHUNT_NOTIFY_H
#define SHUNT_NOTIFY_H

#include "barrier.h"
#include "sock.h"

#define LAZY_AFTER 16 /* sends that found nobody asleep: a fence on another processor costs some hundred of ours */

/* After publishing and a store-load fence. Rings the peer's bells, if any is armed. false: one of them has nobody who hears it any more. */
bool notify_slow(struct chan *c);
static inline void notify_armed(struct chan *c)
{
	if (__builtin_expect(load_relaxed(&c->peer->armed) != 0, 0))
		notify_slow(c);
}
/* Between announcing oneself (or anything else that this end's sender looks at after it has published) and the second look. */
static inline void fence_for_sender(const struct chan *c)
{
	fence_storeload();
	if (__builtin_expect(load_acquire(&c->peer->lazy) != 0, 0))
		barrier_everywhere();
}
/* LAZY_AFTER sends have found nobody asleep: leave the fence to the sleeper, if both sides can. tx token held, biased. */
void notify_grow_lazy(struct chan *c);
/* With the fence. */
void notify_peer(struct chan *c);
/* With the fence: rings the bells of our own side's sleepers. One thread has made something ready for the others. */
void notify_own(struct chan *c);
/* Our own side's service thread shall look after the channel. */
void notify_own_service(struct chan *c);
/* Whose bell the peer rings for that: does he live? (He may have been killed.) It wakes him; who has let go of the connection in order is not found there (move_stop_serving). */
bool notify_has_service(const struct chan *c);
/* Wake the futex sleepers of an end of our own side. */
void notify_futex(struct sm_end *e);
/* Set the channel's bit in bell `slot` of the peer's side and ring it. If its process is dead: all that there are. */
void notify_bell(struct chan *c, uint32_t slot);
/* All bells of the peer's side: whoever has the socket, by fork, beside him who would answer (a process that was killed may not have been asleep, and is rung in vain unnoticed). */
void notify_bells(struct chan *c);

#endif
