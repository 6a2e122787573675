/* SPDX-License-Identifier: BSD-2-Clause */
/* evil_dg.h - as evil.h, of a pair of UDP sockets: the rings hold datagrams. */
#ifndef TESTS_EVIL_DG_H
#define TESTS_EVIL_DG_H

#include <netinet/in.h>

#include "evil.h"

/* As an honest peer would: up, with datagrams in the ring; all that came is read and followed, and there is room for ever. */
void evil_dg_play_along(struct evil *e);
/* One attack of all of them. */
void evil_dg_attack(struct evil *e);
/* The ring is full whenever the victim looks, with what was sent before all else. */
void evil_dg_flood(struct evil *e);
/* The same behind a switch to the kernel: what is in the ring is read before what the kernel has, and never ends. */
void evil_dg_flood_down(struct evil *e);
/* Datagrams by the kernel both ways, so that the victim has something to do. */
void evil_dg_talk(const struct evil *e, const struct sockaddr_in *to);

#endif
