/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spin.h - looking a little longer before sleeping, when that can pay.
 *
 * Waking an idle CPU costs tens of microseconds; a peer that is awake on another CPU answers in one. So a wait spins if the peer last ran on another CPU than
 * ours and recent waits of this kind ended while spinning; never longer than SPIN_NS; and not at all for the next 2^misses - 2 waits after misses in a row.
 * A gap in the clock while spinning means that somebody else wanted this CPU: stop at once.
 */
#ifndef SHUNT_SPIN_H
#define SHUNT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_NS 50000	  /* about the price of waking an idle CPU; see docs/PERFORMANCE.md */
#define SPIN_GAP_NS 20000 /* longer between two looks at the clock: we were off the CPU */
#define SPIN_MISS_MAX 6

struct spin {
	uint8_t miss; /* waits in a row that spinning did not end */
	uint8_t skip; /* waits left that do not spin */
};

struct spin_run {
	int64_t end, last;
	uint32_t n;
};

/* The CPU that this thread runs on (rseq; a load), or -1. */
int spin_cpu(void);
/* Shall this wait spin? */
bool spin_begin(struct spin *s, struct spin_run *r, bool peer_elsewhere);
/* Once per look. false: enough. */
bool spin_again(struct spin_run *r);
/* How it went. */
void spin_end(struct spin *s, bool hit);
/* From SHUNT_SPIN: 0 switches spinning off. */
extern int64_t spin_limit_ns;

#endif
