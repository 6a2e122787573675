/* SPDX-License-Identifier: BSD-2-Clause */
/* rxtake.h - one turn of a receiving call: what rx.c asks of rxtake.c. */
#ifndef SHUNT_RXTAKE_H
#define SHUNT_RXTAKE_H

#include "rx.h"
#include "sig.h"

/* One call's progress. */
struct take {
	const struct iovec *iov;
	int niov, fd, flags;
	size_t len;  /* of the buffers */
	size_t done; /* octets handed over (PEEK: looked at) */
	bool ended;  /* end of file, or an error after some octets: do not wait for more */
	bool slept;  /* who waits to read nothing gets it, however the wait ends */
	struct rx_control *control;
	struct sig_mark since;
};

/*
 * rx token held. Take what is there into the call's buffers. 1: progress, or reason to look again; 0: end of file; -EAGAIN: nothing (more) there;
 * another -errno.
 */
long rx_take(struct sock *s, struct take *t);
/* The same for MSG_PEEK: nothing moves. */
long rx_peek(struct sock *s, struct take *t);
/* The kernel answered r to a read of its part. 1: go on; else the call's result (0: end of file, or nothing there: -EAGAIN). */
long rx_after_kernel(struct sock *s, struct take *t, long r);
/* The peer wrote nonsense: -ECONNRESET, from now on for ever. */
long rx_nonsense(struct sock *s);

#endif
