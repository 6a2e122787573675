/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * end.h - the ends of a connection, as far as the kernel socket alone would tell them wrongly.
 *
 * A process that dies with unread octets resets its connections; the kernel does not know of those in the ring, and sends FIN. So a side that means its
 * end marks the channel first (SM_END_FIN, SM_END_CLOSED), and FIN without the mark, with octets of ours unread, is a reset: reported once as ECONNRESET, then
 * end of file to readers and EPIPE to writers.
 */
#ifndef SHUNT_END_H
#define SHUNT_END_H

#include <stdbool.h>
#include <stdint.h>

#include "sock.h"

/*
 * The kernel socket of a linked s has shown these poll events. Any thread, no token needed. true: its input has been shut down here, by us or by another process that has it, and hangs up
 * for ever; the peer's end, which has not come, will be the same once more.
 */
bool end_kernel_says(struct sock *s, uint32_t events);
/* A reset is to be reported, and has been by this call: the caller returns ECONNRESET. */
bool end_take_reset(struct sock *s);
/* It is still to be reported: a call that has octets to return leaves it to the next one. */
static inline bool end_has_reset(const struct sock *s)
{
	return (sock_flags(s) & (FAM_RESET | FAM_RESET_SAID)) == FAM_RESET;
}
/*
 * r: what the kernel has said (-errno) to a call of ours, or to one of the program's that returns octets all the same. It says a reset once; then the program's next call does. Linked; no token needed.
 */
void end_keep_reset(struct sock *s, long r);
/* What poll adds for it. */
uint32_t end_events(const struct sock *s);

#endif
