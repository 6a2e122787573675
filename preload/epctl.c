/* SPDX-License-Identifier: BSD-2-Clause */
/* epctl.c - what epoll_ctl does. */
#include <errno.h>
#include <string.h>

#include "dg.h"
#include "epset_int.h"
#include "handler.h"
#include "move.h"
#include "ready.h"
#include "real.h"
#include "switch.h"
#include "sys.h"
#include "ucopy.h"

/* May the socket be upgraded while it is a member? Then it goes to S at once: later moves cost edges. */
static bool is_candidate(const struct sock *s, uint32_t events)
{
	uint32_t fl = sock_flags(s);
	if (events & EPOLLEXCLUSIVE || fl & (FAM_LISTEN | FAM_BROKEN) || move_is_pinned(s, FAM_PIN_RX))
		return false;
	if (fl & FAM_DGRAM) /* a level-triggered one can move later */
		return dg_linked(s) || events & (EPOLLET | EPOLLONESHOT);
	if (load_acquire(&s->linked))
		return true;
	if (switch_is_off() && !(events & (EPOLLET | EPOLLONESHOT))) /* it can move later, too */
		return false;
	if (s->endpoint || s->foreign)
		return true;
	return s->server && load_relaxed(&s->server->ept.area->offer_seq) != 0;
}

/* What is there already is reported once. */
static void now_hot(struct epset *e, struct member *m)
{
	m->force = true;
	epset_heat(e, m);
	if (load_acquire(&e->sleepers) || e->exposed)
		epset_ring_self(e);
}

/* A process that shares the set by fork may have taken the member out, as far as the kernel knows of it. */
static bool is_out(const struct epset *e, const struct member *m)
{
	struct epoll_event none = {.data = m->data}; /* who sleeps there hears of an error, if there is one */
	int at = m->side ? epset_side(e) : e->fd;
	if (m->side)
		none.data.u64 = epset_data(m);
	if (!e->shared || !m->in_kernel || sys4(SYS_epoll_ctl, at, EPOLL_CTL_ADD, m->fd, &none) < 0)
		return false;
	sys4(SYS_epoll_ctl, at, EPOLL_CTL_DEL, m->fd, 0);
	return true;
}

static int ctl_add(struct epset *e, struct sock *s, int fd, struct epoll_event *ev)
{
	struct member *old = epset_member(e, s, fd);
	if (old && !old->ghost && is_out(e, old))
		old->ghost = true;
	if (old && !old->ghost)
		return -EEXIST;
	if (old) {
		epset_detach(old);
		epset_unlink_member(e, old);
	}
	bool side = is_candidate(s, ev->events) && !e->foreign && epset_make_side(e) && epset_grow_hot(e);
	struct member *m = epset_new_member(e, s, fd);
	if (!m)
		return -ENOMEM;
	m->events = ev->events;
	m->data = ev->data;
	struct epoll_event kev = {.events = ev->events, .data.u64 = epset_data(m)};
	long r = sys4(SYS_epoll_ctl, side ? epset_side(e) : e->fd, EPOLL_CTL_ADD, fd, side ? &kev : ev);
	if (r < 0) {
		epset_unlink_member(e, m);
		return (int)r;
	}
	m->side = m->fresh = side;
	m->in_kernel = true;
	e->n_side += side;
	if (!side && !(sock_flags(s) & FAM_LISTEN) && (s->endpoint || s->server || s->foreign || sock_is_dgram(s)) &&
		ev->events & (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE)) {
		move_note_pin(s, FAM_PIN_RX, WHY_EPOLL);
		store_relaxed(&s->f->rx_why, WHY_EPOLL);
	}
	if (sock_is_dgram(s) && dg_linked(s)) {
		if (!side || !epset_dg_bell(e, m)) {
			move_pin(s, WHY_EPOLL);
			return 0;
		}
		now_hot(e, m);
	}
	if (load_acquire(&s->linked)) {
		if (!side || !epset_make_slot(e, s->chan.assoc)) {
			move_withdraw(s, WHY_EPOLL);
			return 0;
		}
		now_hot(e, m);
	}
	return 0;
}

/* The process that has made the set may have closed its last number of a member that we have still: then that is in P, and stays there (epset_number_closes). */
static long ctl_kernel(struct epset *e, struct member *m, int op, struct epoll_event *ev)
{
	struct epoll_event kev = {.events = ev ? ev->events : 0, .data.u64 = epset_data(m)};
	long r = sys4(SYS_epoll_ctl, m->side ? epset_side(e) : e->fd, op, m->fd, m->side ? &kev : ev);
	if (r != -ENOENT || !m->side || !e->foreign)
		return r;
	r = sys4(SYS_epoll_ctl, e->fd, op, m->fd, ev);
	if (r == 0)
		epset_is_programs(e, m);
	return r;
}

static int ctl_mod(struct epset *e, struct member *m, struct epoll_event *ev)
{
	int op = m->in_kernel ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (m->ghost)
		return -ENOENT;
	if (!m->in_kernel && ev->events & EPOLLEXCLUSIVE)
		return -EINVAL;
	long r = ctl_kernel(e, m, op, ev);
	if (r == -ENOENT && e->shared)
		epset_unlink_member(e, m);
	if (r < 0)
		return (int)r;
	m->in_kernel = true;
	m->dirty = m->disabled = false;
	m->events = ev->events;
	m->data = ev->data;
	m->kev = 0;
	m->reset_told = false;
	m->force = m->fresh = true;
	m->out_ns = 0;
	if (m->side && (load_acquire(&m->s->linked) || (sock_is_dgram(m->s) && dg_linked(m->s))))
		now_hot(e, m);
	return 0;
}

static int ctl_del(struct epset *e, struct member *m)
{
	if (m->ghost)
		return -ENOENT;
	long r = !m->in_kernel ? 0 : ctl_kernel(e, m, EPOLL_CTL_DEL, NULL);
	if (r == 0 || (r == -ENOENT && e->shared))
		epset_unlink_member(e, m);
	return (int)r;
}

/*
 * Programs that change a member's interest with every message (write, then read) pay a system call each time. While both directions of a level-triggered member go
 * through rings, and nobody sleeps on the set, the kernel need not know: it is told before the set sleeps (make_cold). Until then the member stays hot. What the
 * kernel alone could report meanwhile, the end of the connection, the service thread reports to the sock. -EAGAIN: not such a case.
 */
#define LAZY_BITS (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM | EPOLLRDHUP | EPOLLERR | EPOLLHUP)

static int ctl_lazy(struct epset *e, struct sock *s, int op, int fd, const struct epoll_event *ev)
{
	struct member *m = e->cache[fd % N_CACHE];
	if (!m || m->set != e || m->s != s || m->fd != fd || !m->side || m->disabled || m->events & ~(uint32_t)LAZY_BITS)
		return -EAGAIN;
	if (op != EPOLL_CTL_DEL && ev->events & ~(uint32_t)LAZY_BITS)
		return -EAGAIN;
	if (load_acquire(&e->sleepers) || e->exposed || e->foreign || !load_acquire(&s->linked))
		return -EAGAIN;
	if (!(s->f->tx_epoch & load_relaxed(&s->f->rx_epoch) & 1) || load_relaxed(&s->look) || load_relaxed(&s->hup))
		return -EAGAIN;
	if (m->ghost != (op == EPOLL_CTL_ADD))
		return m->ghost ? -ENOENT : -EEXIST;
	m->ghost = op == EPOLL_CTL_DEL;
	m->dirty = true;
	m->kev = 0;
	if (op != EPOLL_CTL_DEL) {
		m->events = ev->events;
		m->data = ev->data;
	}
	epset_heat(e, m);
	return 0;
}

/*
 * The program's structure, which may not be there. To ask the kernel for it costs two system calls, as much as all else that is done here, also for the many sockets that
 * are never linked: so the handler of faults is put in place for them too.
 */
static int take_event(const struct epoll_event *ev, struct epoll_event *copy)
{
	struct guard g;
	if ((uintptr_t)ev < 4096)
		return 1;
	if (!handler_traps()) {
		guard_enter(&g);
		handler_trap();
		guard_leave(&g);
	}
	return ucopy(copy, ev, sizeof(*copy));
}

int epset_ctl(struct epset *e, int fd_ep, int op, int fd, struct epoll_event *ev)
{
	struct sock *s = fd_any_sock(fd);
	struct epset *inner = fd_epset(fd);
	struct guard g;
	int r;
	struct epoll_event copy;
	if (!s) {
		r = real.epoll_ctl(fd_ep, op, fd, ev) < 0 ? -errno : 0;
		if (op == EPOLL_CTL_ADD && r == 0)
			add_relaxed(&e->n_other, 1u);
		if (op == EPOLL_CTL_DEL && r == 0)
			sub_acqrel(&e->n_other, 1u);
		if (inner && op == EPOLL_CTL_ADD && r == 0) {
			epset_note_inner(e, inner);
			epset_expose(inner); /* somebody may sleep in the outer one already */
		}
		if (inner && op == EPOLL_CTL_DEL && r == 0)
			epset_forget_inner(e, inner);
		return r;
	}
	if (op != EPOLL_CTL_DEL) { /* the kernel checks the pointer before anything else */
		if (take_event(ev, &copy))
			return -EFAULT;
		ev = &copy;
	}
	if (op >= EPOLL_CTL_ADD && op <= EPOLL_CTL_MOD && e->cache[fd % N_CACHE]) {
		epset_lock(e);
		r = ctl_lazy(e, s, op, fd, ev);
		epset_unlock(e);
		if (r != -EAGAIN)
			return r;
	}
	guard_enter(&g);
	epset_lock(e);
	struct member *m = epset_member(e, s, fd);
	if (op == EPOLL_CTL_ADD)
		r = ctl_add(e, s, fd, ev);
	else if (m && m->ghost)
		r = -ENOENT;
	else if (m && op == EPOLL_CTL_MOD)
		r = ctl_mod(e, m, ev);
	else if (m && op == EPOLL_CTL_DEL)
		r = ctl_del(e, m);
	else
		r = real.epoll_ctl(fd_ep, op, fd, ev) < 0 ? -errno : 0;
	m = epset_member(e, s, fd);
	if (r == 0 && m)
		e->cache[fd % N_CACHE] = m;
	epset_unlock(e);
	guard_leave(&g);
	return r;
}
