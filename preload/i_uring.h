/* SPDX-License-Identifier: BSD-2-Clause */
/* i_uring.h - names of liburing that make a ring, and libaio's that submits, as we replace them: what most of the pointers lead to is not looked at. */
#ifndef SHUNT_I_URING_H
#define SHUNT_I_URING_H

#include <stddef.h>

int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
int io_uring_queue_init_params(unsigned entries, void *ring, void *p);
int io_uring_queue_init_mem(unsigned entries, void *ring, void *p, void *buf, size_t len);
int io_uring_queue_init_try_nosqarr(unsigned entries, void *ring, unsigned flags);
int io_uring_queue_mmap(int fd, void *p, void *ring);
int io_uring_setup(unsigned entries, void *p);
struct iocb;
int io_submit(void *ctx, long n, struct iocb **list);

#endif
