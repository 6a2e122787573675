/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evil.h - one end of a channel in the hands of somebody who is out to do harm: each attack writes over what can be written, at random, with values from the edges,
 * or chases what the victim does.
 */
#ifndef TESTS_EVIL_H
#define TESTS_EVIL_H

#include <stdint.h>

#include "seg.h"

extern uint32_t evil_seed; /* of what is chosen; not 0 */

struct evil {
	int fd;
	struct seg *seg;
	uint32_t idx;
	int side;
	struct sm_chan *ch;
	struct sm_end *my, *its;
};

uint32_t evil_rnd(void);
/* At the edges of what a field of that width means. */
uint64_t evil_edge64(const struct evil *e);
uint32_t evil_edge32(const struct evil *e);
/* Sides and pointers; consent, as honest as can be. */
void evil_link(struct evil *e, int fd, struct seg *seg, uint32_t idx, int side);
/* Whatever stands in the segment: ends, channels, header, bells, words. */
void evil_scribble(struct evil *e);
/* The victim's service thread is to look after the channel. */
void evil_ring_service(const struct evil *e);

/* ---- a connection: the rings hold octets */
/* As an honest peer would: up, with octets in the ring. The victim gets to its usual paths, where the next attack finds it. */
void evil_play_along(struct evil *e);
/* One attack of all of them. */
void evil_attack(struct evil *e);
/* Octets by the kernel both ways, so that the victim has something to do. -1: it has hung up. */
int evil_talk(const struct evil *e);

#endif
