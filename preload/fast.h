/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fast.h - the way of a byte when everything is as usual: this thread has the token's bias, the direction is in the ring, the ring has what is asked for in one piece,
 * nobody sleeps. Whatever is not as usual is left to tx.c and rx.c, before anything has been done: FAST_NO.
 */
#ifndef SHUNT_FAST_H
#define SHUNT_FAST_H

#include "fault.h"
#include "notify.h"
#include "token.h"
#include "ucopy.h"

#define FAST_NO (-4096L)
/*
 * A write of up to WHOLE_MAX becomes readable at once; a longer one in parts, so that the reader copies one out while the next is copied in. The kernel pushes
 * a long write in parts too, when half of the largest window waits: 32 KiB on the loopback interface.
 */
#define WHOLE_MAX 32768u
#define PART_LEN 16384u
#define LONG_PART_LEN                                                                                                          \
	65536u /* of a write that is longer still: one of a stream, which others follow; they overlap by themselves */

/* Octets [tail, tail + n) have been copied: make them ours and the reader's. false: a handler on this thread sent in the middle of our copy; its octets go first. */
static inline bool tx_commit(struct sock *s, uint64_t tail, size_t n)
{
	struct fam_sock *f = s->f;
	struct sm_end *my = s->chan.my;
	FAULT_POINT("tx: copied, before committed");
	if (!cas_own_thread(&f->tx_tail, tail, tail + n))
		return false;
	FAULT_POINT("tx: committed, before published");
	/* A handler may also come between these two lines; it publishes a later tail, which must not go back. */
	if (!cas_own_thread(&my->tx_tail, tail, tail + n) && load_relaxed(&f->tx_tail) == tail + n)
		store_release(&my->tx_tail, tail + n);
	FAULT_POINT("tx: published, before look");
	s->tx_shm.bytes += n;
	s->tx_shm.msgs++;
	return true;
}

/* The same for octets that have been read, [head, head + n). */
static inline bool rx_commit(struct sock *s, uint64_t head, size_t n)
{
	struct fam_sock *f = s->f;
	FAULT_POINT("rx: copied, before committed");
	if (!cas_own_thread(&f->rx_head, head, head + n))
		return false;
	FAULT_POINT("rx: committed, before published");
	store_release(&s->chan.my->rx_head, load_relaxed(&f->rx_head));
	FAULT_POINT("rx: published, before returned");
	s->rx_shm.bytes += n;
	s->rx_shm.msgs++;
	return true;
}

/* Behind publishing, under a biased token: does somebody sleep? The one place that leaves out the fence (notify.h). */
static inline bool tx_look_for_sleeper(struct sock *s)
{
	struct sm_end *my = s->chan.my;
	bool lazy = load_relaxed(&my->lazy);
	if (__builtin_expect(lazy, 1))
		atomic_signal_fence(memory_order_seq_cst);
	else
		fence_storeload();
	if (__builtin_expect(load_relaxed(&s->chan.peer->armed) != 0, 0)) {
		s->f->tx_quiet = 0;
		if (lazy)
			store_release(&my->lazy, 0); /* behind all that was published without a fence */
		return true;
	}
	if (__builtin_expect(!lazy && ++s->f->tx_quiet >= LAZY_AFTER, 0)) {
		s->f->tx_quiet = 0;
		notify_grow_lazy(&s->chan);
	}
	return false;
}

/* The peer has closed its end, or both its directions: the kernel has to answer. Or it wants the channel to rest, is switched off, or reads the ring no more. */
static inline bool tx_peer_left(const struct sock *s)
{
	return load_relaxed(&s->chan.peer->flags) &
	       (SM_END_CLOSED | SM_END_DEAF | SM_END_RESTS | SM_END_OFF | SM_END_PASSED | SM_END_LEFT);
}

/* Wake who sleeps. */
void tx_wake(struct sock *s);
/* No token held. If the peer has left, what it has not read goes by the kernel, which answers as ever; if it rests, the next send does. */
void tx_unsend(struct sock *s);

static inline bool tx_as_usual(const struct sock *s, int fd)
{
	return load_relaxed(&s->linked) && fd_sock(fd) == s && s->f->tx_epoch & 1 && !load_relaxed(&s->hup) &&
	       !(sock_flags(s) & (FAM_WR_SHUT | FAM_PIN_TX | FAM_RESTS | FAM_OFF));
}

/* flags of send(): none but MSG_DONTWAIT and MSG_NOSIGNAL. */
static inline long fast_send(struct sock *s, int fd, const void *buf, size_t len)
{
	struct fam_sock *f = s->f;
	if (!load_acquire(&s->linked) || token_enter(&f->tx_token, token_self(s->arena)) != TOKEN_BIASED)
		return FAST_NO;
	uint64_t tail = load_relaxed(&f->tx_tail);
	bool done = false, asleep = false;
	if (__builtin_expect(tx_as_usual(s, fd) && len - 1 < WHOLE_MAX && tail + len <= f->tx_limit, 1)) {
		done = !ucopy(s->chan.tx_ring + ((tail + f->tx_shift) & SM_RING_MASK), buf, len) && tx_commit(s, tail, len);
		asleep = done && tx_look_for_sleeper(s);
	}
	token_drop(s, &f->tx_token, TOKEN_BIASED);
	if (__builtin_expect(!done, 0))
		return FAST_NO;
	sock_publish_cpu(&s->chan);
	if (__builtin_expect(asleep, 0))
		tx_wake(s);
	if (__builtin_expect(tx_peer_left(s), 0))
		tx_unsend(s);
	return (long)len;
}

/* How many octets a read of `len` gets from one piece of the ring; 0: not as usual, or none there. rx token held. */
static inline size_t rx_piece(struct sock *s, uint64_t head, size_t len)
{
	struct fam_sock *f = s->f;
	const struct sm_end *peer = s->chan.peer;
	uint64_t n = f->rx_tail - head;
	if (n < len || n > SM_RING_LEN) { /* the cached tail will do only if it holds all that is asked for */
		uint64_t tail = load_acquire(&peer->tx_tail), low = load_relaxed(&f->lowat);
		n = tail - head;
		if (n > SM_RING_LEN || n < low || load_relaxed(&peer->tx_epoch) != load_relaxed(&f->rx_epoch) ||
			load_relaxed(&f->flags) & FAM_DEAF) /* not all of that is input (ring_end) */
			return 0;
		f->rx_tail = tail;
		store_relaxed(&f->rx_shift, (uint32_t)load_relaxed(&peer->tx_shift) & SM_RING_MASK);
	}
	if (n > len)
		n = len;
	return SM_RING_LEN - ((head + load_relaxed(&f->rx_shift)) & SM_RING_MASK) >= n ? (size_t)n : 0;
}

/* flags of recv(): none but MSG_DONTWAIT. */
static inline long fast_recv(struct sock *s, int fd, void *buf, size_t len)
{
	struct fam_sock *f = s->f;
	if (!load_acquire(&s->linked) || token_enter(&f->rx_token, token_self(s->arena)) != TOKEN_BIASED)
		return FAST_NO;
	uint64_t head = load_relaxed(&f->rx_head);
	size_t n = 0;
	if (__builtin_expect(load_relaxed(&s->linked) && fd_sock(fd) == s && load_relaxed(&f->rx_epoch) & 1, 1) &&
		(n = rx_piece(s, head, len))) {
		if (__builtin_expect(ucopy(buf, s->chan.rx_ring + ((head + load_relaxed(&f->rx_shift)) & SM_RING_MASK), n) ||
					     !rx_commit(s, head, n),
			    0))
			n = 0; /* the buffer is not there; or a handler on this thread read these octets */
	}
	token_drop(s, &f->rx_token, TOKEN_BIASED);
	if (!n)
		return FAST_NO;
	if (__builtin_expect(load_relaxed(&s->chan.peer->tx_want), 0))
		notify_peer(&s->chan);
	return (long)n;
}

#endif
