/* SPDX-License-Identifier: BSD-2-Clause */
#include "svc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "assoc.h"
#include "bell.h"
#include "dg.h"
#include "end.h"
#include "fault.h"
#include "last.h"
#include "leave.h"
#include "log.h"
#include "move.h"
#include "notify.h"
#include "sig.h"
#include "switch.h"
#include "sys.h"
#include "token.h"
#include "trim.h"

#define IDLE_MS 5000	       /* an association without channels is let go after this */
#define STACK_LEN (128 * 1024) /* small: it runs only our own code */
#define LINGER_MS 250	       /* while an endpoint waits to be taken off the map */
#define N_EVENT 64
#define AGAIN_NS INT64_C(1000000000) /* between two attempts to start it */
#define AWAIT_NS INT64_C(1000000)    /* how often to look whether it could not be started */
#define PARK_NS INT64_C(2000000000)  /* how long to wait until it comes or leaves: a rendezvous takes half a second at most */

static struct {
	_Atomic uint32_t running;
	_Atomic uint32_t parker; /* 0; or the tid of who has parked it, high bit: others wait */
	_Atomic uint32_t leave;	 /* STAY .. */
	_Atomic uint32_t tid;	 /* 0: it has not come up yet */
	int64_t failed_ns;	 /* when it could not be started; 0: it could. Under g_lock */
	bool wanted;		 /* while parked somebody wanted it; under g_lock */
	int ep;			 /* hidden */
	int bell_fd;		 /* hidden */
	int ring_fd;		 /* hidden; rings others' bells; the one that a child of fork keeps */
	uint8_t bell_name[BELL_NAME_LEN];
} svc = {.ep = -1, .bell_fd = -1, .ring_fd = -1};

int svc_ring_fd(void)
{
	return svc.ring_fd;
}

static void watch_raw(int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};
	sys4(SYS_epoll_ctl, svc.ep, op, fd, &ev);
}

/* What comes with an event: a sock (its address, and a bit if all its edges are told), an association's peer (its address, and this bit), or one of these. Addresses leave three bits. */
#define DATA_BELL 1u
#define DATA_SERVER 2u
#define DATA_LIFE 4u
#define DATA_EDGE 2u /* with an address, which makes it another value than the above */

/*
 * Each is told once. Whose input is shut down here hangs up for ever from then on, and the peer's FIN is one more edge of the same (end.h tells it): until it comes, or the socket is
 * registered for something else, all edges are told.
 */
static void watch_again(struct sock *s, uint32_t events, bool own, bool edge)
{
	if (own && !edge)
		watch_raw(EPOLL_CTL_MOD, s->fd, EPOLLRDHUP | EPOLLET, (uintptr_t)s | DATA_EDGE);
	else if (!own)
		watch_raw(EPOLL_CTL_MOD, s->fd, (events & EPOLLRDHUP ? 0 : EPOLLRDHUP) | EPOLLONESHOT, (uintptr_t)s);
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
	watch_raw(EPOLL_CTL_ADD, a->life_fd, EPOLLIN | EPOLLONESHOT, (uintptr_t)a | DATA_LIFE);
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
	if (load_acquire(&svc.running) && !xchg_acqrel(&svc_stirred, 1u))
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

#define PARK_WAIT 0x80000000u
enum { STAY, LEAVE_ASKED, LEAVE_DONE };

/* Somebody parks us. */
static bool leaves(void)
{
	if (load_relaxed(&svc.leave) != LEAVE_ASKED || !cas_acqrel(&svc.leave, (uint32_t)LEAVE_ASKED, (uint32_t)LEAVE_DONE))
		return false;
	futex_wake(&svc.leave, 1);
	return true;
}

static void *svc_main(void *arg)
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
	while (!leaves()) {
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

static bool open_fds(void)
{
	if (svc.ep >= 0)
		return true;
	if (!fdtab_init())
		return false;
	long ep = sys1(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (ep < 0)
		return false;
	memset(svc.bell_name, 0, sizeof(svc.bell_name));
	int fd = bell_open(svc.bell_name);
	if (fd < 0) {
		sys1(SYS_close, ep);
		return false;
	}
	if (svc.ring_fd < 0)
		svc.ring_fd = fdtab_hide((int)sys3(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	svc.ep = fdtab_hide((int)ep);
	svc.bell_fd = fd;
	watch_raw(EPOLL_CTL_ADD, svc.bell_fd, EPOLLIN, DATA_BELL);
	return true;
}

void svc_start(void)
{
	pthread_attr_t at;
	pthread_t t;
	uint64_t all = SIG_HOLDABLE, was;
	if (leave_done() || load_acquire(&svc.running) || !open_fds())
		return;
	if (svc.failed_ns && now_ns() < svc.failed_ns + AGAIN_NS)
		return;
	if (load_acquire(&svc.parker)) { /* what it is wanted for waits in its epoll and on its bells */
		svc.wanted = true;
		return;
	}
	store_relaxed(&svc.tid, 0u);
	store_release(&svc.running, 1);
	store_relaxed(&token_keeps, true);
	switch_has_bell(svc.ring_fd, svc.bell_name);
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++)
		if (load_acquire(&assoc_tab[i]->live) && !assoc_tab[i]->svc_bell)
			svc_add_assoc(assoc_tab[i]);
	/* The thread inherits the mask: all signals but the C library's own two. */
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &was, 8);
	pthread_attr_init(&at);
	pthread_attr_setstacksize(&at, STACK_LEN);
	int e = pthread_create(&t, &at, svc_main, NULL);
	pthread_attr_destroy(&at);
	if (e) /* a program with much thread-local storage needs more */
		e = pthread_create(&t, NULL, svc_main, NULL);
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &was, 0, 8);
	if (!e) {
		pthread_detach(t);
		svc.failed_ns = 0;
	}
	if (e) {
		log_line("no service thread: error %d", e);
		svc.failed_ns = now_ns();
		store_release(&svc.running, 0);
		store_relaxed(&token_keeps, false);
		switch_has_none();
	}
}

bool svc_runs(void)
{
	return load_acquire(&svc.running);
}

bool svc_failed(void)
{
	return svc.failed_ns && !load_acquire(&svc.running);
}

void svc_ensure(void)
{
	struct guard g;
	store_relaxed(&token_refused, false);
	if (load_acquire(&svc.running))
		return;
	guard_enter(&g);
	svc_start();
	guard_leave(&g);
}

void svc_await(void)
{
	int64_t end = now_ns() + PARK_NS, left;
	while (load_acquire(&svc.running) && !load_acquire(&svc.tid) && (left = end - now_ns()) > 0)
		futex_wait(&svc.tid, 0, left < AWAIT_NS ? left : AWAIT_NS); /* nobody wakes us if it could not be started */
}

void svc_nudge(void)
{
	if (load_acquire(&svc.running))
		bell_ring(svc.ring_fd, svc.bell_name);
}

/* ---- parking */

static void park_lock(void)
{
	uint32_t me = token_tid ? token_tid : token_ask_tid(), cur;
	while (!cas_acquire(&svc.parker, 0u, me)) {
		cur = load_relaxed(&svc.parker);
		if (cur && (cur & PARK_WAIT || cas_acquire(&svc.parker, cur, cur | PARK_WAIT)))
			futex_wait(&svc.parker, cur | PARK_WAIT, -1);
	}
}

/*
 * It says that it leaves, and then is gone once the kernel does not know its number any more: only then does the kernel count one thread less. false: it is
 * busy, perhaps for what this very thread was doing when a signal took it here; it stays.
 */
static bool wait_until_gone(void)
{
	int64_t end = now_ns() + PARK_NS, left;
	struct timespec nap = {0, 20000};
	bell_ring(svc.ring_fd, svc.bell_name);
	while (load_acquire(&svc.leave) == LEAVE_ASKED) {
		if ((left = end - now_ns()) > 0)
			futex_wait(&svc.leave, LEAVE_ASKED, left);
		else if (cas_acqrel(&svc.leave, (uint32_t)LEAVE_ASKED, (uint32_t)STAY))
			return false;
	}
	while (sys3(SYS_tgkill, sys0(SYS_getpid), load_relaxed(&svc.tid), 0) == 0)
		sys2(SYS_nanosleep, &nap, 0);
	store_release(&svc.leave, STAY);
	return true;
}

void svc_park(struct park *p)
{
	uint64_t all = ~(UINT64_C(3) << 31); /* but the C library's own two */
	struct guard g;
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &p->mask, 8);
	park_lock();
	guard_enter(&g); /* nobody is in the middle of starting it */
	p->restart = load_acquire(&svc.running);
	svc.wanted = false;
	if (p->restart)
		store_release(&svc.leave, LEAVE_ASKED);
	guard_leave(&g);
	if (p->restart && wait_until_gone())
		store_release(&svc.running, 0);
}

void svc_unpark(struct park *p)
{
	struct guard g;
	guard_enter(&g);
	if (xchg_acqrel(&svc.parker, 0u) & PARK_WAIT)
		futex_wake(&svc.parker, 1);
	if (p->restart || svc.wanted)
		svc_start();
	guard_leave(&g);
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &p->mask, 0, 8);
}

void svc_kick(void)
{
	svc_ensure();
	bell_ring(svc.ring_fd, svc.bell_name);
}

void svc_serve(void)
{
	svc_start();
	for (uint32_t i = 0;; i++) {
		struct server *v = server_at(i);
		if (!v)
			break;
		if (load_acquire(&v->live) && (v->refs || load_relaxed(&v->retract_ns)) && !v->watched && svc.ep >= 0) {
			watch_raw(EPOLL_CTL_ADD, v->ept.bell_fd, EPOLLIN | EPOLLET, DATA_SERVER);
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
	watch_raw(EPOLL_CTL_DEL, v->ept.bell_fd, 0, 0);
}

void svc_watch(struct sock *s)
{
	if (load_acquire(&s->watched))
		return;
	svc_ensure();
	watch_raw(EPOLL_CTL_ADD, s->fd, EPOLLRDHUP | EPOLLONESHOT, (uintptr_t)s);
	store_release(&s->watched, 1); /* now, not before: a thread that finds it set changes the registration */
	if (load_acquire(&s->linked))
		store_relaxed(&s->chan.my->svc_bell, s->chan.assoc->svc_bell);
}

void svc_want_input(struct sock *s)
{
	watch_raw(EPOLL_CTL_MOD, s->fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, (uintptr_t)s);
}

void svc_unwatch(struct sock *s)
{
	if (!load_relaxed(&s->watched))
		return;
	store_relaxed(&s->watched, 0);
	watch_raw(EPOLL_CTL_DEL, s->fd, 0, 0);
}

void svc_add_assoc(struct assoc *a)
{
	if (!open_fds())
		return;
	int i = seg_bell_alloc(&a->seg, a->side, svc.bell_name);
	a->svc_bell = i < 0 ? 0 : (uint32_t)i + 1;
	FAULT_POINT("svc: bell's name, before asleep");
	if (i >= 0)
		store_release(&seg_bell(&a->seg, a->side, (uint32_t)i)->sleeping, 1);
}

void svc_fork_child(void)
{
	int ep = svc.ep, bell = svc.bell_fd;
	store_release(&svc.running, 0);
	store_relaxed(&token_keeps, false); /* nor is there a bias: fork has ended them */
	svc.failed_ns = 0;
	switch_fork_child();
	store_release(&svc.parker, 0);
	store_release(&svc.leave, STAY);
	store_release(&svc_stirred, 0);
	svc.ep = svc.bell_fd = -1;
	fdtab_close_hidden(ep);
	fdtab_close_hidden(bell);
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		assoc_tab[i]->svc_bell = 0;
		if (assoc_tab[i]->life_fd > 0)
			fdtab_close_hidden(assoc_tab[i]->life_fd);
		assoc_tab[i]->life_fd = 0;
	}
	for (uint32_t i = 0;; i++) {
		struct server *v = server_at(i);
		if (!v)
			break;
		v->watched = false;
	}
}
