/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ready.h - what a linked socket's ring adds to the readiness that the kernel socket has by itself.
 *
 * The kernel's answer is always true as far as it goes: input there is input (data behind a switch, end of file, error), and it is writable when a send would not
 * block (a full ring goes down to it). Only input in the ring is unknown to the kernel. So readiness = the kernel's, plus IN from here.
 */
#ifndef SHUNT_READY_H
#define SHUNT_READY_H

#include <poll.h>
#include <sys/ioctl.h>

#include "dup.h"
#include "link.h"
#include "move.h"
#include "sock.h"
#include "sys.h"
#include "token.h"

/*
 * The sender has switched: follow it, so that we know which part is next. false: somebody is reading right now, and may or may not have seen the switch; who is about
 * to sleep asks this before its last look, and in this case looks once more.
 */
static inline bool ready_follow(struct sock *s)
{
	uint64_t kleft;
	if (load_relaxed(&s->chan.peer->tx_epoch) == load_relaxed(&s->f->rx_epoch))
		return true;
	int how = token_try_nesting(s, &s->f->rx_token);
	if (how == TOKEN_NONE)
		return false;
	if (load_acquire(&s->linked))
		move_follow(s, &kleft);
	token_drop(s, &s->f->rx_token, how);
	return true;
}

/* Octets in the ring that the next recv would return first; 0 while the kernel's part comes first. s->linked. *tail: how far the ring has been written. */
static inline uint64_t ready_octets(struct sock *s, uint64_t *tail)
{
	ready_follow(s);
	if (!(load_relaxed(&s->f->rx_epoch) & 1))
		return 0;
	uint64_t n = (*tail = load_acquire(&s->chan.peer->tx_tail)) - load_relaxed(&s->f->rx_head);
	return n;
}

/*
 * Where the peer will write next: whoever spins asks for that line each time he looks for the tail, so that the two come over together instead of one after the
 * other. A hint: a wrong offset costs a line.
 */
static inline void ready_prefetch(const struct sock *s)
{
	__builtin_prefetch(s->chan.rx_ring + ((load_relaxed(&s->f->rx_head) + load_relaxed(&s->f->rx_shift)) & SM_RING_MASK));
}

static inline bool ready_in(struct sock *s)
{
	uint64_t tail, n = ready_octets(s, &tail), low = load_relaxed(&s->f->lowat);
	return n && n >= (low ? low : 1);
}

/* Octets in the ring, whatever comes first. 0 if the peer wrote nonsense. */
static inline uint64_t ring_unread_by_us(struct sock *s)
{
	uint64_t n = ring_end(s) - load_relaxed(&s->f->rx_head);
	return n <= SM_RING_LEN ? n : 0;
}

static inline uint64_t ring_unread_by_peer(struct sock *s)
{
	uint64_t n = load_relaxed(&s->f->tx_tail) - load_acquire(&s->chan.peer->rx_head);
	return n <= SM_RING_LEN ? n : 0;
}

/* SIOCOUTQ: what the kernel does not count. It has a duplicate to account for when we have left a ring that is unread. */
static inline uint64_t ready_unsent(struct sock *s)
{
	const struct sm_end *my = s->chan.my;
	bool twice = !(s->f->tx_epoch & 1) && load_relaxed(&my->dup_len) && load_relaxed(&my->dup_epoch) == s->f->tx_epoch - 1;
	return twice ? 0 : ring_unread_by_peer(s);
}

/* What has been read from the ring shall not be in the kernel's way any longer, nor in its count. false: there is no duplicate, or somebody is reading just now. */
static inline bool ready_drop(struct sock *s)
{
	if (!dup_marked(s))
		return false;
	int how = token_try_nesting(s, &s->f->rx_token);
	if (how == TOKEN_NONE)
		return false;
	if (load_acquire(&s->linked))
		dup_drop(s);
	token_drop(s, &s->f->rx_token, how);
	return true;
}

/* FIONREAD: the kernel says `in`. */
static inline uint64_t ready_unread(struct sock *s, int in)
{
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	ready_follow(s);
	if (ready_drop(s) || load_relaxed(&s->f->rx_epoch) != epoch) /* who follows drops, too */
		sys3(SYS_ioctl, s->fd, FIONREAD, &in);
	return (uint64_t)in - dup_among(s, (uint32_t)in) + ring_unread_by_us(s);
}

/*
 * The kernel reports input. Where the peer has left a duplicate, that of octets which have been read is no input: it is dropped, and the kernel asked again. (What is a duplicate of
 * unread octets counts like them.) The answer is `events` corrected. A member of an epoll set, or a poll's descriptor fd, that waits for `want`.
 */
static inline uint32_t ready_really(struct sock *s, int fd, uint32_t want, uint32_t events)
{
	struct pollfd p = {.fd = fd, .events = (short)(want & 0x7fff)};
	struct timespec zero = {0, 0};
	/* Who has followed since the kernel spoke has dropped it; and it may come in pieces. */
	bool dropped = load_relaxed(&s->chan.peer->dup_len) != 0 && !dup_marked(s);
	for (int turn = 0; turn < 8 && events & (POLLIN | POLLRDNORM); turn++) {
		uint32_t before = load_relaxed(&s->f->rx_dropped);
		if (!ready_drop(s) && !dropped)
			break;
		dropped = false;
		events = sys5(SYS_ppoll, &p, 1, &zero, 0, 8) == 1 ? (uint32_t)(unsigned short)p.revents : 0;
		if (turn && load_relaxed(&s->f->rx_dropped) == before)
			break;
	}
	return events;
}

/* The next send goes into the ring, or is at least sure not to block. Otherwise ask the kernel. */
static inline bool ready_out(struct sock *s)
{
	return s->f->tx_epoch & 1 && !load_relaxed(&s->hup);
}

#endif
