/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inq.h - TCP_INQ: with each recvmsg the kernel says how many octets are left. gRPC asks for it on every connection, and does not look again, nor waits for
 * anything but the next edge, when it hears that none are.
 *
 * The kernel counts what lies in its own queue, the end of file as one more, and says 1 for ever behind that. What lies in the ring is added here.
 */
#ifndef SHUNT_INQ_H
#define SHUNT_INQ_H

#include "rx.h"
#include "sock.h"

/* After a receive: how much is left. No system call as long as all of it is in the ring, and no end is in sight. Takes a token at most for an attempt. */
int inq_left(struct sock *s);
/* Into the program's control area, as put_cmsg() does it: control->len and ->flags become what recvmsg reports. An area that is not there stays empty. */
void inq_put(struct rx_control *control, int left);

#endif
