/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rx.c - receiving from a connected stream: kernel part and ring part as one sequence of octets, under one token, asleep without it.
 *
 * Each turn takes what is there (take_some), and otherwise waits for a reason to look again: a futex that the sender's bell, the service thread (hang-up, input on the
 * kernel socket) and close() ring. A handler that has run ends a call that has nothing to return (sig.h), unless it was installed with SA_RESTART and the socket has no time
 * limit. FUTEX_WAIT itself behaves in the same way, for handlers that we do not know of.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "assoc.h"
#include "bell.h"
#include "dup.h"
#include "end.h"
#include "fast.h"
#include "leave.h"
#include "link.h"
#include "move.h"
#include "notify.h"
#include "ready.h"
#include "real.h"
#include "ring.h"
#include "rx.h"
#include "sig.h"
#include "spin.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"
#include "token.h"
#include "trial.h"

#define KERNEL_FLAGS                                                                                                           \
	(MSG_OOB | MSG_ERRQUEUE) /* the kernel answers these; all other flags mean nothing to a stream, or are served */

#define MAX_IDLE 1000 /* turns of one call without progress, before the peer is taken for hostile */

/* One call's progress. */
struct take {
	const struct iovec *iov;
	int niov, fd, flags;
	size_t len;  /* of the buffers */
	size_t done; /* octets handed over (PEEK: looked at) */
	bool ended;  /* end of file, or an error after some octets: do not wait for more */
	struct sig_mark since;
};

static long kernel_recv(int fd, const struct iovec *iov, int niov, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)niov};
	int e = errno;
	ssize_t r = real.recvmsg(fd, &m, flags);
	if (r < 0) {
		r = -errno;
		errno = e;
	}
	return r;
}

static bool may_wait(const struct sock *s, const struct take *t)
{
	return !(t->flags & MSG_DONTWAIT || sock_flags(s) & FAM_NONBLOCK);
}

/* As a call that may wait: what is there wins, then a handler that has run ends it. */
static long kernel_wait(struct sock *s, struct take *t)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)t->iov, .msg_iovlen = (size_t)t->niov};
	for (;;) {
		long r = sig_sleep(t->since, SYS_recvmsg, t->fd, SIG_ARG(&m), t->flags, 0, 0, 0);
		if (r != SIG_CAME)
			return r;
		r = kernel_recv(t->fd, t->iov, t->niov, t->flags | MSG_DONTWAIT);
		if (r != -EAGAIN || !may_wait(s, t))
			return r;
		if (sig_ends(&t->since, false, t->fd, SO_RCVTIMEO))
			return -EINTR;
	}
}

/* The same without waiting, under the token: by a raw system call, because who is cancelled in libc's would keep the token for ever. */
static long kernel_look(int fd, const struct iovec *iov, int niov, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)niov};
	return sys3(SYS_recvmsg, fd, &m, flags | MSG_DONTWAIT);
}

/* The kernel's octets into [done, done + max) of the call's buffers, without waiting. */
static long kernel_part(const struct take *t, size_t max)
{
	int at_mark = 0;
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
		f->rx_tail = tail = load_acquire(&c->peer->tx_tail);
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

/* The kernel answered r to a read of its part. 1: go on; else the call's result (0: end of file, or nothing there: -EAGAIN). */
static long after_kernel(struct sock *s, struct take *t, long r)
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
	return r;
}

/* In an even epoch: read the kernel with consent withdrawn, so that the sender cannot slip past us into the ring (move.h). */
static long read_kernel_safely(struct sock *s, struct take *t)
{
	struct chan *c = &s->chan;
	store_relaxed(&c->my->consent, 0);
	fence_storeload(); /* faces move_up: epoch, fence, consent */
	long r = -EAGAIN;
	bool same = load_acquire(&c->peer->tx_epoch) == load_relaxed(&s->f->rx_epoch);
	if (same)
		r = kernel_part(t, SIZE_MAX);
	if (!(sock_flags(s) & FAM_PIN_RX) && !load_acquire(&s->f->rx_inkernel))
		store_release(&c->my->consent, 1);
	return same ? after_kernel(s, t, r) : 1;
}

/*
 * The kernel has octets that no epoch has announced, in an odd one. Last words that were written since we looked at the ring, or a switch; or the duplicate of what we have read.
 * Nothing else is honest.
 */
static long octets_behind(struct sock *s)
{
	const struct sm_end *peer = s->chan.peer;
	uint32_t dropped = load_relaxed(&s->f->rx_dropped);
	if (load_acquire(&peer->tx_epoch) != load_relaxed(&s->f->rx_epoch) ||
		load_acquire(&peer->tx_tail) != load_relaxed(&s->f->rx_head))
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
	if (load_acquire(&c->peer->tx_epoch) != load_relaxed(&s->f->rx_epoch) ||
		load_acquire(&c->peer->tx_tail) != load_relaxed(&s->f->rx_head))
		return 1; /* it wrote, or went down, before it ended */
	char octet;
	struct iovec one = {&octet, 1};
	store_relaxed(&s->look, 0);
	fence_storeload(); /* what the service thread sees from here on, it says again */
	long r = kernel_look(t->fd, &one, 1, MSG_PEEK);
	if (r > 0)
		return octets_behind(s);
	if (r != -EAGAIN)
		store_relaxed(&s->look, 1);
	if (r == 0 && (load_acquire(&c->peer->tx_tail) != load_relaxed(&s->f->rx_head) ||
			      load_acquire(&c->peer->tx_epoch) != load_relaxed(&s->f->rx_epoch)))
		return 1; /* last words, written since we looked */
	if (r == 0 && t->len == t->done)
		return 0;
	return after_kernel(s, t, r);
}

static long nonsense(struct sock *s)
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
}

/*
 * PEEK looks through the kernel part into the ring part, and through a ring that its writer has left into the kernel's: without moving anything, so with
 * positions of its own. rx token held.
 */
static long peek_some(struct sock *s, struct take *t)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint64_t kleft = 0;
	enum move_where at = move_follow(s, &kleft);
	if (at == IN_NONSENSE)
		return nonsense(s);
	if (at == IN_KERNEL)
		return read_kernel_safely(s, t);
	if (at == IN_DUP)
		return -EAGAIN;
	if (at == IN_KERNEL_UPTO) {
		long r = after_kernel(s, t, kernel_part(t, kleft));
		if (r != 1 || t->done < kleft || t->done == t->len)
			return r;
	}
	int64_t n = ring_part(s, t, load_relaxed(&f->rx_head));
	if (n < 0)
		return n == -EFAULT ? n : nonsense(s);
	t->done += (size_t)n;
	if (!t->done && f->rx_tail == load_relaxed(&f->rx_head))
		return ring_empty(s, t);
	/* Has the writer left this ring, and are its last octets in view? Then the kernel's follow, if we may look there. */
	bool left = !(load_acquire(&c->peer->tx_epoch) & 1) &&
		    load_relaxed(&f->rx_head) + (uint64_t)n == load_relaxed(&c->peer->down_rpos);
	if (at == IN_RING && left && t->done < t->len)
		peek_behind(s, t);
	return 1;
}

/*
 * Take what is there into the call's buffers. rx token held. 1: progress, or reason to look again; 0: end of file; -EAGAIN: nothing (more) there;
 * another -errno.
 */
static long take_some(struct sock *s, struct take *t)
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
			return n == -EFAULT ? n : nonsense(s);
	}
	uint64_t kleft = 0;
	switch (move_follow(s, &kleft)) {
	case IN_KERNEL:
		return read_kernel_safely(s, t);
	case IN_KERNEL_UPTO: {
		long r = kernel_part(t, kleft);
		/* Behind the last one the ring is next, also for threads that sleep until the kernel gives its part. */
		if (r > 0 && sub_acqrel(&f->rx_kleft, (uint64_t)r) == (uint64_t)r)
			notify_own(c);
		return after_kernel(s, t, r);
	}
	case IN_RING:
		return load_relaxed(&f->rx_epoch) != epoch || load_acquire(&c->peer->tx_tail) != load_relaxed(&f->rx_head)
			       ? 1
			       : ring_empty(s, t);
	case IN_DUP:
		return -EAGAIN;
	default:
		return nonsense(s);
	}
}

/* The kernel owes octets of an up that is on record: only it can bring news. */
static bool kernel_owes(const struct sock *s, uint32_t epoch)
{
	return load_acquire(&s->f->rx_kepoch) == epoch + 1 && load_relaxed(&s->f->rx_kleft);
}

/* Something to look at without a system call: the second look of a sleeper, and the condition of a spin. */
static bool any_news(struct sock *s)
{
	struct chan *c = &s->chan;
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	if (!(epoch & 1) && kernel_owes(s, epoch))
		return load_relaxed(&s->look) || !load_relaxed(&s->linked);
	return load_acquire(&c->peer->tx_tail) != load_relaxed(&s->f->rx_head) ||
	       (load_relaxed(&c->peer->tx_epoch) != load_relaxed(&s->f->rx_epoch) && !dup_owed(s)) || load_relaxed(&s->look) ||
	       !load_relaxed(&s->linked);
}

/* After a wait that took a while: is it what we had asked for? */
static void woken(struct sock *s)
{
	if (load_relaxed(&s->f->rx_epoch) & 1 && ring_unread_by_us(s))
		trial_woken(s);
}

static bool spin_for_news(struct sock *s)
{
	struct spin_run r;
	if (!spin_begin(&s->spin, &r, sock_spin_pays(s, spin_cpu())))
		return false;
	bool hit = any_news(s);
	while (!hit && spin_again(&r)) {
		ready_prefetch(s);
		hit = any_news(s);
	}
	spin_end(&s->spin, &r, hit);
	if (hit && r.start)
		woken(s);
	return hit;
}

/* SO_RCVTIMEO as the kernel has it now; -1: none. */
static int64_t ask_timeout(const struct sock *s)
{
	struct timeval tv = {0, 0};
	socklen_t len = sizeof(tv);
	if (sys5(SYS_getsockopt, s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len) < 0 || (!tv.tv_sec && !tv.tv_usec))
		return -1;
	return tv.tv_sec * INT64_C(1000000000) + tv.tv_usec * INT64_C(1000);
}

void rx_timeout_changed(struct sock *s)
{
	store_relaxed(&s->f->rcvtimeo_ns, ask_timeout(s));
}

/* Absolute end of SO_RCVTIMEO; 0: none. An accepted socket has its listener's, so the first sleep asks; it does not overwrite what a setsockopt has noted meanwhile. */
static int64_t deadline_of(struct sock *s)
{
	int64_t t = load_relaxed(&s->f->rcvtimeo_ns);
	if (!t) {
		t = ask_timeout(s);
		cas_acqrel(&s->f->rcvtimeo_ns, INT64_C(0), t);
	}
	return t < 0 ? 0 : now_ns() + t;
}

/*
 * Sleep until there may be something new. 0: look again; -EINTR, -EAGAIN (time-out). No token held. `tail` is the ring's tail that the last look has seen.
 *
 * In an odd epoch only the ring, or its end, can bring news, and the sender's bell tells of it. In an even one the kernel socket can too: the service thread watches it
 * for us and wakes the same futex. While the kernel still owes octets of an up that is on record, or of a duplicate behind a ring that has been read, only the kernel socket matters.
 */
static long sleep_for_news(struct sock *s, int64_t *deadline, uint64_t tail, bool partly, struct sig_mark since)
{
	struct chan *c = &s->chan;
	int64_t rel = -1;
	if (*deadline < 0)
		*deadline = deadline_of(s);
	svc_watch(s);
	uint32_t val = load_acquire(&c->my->futex), epoch = load_relaxed(&s->f->rx_epoch);
	or_acqrel(&c->my->armed, SM_ARM_FUTEX);
	fence_for_sender(c); /* faces the sender: publish, fence, armed */
	if (!load_relaxed(&s->linked))
		return 0;
	if (dup_owed(s)) {
		svc_want_input(s);
	} else if (epoch & 1) {
		if (load_acquire(&c->peer->tx_tail) != tail || load_relaxed(&c->peer->tx_epoch) != epoch ||
			load_relaxed(&s->look))
			return 0;
	} else {
		if (load_relaxed(&c->peer->tx_epoch) != epoch && !kernel_owes(s, epoch))
			return 0;
		svc_want_input(s);
	}
	if (*deadline && (rel = *deadline - now_ns()) <= 0)
		return -EAGAIN;
	if (partly && rel < 0)
		rel = INT64_MAX /
		      2; /* a wait with a time-out is never restarted: a call that has octets in hand returns them */
	stats_sleep();
	svc_stir();
	long r = sig_futex(since, &c->my->futex, val, rel);
	return r == -ETIMEDOUT ? -EAGAIN : r == -EINTR ? -EINTR : 0;
}

/* How much a call waits for: all with MSG_WAITALL, else SO_RCVLOWAT, at least one octet. */
static size_t target_of(const struct sock *s, const struct take *t)
{
	size_t low = load_relaxed(&s->f->lowat);
	if (t->flags & MSG_WAITALL && t->len)
		return t->len;
	return low < t->len ? (low ? low : 1) : t->len ? t->len : 1;
}

/* The direction is in the kernel and will not leave it: the kernel's own call is the best there is. */
static bool stays_in_kernel(struct sock *s)
{
	struct chan *c = &s->chan;
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	/* Pinned first, the epoch afterwards: the peer may have been in the ring once more before it was pinned. */
	if (epoch & 1 || !(load_acquire(&c->peer->flags) & SM_END_PINNED || sock_flags(s) & FAM_PIN_RX))
		return false;
	return load_acquire(&c->peer->tx_epoch) == epoch;
}

/*
 * The channel rests (trial.h): sleep in the kernel's own call all the same, though the peer may want to come up meanwhile. Without our consent it cannot; under the token, so
 * that no other reader gives it behind our back. true: *r is the call's result.
 */
static bool rest_in_kernel(struct sock *s, struct take *t, long *r)
{
	struct fam_sock *f = s->f;
	int how = token_take(s, &f->rx_token);
	bool rests = load_acquire(&s->linked) && fd_sock(t->fd) == s && how != TOKEN_NESTED;
	if (rests) {
		add_acqrel(&f->rx_inkernel, 1u);
		store_relaxed(&s->chan.my->consent, 0);
		fence_storeload(); /* faces move_up: epoch, fence, consent */
	}
	bool same = rests && load_acquire(&s->chan.peer->tx_epoch) == load_relaxed(&f->rx_epoch);
	token_drop(s, &f->rx_token, how);
	if (same)
		*r = kernel_wait(s, t);
	if (rests)
		rx_kernel_leave(s);
	if (!same)
		return false;
	if (*r > 0)
		trial_woken(s);
	if ((*r = after_kernel(s, t, *r)) == 1)
		*r = (long)t->done;
	return true;
}

/* May a call that waits, and has nothing in hand, rest in the kernel? */
static bool may_rest(struct sock *s, const struct take *t)
{
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	return !t->done && !(epoch & 1) && trial_rests(s) && t->len && may_wait(s, t) && !(t->flags & MSG_PEEK) &&
	       load_acquire(&s->chan.peer->tx_epoch) == epoch;
}

/* One turn under the token: as take_some, or -EBADF when the socket is not what it was. */
static long turn(struct sock *s, struct take *t, uint64_t *tail)
{
	int how = token_take(s, &s->f->rx_token);
	long r = -EBADF;
	if (__builtin_expect(load_acquire(&s->linked) && fd_sock(t->fd) == s, 1))
		r = t->flags & MSG_PEEK ? peek_some(s, t) : take_some(s, t);
	*tail = s->f->rx_tail;
	token_drop(s, &s->f->rx_token, how);
	return r;
}

/* There may be more at hand behind a switch, which a reader cannot tell from one sequence of octets. */
static bool switch_ahead(struct sock *s)
{
	return load_relaxed(&s->chan.peer->tx_epoch) != load_relaxed(&s->f->rx_epoch);
}

static long recv_linked(struct sock *s, struct take *t)
{
	size_t target = target_of(s, t);
	bool wait = may_wait(s, t);
	int64_t deadline = -1;
	size_t had = 0;
	long r, over = 0; /* over: -errno: this is the last look */
	for (uint32_t idle = 0;;) {
		uint64_t tail;
		if (__builtin_expect(stays_in_kernel(s) && !t->done, 0))
			return kernel_wait(s, t);
		if (__builtin_expect(may_rest(s, t), 0) && rest_in_kernel(s, t, &r))
			return r;
		if (t->flags & MSG_PEEK)
			t->done = 0;
		r = turn(s, t, &tail);
		if (__builtin_expect(r == 1, 1)) {
			if (t->done == t->len && (t->len || tail != load_relaxed(&s->f->rx_head)))
				break;
			if (t->done >= target && (t->flags & MSG_PEEK || !switch_ahead(s)))
				break;
			/* Reasons to look again that lead to nothing: an honest peer's are a few. */
			idle = t->done == had ? idle + 1 : 0;
			had = t->done;
			if (idle > MAX_IDLE)
				return nonsense(s);
			if (!(t->flags & MSG_PEEK) || !t->done)
				continue;
			r = -EAGAIN; /* a look that has not seen enough: the same octets again, when there are more */
		}
		if (r == -EBADF && fd_sock(t->fd) == s)
			link_stop(s);
		if (r == -EBADF && !t->done) /* closed by another thread: not what has the number now */
			return fd_sock(t->fd) == s || leave_done() ? kernel_wait(s, t) : -EBADF;
		if (r != -EAGAIN || t->ended || t->done >= target || !wait) {
			if (!t->done && r < 0 && !wait)
				svc_watch(s);
			return t->done ? (long)t->done : r;
		}
		if (!over && sig_ends(&t->since, t->done, t->fd, SO_RCVTIMEO))
			over = -EINTR;
		if (over) /* who waits to read nothing gets it, however the wait ends */
			return t->done || !t->len ? (long)t->done : over;
		sock_publish_cpu(&s->chan);
		if (!(t->flags & MSG_PEEK && t->done) && spin_for_news(s)) {
			/* What an awake reader has waited for is nearly always one message, in the ring: no detour now. */
			if (t->niov == 1 && !t->done && !t->flags && t->len >= target &&
				(r = fast_recv(s, t->fd, t->iov->iov_base, t->len)) != FAST_NO)
				return r;
			continue;
		}
		over = sleep_for_news(s, &deadline, tail, t->done && !(t->flags & MSG_PEEK), t->since);
		woken(s);
	}
	return (long)t->done;
}

void rx_kernel_enter(struct sock *s)
{
	add_acqrel(&s->f->rx_inkernel, 1u);
	fence_storeload(); /* faces publish_link: link, fence, rx_inkernel */
}

void rx_kernel_leave(struct sock *s)
{
	if (sub_acqrel(&s->f->rx_inkernel, 1u) == 1 && load_acquire(&s->f->link) == 2 && link_ready(s))
		link_consent(s);
}

static long recv_unlinked(struct sock *s, struct take *t)
{
	if (link_try(s, 0))
		return recv_linked(s, t);
	rx_kernel_enter(s);
	if (load_acquire(&s->f->link) == 2) {
		rx_kernel_leave(s);
		return link_ready(s) ? recv_linked(s, t) : kernel_wait(s, t);
	}
	long r = kernel_wait(s, t);
	rx_kernel_leave(s);
	if (r > 0 && !(t->flags & MSG_PEEK))
		sock_count_kernel(&s->f->rx_kernel_bytes, &s->rx_kernel, (uint64_t)r);
	return r;
}

long rx_recv(struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since)
{
	struct take t = {.iov = iov, .niov = niov, .fd = fd, .flags = flags, .len = iov_len(iov, niov), .since = since};
	if (__builtin_expect(flags & KERNEL_FLAGS || sock_flags(s) & FAM_LISTEN, 0))
		return kernel_recv(fd, iov, niov, flags);
	if (__builtin_expect(link_ready(s), 1))
		return recv_linked(s, &t);
	if (!s->endpoint && !s->server) {
		sock_note(s);
		long r = kernel_recv(fd, iov, niov, flags);
		if (r > 0 && !(flags & MSG_PEEK))
			sock_count_kernel(&s->f->rx_kernel_bytes, &s->rx_kernel, (uint64_t)r);
		return r;
	}
	return recv_unlinked(s, &t);
}
