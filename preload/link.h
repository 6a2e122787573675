/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.h - binding a kernel socket to a channel.
 *
 * Client: an established connection that has proved worth it gets a free channel of its association, which carries its addresses and cookie, and is
 * offered. Server: on its next call on the accepted socket it sees that something is on offer (one load), finds the channel by addresses, and believes it
 * only if the kernel says that the socket at the other end belongs to the segment's creator and has the channel's cookie.
 */
#ifndef SHUNT_LINK_H
#define SHUNT_LINK_H

#include <stdbool.h>

#include "sock.h"

#define LINK_NEVER 3u /* of f->link */

/* A call on an unlinked, connected socket is about to use the kernel: see whether it can be linked now. true: it is linked. */
bool link_try(struct sock *s, size_t bytes);
/* Another process of the family has linked it: resolve its channel here. Part of link_ready(). */
bool link_resolve(struct sock *s);
/*
 * The last descriptor of this process goes: marks, reset if need be, give the channel back. false: other processes hold the socket, and go on; until this one has left (fam_leave) that may change.
 * Under g_lock.
 */
bool link_end(struct sock *s);
/* Bind s to a channel of a, for all processes of the family; f->link is 1. Under g_lock. */
void link_publish(struct sock *s, struct assoc *a, uint32_t idx);
/* The kernel may close it in a moment, without a word from us (exec): what is unread goes by the kernel too. No mark: the exec may fail. */
void link_before_end(struct sock *s);
/*
 * The process ends: link_end for all its sockets, of which it is no holder then. Under g_lock. Its other threads go on until the kernel stops them; what they would do
 * with such a socket then could only be wrong (octets that lie in the ring are out of reach, the channel may be another connection's by
 * now), so link_stop() keeps them, wherever they find a socket that was linked and is not. If the process lives for a second more,
 * the connection is shut down instead.
 */
void link_end_all(void);
void link_stop(struct sock *s);
bool link_ends(void);
void link_fork_child(void);
/* The process leaves shared memory (leave.h): the channel stays as it is, and nobody here uses it any more. Under g_lock. */
void link_leave(struct sock *s);
/* "127.0.0.1:80" for logs; returns buf. */
const char *addr_text(const struct diag_addr *a, char *buf, size_t len);
/* Readers of this end look at the ring from now on, if nothing forbids it. Under the rx token, or when rx_inkernel drops to 0. */
void link_consent(struct sock *s);

static inline bool link_ready(struct sock *s)
{
	if (__builtin_expect(load_acquire(&s->linked), 1))
		return true;
	return load_acquire(&s->f->link) == 2 && link_resolve(s);
}

#endif
