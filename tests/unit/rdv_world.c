/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdv_world.h"

#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "sys.h"

void world_open(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->fd = scratch_publish(&w->e, &w->key);
	assert_int_equal(ept_lookup(&w->r, &w->key.at, w->key.netns), 0);
}

void world_close(struct world *w)
{
	seg_detach(&w->served);
	ept_ref_drop(&w->r);
	ept_retract(&w->e);
	close(w->fd);
}

void world_serve(void *arg)
{
	struct world *w = arg;
	struct seg s;

	w->last = rdv_answer(&w->e, &s);
	if (w->last != 1)
		return;
	seg_detach(&w->served);
	w->served = s;
	w->n_served++;
}

uint64_t ms_since(uint64_t start_ns)
{
	return (sys_now_ns() - start_ns) / 1000000;
}
