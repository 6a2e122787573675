/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spin.h - looking a little longer before sleeping, when that can pay.
 *
 * Waking an idle CPU costs tens of microseconds; a peer that is awake on another CPU answers in one. A wait spins, for SPIN_SHORT_NS, and on to spin_limit_ns
 * while it has credit (below), if
 *   - the peer last ran on another CPU than ours (who asks: sm_end.cpu);
 *   - it does not have to be woken first, after a long pause (who asks: sock_is_rare());
 *   - recent waits of this kind ended while spinning: after n misses in a row the next 2^n - 2 waits do not spin (one miss is an accident), one hit forgives all;
 *   - nobody else wanted our CPU lately: a spin that was put off it (the clock jumps, and the kernel counts an involuntary switch) costs SPIN_BAN times
 *     what it lost, in which this thread does not spin. So whoever shares the CPU loses at most 1/SPIN_BAN of it to spinning;
 *   - the process has not used up its budget: spin_budget percent of one CPU, for all its threads together.
 *
 * A long look finds a peer that sleeps and wakes in turn with us, which no short one would. One in vain may have kept the very threads from running, of either process, that had the answer to
 * make. So each costs SPIN_PRICE_NS of time until the next, beyond a credit of SPIN_CREDIT_NS; a wait that spinning ends, early or late, gives a part of that back.
 *
 * Any thread, async-signal-safe. Threads that wait for the same share the state; counts may then be off by one wait.
 */
#ifndef SHUNT_SPIN_H
#define SHUNT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_NS 100000 /* twice the price of waking an idle CPU; see docs/PERFORMANCE.md */
#define SPIN_SHORT_NS 20000
#define SPIN_PRICE_NS 2000000
#define SPIN_CREDIT_NS 4000000 /* three in vain, one after the other */
#define SPIN_HIT_PAYS_NS (SPIN_PRICE_NS / 16)
/* Longer between two looks at the clock: we were perhaps off the CPU, and not for the kernel's own short work. */
#define SPIN_GAP_NS 200000
#define SPIN_BAN 20
#define SPIN_BAN_MAX_NS 1000000000
#define SPIN_MISS_MAX 6
#define SPIN_BUDGET 100
#define SPIN_RARE_NS 500000 /* messages further apart, each of which has to wake the peer, are rare */

struct spin {
	_Atomic uint8_t miss;	    /* waits in a row that spinning did not end */
	_Atomic uint8_t skip;	    /* waits left that do not spin */
	_Atomic int64_t poor_until; /* no long look before; may lie in the past, by the credit that is left */
};

struct spin_run {
	const struct spin *of;
	int64_t start, last; /* 0: the clock has not been read yet */
	uint32_t n;
};

int64_t now_ns(void);
/* The CPU that this thread runs on (rseq; a load), or -1. */
int spin_cpu(void);
/* Shall this wait spin? `can_pay`: the first two conditions. */
bool spin_begin(struct spin *s, struct spin_run *r, bool can_pay);
/* Once per look. false: enough. */
bool spin_again(struct spin_run *r);
/* How it went. */
void spin_end(struct spin *s, const struct spin_run *r, bool hit);
/* As spin_opt.h has them; NULL or nonsense: as built. Before the first wait. */
void spin_configure(const char *limit, const char *budget);

#endif
