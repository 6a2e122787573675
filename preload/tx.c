/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tx.c - sending on a connected stream: into the ring, or into the kernel.
 *
 * A full ring is not a full socket: the kernel would take megabytes more before it says EAGAIN or blocks. So a writer that finds no space waits a moment for a
 * reader that is at work, and then goes down: the kernel buffers, blocks, times out and is interrupted as ever.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "assoc.h"
#include "bell.h"
#include "end.h"
#include "fast.h"
#include "fault.h"
#include "hold.h"
#include "link.h"
#include "move.h"
#include "notify.h"
#include "real.h"
#include "ring.h"
#include "sig.h"
#include "stats.h"
#include "svc.h"
#include "switch.h"
#include "token.h"
#include "trial.h"

#define REWIND_AT 2048 /* rather start over at the ring's beginning than touch more pages, when it is empty */
#define REWIND_STEPS                                                                                                           \
	6 /* a ring that is never empty is asked less and less often: at last every REWIND_AT << REWIND_STEPS octets */
#define PATIENCE_NS 2000000 /* how long a blocking writer waits for a reader that takes nothing, before it goes down */
#define SLEEP_NS 500000	    /* one nap while waiting for space: bounded, so that no fence is owed by the reader */

/* Flags that shared memory cannot imitate: the direction goes down and stays there. All others mean nothing to a stream, or are served. */
#define KERNEL_FLAGS (MSG_OOB | MSG_ZEROCOPY | MSG_FASTOPEN)

/* The rest of an iovec array behind `skip` octets: copied into `out` (room for n). Number of entries. */
static int iov_rest(struct iovec *out, const struct iovec *iov, int n, size_t skip)
{
	int m = 0;
	for (int i = 0; i < n; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		out[m].iov_base = (char *)iov[i].iov_base + skip;
		out[m++].iov_len = iov[i].iov_len - skip;
		skip = 0;
	}
	return m;
}

static long kernel_send(int fd, const struct msghdr *m, int flags)
{
	int e = errno;
	ssize_t r = real.sendmsg(fd, m, flags);
	if (r < 0) {
		r = -errno;
		errno = e;
	}
	return r;
}

static bool not_blocking(const struct sock *s, int flags)
{
	return flags & MSG_DONTWAIT || sock_is_nonblock(s);
}

/* One call of the program's, and how far it has come. */
struct put {
	const struct iovec *iov;
	int niov, fd, flags;
	size_t len, done;
	struct sig_mark since;
};

/* The rest of the call by the kernel; as a call that may wait: a handler that has run ends it when there is no room. */
static long kernel_rest(const struct sock *s, struct put *p)
{
	struct iovec rest[p->niov ? p->niov : 1];
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)p->iov, .msg_iovlen = (size_t)p->niov};
	int flags = p->done ? p->flags | MSG_NOSIGNAL : p->flags;
	if (p->done) {
		m.msg_iov = rest;
		m.msg_iovlen = (size_t)iov_rest(rest, p->iov, p->niov, p->done);
	}
	for (;;) {
		long r = sig_sleep(p->since, SYS_sendmsg, p->fd, SIG_ARG(&m), flags, 0, 0, 0);
		if (r != SIG_CAME)
			return r;
		r = kernel_send(p->fd, &m, flags | MSG_DONTWAIT);
		if (r != -EAGAIN || not_blocking(s, flags))
			return r;
		if (sig_ends(&p->since, p->done, p->fd, SO_SNDTIMEO))
			return -EINTR;
	}
}

/* tx token held by `how`. Drops it; counts itself as inside the kernel, so that nobody goes up meanwhile. */
static long send_by_kernel(struct sock *s, int how, struct put *p)
{
	struct fam_sock *f = s->f;
	if (load_acquire(&s->linked))
		move_look_back(s);
	_Atomic uint16_t *inside = hold_tx_enter(s); /* s may be another's when we are back */
	token_drop(s, &f->tx_token, how);
	FAULT_POINT("tx: in kernel, before sent");
	long r = kernel_rest(s, p);
	FAULT_POINT("tx: sent by kernel, before counted");
	if (r > 0)
		sock_count_kernel(&f->tx_kernel_bytes, &s->tx_kernel, (uint64_t)r);
	/* Who blocks does not say for what. (Where others may have changed O_NONBLOCK unseen the moment is not looked at, or is stored in any case.) */
	if (r != (long)(p->len - p->done) || !(p->flags & MSG_DONTWAIT || sock_flags(s) & FAM_NONBLOCK) || s->arrived)
		store_relaxed(&f->tx_met_ns, now_ns());
	hold_leave_kernel(inside);
	if (r >= 0)
		return (long)p->done + r;
	if (!p->done)
		return r;
	if (fd_sock(p->fd) == s)
		end_keep_reset(s, r);
	return (long)p->done;
}

void tx_kernel_enter(struct sock *s)
{
	struct fam_sock *f = s->f;
	link_ready(s);
	int how = token_take(s, &f->tx_token);
	if (f->tx_epoch & 1 && !load_acquire(&s->linked)) { /* another process has linked it this moment */
		token_drop(s, &f->tx_token, how);
		link_ready(s);
		how = token_take(s, &f->tx_token);
	}
	bool linked = load_acquire(&s->linked);
	if (linked)
		move_look_back(s);
	bool down = f->tx_epoch & 1 && linked;
	if (down)
		move_down(s, WHY_CALL);
	hold_tx_enter(s);
	token_drop(s, &f->tx_token, how);
	if (down)
		notify_peer(&s->chan); /* it may sleep on the ring alone */
}

void tx_kernel_leave(struct sock *s, long r)
{
	if (r > 0)
		sock_count_kernel(&s->f->tx_kernel_bytes, &s->tx_kernel, (uint64_t)r);
	store_relaxed(&s->f->tx_met_ns, now_ns());
	hold_tx_leave(s);
}

/* Space in the ring, as far as the reader has published. -1: the reader wrote nonsense. */
static int64_t ring_room(struct sock *s, uint64_t tail, size_t want)
{
	struct fam_sock *f = s->f;
	if (tail - f->tx_head > f->tx_room || f->tx_room - (tail - f->tx_head) < want) {
		uint64_t head = load_acquire(&s->chan.peer->rx_head);
		if (tail - head > SM_RING_LEN)
			return -1;
		f->tx_head = head;
	}
	return tail - f->tx_head < f->tx_room ? (int64_t)(f->tx_room - (tail - f->tx_head)) : 0;
}

/*
 * An empty ring may start over: everything that was written has been read, so no reader is using an offset. The reader loads tx_shift after the tail that
 * it belongs to (acquire), and the shift stays until all that is read again.
 */
static void maybe_rewind(struct sock *s, uint64_t tail)
{
	struct fam_sock *f = s->f;
	if (load_acquire(&s->chan.peer->rx_head) == tail) {
		f->tx_head = tail;
		f->tx_shift = (uint32_t)(0 - tail) & SM_RING_MASK;
		FAULT_POINT("tx: ring empty, before shift");
		store_relaxed(&s->chan.my->tx_shift, f->tx_shift);
		FAULT_POINT("tx: shift, before octets");
		f->tx_step = 0;
	} else if (f->tx_step < REWIND_STEPS) {
		f->tx_step++;
	}
	f->tx_rewind = tail + (REWIND_AT << f->tx_step);
}

/* From `tail` on, how far the fast path may go: not beyond the ring's end, what the reader has made free, or the next try to start over. */
static void set_limit(struct fam_sock *f, uint64_t tail)
{
	uint64_t limit = tail + SM_RING_LEN - ((tail + f->tx_shift) & SM_RING_MASK);
	if (limit > f->tx_head + f->tx_room)
		limit = f->tx_head + f->tx_room;
	f->tx_limit = limit < f->tx_rewind ? limit : f->tx_rewind;
}

/* The reader can only run when we do not: the parts of a long write would make it wake, and sleep, for each. */
static bool on_our_cpu(const struct chan *c)
{
	return (int)load_relaxed(&c->peer->cpu) == spin_cpu() + 1;
}

enum { PUT_FAULT = -2, PUT_BROKEN = -1, PUT_FULL = 0 };

/* Copy what fits (of a long write: a part), commit, publish. tx token held, epoch odd. Octets, PUT_FULL, PUT_BROKEN, or PUT_FAULT: the part is not all there, nothing of it goes. */
static int64_t ring_send(struct sock *s, const struct iovec *iov, size_t skip, size_t len)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	for (;;) {
		uint64_t tail = load_relaxed(&f->tx_tail);
		if (__builtin_expect(tail >= f->tx_rewind, 0))
			maybe_rewind(s, tail);
		int64_t room = ring_room(s, tail, len);
		if (room <= 0)
			return room < 0 ? PUT_BROKEN : PUT_FULL;
		size_t part = len < LONG_PART_LEN ? PART_LEN : LONG_PART_LEN;
		size_t n = (!skip && len <= WHOLE_MAX) || len < part || on_our_cpu(c) ? len : part;
		if (n > (size_t)room)
			n = (size_t)room;
		bool bad = ring_put_iov(c->tx_ring, tail + f->tx_shift, iov, skip, n);
		if (__builtin_expect(bad && n > PART_LEN && len > WHOLE_MAX, 0)) /* as much of it as is there goes */
			bad = ring_put_iov(c->tx_ring, tail + f->tx_shift, iov, skip, n = PART_LEN);
		if (__builtin_expect(bad, 0))
			return PUT_FAULT;
		if (!tx_commit(s, tail, n))
			continue;
		set_limit(f, tail + n);
		return (int64_t)n;
	}
}

/* A reader that is at work on another CPU makes room within the time that a system call takes. */
static bool spin_for_room(struct sock *s)
{
	struct chan *c = &s->chan;
	uint64_t head = load_relaxed(&c->peer->rx_head);
	struct spin_run r;
	struct spin once = {0};
	if (!spin_begin(&once, &r, !on_our_cpu(c)))
		return false;
	bool hit = false;
	while (!hit && spin_again(&r))
		hit = load_relaxed(&c->peer->rx_head) != head;
	spin_end(&once, &r, hit);
	return hit;
}

/* true: there may be space now, or a handler has run. false: patience is over; or a handler that we do not know of has run, which is the kernel's to judge. */
static bool wait_for_room(struct sock *s, struct sig_mark mark, int64_t *since, uint64_t *seen)
{
	struct chan *c = &s->chan;
	uint64_t head = load_acquire(&c->peer->rx_head);
	int64_t now = now_ns();
	/* Where a time-out counts, only the kernel knows how long it has waited for a reader that takes a little now and then. */
	if (!*since || (head != *seen && !(sock_flags(s) & FAM_TIMED))) {
		*seen = head;
		*since = now;
	}
	if (now - *since > PATIENCE_NS || load_relaxed(&s->hup))
		return false;
	if (spin_for_room(s))
		return true;
	uint32_t val = load_acquire(&c->my->futex);
	or_acqrel(&c->my->armed, SM_ARM_FUTEX);
	FAULT_POINT("tx: armed, before want");
	store_release(&c->my->tx_want, 1);
	fence_storeload();
	long r = 0;
	if (load_acquire(&c->peer->rx_head) == head) {
		stats_sleep();
		FAULT_POINT("tx: want, before sleep");
		r = sig_futex(mark, &c->my->futex, val, SLEEP_NS);
	}
	store_relaxed(&c->my->tx_want, 0);
	return r != -EINTR || sig_since(mark);
}

void tx_unsend(struct sock *s)
{
	struct fam_sock *f = s->f;
	int how = token_take(s, &f->tx_token);
	move_look_back(s);
	uint32_t its = load_acquire(&s->chan.peer->flags); /* and behind CLOSED what has been read: all that ever will be */
	bool ends = its & (SM_END_CLOSED | SM_END_DEAF), off = !ends && its & SM_END_OFF;
	bool left = !ends && its & SM_END_LEFT, nested = how == TOKEN_NESTED;
	if (off) {
		if (f->tx_epoch & 1 && !nested)
			switch_down(s);
	} else if (left && !nested && f->tx_epoch & 1) {
		FAULT_POINT("tx: reader has left, before down");
		move_down(s, WHY_PEER);
	} else if (!ends) {
		if (its & (SM_END_RESTS | SM_END_PASSED)) /* or it has been switched on meanwhile */
			or_acqrel(&f->flags,
				FAM_RESTS); /* with the next send: what we sent now is read by then, and no duplicate is needed */
	} else if (f->tx_epoch & 1) {
		uint64_t head = load_acquire(&s->chan.peer->rx_head); /* who follows us down may skip what is there */
		FAULT_POINT("tx: peer has left, before down");
		move_down(s, WHY_CLOSED);
		FAULT_POINT("tx: down, before unread sent again");
		move_unread_to_kernel(s, head);
	}
	token_drop(s, &f->tx_token, how);
	if (off)
		switch_tell(&s->chan);
	else if (left && nested) /* who has been interrupted may have looked already, or have sent nothing */
		notify_own_service(&s->chan);
	else if (left)
		notify_peer(&s->chan);
}

static long broken(struct sock *s)
{
	or_acqrel(&s->f->flags, FAM_BROKEN);
	store_relaxed(&s->f->tx_why, WHY_BROKEN);
	return -ECONNRESET;
}

/* Two wake-ups with hardly a message between them, and time: this is not a peer that has fallen asleep by accident. */
void tx_wake(struct sock *s)
{
	int64_t now = now_ns();
	trial_asks(s, now, s->tx_shm.msgs + s->tx_kernel.msgs);
	FAULT_POINT("tx: sleeper seen, before bell");
	notify_slow(&s->chan);
	uint64_t msgs = s->tx_shm.msgs; /* about: the token is dropped */
	store_relaxed(&s->rare, msgs - load_relaxed(&s->rang_msgs) <= 2 && now - load_relaxed(&s->rang_ns) > SPIN_RARE_NS);
	store_relaxed(&s->rang_msgs, msgs);
	store_relaxed(&s->rang_ns, now);
}

/* After something was put into the ring: drop the token, wake the reader, notice its end or its wish to leave. */
static void after_send(struct sock *s, int how)
{
	struct chan *c = &s->chan;
	bool asleep = how == TOKEN_BIASED && tx_look_for_sleeper(s);
	if (how == TOKEN_HELD && load_relaxed(&c->my->lazy))
		store_release(&c->my->lazy, 0); /* our fence is in the drop: sleepers need not pay for it */
	token_drop(s, &s->f->tx_token, how);
	if (how != TOKEN_BIASED) {
		fence_after_drop(how);
		asleep = load_relaxed(&c->peer->armed) != 0;
	}
	sock_publish_cpu(c);
	if (__builtin_expect(asleep, 0))
		tx_wake(s);
	if (__builtin_expect(tx_peer_left(s), 0))
		tx_unsend(s);
}

/* A full ring. true: try again, perhaps by the kernel now; false: a handler has run and ends the call. */
static bool when_full(struct sock *s, struct put *p, int64_t *since, uint64_t *seen)
{
	if (sig_ends(&p->since, p->done, p->fd, SO_SNDTIMEO))
		return false;
	if (wait_for_room(s, p->since, since, seen))
		return true;
	int how = token_take(s, &s->f->tx_token);
	move_look_back(s);
	if (s->f->tx_epoch & 1)
		move_down(s, WHY_FULL);
	token_drop(s, &s->f->tx_token, how);
	FAULT_POINT("tx: down when full, before bell");
	notify_peer(&s->chan);
	return true;
}

static long so_far(const struct put *p, long error)
{
	return p->done ? (long)p->done : error;
}

static long send_linked(struct sock *s, struct put *p)
{
	struct fam_sock *f = s->f;
	int64_t since = 0;
	uint64_t seen = 0;
	svc_for_token();
	for (;;) {
		int how = token_take(s, &f->tx_token);
		if (__builtin_expect(!load_acquire(&s->linked) || fd_sock(p->fd) != s, 0)) {
			token_drop(s, &f->tx_token, how);
			if (fd_sock(p->fd) == s)
				link_stop(s);
			return p->done ? (long)p->done : kernel_rest(s, p);
		}
		move_look_back(s);
		if (__builtin_expect(load_relaxed(&s->hup), 0) && (p->done ? end_has_reset(s) : end_take_reset(s))) {
			token_drop(s, &f->tx_token, how);
			return so_far(p, -ECONNRESET);
		}
		if (__builtin_expect(switch_moves(s), 0) && how != TOKEN_NESTED) {
			switch_down(s);
			token_drop(s, &f->tx_token, how);
			switch_tell(&s->chan);
			continue;
		}
		if (!(f->tx_epoch & 1) && sock_flags(s) & FAM_RESTS)
			trial_send(s);
		if (!(f->tx_epoch & 1) && (how == TOKEN_NESTED || !move_up(s)))
			return send_by_kernel(s, how, p);
		/* In a child of fork, which has no service thread, nobody else has seen that the peer has closed. */
		bool ends = load_relaxed(&s->hup) || sock_flags(s) & (FAM_WR_SHUT | FAM_PIN_TX) ||
			    load_relaxed(&s->chan.peer->flags) & SM_END_CLOSED;
		if (__builtin_expect(ends || (sock_flags(s) & FAM_RESTS && trial_leaves(s)), 0)) {
			move_down(s, ends ? WHY_CLOSED : WHY_SLOWER);
			token_drop(s, &f->tx_token, how);
			notify_peer(&s->chan); /* it may sleep on the ring alone */
			continue;
		}
		int64_t n = ring_send(s, p->iov, p->done, p->len - p->done);
		if (n == PUT_FULL && not_blocking(s, p->flags)) {
			bool room = spin_for_room(s);
			if (!room)
				move_down(s, WHY_FULL);
			token_drop(s, &f->tx_token, how);
			if (!room)
				notify_peer(&s->chan);
			continue;
		}
		if (__builtin_expect(n < 0, 0)) {
			token_drop(s, &f->tx_token, how);
			return n == PUT_BROKEN ? broken(s) : so_far(p, -EFAULT);
		}
		p->done += (size_t)n;
		after_send(s, how);
		if (__builtin_expect(p->done == p->len, 1))
			return (long)p->done;
		if (n == PUT_FULL && !when_full(s, p, &since, &seen))
			return so_far(p, -EINTR);
	}
}

static long send_unlinked(struct sock *s, struct put *p)
{
	if (!s->endpoint && !s->server && !s->foreign) { /* never to be linked: nothing to guard */
		struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)p->iov, .msg_iovlen = (size_t)p->niov};
		sock_note(s);
		long r = kernel_send(p->fd, &m, p->flags);
		if (r > 0)
			sock_count_kernel(&s->f->tx_kernel_bytes, &s->tx_kernel, (uint64_t)r);
		return r;
	}
	if (link_try(s, p->len))
		return send_linked(s, p);
	int how = token_take(s, &s->f->tx_token);
	if (__builtin_expect(s->f->tx_epoch & 1, 0)) { /* another thread has linked it since, and gone up */
		token_drop(s, &s->f->tx_token, how);
		return link_ready(s) ? send_linked(s, p) : -ECONNRESET;
	}
	return send_by_kernel(s, how, p);
}

long tx_send(struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since)
{
	struct put p = {.iov = iov, .niov = niov, .fd = fd, .flags = flags, .len = iov_len(iov, niov), .since = since};
	if (__builtin_expect(sock_flags(s) & FAM_LISTEN, 0) || !p.len) {
		struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)niov};
		return kernel_send(fd, &m, flags);
	}
	if (__builtin_expect(flags & KERNEL_FLAGS, 0)) {
		if (flags & MSG_ZEROCOPY &&
			!move_is_pinned(s, FAM_PIN_RX)) /* the kernel will report in its own ways: POLLERR is no hang-up then */
			move_pin(s, WHY_OPTION);
		move_pin_tx(s, flags & MSG_OOB ? WHY_OOB : WHY_OPTION);
		return send_by_kernel(s, token_take(s, &s->f->tx_token), &p);
	}
	if (!link_ready(s))
		return send_unlinked(s, &p);
	return send_linked(s, &p);
}
