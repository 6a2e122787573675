/* SPDX-License-Identifier: BSD-2-Clause */
/* i_uring.h - names of liburing and libaio, as we replace them: what most of the pointers lead to is not looked at. */
#ifndef SHUNT_I_URING_H
#define SHUNT_I_URING_H

#include <stddef.h>

struct io_uring_params;
struct iocb;

int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
int io_uring_queue_init_params(unsigned entries, void *ring, struct io_uring_params *p);
int io_uring_queue_init_mem(unsigned entries, void *ring, void *p, void *buf, size_t len);
int io_uring_queue_init_try_nosqarr(unsigned entries, void *ring, unsigned flags);
int io_uring_queue_mmap(int fd, void *p, void *ring);
int io_uring_setup(unsigned entries, void *p);
int io_uring_submit(void *ring);
int io_uring_submit_and_wait(void *ring, unsigned n);
int io_uring_submit_and_get_events(void *ring);
int io_uring_submit_and_wait_timeout(void *ring, void *cqe, unsigned n, void *ts, void *mask);
int io_uring_wait_cqes(void *ring, void *cqe, unsigned n, void *ts, void *mask);
int io_uring_wait_cqe_timeout(void *ring, void *cqe, void *ts);
int __io_uring_get_cqe(void *ring, void *cqe, unsigned submit, unsigned n, void *mask);
int io_uring_register_files(void *ring, const int *fds, unsigned n);
int io_uring_register_files_tags(void *ring, const int *fds, const void *tags, unsigned n);
int io_uring_register_files_update(void *ring, unsigned at, const int *fds, unsigned n);
int io_uring_register_files_update_tag(void *ring, unsigned at, const int *fds, const void *tags, unsigned n);
int io_uring_enter(unsigned fd, unsigned submit, unsigned n, unsigned flags, void *mask);
int io_uring_enter2(unsigned fd, unsigned submit, unsigned n, unsigned flags, void *arg, size_t len);
int io_uring_register(unsigned fd, unsigned op, void *arg, unsigned n);
int io_submit(void *ctx, long n, struct iocb **list);

#endif
