/* SPDX-License-Identifier: BSD-2-Clause */
#include "uring.h"

#include <linux/io_uring.h>
#include <stddef.h>

#include "sock.h"
#include "ucopy.h"

/* The kernel takes entries when it is called, and then only; an entry has 64 octets; there is the array of their numbers. */
#define WATCHED                                                                                                                \
	(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |                      \
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

/* The beginning of liburing's struct io_uring, which its inline functions have made part of every program: never changed in libraries of its soname. */
struct ring {
	const _Atomic uint32_t *khead, *ktail; /* the kernel's: taken, handed over */
	const uint32_t *mask, *entries;
	const void *flags, *dropped;
	const uint32_t *array;		/* position between the two -> entry */
	const struct io_uring_sqe *sqe; /* by entry */
	uint32_t head, tail;		/* the library's: filled in, and not handed over yet */
};

bool uring_can_be_watched(unsigned flags)
{
	return !(flags & ~WATCHED);
}

static bool is_of_file(int op)
{
	switch (op) {
	case IORING_OP_NOP:
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
	case IORING_OP_FSYNC:
	case IORING_OP_SYNC_FILE_RANGE:
	case IORING_OP_FALLOCATE:
	case IORING_OP_FADVISE:
	case IORING_OP_MADVISE:
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_STATX:
	case IORING_OP_RENAMEAT:
	case IORING_OP_UNLINKAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_SYMLINKAT:
	case IORING_OP_LINKAT:
	case IORING_OP_TIMEOUT:
	case IORING_OP_TIMEOUT_REMOVE:
	case IORING_OP_ASYNC_CANCEL:
		return true;
	default:
		return false; /* sockets', close (our table would not hear of it), what registers or passes descriptors, and what we do not know */
	}
}

/*
 * Which file a number means is found out when the operation begins: at once, but for those that wait for others or go to another thread: by then the number may be a socket's. Such are the next in a
 * chain, and all behind a drain, so what begins one is refused. A file that the ring keeps is no socket (uring_keeps_files).
 */
static bool is_harmless(const struct io_uring_sqe *e)
{
	const unsigned later = IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC;
	if (!is_of_file(e->opcode) || e->flags & later)
		return false;
	return e->flags & IOSQE_FIXED_FILE || !fd_get(e->fd);
}

bool uring_is_of_files(const void *ring)
{
	const struct ring *r = ring;
	uint32_t mask = *r->mask;
	/* Handed over, and left there by a call that failed. acquire: the library has stored the entries before. */
	for (uint32_t i = load_acquire(r->khead), end = load_acquire(r->ktail); i != end; i++)
		if (!is_harmless(&r->sqe[r->array[i & mask] & mask]))
			return false;
	for (uint32_t i = r->head; i != r->tail; i++)
		if (!is_harmless(&r->sqe[i & mask]))
			return false;
	return true;
}

bool uring_keeps_files(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int fd;
		if (ucopy(&fd, &fds[i], sizeof(fd)))
			return true; /* the kernel will say so */
		if (fd >= 0 && fd_get(fd))
			return false;
	}
	return true;
}
