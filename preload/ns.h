/* SPDX-License-Identifier: BSD-2-Clause */
/* ns.h - what i_fd.c, i_ns.c and i_proc.c need of each other. */
#ifndef SHUNT_NS_H
#define SHUNT_NS_H

/* The number is about to lead nowhere, or elsewhere. */
void fd_forget(int fd);
/* close_range with a table of its own for the caller (CLOSE_RANGE_UNSHARE). */
int ns_close_range(unsigned first, unsigned last, int flags);
/* close_range around our own descriptors. */
int fd_close_range(unsigned first, unsigned last, int flags);

#endif
