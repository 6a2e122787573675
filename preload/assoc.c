/* SPDX-License-Identifier: BSD-2-Clause */
/* assoc.c - associations of this process, and the lock of all slow paths. */
#include "assoc.h"

#include <string.h>
#include <sys/mman.h>

#include "bell.h"
#include "sig.h"
#include "log.h"
#include "svc.h"
#include "sys.h"
#include "token.h"

#define IDLE_NS INT64_C(5000000000) /* an association that has had no channel for so long is let go, and found again on need */

struct assoc *assoc_tab[N_ASSOC];
_Atomic uint32_t n_assoc;

/*
 * ---- g_lock: 0 free, else tid, high bit: somebody waits. Recursive.
 *
 * A handler of the program's may call us, and must not find its own thread in the middle of a change: so its signals are blocked meanwhile. That is two system calls, half the
 * price of a close(); a program that has installed no handler does not pay it (guard_beware). Our own handler of fatal signals waits for the end of the guard instead.
 */
#define LOCK_WAIT 0x80000000u
static _Atomic uint32_t lock_word;
static _Atomic uint32_t any_handler;
static bool lock_blocked;	      /* the holder's signals are; under the lock */
static volatile int lock_fatal;	      /* a signal that the holder dies of afterwards; under the lock */
static _Atomic uint32_t main_tid;     /* since there has been a handler */
static _Atomic uint32_t main_blocked; /* guard_of_main(): written by that thread, outside the time in which it is odd */

void guard_beware(void)
{
	store_relaxed(&main_tid, (uint32_t)sys0(SYS_getpid));
	store_release(&any_handler, 1);
}

uint32_t guard_of_main(void)
{
	return load_acquire(&main_blocked);
}

static uint32_t own_tid(void)
{
	return token_tid ? token_tid : token_ask_tid();
}

bool guard_dies_later(int sig)
{
	if ((load_relaxed(&lock_word) & ~LOCK_WAIT) != own_tid())
		return false;
	lock_fatal = sig;
	return true;
}

static void lock_take(uint32_t me)
{
	if (cas_acquire(&lock_word, 0u, me))
		return;
	for (;;) {
		uint32_t cur = load_relaxed(&lock_word);
		if (!cur) {
			if (cas_acquire(&lock_word, 0u, me | LOCK_WAIT))
				return;
			continue;
		}
		if (cur & LOCK_WAIT || cas_acquire(&lock_word, cur, cur | LOCK_WAIT))
			futex_wait(&lock_word, cur | LOCK_WAIT, -1);
	}
}

/* In front of the call that blocks, and behind the one that unblocks; should a handler jump away from there, it says "blocked" until the next guard's end. */
static void note_main(uint32_t me, bool blocked)
{
	uint32_t n = load_relaxed(&main_blocked);
	if (me == load_relaxed(&main_tid))
		store_release(&main_blocked, blocked ? (n | 1) + 2 : (n + 1) & ~1u);
}

void guard_enter(struct guard *g)
{
	uint64_t all = SIG_HOLDABLE;
	uint32_t me = own_tid();
	g->outer = (load_relaxed(&lock_word) & ~LOCK_WAIT) != me;
	if (g->outer)
		lock_take(me);
	/* Behind the lock: who installs the first handler sets the mark before he takes it. A handler that comes before the next line finds nothing changed yet. */
	g->blocked = !lock_blocked && load_acquire(&any_handler);
	if (g->blocked) {
		note_main(me, true);
		sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &g->mask, 8);
		lock_blocked = true;
	}
}

void guard_leave(struct guard *g)
{
	bool starts = svc_comes(g);
	uint64_t mask = 0;
	if (starts)
		svc_begins(&mask);
	int fatal = g->outer ? lock_fatal : 0;
	if (fatal)
		lock_fatal = 0;
	if (g->blocked)
		lock_blocked = false;
	if (g->outer && xchg_acqrel(&lock_word, 0u) & LOCK_WAIT)
		futex_wake(&lock_word, 1);
	if (starts)
		svc_create(mask);
	if (g->blocked) {
		sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &g->mask, 0, 8);
		note_main(own_tid(), false);
	}
	if (__builtin_expect(fatal != 0, 0))
		sys3(SYS_tgkill, sys0(SYS_getpid), sys0(SYS_gettid), fatal);
}

/* The forking thread holds the lock; in the child its tid is another. */
static void guard_fork_child(void)
{
	store_relaxed(&lock_word, token_ask_tid());
	lock_fatal = 0; /* the parent's */
	if (load_relaxed(&main_tid))
		store_relaxed(&main_tid, token_ask_tid());
}

/* ---- associations */

struct assoc *assoc_add(const struct seg *seg, int side)
{
	struct assoc *a = NULL;
	uint32_t n = load_relaxed(&n_assoc);
	for (uint32_t i = 0; i < n && !a; i++)
		if (!load_relaxed(&assoc_tab[i]->live))
			a = assoc_tab[i];
	if (!a) {
		if (n == N_ASSOC)
			return NULL;
		long p = sys6(SYS_mmap, 0, sizeof(*a), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p < 0 && p > -4096)
			return NULL;
		a = assoc_tab[n] = (struct assoc *)(uintptr_t)p;
		store_release(&n_assoc, n + 1);
	}
	memset((void *)a, 0, sizeof(*a));
	a->seg = *seg;
	a->side = side;
	a->idle_since_ns = (uint64_t)now_ns();
	svc_add_assoc(a);
	store_release(&a->live, 1);
	return a;
}

bool assoc_room(void)
{
	uint32_t n = load_relaxed(&n_assoc);
	for (uint32_t i = 0; n == N_ASSOC && i < n; i++)
		if (!load_relaxed(&assoc_tab[i]->live))
			return true;
	return n < N_ASSOC;
}

struct assoc *assoc_find(int shmid, uint64_t nonce)
{
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		struct assoc *a = assoc_tab[i];
		if (load_acquire(&a->live) && a->seg.shmid == shmid && a->seg.nonce == nonce)
			return a;
	}
	return NULL;
}

void assoc_chan_ends(struct assoc *a)
{
	if (sub_acqrel(&a->n_linked, 1u) != 1)
		return;
	a->idle_since_ns = (uint64_t)now_ns();
	fence_storeload(); /* faces chores_do: the service thread sees it idle before it sleeps, or we see that it may sleep for ever */
	if (assoc_may_go(a))
		svc_stir();
}

void assoc_chan(struct assoc *a, uint32_t idx, struct chan *c)
{
	c->assoc = a;
	c->idx = idx;
	c->side = a->side;
	c->shm = seg_chan(&a->seg, idx);
	c->my = &c->shm->end[a->side];
	c->peer = &c->shm->end[!a->side];
	c->tx_ring = seg_ring(&a->seg, idx, a->side);
	c->rx_ring = seg_ring(&a->seg, idx, !a->side);
}

void assoc_gc(int64_t now)
{
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		struct assoc *a = assoc_tab[i];
		if (!load_acquire(&a->live) || !assoc_may_go(a) || now - (int64_t)a->idle_since_ns < IDLE_NS)
			continue;
		if (a->life_fd > 0)
			fdtab_close_hidden(a->life_fd);
		a->life_fd = 0;
		if (a->svc_bell)
			seg_bell_free(&a->seg, a->side, a->svc_bell - 1);
		store_release(&a->live, 0);
		log_line("segment %d let go", a->seg.shmid);
		seg_detach(&a->seg);
	}
}

void assoc_fork_child(void)
{
	guard_fork_child();
}
