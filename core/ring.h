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
#include <sys/uio.h>

#include "ncadg_sm_abi.h"
#include "ucopy.h"

static inline size_t iov_len(const struct iovec *iov, int n)
{
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

/*
 * The program's memory may not be there (ucopy.h): then 1, and how much has been copied is not known; else 0. An address in the first page never is: said without
 * a fault, for threads that block SIGSEGV.
 */
#define RING_NOWHERE 4096

static inline int ring_put(uint8_t *ring, uint64_t at, const void *src, size_t len)
{
	size_t off = at & SM_RING_MASK, first = SM_RING_LEN - off;
	if ((uintptr_t)src < RING_NOWHERE)
		return 1;
	if (__builtin_expect(len <= first, 1))
		return ucopy(ring + off, src, len);
	return ucopy(ring + off, src, first) || ucopy(ring, (const uint8_t *)src + first, len - first);
}

static inline int ring_get(const uint8_t *ring, uint64_t at, void *dst, size_t len)
{
	size_t off = at & SM_RING_MASK, first = SM_RING_LEN - off;
	if ((uintptr_t)dst < RING_NOWHERE)
		return 1;
	if (__builtin_expect(len <= first, 1))
		return ucopy(dst, ring + off, len);
	return ucopy(dst, ring + off, first) || ucopy((uint8_t *)dst + first, ring, len - first);
}

/* The part [skip, skip + len) of an iovec array, to or from ring position `at`. The array is at least that long. */
static inline int ring_put_iov(uint8_t *ring, uint64_t at, const struct iovec *iov, size_t skip, size_t len)
{
	for (; len; iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		if (ring_put(ring, at, (const uint8_t *)iov->iov_base + skip, n))
			return 1;
		at += n, len -= n, skip = 0;
	}
	return 0;
}

static inline int ring_get_iov(const uint8_t *ring, uint64_t at, const struct iovec *iov, size_t skip, size_t len)
{
	for (; len; iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		if (ring_get(ring, at, (uint8_t *)iov->iov_base + skip, n))
			return 1;
		at += n, len -= n, skip = 0;
	}
	return 0;
}

#endif
