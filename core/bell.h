/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bell.h - what wakes a sleeper: a futex word in shared memory, or an AF_UNIX datagram socket for one who sleeps in poll or epoll.
 *
 * A bell socket is bound to the abstract name "\0shunt/" + 32 hex digits of a random 16-octet name (never used again). Only that
 * prefix is ever addressed, whatever a peer wrote into its slot. A full queue is success: a wake-up is already waiting.
 * All functions: any thread, async-signal-safe, -errno.
 */
#ifndef SHUNT_BELL_H
#define SHUNT_BELL_H

#include <stdatomic.h>
#include <stdint.h>

#define BELL_NAME_LEN 16

/* New bell: name filled at random if *name is all zero. Descriptor (non-blocking, close-on-exec) or -errno. */
int bell_open(uint8_t name[BELL_NAME_LEN]);
/* Ring the bell `name` from any datagram socket `from_fd`. 0 (also when full), -ECONNREFUSED (no such bell), -errno. */
int bell_ring(int from_fd, const uint8_t name[BELL_NAME_LEN]);
/* Take all that has been rung. Number of rings taken. */
int bell_drain(int fd);

/* Sleep until *word != val. rel_ns < 0: no limit. 0 woken (or the value differs), -EINTR, -ETIMEDOUT. Shared between processes. */
int futex_wait(_Atomic uint32_t *word, uint32_t val, int64_t rel_ns);
int futex_wake(_Atomic uint32_t *word, int n);

#endif
