/* SPDX-License-Identifier: BSD-2-Clause */
/* epwait.c - waiting on an epoll set: rings and kernel as one list of events. */
#include <errno.h>
#include <string.h>

#include "assoc.h"
#include "epset_int.h"
#include "move.h"
#include "notify.h"
#include "ready.h"
#include "real.h"
#include "stats.h"
#include "sys.h"

#define IN_BITS (EPOLLIN | EPOLLRDNORM)
#define OUT_BITS (EPOLLOUT | EPOLLWRNORM)
#define KERNEL_EVERY 16 /* a busy ring never keeps the kernel's events waiting for more turns than this */

static bool wants_ring(const struct member *m)
{
	return m->side && !m->disabled && m->events & IN_BITS && load_acquire(&m->s->linked);
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

/* With input in the ring, what else holds now? The kernel would report all that is ready with the edge. */
static uint32_t with_output(const struct member *m)
{
	struct pollfd p = {.fd = m->fd, .events = POLLOUT};
	if (!(m->events & OUT_BITS))
		return 0;
	if (ready_out(m->s))
		return m->events & OUT_BITS;
	struct timespec zero = {0, 0};
	return sys4(SYS_ppoll, &p, 1, &zero, 0) == 1 && p.revents & POLLOUT ? m->events & OUT_BITS : 0;
}

/* What to report of a member now; 0: nothing. */
static uint32_t member_events(struct member *m)
{
	uint32_t bits = m->kev;
	uint64_t tail = 0;
	if (wants_ring(m)) {
		m->force |= bits != 0; /* an edge from the kernel comes with all that is ready */
		if (ring_input(m, &tail)) {
			bits |= (m->events & IN_BITS) | with_output(m);
			m->et_tail = tail;
		}
		m->force = false;
	}
	m->kev = 0;
	return bits;
}

static void take_ready_bits(struct epset *e, struct slot *sl)
{
	for (uint32_t w = 0; w < SM_N_CHAN / 64; w++) {
		uint64_t bits = load_relaxed(&sl->bell->ready[w]) ? xchg_acqrel(&sl->bell->ready[w], UINT64_C(0)) : 0;
		for (; bits; bits &= bits - 1) {
			struct sock *s = load_acquire(&sl->a->chan_sock[w * 64 + (uint32_t)__builtin_ctzll(bits)]);
			for (struct member *m = s ? s->members : NULL; m; m = m->next)
				if (m->set == e)
					epset_heat(e, m);
		}
	}
}

static void take_bells(struct epset *e)
{
	for (uint32_t i = 0; i < e->n_slot; i++) {
		struct slot *sl = &e->slots[i];
		if (__builtin_expect(load_acquire(&sl->bell->any), 0) && load_acquire(&sl->a->live) && sl->a->seg.nonce == sl->nonce) {
			store_relaxed(&sl->bell->any, 0);
			fence_storeload();
			take_ready_bits(e, sl);
		}
	}
}

/* Under the lock: events of the side's members. */
int epset_collect(struct epset *e, struct epoll_event *ev, int max)
{
	int n = 0;
	take_bells(e);
	uint32_t start = e->n_hot ? e->turn % e->n_hot : 0, count = e->n_hot;
	for (uint32_t i = 0; i < count && n < max; i++) {
		uint32_t at = start + i < count ? start + i : start + i - count;
		if (at >= e->n_hot)
			continue;
		struct member *m = e->hot[at];
		uint32_t bits = member_events(m);
		if (!bits)
			continue;
		ev[n].events = bits;
		ev[n++].data = m->data;
		if (m->events & EPOLLONESHOT && !m->disabled) {
			m->disabled = true;
			epset_detach(m);
		}
	}
	return n;
}

/* Announce the member to its writer. true: it has something to report already. */
bool epset_arm(struct epset *e, struct member *m)
{
	uint64_t tail = 0;
	if (!wants_ring(m))
		return false;
	struct slot *sl = epset_slot(e, m->s->chan.assoc);
	if (!sl)
		return false;
	or_acqrel(&m->s->chan.my->armed, UINT64_C(1) << sl->idx);
	fence_storeload(); /* faces the sender: publish, fence, armed */
	return ring_input(m, &tail);
}

/* Hot members without anything to report go cold, to make room. */
static void evict_idle(struct epset *e)
{
	for (uint32_t i = 0; i < e->n_hot;) {
		struct member *m = e->hot[i];
		if (m->kev || epset_arm(e, m)) {
			i++;
			continue;
		}
		m->hot = false;
		e->hot[i] = e->hot[--e->n_hot];
	}
}

/* Events of S into the members; they are reported by the next collect. What finds no room stays in the kernel. Under the lock. */
static void drain_side(struct epset *e)
{
	struct epoll_event ev[N_HOT];
	if (N_HOT - e->n_hot < N_HOT / 4)
		evict_idle(e);
	if (e->n_hot == N_HOT)
		return;
	long n = sys6(SYS_epoll_pwait, e->side, ev, N_HOT - e->n_hot, 0, 0, 0);
	for (long i = 0; i < n; i++) {
		struct member *m = ev[i].data.ptr;
		if (!m) {
			bell_drain(e->bell_fd);
			continue;
		}
		if (m->set != e || m->disabled)
			continue;
		m->kev = ev[i].events;
		if (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			store_relaxed(&m->s->hup, 1);
		epset_heat(e, m);
	}
}

/*
 * The kernel's part: P's own members straight into ev, S's through their members. Number of events in ev, or -errno. Not under the lock, since it may sleep.
 */
static int kernel_look(struct epset *e, int fd_ep, struct epoll_event *ev, int max, const struct timespec *ts, const sigset_t *mask)
{
	int n = real.epoll_pwait2(fd_ep, ev, max, ts, mask);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 != COOKIE)
			continue;
		ev[i] = ev[--n];
		epset_lock(e);
		drain_side(e);
		epset_unlock(e);
		break;
	}
	return n;
}

static void set_sleeping(struct epset *e, uint32_t v)
{
	for (uint32_t i = 0; i < e->n_slot; i++)
		store_relaxed(&e->slots[i].bell->sleeping, v);
}

/*
 * Under the lock: all hot members go cold. true: nothing to report, the set may sleep. A bell that rings from now on stays in the queue, and P is readable.
 */
static bool make_cold(struct epset *e)
{
	bool ready = false;
	set_sleeping(e, 1);
	for (uint32_t i = 0; i < e->n_hot; i++)
		ready |= epset_arm(e, e->hot[i]) || e->hot[i]->kev;
	fence_storeload(); /* faces notify_bell: any, fence, sleeping */
	for (uint32_t i = 0; i < e->n_slot; i++)
		ready |= load_acquire(&e->slots[i].bell->any) != 0;
	if (ready)
		return false;
	for (uint32_t i = 0; i < e->n_hot; i++)
		e->hot[i]->hot = false;
	e->n_hot = 0;
	return true;
}

void epset_expose(struct epset *e)
{
	if (e->side < 0)
		return;
	epset_lock(e);
	e->exposed = true;
	if (!make_cold(e))
		epset_ring_self(e);
	epset_unlock(e);
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

/* Look a little longer before sleeping, if some hot member's peer is at work on another CPU. */
static bool spin_for_hot(struct epset *e)
{
	struct spin_run r;
	int cpu = spin_cpu() + 1;
	bool elsewhere = false, hit = false;
	for (uint32_t i = 0; i < e->n_hot && !elsewhere; i++) {
		struct sock *s = e->hot[i]->s;
		elsewhere = wants_ring(e->hot[i]) && (int)load_relaxed(&s->chan.peer->cpu) != cpu;
	}
	if (!spin_begin(&e->spin, &r, elsewhere))
		return false;
	do {
		uint64_t tail;
		epset_lock(e);
		for (uint32_t i = 0; i < e->n_hot && !hit; i++)
			hit = wants_ring(e->hot[i]) && ring_input(e->hot[i], &tail);
		for (uint32_t i = 0; i < e->n_slot && !hit; i++)
			hit = load_relaxed(&e->slots[i].bell->any) != 0;
		epset_unlock(e);
	} while (!hit && spin_again(&r));
	spin_end(&e->spin, hit);
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
static int sleep_in_kernel(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t deadline, const sigset_t *mask)
{
	struct timespec ts = {0, 0};
	epset_lock(e);
	add_acqrel(&e->sleepers, 1u);
	bool cold = make_cold(e);
	epset_unlock(e);
	if (cold && deadline)
		ts = rest_of(deadline);
	stats_sleep();
	int n = kernel_look(e, fd_ep, ev, max, cold && !deadline ? NULL : &ts, mask);
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

int epset_wait(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, const sigset_t *mask)
{
	static const struct timespec zero;
	int64_t deadline = timeout_ns > 0 ? now_ns() + timeout_ns : 0;
	bool first = true;
	if (__builtin_expect(e->foreign, 0))
		sock_each(withdraw_members, e);
	for (;;) {
		int k = 0;
		if (++e->turn % KERNEL_EVERY == 0) {
			k = kernel_look(e, fd_ep, ev, max, &zero, mask);
			if (k < 0)
				return k;
		}
		int n = collect_locked(e, ev + k, max - k, false);
		if (n + k)
			return n + k;
		if (timeout_ns == 0) {
			k = kernel_look(e, fd_ep, ev, max, &zero, mask);
			return k < 0 ? k : k + collect_locked(e, ev + k, max - k, true);
		}
		publish_cpu(e);
		if (first && e->n_hot && spin_for_hot(e))
			continue;
		k = sleep_in_kernel(e, fd_ep, ev, max, deadline, mask);
		if (k < 0)
			return k;
		n = collect_locked(e, ev + k, max - k, false);
		if (n + k)
			return n + k;
		if (deadline && now_ns() >= deadline)
			return 0;
		first = false;
	}
}
