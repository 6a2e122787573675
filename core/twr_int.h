/* SPDX-License-Identifier: BSD-2-Clause */
/* twr_int.h - what twr_compose.c and twr_parse.c both know of a tower. Used by twr*.c alone; see twr.h. */
#ifndef SHUNT_TWR_INT_H
#define SHUNT_TWR_INT_H

#include "twr.h"

#define TWR_UUID_LHS 19 /* octets of a left side that begins with TWR_UUID */
#define TWR_SM_RHS 6	/* of our own right side, in front of the path */

/* Which floors a protocol sequence has behind the first two. */
struct twr_shape {
	uint8_t n, rpc, proto, addr; /* number of all; floor 3; floor 4; floor 5 (0: none) */
};
extern const struct twr_shape twr_shapes[PROTSEQ_N];
extern const struct twr_syntax twr_sm; /* TWR_SM_UUID */

/* From the order in which a UUID is written to that in which it lies in a tower, and back: the same. */
void twr_swap_uuid(uint8_t to[16], const uint8_t from[16]);

#endif
