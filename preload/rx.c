/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rx.c - receiving from a connected stream: kernel part and ring part as one sequence of octets, under one token, asleep without it.
 *
 * Each turn takes what is there (rxtake.c), and otherwise waits for a reason to look again: a futex that the sender's bell, the service thread (hang-up, input on the
 * kernel socket) and close() ring. A handler that has run ends a call that has nothing to return (sig.h), unless it was installed with SA_RESTART and the socket has no time
 * limit. FUTEX_WAIT itself behaves in the same way, for handlers that we do not know of.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "dup.h"
#include "fast.h"
#include "fault.h"
#include "hold.h"
#include "leave.h"
#include "link.h"
#include "move.h"
#include "notify.h"
#include "ready.h"
#include "real.h"
#include "ring.h"
#include "rxtake.h"
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

static struct msghdr message(const struct iovec *iov, int niov, const struct rx_control *control)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)niov};
	if (control) {
		m.msg_control = control->buf;
		m.msg_controllen = control->len;
	}
	return m;
}

static void note_control(struct rx_control *control, const struct msghdr *m)
{
	if (control)
		*control = (struct rx_control){.len = m->msg_controllen, .flags = m->msg_flags, .said = true};
}

static long kernel_recv(int fd, const struct iovec *iov, int niov, int flags, struct rx_control *control)
{
	struct msghdr m = message(iov, niov, control);
	int e = errno;
	ssize_t r = real.recvmsg(fd, &m, flags);
	if (r < 0) {
		r = -errno;
		errno = e;
	} else {
		note_control(control, &m);
	}
	return r;
}

static bool may_wait(const struct sock *s, const struct take *t)
{
	return !(t->flags & MSG_DONTWAIT || sock_is_nonblock(s));
}

/* As a call that may wait: what is there wins, then a handler that has run ends it. */
static long kernel_wait(struct sock *s, struct take *t)
{
	struct msghdr m = message(t->iov, t->niov, t->control);
	for (;;) {
		long r = sig_sleep(t->since, SYS_recvmsg, t->fd, SIG_ARG(&m), t->flags, 0, 0, 0);
		if (r != SIG_CAME) {
			if (r >= 0)
				note_control(t->control, &m);
			return r;
		}
		r = kernel_recv(t->fd, t->iov, t->niov, t->flags | MSG_DONTWAIT, t->control);
		if (r != -EAGAIN || !may_wait(s, t))
			return r;
		if (sig_ends(&t->since, false, t->fd, SO_RCVTIMEO))
			return -EINTR;
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
	if (!(epoch & 1) && (kernel_owes(s, epoch) || load_acquire(&c->peer->tx_epoch) == epoch))
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

/* An accepted socket has its listener's, so the first sleep asks; it does not overwrite what a setsockopt has noted meanwhile. */
int64_t rx_deadline(struct sock *s)
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
 * for us and wakes the same futex. While the kernel still owes octets of an up that is on record, or of a duplicate behind a ring that has been read, only the kernel socket matters;
 * unless a peek has seen all of the former: they stay there, and are no news.
 */
static long sleep_for_news(struct sock *s, int64_t *deadline, uint64_t tail, const struct take *t)
{
	struct chan *c = &s->chan;
	bool peeks = t->flags & MSG_PEEK, partly = t->done && !peeks;
	int64_t rel = -1;
	if (*deadline < 0)
		*deadline = rx_deadline(s);
	svc_watch(s);
	uint32_t val = load_acquire(&c->my->futex), epoch = load_relaxed(&s->f->rx_epoch);
	or_acqrel(&c->my->armed, SM_ARM_FUTEX);
	FAULT_POINT("rx: armed, before look");
	fence_for_sender(c); /* faces the sender: publish, fence, armed */
	if (!load_relaxed(&s->linked))
		return 0;
	if (peeks && t->done && kernel_owes(s, epoch) && t->done >= load_relaxed(&s->f->rx_kleft)) {
		if (load_acquire(&c->peer->tx_tail) != tail || load_relaxed(&c->peer->tx_epoch) != epoch + 1)
			return 0;
	} else if (dup_owed(s)) {
		svc_want_input(s);
	} else if (epoch & 1) {
		if (load_acquire(&c->peer->tx_tail) != tail || load_relaxed(&c->peer->tx_epoch) != epoch ||
			load_relaxed(&s->look))
			return 0;
		/* The writer is about to leave, or has died over it: what it has sent by the kernel fills that up, and the end waits behind (octets_behind drops it). */
		if (dup_marked(s))
			svc_want_input(s);
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
	FAULT_POINT("rx: looked, before sleep");
	long r = sig_futex(t->since, &c->my->futex, val, rel);
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

/* The sender is in the kernel and will not leave it: the kernel's own call is the best there is. */
static bool stays_in_kernel(struct sock *s)
{
	struct chan *c = &s->chan;
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	/* Pinned first, the epoch afterwards: the peer may have been in the ring once more before it was pinned. */
	if (epoch & 1 || !(load_acquire(&c->peer->flags) & SM_END_PINNED))
		return false;
	return load_acquire(&c->peer->tx_epoch) == epoch;
}

/*
 * The channel rests (trial.h), or is pinned here: sleep in the kernel's own call all the same, though the peer may want to come up meanwhile, and a pin may be taken back (a pass that
 * failed, pass.h). Without our consent it cannot come; under the token, so that no other reader, and nobody who takes back a pin, gives it behind our back. true: *r is the call's result.
 */
static bool rest_in_kernel(struct sock *s, struct take *t, long *r)
{
	struct fam_sock *f = s->f;
	int how = token_take(s, &f->rx_token);
	bool rests = load_acquire(&s->linked) && fd_sock(t->fd) == s && how != TOKEN_NESTED;
	if (rests) {
		hold_rx_enter(s);
		store_relaxed(&s->chan.my->consent, 0);
		fence_storeload(); /* faces move_up: epoch, fence, consent */
	}
	uint32_t epoch = load_relaxed(
		&f->rx_epoch); /* who has followed an up since may_rest() looked has nothing to wait for here */
	bool same = rests && !(epoch & 1) && load_acquire(&s->chan.peer->tx_epoch) == epoch;
	token_drop(s, &f->rx_token, how);
	if (same)
		*r = kernel_wait(s, t);
	if (rests)
		rx_kernel_leave(s);
	if (!same)
		return false;
	if (*r > 0 && !(sock_flags(s) & FAM_PIN_RX))
		trial_woken(s);
	if ((*r = rx_after_kernel(s, t, *r)) == 1)
		*r = (long)t->done;
	return true;
}

/* May a call that waits, and has nothing in hand, rest in the kernel? */
static bool may_rest(struct sock *s, const struct take *t)
{
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	return !t->done && !(epoch & 1) && (trial_rests(s) || sock_flags(s) & FAM_PIN_RX) && t->len && may_wait(s, t) &&
	       !(t->flags & MSG_PEEK) && load_acquire(&s->chan.peer->tx_epoch) == epoch;
}

/*
 * A peek has not seen enough, and the writer is not in the ring: the kernel alone can bring more. What it has already stays unread, and would be reported as input for ever; so the
 * kernel's own call waits. What is left of a ring is there a second time (dup.h). true: *r is the call's result.
 */
static bool peek_in_kernel(struct sock *s, struct take *t, long *r)
{
	uint32_t its = load_acquire(&s->chan.peer->tx_epoch);
	if (its & 1)
		return false;
	if (its != load_relaxed(&s->f->rx_epoch)) {
		int how = token_take(s, &s->f->rx_token);
		bool over = how != TOKEN_NESTED && load_acquire(&s->linked) && fd_sock(t->fd) == s && move_over(s);
		token_drop(s, &s->f->rx_token, how);
		if (!over)
			return false;
	}
	t->done = 0;
	return rest_in_kernel(s, t, r);
}

/* One turn under the token: as rx_take(), or -EBADF when the socket is not what it was. */
static long turn(struct sock *s, struct take *t, uint64_t *tail)
{
	int how = token_take(s, &s->f->rx_token);
	long r = -EBADF;
	if (__builtin_expect(load_acquire(&s->linked) && fd_sock(t->fd) == s, 1))
		r = t->flags & MSG_PEEK ? rx_peek(s, t) : rx_take(s, t);
	*tail = s->f->rx_tail;
	token_drop(s, &s->f->rx_token, how);
	return r;
}

/* There may be more at hand behind a switch, which a reader cannot tell from one sequence of octets. */
static bool switch_ahead(struct sock *s)
{
	return load_relaxed(&s->chan.peer->tx_epoch) != load_relaxed(&s->f->rx_epoch);
}

/*
 * Has the wait of who wants to read nothing come to its end? He does not ask the kernel by a call that takes an error: the next one is told of that, also of a copy that was passed and is not of our family.
 */
static bool nothing_is_got(struct sock *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN | POLLRDHUP};
	struct timespec zero = {0, 0};
	if (!load_acquire(&s->linked))
		return false;
	return ready_in(s) || (sys5(SYS_ppoll, &p, 1, &zero, 0, 8) == 1 &&
				      ready_really(s, p.fd, POLLIN | POLLRDHUP, (unsigned short)p.revents));
}

static long recv_linked(struct sock *s, struct take *t)
{
	size_t target = target_of(s, t);
	bool wait = may_wait(s, t);
	int64_t deadline = -1;
	size_t had = 0;
	long r, over = 0; /* over: -errno: this is the last look */
	svc_for_token();
	for (uint32_t idle = 0;;) {
		uint64_t tail;
		if (__builtin_expect(may_rest(s, t), 0) && rest_in_kernel(s, t, &r))
			return r;
		if (__builtin_expect(stays_in_kernel(s) && !t->done, 0))
			return kernel_wait(s, t);
		if (__builtin_expect(t->slept && !t->len, 0) && nothing_is_got(s))
			return 0;
		if (t->flags & MSG_PEEK)
			t->done = 0;
		r = turn(s, t, &tail);
		if (__builtin_expect(r == 1, 1)) {
			if (t->done == t->len && (t->len || tail != load_relaxed(&s->f->rx_head)))
				break;
			/* A turn that has only followed a switch has not looked behind it. */
			if (t->done >= target && (t->flags & MSG_PEEK || (t->done != had && !switch_ahead(s))))
				break;
			/* Reasons to look again that lead to nothing: an honest peer's are a few. */
			idle = t->done == had ? idle + 1 : 0;
			had = t->done;
			if (idle > MAX_IDLE)
				return rx_nonsense(s);
			if (!(t->flags & MSG_PEEK) || !t->done)
				continue;
			r = -EAGAIN; /* a look that has not seen enough: the same octets again, when there are more */
			if (wait && !over && peek_in_kernel(s, t, &r))
				return r;
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
		t->slept = true;
		if (!(t->flags & MSG_PEEK && t->done) && spin_for_news(s)) {
			/* What an awake reader has waited for is nearly always one message, in the ring: no detour now. */
			if (t->niov == 1 && !t->done && !t->flags && t->len >= target &&
				(r = fast_recv(s, t->fd, t->iov->iov_base, t->len)) != FAST_NO)
				return r;
			continue;
		}
		over = sleep_for_news(s, &deadline, tail, t);
		woken(s);
	}
	return (long)t->done;
}

void rx_kernel_enter(struct sock *s)
{
	hold_rx_enter(s);
	FAULT_POINT("rx: in kernel, before link looked at");
	fence_storeload(); /* faces publish_link: link, fence, rx_inkernel */
}

void rx_kernel_leave(struct sock *s)
{
	if (hold_rx_leave(s) && load_acquire(&s->f->link) == 2 && link_ready(s)) {
		FAULT_POINT("rx: out of the kernel, before consent");
		link_consent(s);
	}
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

long rx_recv(
	struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since, struct rx_control *control)
{
	struct take t = {.iov = iov,
		.niov = niov,
		.fd = fd,
		.flags = flags,
		.len = iov_len(iov, niov),
		.since = since,
		.control = control};
	if (__builtin_expect(flags & KERNEL_FLAGS || sock_flags(s) & FAM_LISTEN, 0))
		return kernel_recv(fd, iov, niov, flags, control);
	if (__builtin_expect(link_ready(s), 1))
		return recv_linked(s, &t);
	if (!s->endpoint && !s->server && !s->foreign) {
		sock_note(s);
		long r = kernel_recv(fd, iov, niov, flags, control);
		if (r > 0 && !(flags & MSG_PEEK))
			sock_count_kernel(&s->f->rx_kernel_bytes, &s->rx_kernel, (uint64_t)r);
		return r;
	}
	return recv_unlinked(s, &t);
}
