/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uring.h - may what a program has put into its io_uring be seen by the kernel, while sockets of this process are in memory?
 *
 * A ring whose entries all are of operations on files leaves sockets alone: databases have such a one. It is looked at before each call of liburing's that may hand entries over; the first that
 * has to do with a socket, an epoll set or a descriptor of ours, or may have later, has the process leave (leave.h) before the kernel sees it. Only where all is known that can hand entries
 * over: by the functions that liburing 2.0 to 2.3 export, and of a ring that the kernel does not look at by itself.
 */
#ifndef SHUNT_URING_H
#define SHUNT_URING_H

#include <stdbool.h>

/* A ring made with these IORING_SETUP_* can be looked at. */
bool uring_can_be_watched(unsigned flags);
/* ring: liburing's struct io_uring. true: each entry that is not the kernel's yet is of an operation on files. Any thread that may submit there. */
bool uring_is_of_files(const void *ring);
/* n descriptors that the ring shall keep (-1: none): no socket, set, or descriptor of ours among them. */
bool uring_keeps_files(const int *fds, unsigned n);

#endif
