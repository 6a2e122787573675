/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Datagrams in a stream ring (ring.h). In front of each lies one word, its length and the complement of its length; each begins at a multiple of
 * eight, so that the word is in one piece. The writer publishes the position behind a datagram with release, when all of it is there; the reader publishes the
 * position behind what it has copied out with release: before it stores, it has loaded. Each loads the other's with acquire.
 *
 * A peer that publishes a position that it cannot have, or a word that is none, has broken the association: nothing of it is used.
 */
#include <errno.h>
#include <string.h>

#include "api.h"
#include "atomic.h"
#include "ring.h"

#define WORD sizeof(uint64_t)

static size_t room_for(size_t len)
{
	return WORD + ((len + 7) & ~(size_t)7);
}

static int broken(struct ncadg_sm *a)
{
	store_release(&a->end, -EBADMSG);
	return -EBADMSG;
}

static int put_locked(struct ncadg_sm *a, const struct iovec *iov, size_t len)
{
	struct api_dir *d = &a->tx;
	uint64_t at = load_relaxed(&d->pos), word = len | (uint64_t)(uint32_t)~len << 32;
	size_t need = room_for(len);

	if (at + need - d->other > SM_RING_LEN) {
		uint64_t head = load_acquire(&a->peer->rx_head);

		if (at - head > SM_RING_LEN)
			return broken(a);
		d->other = head;
		if (at + need - head > SM_RING_LEN)
			return -EAGAIN;
	}
	if (ring_put_iov(d->ring, at + WORD, iov, 0, len))
		return -EFAULT;
	memcpy(d->ring + (at & SM_RING_MASK), &word, WORD);
	store_relaxed(&d->pos, at + need);
	store_release(&a->own->tx_tail, at + need);
	return 0;
}

int api_put(struct ncadg_sm *a, const struct iovec *iov, int n, size_t len)
{
	int err;

	(void)n;
	pthread_mutex_lock(&a->tx.lock);
	err = put_locked(a, iov, len);
	pthread_mutex_unlock(&a->tx.lock);
	return err;
}

/* The length of the next one. */
static ssize_t next_locked(struct ncadg_sm *a)
{
	struct api_dir *d = &a->rx;
	uint64_t at = load_relaxed(&d->pos), word;
	uint32_t len;

	if (d->other == at) {
		d->other = load_acquire(&a->peer->tx_tail);
		if (d->other == at)
			return -EAGAIN;
		if (d->other - at > SM_RING_LEN || d->other - at < WORD || (d->other - at) % WORD)
			return broken(a);
	}
	memcpy(&word, d->ring + (at & SM_RING_MASK), WORD); /* read once */
	len = (uint32_t)word;
	if ((uint32_t)(word >> 32) != ~len || len > NCADG_SM_MAX_LEN || room_for(len) > d->other - at)
		return broken(a);
	return len;
}

static ssize_t get_locked(struct ncadg_sm *a, void *buf, size_t len)
{
	struct api_dir *d = &a->rx;
	uint64_t at = load_relaxed(&d->pos);
	ssize_t n = next_locked(a);

	if (n < 0)
		return n;
	if ((size_t)n > len)
		return -EMSGSIZE;
	if (n && ring_get(d->ring, at + WORD, buf, (size_t)n))
		return -EFAULT;
	at += room_for((size_t)n);
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
	return load_relaxed(&a->tx.pos) + room_for(len) - load_acquire(&a->peer->rx_head) <= SM_RING_LEN;
}
