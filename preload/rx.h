/* SPDX-License-Identifier: BSD-2-Clause */
/* rx.h - what receiving shares with those who wait and configure. */
#ifndef SHUNT_RX_H
#define SHUNT_RX_H

#include "sock.h"

/*
 * A thread of this process is about to wait in the kernel on an unlinked socket, where no bell reaches it (poll, recv, stdio). While entered, the socket's reader does not consent. Look at f->link after entering: if it is 2, leave again and use the ring.
 */
void rx_kernel_enter(struct sock *s);
void rx_kernel_leave(struct sock *s);

/* The control area of a recvmsg on a socket with TCP_INQ. Where the kernel's own call serves it, len and flags are afterwards what that said. */
struct rx_control {
	void *buf;
	size_t len;
	int flags;
	bool said;
};

/* Absolute end of SO_RCVTIMEO for a wait that begins now; 0: none. Any thread. */
int64_t rx_deadline(struct sock *s);
/* The program has set SO_RCVTIMEO. Any thread. */
void rx_timeout_changed(struct sock *s);

#endif
