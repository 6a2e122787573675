/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spoiled.c - a library that spoils an octet now and then: for tests alone (make progs: $(B)/spoiled/libshunt.so), in front of rx_recv(). Whether the randomised test finds it is what
 * tests/random/check asks.
 */
#include <sys/uio.h>

#include "rx.h"
#include "sig.h"
#include "sock.h"

#define SELDOM 20 /* calls that received something */

long __real_rx_recv(struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since,
	struct rx_control *control);
long __wrap_rx_recv(struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since,
	struct rx_control *control);

long __wrap_rx_recv(
	struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since, struct rx_control *control)
{
	static _Atomic unsigned calls;
	long r = __real_rx_recv(s, fd, iov, niov, flags, since, control);

	for (int i = 0; r > 0 && i < niov; i++)
		if (iov[i].iov_len) {
			if (++calls % SELDOM == 0)
				*(char *)iov[i].iov_base ^= 1;
			break;
		}
	return r;
}
