/* SPDX-License-Identifier: BSD-2-Clause */
#include "svc_int.h"

#include <sys/epoll.h>
#include <sys/prctl.h>

#include "assoc.h"
#include "dg.h"
#include "end.h"
#include "fault.h"
#include "last.h"
#include "move.h"
#include "notify.h"
#include "switch.h"
#include "sys.h"
#include "trim.h"

#define IDLE_MS 5000   /* an association without channels is let go after this */
#define LINGER_MS 1000 /* while an endpoint waits to be taken off the map */
#define N_EVENT 64

void svc_watch_raw(int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};
	sys4(SYS_epoll_ctl, svc.ep, op, fd, &ev);
}

/*
 * Each is told once. Whose input is shut down here hangs up for ever from then on, and the peer's FIN is one more edge of the same (end.h tells it): until it comes, or the socket is
 * registered for something else, all edges are told.
 */
static void watch_again(struct sock *s, uint32_t events, bool own, bool edge)
{
	if (own && !edge)
		svc_watch_raw(EPOLL_CTL_MOD, s->fd, EPOLLRDHUP | EPOLLET, (uintptr_t)s | DATA_EDGE);
	else if (!own)
		svc_watch_raw(EPOLL_CTL_MOD, s->fd, (events & EPOLLRDHUP ? 0 : EPOLLRDHUP) | EPOLLONESHOT, (uintptr_t)s);
}

static void on_sock(struct sock *s, uint32_t events, bool edge)
{
	if (!load_acquire(&s->open) || !load_acquire(&s->linked))
		return;
	bool own = end_kernel_says(s, events);
	struct guard g;
	guard_enter(&g); /* the number may be closed, and another's, in the middle of this */
	if (!load_acquire(&s->linked)) {
		guard_leave(&g);
		return;
	}
	FAULT_POINT("svc: end seen, before watched again");
	/* Registered again before the futex moves: a sleeper that asks for input after having read the futex is not overwritten unnoticed. */
	if (!(events & (EPOLLHUP | EPOLLERR)))
		watch_again(s, events, own, edge);
	guard_leave(&g);
	struct sm_end *my = s->chan.my;
	FAULT_POINT("svc: watched again, before futex");
	add_acqrel(&my->futex, 1u);
	notify_futex(my);
}

static void on_life(struct assoc *a)
{
	struct guard g;
	guard_enter(&g);
	if (load_acquire(&a->live) && a->life_fd > 0) {
		store_release(&a->ended, 1);
		FAULT_POINT("svc: death seen, before told");
		endpoint_ended(a);
		dg_peer_died(a);
		fdtab_close_hidden(a->life_fd);
		a->life_fd = 0;
	}
	guard_leave(&g);
}

bool svc_watch_life(struct assoc *a)
{
	if (load_acquire(&a->ended))
		return false;
	if (a->life_fd > 0)
		return true;
	long fd = a->seg.peer ? sys2(SYS_pidfd_open, a->seg.peer, 0) : -1;
	if (fd < 0)
		return false;
	a->life_fd = fdtab_hide((int)fd);
	svc_start();
	svc_watch_raw(EPOLL_CTL_ADD, a->life_fd, EPOLLIN | EPOLLONESHOT, (uintptr_t)a | DATA_LIFE);
	return true;
}

/* Requests that came by the service bell of one association. */
static void serve_requests(struct assoc *a)
{
	if (!a->svc_bell)
		return;
	struct sm_bell *b = seg_bell(&a->seg, a->side, a->svc_bell - 1);
	store_release(&b->sleeping, 1);
	fence_storeload(); /* faces notify_bell: any, fence, sleeping */
	if (!xchg_acqrel(&b->any, 0u))
		return;
	for (uint32_t w = 0; w < SM_N_CHAN / 64; w++) {
		uint64_t bits = xchg_acqrel(&b->ready[w], UINT64_C(0));
		for (; bits; bits &= bits - 1) {
			uint32_t idx = w * 64 + (uint32_t)__builtin_ctzll(bits);
			FAULT_POINT("svc: request taken, before served");
			struct sock *s = load_acquire(&a->chan_sock[idx]);
			if (s && sock_is_dgram(s)) {
				dg_give_back(s, a, idx);
				dg_asked(s, a, idx);
			} else if (s && load_acquire(&s->linked)) {
				move_give_back(s);
				switch_asked(s);
			}
		}
	}
}

void svc_serve_requests(void)
{
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++)
		if (load_acquire(&assoc_tab[i]->live))
			serve_requests(assoc_tab[i]);
}

static bool any_idle(void)
{
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++)
		if (load_acquire(&assoc_tab[i]->live) && assoc_may_go(assoc_tab[i]))
			return true;
	return false;
}

static void on_bell(void)
{
	struct guard g;
	bell_drain(svc.bell_fd);
	endpoint_serve_wants(); /* takes the lock as it needs it: it waits for servers */
	guard_enter(&g);
	for (uint32_t i = 0; server_at(i); i++)
		if (server_at(i)->watched) /* under the lock: a listener that is closed takes its bell along, and the number is another's */
			bell_drain(server_at(i)->ept.bell_fd); /* a full queue would ring no more */
	server_serve_all();
	guard_leave(&g);
	svc_serve_requests();
}

_Atomic uint32_t svc_stirred; /* somebody has slept since a trim found all quiet */

void svc_stir_slow(void)
{
	if (svc_may_run() && !xchg_acqrel(&svc_stirred, 1u))
		bell_ring(svc.ring_fd, svc.bell_name);
}

/* What is due from time to time, and only while there is a reason for it. */
struct chores {
	int64_t gc_due, trim_due; /* 0: not */
};

static int64_t due_in(int64_t due, int64_t now, int ms)
{
	return due ? due : now + ms * INT64_C(1000000);
}

/* Milliseconds until the next chore; -1: none. */
static int chores_until(struct chores *c)
{
	int64_t now = now_ns(), next;
	bool late = server_retracts();
	c->gc_due = late || any_idle() ? due_in(c->gc_due, now, late ? LINGER_MS : IDLE_MS) : 0;
	c->trim_due = load_acquire(&svc_stirred) ? due_in(c->trim_due, now, TRIM_MS) : 0;
	next = !c->gc_due || (c->trim_due && c->trim_due < c->gc_due) ? c->trim_due : c->gc_due;
	if (switch_ms() >= 0)
		return switch_ms();
	if (!next)
		return last_is_due() ? LAST_MS : -1;
	int ms = next <= now ? 0 : (int)((next - now) / 1000000) + 1;
	return last_is_due() && ms > LAST_MS ? LAST_MS : ms;
}

static void chores_do(struct chores *c)
{
	int64_t now = now_ns();
	last_look();
	if (c->gc_due && now >= c->gc_due) {
		struct guard g;
		c->gc_due = 0;
		guard_enter(&g);
		assoc_gc(now);
		server_retract_late(now);
		guard_leave(&g);
	}
	if (c->trim_due && now >= c->trim_due) {
		c->trim_due = 0;
		if (!trim_pass()) {
			store_release(&svc_stirred, 0);
			fence_storeload(); /* faces assoc_chan_ends */
		}
	}
}

void *svc_main(void *arg)
{
	struct epoll_event ev[N_EVENT];
	struct chores chores = {0};
	(void)arg;
	sys4(SYS_prctl, PR_SET_NAME, "shunt", 0, 0);
	/* It executes nothing, so this costs it nothing: a program that gives up privileges thread by thread, and then its right to new threads, keeps us. */
	sys5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	store_release(&svc.tid, (uint32_t)sys0(SYS_gettid));
	futex_wake(&svc.tid, INT32_MAX);
	on_bell(); /* whatever came before we looked */
	while (!svc_goes()) {
		long n = sys6(SYS_epoll_pwait, svc.ep, ev, N_EVENT, chores_until(&chores), 0, 0);
		chores_do(&chores);
		switch_serve();
		bool bell = false;
		for (long i = 0; i < n; i++) {
			if (ev[i].data.u64 == DATA_BELL || ev[i].data.u64 == DATA_SERVER)
				bell = true;
			else if (ev[i].data.u64 & DATA_LIFE)
				on_life((struct assoc *)(uintptr_t)(ev[i].data.u64 & ~(uint64_t)DATA_LIFE));
			else
				on_sock((struct sock *)(uintptr_t)(ev[i].data.u64 & ~(uint64_t)DATA_EDGE), ev[i].events,
					ev[i].data.u64 & DATA_EDGE);
		}
		if (bell)
			on_bell();
	}
	return NULL;
}

void svc_serve(void)
{
	svc_start();
	for (uint32_t i = 0;; i++) {
		struct server *v = server_at(i);
		if (!v)
			break;
		if (load_acquire(&v->live) && (v->refs || load_relaxed(&v->retract_ns)) && !v->watched && svc.ep >= 0) {
			svc_watch_raw(EPOLL_CTL_ADD, v->ept.bell_fd, EPOLLIN | EPOLLET, DATA_SERVER);
			v->watched = true;
		}
	}
	server_serve_all();
}

void svc_unserve(struct server *v)
{
	if (!v->watched)
		return;
	v->watched = false;
	svc_watch_raw(EPOLL_CTL_DEL, v->ept.bell_fd, 0, 0);
}

void svc_watch(struct sock *s)
{
	if (load_acquire(&s->watched))
		return;
	svc_ensure();
	svc_watch_raw(EPOLL_CTL_ADD, s->fd, EPOLLRDHUP | EPOLLONESHOT, (uintptr_t)s);
	store_release(&s->watched, 1); /* now, not before: a thread that finds it set changes the registration */
	if (!load_acquire(&s->linked))
		return;
	store_relaxed(&s->chan.my->svc_bell, s->chan.assoc->svc_bell);
	fence_storeload(); /* faces withdraw(): left, fence, bells. Who has asked when there was nobody to hear it: here we are */
	if (load_relaxed(&s->chan.peer->flags) & SM_END_LEFT)
		notify_own_service(&s->chan);
}

void svc_want_input(struct sock *s)
{
	svc_watch_raw(EPOLL_CTL_MOD, s->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, (uintptr_t)s);
}

void svc_unwatch(struct sock *s)
{
	if (!load_relaxed(&s->watched))
		return;
	store_relaxed(&s->watched, 0);
	svc_watch_raw(EPOLL_CTL_DEL, s->fd, 0, 0);
}

void svc_add_assoc(struct assoc *a)
{
	if (!svc_open())
		return;
	int i = seg_bell_alloc(&a->seg, a->side, svc.bell_name);
	a->svc_bell = i < 0 ? 0 : (uint32_t)i + 1;
	FAULT_POINT("svc: bell's name, before asleep");
	if (i >= 0)
		store_release(&seg_bell(&a->seg, a->side, (uint32_t)i)->sleeping, 1);
}
