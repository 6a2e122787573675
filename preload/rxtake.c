/* SPDX-License-Identifier: BSD-2-Clause */
/* rxtake.c - taking octets under the rx token: from the kernel's part and the ring's, in the order in which they were sent. */
#include "rxtake.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "dup.h"
#include "end.h"
#include "fast.h"
#include "fault.h"
#include "hold.h"
#include "move.h"
#include "notify.h"
#include "ready.h"
#include "ring.h"
#include "sys.h"
#include "token.h"

/* The same without waiting, under the token: by a raw system call, because who is cancelled in libc's would keep the token for ever. */
static long kernel_look(int fd, const struct iovec *iov, int niov, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)niov};
	return sys3(SYS_recvmsg, fd, &m, flags | MSG_DONTWAIT);
}

/*
 * A call that has octets in hand asks first: a read that finds none would take an error that is the next call's, or that of another process which has the socket. 1: there are some; 0: the
 * end; or -EAGAIN.
 */
static long ask_kernel(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};
	struct timespec zero = {0, 0};
	int in = 0;
	for (bool end = false;; end = true) { /* behind the end there are no more than there were then */
		if (sys3(SYS_ioctl, fd, SIOCINQ, &in) == 0 && in > 0)
			return 1;
		if (end)
			return 0;
		if (sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 1)
			return -EAGAIN;
	}
}

/* The kernel's octets into [done, done + max) of the call's buffers, without waiting. */
static long kernel_part(const struct take *t, size_t max)
{
	int at_mark = 0;
	long any = t->done ? ask_kernel(t->fd) : 1;
	if (any <= 0)
		return any;
	/* A read stops before the urgent mark; behind a switch the mark may be the next octet. */
	if (t->done && sys3(SYS_ioctl, t->fd, SIOCATMARK, &at_mark) == 0 && at_mark)
		return -EAGAIN;
	struct iovec part[t->niov ? t->niov : 1];
	size_t skip = t->done, want = t->len - t->done < max ? t->len - t->done : max;
	int n = 0;
	for (int i = 0; i < t->niov && want; i++) {
		if (skip >= t->iov[i].iov_len) {
			skip -= t->iov[i].iov_len;
			continue;
		}
		size_t l = t->iov[i].iov_len - skip < want ? t->iov[i].iov_len - skip : want;
		part[n].iov_base = (char *)t->iov[i].iov_base + skip;
		part[n++].iov_len = l;
		want -= l;
		skip = 0;
	}
	return kernel_look(t->fd, part, n, t->flags & (MSG_PEEK | MSG_TRUNC));
}

/* Not all of the buffers is there. The kernel hands over whole segments as long as that goes; what a segment is with us is our choice. Octets, or -EFAULT. */
static int64_t parts_until_fault(struct sock *s, const struct take *t, uint64_t head, size_t n)
{
	size_t at = 0;
	while (n - at > PART_LEN &&
		!ring_get_iov(s->chan.rx_ring, head + at + load_relaxed(&s->f->rx_shift), t->iov, t->done + at, PART_LEN))
		at += PART_LEN;
	return at ? (int64_t)at : -EFAULT;
}

/* The ring's octets from position `head` on. rx token held. Octets; 0: empty; -1: nonsense. */
static int64_t ring_part(struct sock *s, struct take *t, uint64_t head)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint64_t tail = f->rx_tail;
	/* The cached tail will do only if it holds all that is asked for: a call returns everything that is there, up to its length. */
	if (tail - head > SM_RING_LEN || tail - head < t->len - t->done || tail == head) {
		f->rx_tail = tail = ring_end(s);
		if (tail - head > SM_RING_LEN)
			return -1;
		if (tail == head)
			return 0;
		store_relaxed(&f->rx_shift, (uint32_t)load_relaxed(&c->peer->tx_shift) & SM_RING_MASK);
	}
	size_t n = tail - head < t->len - t->done ? (size_t)(tail - head) : t->len - t->done;
	if (!(t->flags & MSG_TRUNC) &&
		__builtin_expect(ring_get_iov(c->rx_ring, head + load_relaxed(&f->rx_shift), t->iov, t->done, n), 0))
		return parts_until_fault(s, t, head, n);
	return (int64_t)n;
}

static long end_of_file(struct sock *s, struct take *t)
{
	t->ended = true;
	if (t->done || !t->len) /* a read of nothing gets nothing, whatever is there */
		return 0;
	end_kernel_says(s, POLLRDHUP);
	if (end_take_reset(s))
		return -ECONNRESET;
	return 0;
}

long rx_after_kernel(struct sock *s, struct take *t, long r)
{
	if (r > 0) {
		t->done += (size_t)r;
		if (!(t->flags & MSG_PEEK))
			sock_count_kernel(&s->f->rx_kernel_bytes, &s->rx_kernel, (uint64_t)r);
		return 1;
	}
	if (r == 0)
		return end_of_file(s, t);
	if (r != -EAGAIN)
		t->ended = true;
	/* The kernel says it once; a call that returns octets, or has waited for none, leaves it to the next one. */
	if (r == -ECONNRESET && (t->done || (!t->len && t->slept))) {
		end_keep_reset(s, r);
		return 0;
	}
	return r;
}

/* In an even epoch: read the kernel with consent withdrawn, so that the sender cannot slip past us into the ring (move.h). */
static long read_kernel_safely(struct sock *s, struct take *t)
{
	struct chan *c = &s->chan;
	store_relaxed(&c->my->consent, 0);
	FAULT_POINT("rx: consent withdrawn, before look");
	fence_storeload(); /* faces move_up: epoch, fence, consent */
	long r = -EAGAIN;
	bool same = load_acquire(&c->peer->tx_epoch) == load_relaxed(&s->f->rx_epoch);
	if (same)
		r = kernel_part(t, SIZE_MAX);
	FAULT_POINT("rx: kernel read, before consent");
	if (!(sock_flags(s) & (FAM_PIN_RX | FAM_OFF)) && !hold_rx_inside(s))
		store_release(&c->my->consent, 1);
	return same ? rx_after_kernel(s, t, r) : 1;
}

/*
 * The kernel has octets that no epoch has announced, in an odd one. Last words that were written since we looked at the ring, or a switch; or the duplicate of what we have read.
 * Nothing else is honest.
 */
static long octets_behind(struct sock *s)
{
	const struct sm_end *peer = s->chan.peer;
	uint32_t dropped = load_relaxed(&s->f->rx_dropped);
	if (load_acquire(&peer->tx_epoch) != load_relaxed(&s->f->rx_epoch) || ring_end(s) != load_relaxed(&s->f->rx_head))
		return 1;
	dup_drop(s);
	return load_relaxed(&s->f->rx_dropped) != dropped ? 1 : -ECONNRESET;
}

/* The ring is empty in an odd epoch: is that the end? Only asked when somebody said so: a look at the kernel socket. */
static long ring_empty(struct sock *s, struct take *t)
{
	struct chan *c = &s->chan;
	if (!(load_relaxed(&s->look) || load_relaxed(&s->hup) || sock_flags(s) & FAM_RD_SHUT ||
		    load_relaxed(&c->peer->flags) & (SM_END_FIN | SM_END_CLOSED)))
		return -EAGAIN;
	if (load_acquire(&c->peer->tx_epoch) != load_relaxed(&s->f->rx_epoch) || ring_end(s) != load_relaxed(&s->f->rx_head))
		return 1; /* it wrote, or went down, before it ended */
	char octet;
	struct iovec one = {&octet, 1};
	store_relaxed(&s->look, 0);
	fence_storeload(); /* what the service thread sees from here on, it says again */
	FAULT_POINT("rx: look taken, before kernel asked");
	long r = kernel_look(t->fd, &one, 1, MSG_PEEK);
	if (r > 0)
		return octets_behind(s);
	if (r != -EAGAIN)
		store_relaxed(&s->look, 1);
	if (r == 0 && (ring_end(s) != load_relaxed(&s->f->rx_head) ||
			      load_acquire(&c->peer->tx_epoch) != load_relaxed(&s->f->rx_epoch)))
		return 1; /* last words, written since we looked */
	if (r == 0 && t->len == t->done)
		return 0;
	return rx_after_kernel(s, t, r);
}

long rx_nonsense(struct sock *s)
{
	or_acqrel(&s->f->flags, FAM_BROKEN);
	store_relaxed(&s->f->rx_why, WHY_BROKEN);
	return -ECONNRESET;
}

/* A peek has seen all of a ring that its writer has left. The kernel has the same octets once more, and then those that follow; or the latter alone. */
static void peek_behind(struct sock *s, struct take *t)
{
	size_t ring = t->done;
	if (!dup_drop(s))
		return;
	if (load_relaxed(&s->chan.peer->dup_len) && dup_marked(s))
		t->done = 0;
	long r = kernel_part(t, SIZE_MAX);
	if (r > 0)
		t->done += (size_t)r;
	if (t->done < ring)
		t->done = ring;
	if (r < 0) /* a reset, which the kernel has told now, is the next call's */
		rx_after_kernel(s, t, r);
}

/*
 * A peek has seen all of the ring, and somebody said that there is news in the kernel's socket: is it the end? Octets there are a duplicate that the writer is just making; that it has left
 * the ring, it says when it has.
 */
static void peek_end(struct sock *s, struct take *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLRDHUP};
	struct timespec zero = {0, 0};
	store_relaxed(&s->look, 0);
	fence_storeload(); /* as in ring_empty; not by a read, which would take an error that is the next call's */
	if (sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 1)
		return;
	store_relaxed(&s->look, 1);
	t->ended = ring_end(s) == s->f->rx_tail && load_acquire(&s->chan.peer->tx_epoch) == load_relaxed(&s->f->rx_epoch);
}

/*
 * PEEK looks through the kernel part into the ring part, and through a ring that its writer has left into the kernel's: without moving anything, so with
 * positions of its own. rx token held.
 */
long rx_peek(struct sock *s, struct take *t)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint64_t kleft = 0;
	enum move_where at = move_follow(s, &kleft);
	if (at == IN_NONSENSE)
		return rx_nonsense(s);
	if (at == IN_KERNEL)
		return read_kernel_safely(s, t);
	if (at == IN_DUP)
		return -EAGAIN;
	if (at == IN_KERNEL_UPTO) {
		long r = rx_after_kernel(s, t, kernel_part(t, kleft));
		if (r != 1 || t->done < kleft || t->done == t->len)
			return r;
	}
	int64_t n = ring_part(s, t, load_relaxed(&f->rx_head));
	if (n < 0)
		return n == -EFAULT ? n : rx_nonsense(s);
	t->done += (size_t)n;
	if (!t->done && f->rx_tail == load_relaxed(&f->rx_head))
		return ring_empty(s, t);
	/* Has the writer left this ring, and are its last octets in view? Then the kernel's follow, if we may look there. */
	bool left = !(load_acquire(&c->peer->tx_epoch) & 1) &&
		    load_relaxed(&f->rx_head) + (uint64_t)n == load_relaxed(&c->peer->down_rpos);
	if (at == IN_RING && left && t->done < t->len)
		peek_behind(s, t);
	else if (at == IN_RING && load_relaxed(&s->look) && t->done < t->len)
		peek_end(s, t);
	return 1;
}

long rx_take(struct sock *s, struct take *t)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint32_t epoch = load_relaxed(&f->rx_epoch);
	if (__builtin_expect(epoch & 1, 1)) {
		uint64_t head = load_relaxed(&f->rx_head);
		int64_t n = ring_part(s, t, head);
		if (__builtin_expect(n > 0 || (n == 0 && f->rx_tail != head), 1)) {
			if (!rx_commit(s, head, (size_t)n))
				return 1; /* a handler on this thread read these octets: ours are the next */
			t->done += (size_t)n;
			if (__builtin_expect(load_relaxed(&c->peer->tx_want), 0))
				notify_peer(c);
			return 1;
		}
		if (n < 0)
			return n == -EFAULT ? n : rx_nonsense(s);
	}
	uint64_t kleft = 0;
	switch (move_follow(s, &kleft)) {
	case IN_KERNEL:
		return read_kernel_safely(s, t);
	case IN_KERNEL_UPTO: {
		long r = kernel_part(t, kleft);
		FAULT_POINT("rx: kernel's rest read, before counted");
		/* Behind the last one the ring is next, also for threads that sleep until the kernel gives its part. */
		if (r > 0 && sub_acqrel(&f->rx_kleft, (uint64_t)r) == (uint64_t)r)
			notify_own(c);
		return rx_after_kernel(s, t, r);
	}
	case IN_RING:
		return load_relaxed(&f->rx_epoch) != epoch || ring_end(s) != load_relaxed(&f->rx_head) ? 1 : ring_empty(s, t);
	case IN_DUP:
		return -EAGAIN;
	default:
		return rx_nonsense(s);
	}
}
