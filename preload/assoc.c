/* SPDX-License-Identifier: BSD-2-Clause */
/* assoc.c - associations of this process, and the lock of all slow paths. */
#include "assoc.h"

#include <string.h>
#include <sys/mman.h>

#include "bell.h"
#include "log.h"
#include "svc.h"
#include "sys.h"
#include "token.h"

#define IDLE_NS                                                                                                                \
	INT64_C(5000000000) /* a server lets go of an association that has had no channel for so long; it finds it again on need */

struct assoc *assoc_tab[N_ASSOC];
_Atomic uint32_t n_assoc;

/* ---- g_lock: 0 free, else tid, high bit: somebody waits. Recursive. */
#define LOCK_WAIT 0x80000000u
static _Atomic uint32_t lock_word;
static uint32_t lock_depth;

void guard_enter(struct guard *g)
{
	/* All but the C library's own two (setxid and cancellation) and those that a bug here would raise. */
	uint64_t all = ~((UINT64_C(3) << 31) | (1u << 10) | (1u << 6) | (1u << 7) | (1u << 3));
	uint32_t me = token_tid ? token_tid : token_ask_tid();
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &g->mask, 8);
	if ((load_relaxed(&lock_word) & ~LOCK_WAIT) == me) {
		lock_depth++;
		return;
	}
	if (!cas_acquire(&lock_word, 0u, me)) {
		for (;;) {
			uint32_t cur = load_relaxed(&lock_word);
			if (!cur) {
				if (cas_acquire(&lock_word, 0u, me | LOCK_WAIT))
					break;
				continue;
			}
			if (cur & LOCK_WAIT || cas_acquire(&lock_word, cur, cur | LOCK_WAIT))
				futex_wait(&lock_word, cur | LOCK_WAIT, -1);
		}
	}
	lock_depth = 1;
}

void guard_leave(struct guard *g)
{
	uint64_t mask = g->mask;
	if (--lock_depth == 0 && xchg_acqrel(&lock_word, 0u) & LOCK_WAIT)
		futex_wake(&lock_word, 1);
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
}

/* The forking thread holds the lock; in the child its tid is another. */
static void guard_fork_child(void)
{
	store_relaxed(&lock_word, token_ask_tid());
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

/* Only the server's side lets go: the client's segment would be gone, and its process knows when it ends. */
void assoc_gc(int64_t now)
{
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		struct assoc *a = assoc_tab[i];
		if (!load_acquire(&a->live) || a->side != SM_SERVER || a->n_linked || now - (int64_t)a->idle_since_ns < IDLE_NS)
			continue;
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
