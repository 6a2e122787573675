/* SPDX-License-Identifier: BSD-2-Clause */
/* epwait.c - waiting on an epoll set: rings and kernel as one list of events. */
#include <errno.h>
#include <string.h>

#include "assoc.h"
#include "end.h"
#include "epset_int.h"
#include "move.h"
#include "notify.h"
#include "ready.h"
#include "real.h"
#include "sig.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"

#define IN_BITS (EPOLLIN | EPOLLRDNORM)
#define OUT_BITS (EPOLLOUT | EPOLLWRNORM)
/*
 * A busy ring never keeps the kernel's events waiting for longer. Where the program itself may have made something ready just now (an eventfd, a pipe), the
 * kernel is asked every time: it would have reported both.
 */
#define KERNEL_NS 10000
#define LOOKS 16 /* under one lock, while spinning: about half a microsecond */

static bool wants_ring(const struct member *m)
{
	return m->side && !m->disabled && !m->ghost && m->events & IN_BITS && load_acquire(&m->s->linked);
}

/* Is there input in the ring that this member has to be told of? *tail: for the edge's memory. */
static bool ring_input(const struct member *m, uint64_t *tail)
{
	struct sock *s = m->s;
	uint64_t n = ready_octets(s, tail), low = load_relaxed(&s->f->lowat);
	if (!n || n < (low ? low : 1))
		return false;
	/* The kernel reports a fresh edge for every write, also when earlier octets are unread. */
	return !(m->events & EPOLLET) || m->force || *tail != m->et_tail;
}

/*
 * With input in the ring, what else holds now? The kernel would report all that is ready with it. While the connection is whole and we send through the ring we know;
 * otherwise we ask.
 */
static uint32_t with_the_rest(const struct member *m)
{
	struct sock *s = m->s;
	struct pollfd p = {.fd = m->fd, .events = (short)(m->events & 0x7fff)};
	struct timespec zero = {0, 0};
	bool whole = !load_relaxed(&s->hup) && !(load_relaxed(&s->chan.peer->flags) & (SM_END_FIN | SM_END_CLOSED)) &&
		     !(sock_flags(s) & (FAM_RD_SHUT | FAM_WR_SHUT));
	if (whole && !(m->events & EPOLLPRI) && (!(m->events & OUT_BITS) || ready_out(s)))
		return m->events & OUT_BITS;
	return sys5(SYS_ppoll, &p, 1, &zero, 0, 8) == 1 ? (uint32_t)(unsigned short)p.revents : 0;
}

/* Level-triggered, and a send would go into the ring: writable without asking. (For an edge-triggered one the kernel's own edges are right.) */
static bool ring_output(const struct member *m)
{
	return m->events & OUT_BITS && !(m->events & EPOLLET) && m->side && !m->disabled && !m->ghost &&
	       load_acquire(&m->s->linked) && ready_out(m->s);
}

/* The kernel does not know of this member's interest, but has something to say about its socket: ask. */
static uint32_t ask_kernel(struct member *m)
{
	struct pollfd p = {.fd = m->fd, .events = (short)(m->events & 0x7fff)};
	struct timespec zero = {0, 0};
	epset_sync(m);
	if (sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 1)
		return 0;
	uint32_t bits = (unsigned short)p.revents;
	return load_acquire(&m->s->linked) ? ready_really(m->s, m->fd, m->events, bits) : bits;
}

/* What to report of a member now; 0: nothing. */
static uint32_t member_events(struct member *m)
{
	uint32_t bits = m->kev;
	uint64_t tail = 0;
	m->kev = 0;
	if (m->ghost)
		return 0;
	if (wants_ring(m)) {
		m->force |= bits != 0; /* an edge from the kernel comes with all that is ready */
		if (ring_input(m, &tail)) {
			bits |= (m->events & IN_BITS) | with_the_rest(m);
			m->et_tail = tail;
		}
		m->force = false;
	}
	if (ring_output(m))
		bits |= m->events & OUT_BITS;
	if (m->dirty && (load_relaxed(&m->s->look) || !(m->s->f->tx_epoch & load_relaxed(&m->s->f->rx_epoch) & 1)))
		bits |= ask_kernel(m);
	if (bits)
		bits |= end_events(m->s);
	return bits;
}

static void take_ready_bits(struct epset *e, struct slot *sl)
{
	for (uint32_t w = 0; w < SM_N_CHAN / 64; w++) {
		uint64_t bits = load_relaxed(&sl->bell->ready[w]) ? xchg_acqrel(&sl->bell->ready[w], UINT64_C(0)) : 0;
		for (; bits; bits &= bits - 1) {
			struct sock *s = load_acquire(&sl->a->chan_sock[w * 64 + (uint32_t)__builtin_ctzll(bits)]);
			for (struct member *m = s ? s->members : NULL; m; m = m->next)
				if (m->set == e && m->side)
					epset_heat(e, m);
		}
	}
}

static void take_bells(struct epset *e)
{
	for (uint32_t i = 0; i < e->n_slot; i++) {
		struct slot *sl = &e->slots[i];
		if (__builtin_expect(slot_rang(sl), 0) && xchg_acqrel(&sl->bell->any, 0u))
			take_ready_bits(e, sl);
	}
}

/* A member that has nothing to report, and has not been active lately. true: it is cold now. */
static bool cool_down(struct epset *e, uint32_t at)
{
	struct member *m = e->hot[at];
	epset_sync(m);
	if (m->kev || epset_arm(e, m))
		return false;
	m->hot = false;
	memmove(&e->hot[at], &e->hot[at + 1], (--e->n_hot - at) * sizeof(*e->hot));
	return true;
}

/* Under the lock: events of the side's members, beginning behind the one that was reported last. */
int epset_collect(struct epset *e, struct epoll_event *ev, int max)
{
	int n = 0;
	take_bells(e);
	uint32_t at = e->start < e->n_hot ? e->start : 0;
	for (uint32_t left = e->n_hot; left && n < max; left--) {
		if (at >= e->n_hot)
			at = 0;
		struct member *m = e->hot[at];
		uint32_t bits = member_events(m);
		if (!bits && (e->n_hot > N_HOT || ++m->idle > IDLE_LOOKS) && cool_down(e, at))
			continue;
		at++;
		if (!bits)
			continue;
		m->idle = 0;
		ev[n].events = bits;
		ev[n++].data = m->data;
		e->start = at;
		if (m->events & EPOLLONESHOT && !m->disabled) {
			m->disabled = true;
			epset_detach(m);
		}
	}
	return n;
}

/* Announce the member to its writer; a fence and another look must follow. */
static void announce(struct epset *e, const struct member *m)
{
	struct slot *sl = wants_ring(m) ? epset_slot(e, m->s->chan.assoc) : NULL;
	if (sl)
		or_acqrel(&m->s->chan.my->armed, UINT64_C(1) << sl->idx);
}

static bool has_news(const struct member *m)
{
	uint64_t tail;
	return m->kev || ring_output(m) || (wants_ring(m) && ring_input(m, &tail));
}

/* The second look, which must not miss what another thread that reads just now may leave. */
static bool may_have_news(const struct member *m)
{
	return (wants_ring(m) && !ready_follow(m->s)) || has_news(m);
}

bool epset_arm(struct epset *e, struct member *m)
{
	if (ring_output(m))
		return true;
	if (!wants_ring(m))
		return false;
	announce(e, m);
	fence_for_sender(&m->s->chan); /* faces the sender: publish, fence, armed */
	return may_have_news(m);
}

/* Events of S into the members; they are reported by the next collect. Under the lock. */
static void drain_side(struct epset *e)
{
	struct epoll_event ev[64];
	long n = sys6(SYS_epoll_pwait, e->side, ev, 64, 0, 0, 0);
	for (long i = 0; i < n; i++) {
		struct member *m = ev[i].data.ptr;
		if (m->set != e || m->disabled || m->ghost)
			continue;
		m->kev = ev[i].events & (m->events | EPOLLERR | EPOLLHUP);
		if (!m->kev)
			continue;
		if (load_acquire(&m->s->linked)) {
			end_kernel_says(m->s, ev[i].events);
			m->kev &= ready_really(m->s, m->fd, m->events, ev[i].events);
		}
		epset_heat(e, m);
	}
}

static void set_sleeping(struct epset *e, uint32_t v)
{
	for (uint32_t i = 0; i < e->n_slot; i++)
		if (slot_lives(&e->slots[i]))
			store_relaxed(&e->slots[i].bell->sleeping, v);
}

/*
 * Under the lock: all hot members go cold. true: nothing to report, the set may sleep. A bell that rings from now on stays in the queue, and P is readable.
 */
static bool make_cold(struct epset *e)
{
	bool ready = false, lazy = false;
	set_sleeping(e, 1);
	for (uint32_t i = 0; i < e->n_hot; i++) {
		epset_sync(e->hot[i]);
		announce(e, e->hot[i]);
	}
	fence_storeload(); /* faces the senders: publish, fence, armed; and notify_bell: any, fence, sleeping */
	for (uint32_t i = 0; i < e->n_hot && !lazy; i++)
		lazy = wants_ring(e->hot[i]) && load_acquire(&e->hot[i]->s->chan.peer->lazy);
	if (lazy)
		barrier_everywhere(); /* one for all (notify.h) */
	for (uint32_t i = 0; i < e->n_hot; i++)
		ready |= may_have_news(e->hot[i]);
	for (uint32_t i = 0; i < e->n_slot; i++)
		ready |= slot_rang(&e->slots[i]);
	if (ready)
		return false;
	for (uint32_t i = 0; i < e->n_hot; i++)
		e->hot[i]->hot = false;
	e->n_hot = 0;
	return true;
}

/* The bell is made to say what is now, not what was. */
void epset_expose(struct epset *e)
{
	epset_lock(e);
	e->exposed = true; /* also of a set without a side: it may get one while the outer wait lasts */
	if (e->side < 0) {
		epset_unlock(e);
		return;
	}
	take_bells(e);
	bool cold = make_cold(e);
	if (cold) { /* what rang is over; what rings from now on finds the bell empty, or the members ready once more */
		bell_drain(e->bell_fd);
		e->rung = false;
		cold = make_cold(e);
	}
	if (cold) {
		epset_unlock(e);
		return;
	}
	if (!e->rung) { /* once: an edge-triggered outer set would see each ring */
		epset_ring_self(e);
		e->rung = true;
	}
	epset_unlock(e);
}

static void expose_inner(struct epset *e)
{
	for (int i = 0; i < N_INNER; i++)
		if (e->inner[i])
			epset_expose(e->inner[i]);
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

/*
 * The kernel's part: P's own members straight into ev, S's through their members. Number of events in ev, -errno or SIG_CAME. Not under the lock, since it may sleep: if
 * there is a `w`, which says what signals may do then.
 */
static int kernel_look(
	struct epset *e, int fd_ep, struct epoll_event *ev, int max, const struct timespec *ts, const struct sig_wait *w)
{
	expose_inner(e);
	int n = w ? wait_in_kernel(fd_ep, ev, max, ts, w) : real_wait(fd_ep, ev, max, ts, NULL);
	e->looked_ns = now_ns();
	if (n < 0)
		return n;
	bool side = false, bell = false;
	for (int i = 0; i < n;) {
		bool s = ev[i].data.u64 == COOKIE, b = ev[i].data.u64 == COOKIE_BELL;
		side |= s;
		bell |= b;
		if (s || b)
			ev[i] = ev[--n];
		else
			i++;
	}
	if (!side && !bell)
		return n;
	epset_lock(e);
	if (bell) {
		bell_drain(e->bell_fd);
		e->rung = false;
	}
	if (side)
		drain_side(e);
	epset_unlock(e);
	return n;
}

/* Others sleep on this set, or watch it from outside: what is left is theirs to be woken for. Under the lock. */
static void leave_cold(struct epset *e)
{
	if (!make_cold(e))
		epset_ring_self(e);
}

static int collect_locked(struct epset *e, struct epoll_event *ev, int max, bool last)
{
	epset_lock(e);
	int n = max > 0 ? epset_collect(e, ev, max) : 0;
	if ((n || last) && __builtin_expect(e->exposed || load_relaxed(&e->sleepers), 0))
		leave_cold(e);
	epset_unlock(e);
	return n;
}

/* Under the lock: would a collect report something? */
static bool any_ready(struct epset *e)
{
	bool ready = false;
	for (uint32_t i = 0; i < e->n_hot && !ready; i++)
		ready = has_news(e->hot[i]);
	for (uint32_t i = 0; i < e->n_slot && !ready; i++)
		ready = slot_rang(&e->slots[i]);
	return ready;
}

static void prefetch(const struct epset *e)
{
	for (uint32_t i = 0; i < e->n_hot && i < 4; i++)
		if (wants_ring(e->hot[i]))
			ready_prefetch(e->hot[i]->s);
}

/* Look a little longer before sleeping, if some hot member's peer is at work on another CPU. */
static bool spin_for_hot(struct epset *e)
{
	struct spin_run r;
	int cpu = spin_cpu();
	bool pays = false, hit = false;
	for (uint32_t i = 0; i < e->n_hot && !pays; i++)
		pays = wants_ring(e->hot[i]) && sock_spin_pays(e->hot[i]->s, cpu);
	if (!spin_begin(&e->spin, &r, pays))
		return false;
	bool more;
	do { /* the lock is locked instructions: one pair for several looks */
		epset_lock(e);
		for (int i = 0; (more = !(hit = any_ready(e)) && spin_again(&r)) && i < LOOKS; i++)
			prefetch(e);
		epset_unlock(e);
	} while (more);
	spin_end(&e->spin, &r, hit);
	return hit;
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
	bool cold = make_cold(e);
	epset_unlock(e);
	if (cold && deadline)
		ts = rest_of(deadline);
	stats_sleep();
	svc_stir();
	int n = kernel_look(e, fd_ep, ev, max, cold && !deadline ? NULL : &ts, cold ? w : NULL);
	epset_lock(e);
	if (sub_acqrel(&e->sleepers, 1u) == 1 && !e->exposed)
		set_sleeping(e, 0);
	epset_unlock(e);
	return n;
}

static void publish_cpu(struct epset *e)
{
	uint32_t cpu = (uint32_t)spin_cpu() + 1;
	for (uint32_t i = 0; i < e->n_hot; i++) {
		struct sock *s = e->hot[i]->s;
		if (load_relaxed(&s->linked) && load_relaxed(&s->chan.my->cpu) != cpu)
			store_relaxed(&s->chan.my->cpu, cpu);
	}
}

/* A set inherited over fork: its bell is the parent's. Its members are in the kernel here; S still has to be translated. */
static void withdraw_members(struct sock *s, void *arg)
{
	for (struct member *m = s->members; m; m = m->next)
		if (m->set == arg && link_ready(s) && !(sock_flags(s) & FAM_PIN_RX))
			move_withdraw(s, WHY_EPOLL);
}

/* This call will not sleep, because of rings: is it the kernel's turn to be asked first? */
static bool look_is_due(struct epset *e)
{
	if (!load_relaxed(&e->n_other) && now_ns() - e->looked_ns <= KERNEL_NS)
		return false;
	epset_lock(e);
	bool due = any_ready(e);
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
	bool plain = e->side < 0;
	add_acqrel(&e->sleepers, plain);
	epset_unlock(e);
	if (!plain)
		return -EAGAIN;
	int n = kernel_look(e, fd_ep, ev, max, ts, w);
	sub_acqrel(&e->sleepers, 1u);
	return n;
}

/* A set without a side: the kernel's call, and what a side that came meanwhile has. -EAGAIN: look at both parts. */
static int turn_plain(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, int64_t deadline,
	const struct sig_wait *w)
{
	struct timespec ts = deadline ? rest_of(deadline) : zero;
	int k = wait_plain(e, fd_ep, ev, max, timeout_ns < 0 ? NULL : &ts, w);
	if (k < 0 || e->side < 0)
		return k;
	return k + collect_locked(e, ev + k, max - k, true);
}

/* What is ready now, of both parts; the kernel is asked when it is due. */
static int turn_both(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns)
{
	int k = 0;
	if (timeout_ns == 0 || look_is_due(e))
		k = kernel_look(e, fd_ep, ev, max, &zero, NULL);
	if (k < 0)
		return k;
	return k + collect_locked(e, ev + k, max - k, timeout_ns == 0 || k > 0);
}

static int wait_with(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, struct sig_wait *w)
{
	int64_t deadline = timeout_ns > 0 ? now_ns() + timeout_ns : 0;
	bool spun = false;
	for (;;) {
		bool plain = e->side < 0;
		int n = plain ? turn_plain(e, fd_ep, ev, max, timeout_ns, deadline, w)
			      : turn_both(e, fd_ep, ev, max, timeout_ns);
		if (plain && n == -EAGAIN)
			continue;
		if (n || timeout_ns == 0 || (plain && e->side < 0))
			return n == SIG_CAME ? -EINTR : n;
		if (w->mask && !w->held) {
			sig_hold(w);
			continue;
		}
		publish_cpu(e);
		if (!spun && !w->mask) {
			spun = true;
			if (e->n_hot && spin_for_hot(e))
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
		n = collect_locked(e, ev + k, max - k, k > 0 || over);
		if (n + k || over)
			return n + k || !came ? n + k : -EINTR;
	}
}

int epset_wait(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, const sigset_t *mask)
{
	struct sig_wait w = {.since = sig_now(), .mask = mask};
	if (__builtin_expect(e->foreign, 0))
		sock_each(withdraw_members, e);
	int n = wait_with(e, fd_ep, ev, max, timeout_ns, &w);
	sig_release(&w);
	return n;
}
