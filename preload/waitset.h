/* SPDX-License-Identifier: BSD-2-Clause */
/* waitset.h - poll and select over descriptors some of which are linked. */
#ifndef SHUNT_WAITSET_H
#define SHUNT_WAITSET_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/select.h>

#include "sock.h"

/* An unlinked socket that may be linked while we sleep: the link must wait for us. */
static inline bool waitset_candidate(const struct sock *s)
{
	return (s->endpoint || s->server || s->foreign) && !(sock_flags(s) & FAM_LISTEN) && sock_flags(s) & FAM_CONNECTED;
}

/* Is there anything in the set that the kernel alone cannot answer for? */
bool waitset_poll_concerns(struct pollfd *p, nfds_t n);
/* poll: number of ready descriptors or -errno. timeout_ns < 0: no limit. */
int waitset_poll(struct pollfd *p, nfds_t n, int64_t timeout_ns, const sigset_t *mask);
/* The same inside a call that has begun before (sig.h). */
struct sig_wait;
int waitset_poll_as(struct pollfd *p, nfds_t n, int64_t timeout_ns, struct sig_wait *w);
bool waitset_select_concerns(int n, const fd_set *r, const fd_set *w, const fd_set *x);
/* select; the sets are changed as select does. */
int waitset_select(int n, fd_set *r, fd_set *w, fd_set *x, int64_t timeout_ns, const sigset_t *mask);

#endif
