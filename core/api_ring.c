/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Datagrams in a ring (dring.h). The writer publishes the position behind a datagram with release, when all of it is there; the reader publishes
 * the position behind what it has copied out with release: before it stores, it has loaded. Each loads the other's with acquire.
 *
 * A peer that publishes a position that it cannot have, or a header that is none, has broken the association: nothing of it is used. Unlike a socket's, these
 * rings lose nothing: full is full.
 */
#include <errno.h>

#include "api.h"
#include "atomic.h"
#include "dring.h"

static_assert(NCADG_SM_MAX_LEN == DRING_MAX, "the library says so to its users");

static int broken(struct ncadg_sm *a)
{
	store_release(&a->end, -EBADMSG);
	return -EBADMSG;
}

static int put_locked(struct ncadg_sm *a, const struct iovec *iov, size_t len)
{
	struct api_dir *d = &a->tx;
	uint64_t at = load_relaxed(&d->pos), need = dring_size(len);

	if (at + need - d->other > SM_RING_LEN) {
		uint64_t head = load_acquire(&a->peer->rx_head);

		if (at - head > SM_RING_LEN)
			return broken(a);
		d->other = head;
		if (at + need - head > SM_RING_LEN)
			return -EAGAIN;
	}
	if (dring_put(d->ring, at, 0, iov, len)) /* one sender: there is no order to keep */
		return -EFAULT;
	store_relaxed(&d->pos, at + need);
	store_release(&a->own->tx_tail, at + need);
	return 0;
}

int api_put(struct ncadg_sm *a, const struct iovec *iov, size_t len)
{
	int err;

	pthread_mutex_lock(&a->tx.lock);
	err = put_locked(a, iov, len);
	pthread_mutex_unlock(&a->tx.lock);
	return err;
}

/* The length of the next one. */
static ssize_t next_locked(struct ncadg_sm *a)
{
	struct api_dir *d = &a->rx;
	uint64_t at = load_relaxed(&d->pos), unread = d->other - at;
	int64_t len;

	if (!unread) {
		d->other = load_acquire(&a->peer->tx_tail);
		unread = d->other - at;
	}
	if (!unread)
		return -EAGAIN;
	if (unread > SM_RING_LEN || unread < sizeof(struct dring_hdr))
		return broken(a);
	len = dring_len(d->ring, at, unread);
	return len < 0 ? broken(a) : (ssize_t)len;
}

static ssize_t get_locked(struct ncadg_sm *a, void *buf, size_t len)
{
	struct api_dir *d = &a->rx;
	uint64_t at = load_relaxed(&d->pos);
	struct iovec iov = {buf, len};
	ssize_t n = next_locked(a);

	if (n < 0)
		return n;
	if ((size_t)n > len)
		return -EMSGSIZE;
	if (dring_get(d->ring, at, &iov, (size_t)n))
		return -EFAULT;
	at += dring_size((size_t)n);
	store_relaxed(&d->pos, at);
	store_release(&a->own->rx_head, at);
	return n;
}

ssize_t api_get(struct ncadg_sm *a, void *buf, size_t len)
{
	ssize_t n;

	pthread_mutex_lock(&a->rx.lock);
	n = get_locked(a, buf, len);
	pthread_mutex_unlock(&a->rx.lock);
	return n;
}

ssize_t api_peek_len(struct ncadg_sm *a)
{
	ssize_t n;

	pthread_mutex_lock(&a->rx.lock);
	n = next_locked(a);
	pthread_mutex_unlock(&a->rx.lock);
	return n;
}

int api_has_data(struct ncadg_sm *a)
{
	return load_acquire(&a->peer->tx_tail) != load_relaxed(&a->rx.pos);
}

int api_has_room(struct ncadg_sm *a, size_t len)
{
	return load_relaxed(&a->tx.pos) + dring_size(len) - load_acquire(&a->peer->rx_head) <= SM_RING_LEN;
}
