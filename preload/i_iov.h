/* SPDX-License-Identifier: BSD-2-Clause */
/* i_iov.h - arrays of buffers, as the kernel looks at them before it looks at the socket. */
#ifndef SHUNT_I_IOV_H
#define SHUNT_I_IOV_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define MAX_RW ((size_t)0x7ffff000) /* no call moves more than this: a longer array counts as cut there */

/* Flags of preadv2 and pwritev2 that a stream takes: all but NOWAIT mean nothing to it. */
#define RWF_STREAM (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND)

/* 0: nothing in it; -1: the kernel refuses it, and moves nothing; else its length, or MAX_RW + 1 if it has to be cut. */
static inline long iov_look(const struct iovec *iov, size_t n)
{
	size_t len = 0;
	if (n > IOV_MAX || (n && (size_t)iov < 4096))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (iov[i].iov_len > SSIZE_MAX)
			return -1;
		len += iov[i].iov_len < MAX_RW ? iov[i].iov_len : MAX_RW + 1; /* n is small: no overflow */
	}
	return len > MAX_RW ? (long)MAX_RW + 1 : (long)len;
}

/* The first MAX_RW octets of an array, as another array. Its number of entries. */
static inline int iov_cut(struct iovec *out, const struct iovec *iov, size_t n)
{
	size_t left = MAX_RW;
	int m = 0;
	for (size_t i = 0; i < n && left; i++) {
		out[m].iov_base = iov[i].iov_base;
		out[m].iov_len = iov[i].iov_len < left ? iov[i].iov_len : left;
		left -= out[m++].iov_len;
	}
	return m;
}

#endif
