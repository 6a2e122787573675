/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify.h - waking who sleeps on a channel.
 *
 * A sleeper announces itself in its end's `armed` (a locked operation, so a full fence on x86; an explicit one elsewhere), looks again, and only then
 * sleeps. Whoever has changed something that the sleeper may wait for publishes it, fences, and loads `armed`: 0 in the usual case. Otherwise he
 * exchanges it for 0 and rings each bell that was in it. Either he sees the announcement, or the sleeper's second look sees the change.
 */
#ifndef SHUNT_NOTIFY_H
#define SHUNT_NOTIFY_H

#include "sock.h"

/* After publishing and a store-load fence. Rings the peer's bells, if any is armed. */
void notify_slow(struct chan *c);
static inline void notify_armed(struct chan *c)
{
	if (__builtin_expect(load_relaxed(&c->peer->armed) != 0, 0))
		notify_slow(c);
}
/* With the fence. */
void notify_peer(struct chan *c);
/* Wake the futex sleepers of an end of our own side. */
void notify_futex(struct sm_end *e);
/* Set the channel's bit in bell `slot` of the peer's side and ring it. */
void notify_bell(struct chan *c, uint32_t slot);

#endif
