/* SPDX-License-Identifier: BSD-2-Clause */
/* epwait.c - waiting on an epoll set: rings and kernel as one list of events. */
#include <errno.h>

#include "assoc.h"
#include "bell.h"
#include "dg.h"
#include "epset_int.h"
#include "move.h"
#include "ready.h"
#include "real.h"
#include "sig.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"

/*
 * A busy ring never keeps the kernel's events waiting for longer. Where the program itself may have made something ready just now (an eventfd, a pipe), the
 * kernel is asked every time: it would have reported both.
 */
#define KERNEL_NS 10000
#define LOOKS 16 /* under one lock, while spinning: about half a microsecond */

/* A set inherited over fork: its bell is the parent's. Its members are in the kernel here; S still has to be translated. */
static void withdraw_members(struct sock *s, void *arg)
{
	if (!move_is_pinned(s, FAM_PIN_RX) && epset_has(arg, s) && link_ready(s))
		move_withdraw(s, WHY_EPOLL);
}

/* The bell is made to say what is now, not what was. */
static void expose_one(struct epset *e)
{
	if (e->foreign) { /* its bell is the parent's: the kernel shall know all */
		sock_each(withdraw_members, e);
		return;
	}
	epset_lock(e);
	e->exposed = true; /* also of a set without a side: it may get one while the outer wait lasts */
	if (epset_side(e) < 0) {
		epset_unlock(e);
		return;
	}
	epset_take_bells(e);
	bool cold = epset_make_cold(e);
	if (cold) { /* what rang is over; what rings from now on finds the bell empty, or the members ready once more */
		bell_drain(e->bell_fd);
		e->rung = false;
		cold = epset_make_cold(e);
	}
	if (!cold && !e->rung) { /* once: an edge-triggered outer set would see each ring */
		epset_ring_self(e);
		e->rung = true;
	}
	epset_unlock(e);
}

/* Sets in sets in sets: whatever is below. The kernel allows no more than MAX_DEPTH, and no circle. */
#define MAX_DEPTH 6

static void expose_below(struct epset *e, int depth)
{
	for (int i = 0; i < N_INNER && depth; i++) {
		struct epset *inner = load_acquire(&e->inner[i]);
		if (!inner)
			continue;
		expose_below(inner, depth - 1);
		expose_one(inner);
	}
}

void epset_expose(struct epset *e)
{
	expose_below(e, MAX_DEPTH);
	expose_one(e);
}

static const struct timespec zero;

static int real_wait(int fd_ep, struct epoll_event *ev, int max, const struct timespec *ts, const sigset_t *mask)
{
	int saved = errno, n = real.epoll_pwait2(fd_ep, ev, max, ts, mask);
	if (n < 0) {
		n = -errno;
		errno = saved;
	}
	return n;
}

/* As waitset.c has it. SIG_CAME: a handler has run already, and there was nothing to report. */
static int wait_in_kernel(int fd_ep, struct epoll_event *ev, int max, const struct timespec *ts, const struct sig_wait *w)
{
	if (w->mask)
		return real_wait(fd_ep, ev, max, ts, w->mask);
	long n = sig_sleep(w->since, SYS_epoll_pwait2, fd_ep, SIG_ARG(ev), max, SIG_ARG(ts), 0, 8);
	if (n != SIG_CAME)
		return (int)n;
	n = real_wait(fd_ep, ev, max, &zero, NULL);
	return n ? (int)n : (int)SIG_CAME;
}

/* Takes S and the bell out of the events; how many are left. */
static int without_own(struct epoll_event *ev, int n, bool *side, bool *bell)
{
	for (int i = 0; i < n;) {
		bool s = ev[i].data.u64 == COOKIE, b = ev[i].data.u64 == COOKIE_BELL;
		*side |= s;
		*bell |= b;
		if (s || b)
			ev[i] = ev[--n];
		else
			i++;
	}
	return n;
}

/*
 * The kernel's part: P's own members straight into ev, S's through their members. Number of events in ev, -errno or SIG_CAME. Not under the lock, since it may sleep: if
 * there is a `w`, which says what signals may do then.
 */
static int kernel_look(
	struct epset *e, int fd_ep, struct epoll_event *ev, int max, const struct timespec *ts, const struct sig_wait *w)
{
	expose_below(e, MAX_DEPTH);
	int kept = load_relaxed(&e->kept), ep = kept < 0 ? fd_ep : kept;
	int n = w ? wait_in_kernel(ep, ev, max, ts, w) : real_wait(ep, ev, max, ts, NULL);
	store_relaxed(&e->looked_ns, now_ns());
	if (n < 0)
		return n;
	bool side = false, bell = false;
	int k = without_own(ev, n, &side, &bell);
	/* Ours have taken all the room from others, which come first then: the kernel gives each its turn. */
	for (int i = 0; i < 2 && n == max && !k; i++)
		if ((n = real_wait(ep, ev, max, &zero, NULL)) > 0)
			k = without_own(ev, n, &side, &bell);
	n = k;
	if (!side && !bell)
		return n;
	epset_lock(e);
	if (bell) {
		bell_drain(e->bell_fd);
		e->rung = false;
	}
	if (side)
		epset_drain_side(e);
	epset_unlock(e);
	return n;
}

/* Others sleep on this set, or watch it from outside: what is left is theirs to be woken for. Under the lock. */
static void leave_cold(struct epset *e)
{
	if (!epset_make_cold(e))
		epset_ring_self(e);
}

/* Nothing is there. Tell the peers on which CPU we wait. true: some hot member's peer is at work on another, and looking a little longer can pay. Under the lock. */
static bool before_waiting(struct epset *e)
{
	int cpu = spin_cpu();
	bool pays = false;
	for (uint32_t i = 0; i < e->n_hot; i++) {
		struct member *m = e->hot[i];
		if (m->dgram)
			pays |= epset_dg_spin_pays(m, cpu);
		if (!load_acquire(&m->s->linked))
			continue;
		sock_publish_cpu(&m->s->chan);
		pays |= epset_wants_ring(m) && sock_spin_pays(m->s, cpu);
	}
	return pays;
}

static int collect_held(struct epset *e, struct epoll_event *ev, int max, bool last)
{
	int n = max > 0 ? epset_collect(e, ev, max) : 0;
	if (__builtin_expect(max == 0, 0))
		e->owed = epset_any_ready(e);
	if ((n || last) && __builtin_expect(e->exposed || load_relaxed(&e->sleepers), 0))
		leave_cold(e);
	return n;
}

static int collect_locked(struct epset *e, struct epoll_event *ev, int max, bool last, bool *pays)
{
	epset_lock(e);
	int n = collect_held(e, ev, max, last);
	if (!n && !last)
		*pays = before_waiting(e);
	epset_unlock(e);
	return n;
}

static void prefetch(const struct epset *e)
{
	for (uint32_t i = 0; i < e->n_hot && i < 4; i++)
		if (epset_wants_ring(e->hot[i]))
			ready_prefetch(e->hot[i]->s);
		else if (e->hot[i]->dgram)
			dg_prefetch(e->hot[i]->s);
}

/*
 * Look a little longer before sleeping. Number of events; 0: nothing has come; -1: something has, but the kernel is asked first. (Asked before the spin, it has had its turn, if that was
 * short and the program has nothing in P that it may have made ready itself.)
 */
static int spin_for_hot(struct epset *e, bool pays, struct epoll_event *ev, int max)
{
	struct spin_run r;
	bool hit = false, more;
	int n = 0;
	if (!spin_begin(&e->spin, &r, pays))
		return 0;
	do { /* the lock is locked instructions: one pair for several looks, and for taking what they find */
		epset_lock(e);
		for (int i = 0; (more = !(hit = epset_any_ready(e)) && spin_again(&r)) && i < LOOKS; i++)
			prefetch(e);
		if (hit && r.start)
			epset_woken(e);
		if (hit && !load_relaxed(&e->n_other) && (!r.start || r.last - r.start < KERNEL_NS))
			n = collect_held(e, ev, max, false);
		epset_unlock(e);
	} while (more);
	spin_end(&e->spin, &r, hit);
	return n ? n : -(int)hit;
}

static struct timespec rest_of(int64_t deadline)
{
	int64_t left = deadline - now_ns();
	if (left < 0)
		left = 0;
	return (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
}

/* Sleep in the kernel; what it brings. */
static int sleep_in_kernel(
	struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t deadline, const struct sig_wait *w)
{
	struct timespec ts = {0, 0};
	epset_lock(e);
	add_acqrel(&e->sleepers, 1u);
	bool cold = epset_make_cold(e);
	epset_unlock(e);
	if (cold && deadline)
		ts = rest_of(deadline);
	stats_sleep();
	svc_stir();
	int n = kernel_look(e, fd_ep, ev, max, cold && !deadline ? NULL : &ts, cold ? w : NULL);
	epset_lock(e);
	if (sub_acqrel(&e->sleepers, 1u) == 1 && !e->exposed)
		epset_set_sleeping(e, 0);
	epset_unlock(e);
	return n;
}

/* This call will not sleep, because of rings: is it the kernel's turn to be asked first? */
static bool look_is_due(struct epset *e)
{
	if (!load_relaxed(&e->n_other) && now_ns() - load_relaxed(&e->looked_ns) <= KERNEL_NS)
		return false;
	epset_lock(e);
	bool due = epset_any_ready(e);
	epset_unlock(e);
	return due;
}

/*
 * No member can be upgraded yet. A first one may come while we sleep: then S is in P, and its event must not reach the program. Counted under the lock, so that
 * whoever makes the side either rings for us, or has made it before: -EAGAIN.
 */
static int wait_plain(
	struct epset *e, int fd_ep, struct epoll_event *ev, int max, const struct timespec *ts, const struct sig_wait *w)
{
	epset_lock(e);
	bool plain = epset_side(e) < 0;
	add_acqrel(&e->sleepers, plain);
	epset_unlock(e);
	if (!plain)
		return -EAGAIN;
	int n = kernel_look(e, fd_ep, ev, max, ts, w);
	sub_acqrel(&e->sleepers, 1u);
	return n;
}

/* With one event at a time, what P itself has ready for ever would keep all others waiting. -EAGAIN: nothing is owed. */
static int others_first(struct epset *e, int fd_ep, struct epoll_event *ev, int max)
{
	epset_lock(e);
	e->owed = false;
	if (epset_side(e) >= 0)
		epset_drain_side(e);
	epset_unlock(e);
	int n = collect_locked(e, ev, max, true, NULL);
	if (!n)
		return -EAGAIN;
	int k = n < max ? kernel_look(e, fd_ep, ev + n, max - n, &zero, NULL) : 0;
	epset_lock(e);
	e->turn++; /* what that has fetched of S is for another call, and may have been read by then */
	epset_unlock(e);
	return n + (k > 0 ? k : 0);
}

/* A set without a side: the kernel's call, and what a side that came meanwhile has. -EAGAIN: look at both parts. */
static int turn_plain(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, int64_t deadline,
	const struct sig_wait *w)
{
	struct timespec ts = deadline ? rest_of(deadline) : zero;
	int k = wait_plain(e, fd_ep, ev, max, timeout_ns < 0 ? NULL : &ts, w);
	if (k < 0 || epset_side(e) < 0)
		return k;
	return k + collect_locked(e, ev + k, max - k, true, NULL);
}

/* What is ready now, of both parts; the kernel is asked when it is due. */
static int turn_both(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, bool *pays)
{
	int k = 0;
	if (timeout_ns == 0 || look_is_due(e))
		k = kernel_look(e, fd_ep, ev, max, &zero, NULL);
	if (k < 0)
		return k;
	return k + collect_locked(e, ev + k, max - k, timeout_ns == 0 || k > 0, pays);
}

static int wait_with(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, struct sig_wait *w)
{
	int64_t deadline = timeout_ns > 0 ? now_ns() + timeout_ns : 0;
	bool spun = false, pays = false;
	for (;;) {
		bool plain = epset_side(e) < 0;
		int n = plain ? turn_plain(e, fd_ep, ev, max, timeout_ns, deadline, w)
			      : turn_both(e, fd_ep, ev, max, timeout_ns, &pays);
		if (plain && n == -EAGAIN)
			continue;
		if (n || timeout_ns == 0 || (plain && epset_side(e) < 0))
			return n == SIG_CAME ? -EINTR : n;
		if (w->mask && !w->held) {
			sig_hold(w);
			continue;
		}
		if (!spun && !w->mask) {
			spun = true;
			if ((n = spin_for_hot(e, pays, ev, max)) > 0)
				return n;
			if (n < 0)
				continue;
		}
		int k = sleep_in_kernel(e, fd_ep, ev, max, deadline, w);
		bool came = k == SIG_CAME;
		if (k < 0 && !came)
			return k;
		if (came)
			k = 0;
		/* The bell may have rung for others too: who leaves, with something or without, leaves them a set that can wake them. */
		bool over = came || (deadline && now_ns() >= deadline);
		n = collect_locked(e, ev + k, max - k, k > 0 || over, &pays);
		if (n + k || over)
			return n + k || !came ? n + k : -EINTR;
	}
}

static int wait_events(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, const sigset_t *mask)
{
	struct sig_wait w = {.since = sig_now(), .mask = mask};
	if (__builtin_expect(e->foreign, 0))
		sock_each(withdraw_members, e);
	if (__builtin_expect(e->owed, 0)) {
		int n = others_first(e, fd_ep, ev, max);
		if (n != -EAGAIN)
			return n;
	}
	int n = wait_with(e, fd_ep, ev, max, timeout_ns, &w);
	sig_release(&w);
	return n;
}

int epset_wait(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, const sigset_t *mask)
{
	int n = wait_events(e, fd_ep, ev, max, timeout_ns, mask);
	if (__builtin_expect(!load_relaxed(&e->refs), 0))
		epset_left(e);
	return n;
}
