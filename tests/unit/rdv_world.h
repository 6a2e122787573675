/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdv_world.h - what the tests of the rendezvous stand on: a listening socket, its endpoint, and a client's view of it, all in one process.
 */
#ifndef TESTS_RDV_WORLD_H
#define TESTS_RDV_WORLD_H

#include "ept.h"
#include "rdv.h"
#include "seg.h"

struct world {
	int fd;
	struct ept_key key;
	struct ept e;
	struct ept_ref r;
	struct seg served; /* what world_serve() got last */
	int n_served, last;
};

void world_open(struct world *w);
void world_close(struct world *w);
/* Answers one message; of a struct world. */
void world_serve(void *arg);

uint64_t ms_since(uint64_t start_ns);

#endif
