/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dring.h - datagrams in a ring: a header of sixteen octets, the payload, zero to fifteen octets of padding, so that a header never wraps.
 *
 * Positions, offsets and copying are ring.h's; who may write or read (the holder of the socket's token), and how positions are published, is the caller's:
 * preload/dgtx.c, preload/dgrx.c. One writer and one reader. The reader believes nothing: a length is read once and checked against what has been published, and a header is looked for
 * at multiples of 16 only, whatever shift the writer claims, so that none is read beyond the ring's end.
 */
#ifndef SHUNT_DRING_H
#define SHUNT_DRING_H

#include <string.h>

#include "atomic.h"
#include "ring.h"

#define DRING_MAX 65507u /* the longest payload; what IPv6 could carry beyond goes by the kernel */
#define DRING_MARK 0x4d475244u

struct dring_hdr {
	uint32_t len, mark;
	uint64_t stamp; /* when it was put there (dring_now): datagrams of several senders are read in this order */
};

/* A clock that all processors of this machine have in common, as fast to read as can be. Behind all that this thread has seen others do. */
static inline uint64_t dring_now(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t)::"memory");
	return t;
#else
	return 0;
#endif
}

/* Some tens to some hundreds of microseconds of it. */
#if defined(__x86_64__)
#define DRING_WHILE (UINT64_C(1) << 19)
#else
#define DRING_WHILE (UINT64_C(1) << 14)
#endif

/*
 * What a datagram of `len` octets costs a receive buffer in the kernel: its skb and data, in the sizes that the allocator has. So a receiver that does not read loses as much as it would
 * there.
 */
static inline uint32_t dring_cost(size_t len)
{
	uint32_t need = (uint32_t)len + 380, size = 512; /* headers, their alignment, skb_shared_info */
	if (need > 16384)
		return (uint32_t)len + 832; /* in pages */
	while (size < need)
		size *= 2;
	return size + 256;
}

/* Octets of the ring that a datagram takes. */
static inline uint64_t dring_size(size_t len)
{
	return sizeof(struct dring_hdr) + ((len + 15) & ~(size_t)15);
}

/* The header of the datagram at `at`. */
static inline size_t dring_off(uint64_t at)
{
	return at & SM_RING_MASK & ~(uint64_t)15;
}

/* At offset `at` (of a position, shifted), where there is room. 1: the program's buffers are not all there, and nothing counts as written. */
static inline int dring_put(uint8_t *ring, uint64_t at, uint64_t stamp, const struct iovec *iov, size_t len)
{
	struct dring_hdr h = {(uint32_t)len, DRING_MARK, stamp};
	memcpy(ring + dring_off(at), &h, sizeof(h));
	return ring_put_iov(ring, at + sizeof(h), iov, 0, len);
}

/* Length of the datagram at `at`, of which `unread` octets are published; -1: nonsense. */
static inline int64_t dring_len(const uint8_t *ring, uint64_t at, uint64_t unread)
{
	uint64_t word = load_relaxed((const _Atomic uint64_t *)(uintptr_t)(ring + dring_off(at)));
	uint32_t part[2]; /* len, mark */
	memcpy(part, &word, sizeof(part));
	return part[1] == DRING_MARK && part[0] <= DRING_MAX && dring_size(part[0]) <= unread ? (int64_t)part[0] : -1;
}

static inline uint64_t dring_stamp(const uint8_t *ring, uint64_t at)
{
	return load_relaxed((const _Atomic uint64_t *)(uintptr_t)(ring + dring_off(at) + offsetof(struct dring_hdr, stamp)));
}

/* Its first `n` octets. 1: the program's buffers are not all there. */
static inline int dring_get(const uint8_t *ring, uint64_t at, const struct iovec *iov, size_t n)
{
	return ring_get_iov(ring, at + sizeof(struct dring_hdr), iov, 0, n);
}

#endif
