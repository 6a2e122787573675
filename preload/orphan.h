/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * orphan.h - an end of a channel without a process. Its former owner has given the socket away, in the kernel in both directions, and has forgotten the channel; the peer keeps its own
 * end and rests. Whoever takes SM_END_ORPHAN away has the orphan: the process that has the socket now, or the peer, when it ends.
 */
#ifndef SHUNT_ORPHAN_H
#define SHUNT_ORPHAN_H

#include "mark.h"
#include "sock.h"

struct assoc;

/* This family gives its end up. (A channel that the other side has not linked yet goes.) Under g_lock, s->linked. */
void orphan_leave(struct sock *s);
/* It was not given up after all. */
void orphan_back(struct sock *s);
/*
 * The socket's end, as the mark tells, goes on here, where it was left. Under g_lock, f->link is 1. 0; -ENOENT: the channel is gone on both sides; -EPERM: it is not
 * ours to have.
 */
int orphan_adopt(struct sock *s, const struct mark *m);

/* Channels that both sides have given up, and whose connection has ended since with nobody under shunt: given back. How many. Under g_lock. */
unsigned orphan_reap(struct assoc *a);

#endif
