/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * barrier.h - fences that only the rare side pays for.
 *
 * Two threads that each store, and then look at what the other stores, must each have a full fence between. Where one does that millions of times a second
 * and the other seldom, the second can pay for both: membarrier(GLOBAL_EXPEDITED) is a full fence on every running thread of every process that has
 * registered, so the frequent side needs a compiler barrier only. Two uses: the owner of a biased token against one who takes it away (token.h), and a
 * sender against one who falls asleep (notify.h).
 *
 * Registration costs nothing while a process has one thread (later: milliseconds), so it is done at start, and again in a child of fork. It is lost at exec.
 */
#ifndef SHUNT_BARRIER_H
#define SHUNT_BARRIER_H

#include <stdbool.h>

/* This process is registered: its threads may leave a fence to others. */
extern bool barrier_ok;

void barrier_init(void);
/*
 * A full fence here and in every thread of a registered process. If the kernel refuses (a filter that was installed since): waits so long that whatever
 * others had in their store buffers before is visible, and barrier_ok is false from then on. Any thread, async-signal-safe; errno is left alone.
 */
void barrier_everywhere(void);

#endif
