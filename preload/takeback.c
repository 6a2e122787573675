/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeback.c - leaving shared memory for good, in either direction.
 *
 * A reader that will not be able to read rings (stdio, exec, a descriptor passed away) withdraws: no consent any more, and what it has not read comes back by the kernel.
 * Only the sender's process can put octets into that socket, so its service thread does: it takes the tx token, sends the ring's unread octets through the
 * kernel, and goes down at the reader's head. The reader holds its token meanwhile: nobody reads.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "assoc.h"
#include "bell.h"
#include "link.h"
#include "log.h"
#include "move.h"
#include "notify.h"
#include "ring.h"
#include "sys.h"
#include "token.h"

#define WAIT_NS INT64_C(1000000000) /* for the peer's service thread */
#define ROOM_MS 200		    /* for space in the kernel's socket, while giving back */

/* Everything that was sent is in the kernel, or has been read: as of this epoch. rx token held. */
static bool settled(struct sock *s, uint32_t *epoch)
{
	uint64_t kleft;
	move_follow(s, &kleft);
	*epoch = load_acquire(&s->chan.peer->tx_epoch);
	if (*epoch & 1)
		return false;
	/* An up and a down with nothing between them may be pending still: both lie behind the kernel's octets, and change nothing. */
	return load_relaxed(&s->f->rx_head) == load_relaxed(&s->chan.peer->tx_tail);
}

static int ask_back(struct sock *s)
{
	struct chan *c = &s->chan;
	uint32_t want = load_relaxed(&c->my->want_back) + 1;
	int64_t end = now_ns() + WAIT_NS;
	store_release(&c->my->want_back, want);
	for (;;) {
		uint32_t val = load_acquire(&c->my->futex);
		or_acqrel(&c->my->armed, SM_ARM_FUTEX);
		fence_storeload();
		if (load_acquire(&c->peer->did_back) == want)
			return 0;
		int64_t left = end - now_ns();
		if (left <= 0 || load_relaxed(&s->hup))
			return -ETIMEDOUT;
		uint32_t bell = load_relaxed(&c->peer->svc_bell);
		if (bell)
			notify_bell(c, bell - 1);
		futex_wait(&c->my->futex, val, left < 20000000 ? left : 20000000);
	}
}

int move_withdraw(struct sock *s, enum why why)
{
	int r = 0;
	or_acqrel(&s->f->flags, FAM_PIN_RX);
	store_relaxed(&s->f->rx_why, why);
	if (!link_ready(s))
		return 0;
	struct chan *c = &s->chan;
	int how = token_take(s, &s->f->rx_token);
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	store_release(&c->my->consent, 0);
	fence_storeload(); /* faces move_up: epoch, fence, consent */
	if (load_acquire(&s->linked) && !settled(s, &epoch)) {
		r = ask_back(s);
		epoch = load_acquire(&c->peer->tx_epoch);
	}
	if (r == 0) { /* settled: not a later epoch; the peer may just be coming up in vain (move_up) */
		s->f->rx_tail = load_relaxed(&s->f->rx_head);
		store_relaxed(&s->f->rx_epoch, epoch);
		store_release(&c->my->rx_epoch, epoch);
	}
	token_drop(s, &s->f->rx_token, how);
	store_relaxed(&s->f->rx_why, why);
	if (r < 0) { /* rather no connection than one with octets missing or in another order */
		log_line("fd %d: unread octets could not be taken back (error %d): the connection ends here", s->fd, -r);
		or_acqrel(&s->f->flags, FAM_BROKEN);
		sys2(SYS_shutdown, s->fd, SHUT_RDWR);
	}
	return r;
}

void move_pin_tx(struct sock *s, enum why why)
{
	or_acqrel(&s->f->flags, FAM_PIN_TX);
	if (link_ready(s)) {
		int how = token_take(s, &s->f->tx_token);
		if (s->f->tx_epoch & 1)
			move_down(s, why);
		or_acqrel(&s->chan.my->flags, SM_END_PINNED);
		token_drop(s, &s->f->tx_token, how);
		notify_peer(&s->chan);
	}
	store_relaxed(&s->f->tx_why, why);
}

void move_pin(struct sock *s, enum why why)
{
	move_withdraw(s, why);
	move_pin_tx(s, why);
}

/* Send ring positions [from, to) by the kernel. true: all of it. */
static bool send_from_ring(struct sock *s, uint64_t from, uint64_t to)
{
	while (from != to) {
		size_t off = (from + s->f->tx_shift) & SM_RING_MASK, n = to - from;
		if (n > SM_RING_LEN - off)
			n = SM_RING_LEN - off;
		long r = sys6(SYS_sendto, s->fd, s->chan.tx_ring + off, n, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
		if (r == -EAGAIN) {
			struct pollfd p = {.fd = s->fd, .events = POLLOUT};
			struct timespec ts = {0, ROOM_MS * 1000000L};
			if (sys5(SYS_ppoll, &p, 1, &ts, 0, 0) <= 0)
				return false;
			continue;
		}
		if (r < 0)
			return false;
		from += (uint64_t)r;
	}
	return true;
}

void move_unread_to_kernel(struct sock *s)
{
	uint64_t head = load_acquire(&s->chan.peer->rx_head), tail = load_relaxed(&s->f->tx_tail);
	struct pollfd p = {.fd = s->fd, .events = 0};
	struct timespec zero = {0, 0};
	/* An error that is pending is the program's to see: a send of ours would take it. */
	if (tail - head > SM_RING_LEN || sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 0)
		return;
	send_from_ring(s, head, tail);
}

void move_give_back(struct sock *s)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	int how = token_take(s, &f->tx_token);
	uint32_t want = load_acquire(&c->peer->want_back);
	uint64_t head = load_acquire(&c->peer->rx_head), tail = load_relaxed(&f->tx_tail);
	bool asked = load_acquire(&s->linked) && want != load_relaxed(&c->my->did_back) && tail - head <= SM_RING_LEN;
	if (asked && f->tx_epoch & 1) {
		if (!send_from_ring(s, head, tail)) /* half of it may be on its way: there is no going on */
			sys2(SYS_shutdown, s->fd, SHUT_RDWR);
		store_relaxed(&f->tx_tail, head);
		f->tx_head = head;
		f->tx_rewind = head;
		store_release(&c->my->tx_tail, head);
		move_down(s, WHY_PEER);
		store_release(&c->my->did_back, want);
	}
	token_drop(s, &f->tx_token, how);
	notify_peer(c);
}
