/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring.h - copying into and out of a stream ring.
 *
 * Positions are 64-bit and only grow; the offset of a position is masked, so that no value can lead out of the ring. Who may copy (the holder of
 * the direction's token), and how positions are published, is the caller's: preload/tx.c, preload/rx.c.
 */
#ifndef SHUNT_RING_H
#define SHUNT_RING_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "ncadg_sm_abi.h"

static inline size_t iov_len(const struct iovec *iov, int n)
{
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

static inline void ring_put(uint8_t *ring, uint64_t at, const void *src, size_t len)
{
	size_t off = at & SM_RING_MASK, first = SM_RING_LEN - off;
	if (__builtin_expect(len <= first, 1)) {
		memcpy(ring + off, src, len);
		return;
	}
	memcpy(ring + off, src, first);
	memcpy(ring, (const uint8_t *)src + first, len - first);
}

static inline void ring_get(const uint8_t *ring, uint64_t at, void *dst, size_t len)
{
	size_t off = at & SM_RING_MASK, first = SM_RING_LEN - off;
	if (__builtin_expect(len <= first, 1)) {
		memcpy(dst, ring + off, len);
		return;
	}
	memcpy(dst, ring + off, first);
	memcpy((uint8_t *)dst + first, ring, len - first);
}

/* The part [skip, skip + len) of an iovec array, to or from ring position `at`. The array is at least that long. */
static inline void ring_put_iov(uint8_t *ring, uint64_t at, const struct iovec *iov, size_t skip, size_t len)
{
	for (; len; iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		ring_put(ring, at, (const uint8_t *)iov->iov_base + skip, n);
		at += n, len -= n, skip = 0;
	}
}

static inline void ring_get_iov(const uint8_t *ring, uint64_t at, const struct iovec *iov, size_t skip, size_t len)
{
	for (; len; iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		ring_get(ring, at, (uint8_t *)iov->iov_base + skip, n);
		at += n, len -= n, skip = 0;
	}
}

#endif
