/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trim.h - rings of quiet connections give their pages back.
 *
 * A ring that is empty, and whose writer's token we hold, has no content: its pages are removed from the segment, in both processes. Each end does that for the ring that it
 * writes, several neighbours at once. The next write costs a page fault. The reader needs no part in it: what it has read it has copied out, and there is nothing to read.
 */
#ifndef SHUNT_TRIM_H
#define SHUNT_TRIM_H

#include <stdbool.h>

#define TRIM_MS 3000 /* quiet for so long, and at most twice that */

/* Service thread, every TRIM_MS while something moves. true: something has moved since the last time. Takes g_lock and tokens. */
bool trim_pass(void);

#endif
