/* SPDX-License-Identifier: BSD-2-Clause */
/* epset.c - the life of epoll sets: their lock, descriptors, fork. */
#include <string.h>
#include <sys/mman.h>

#include "bell.h"
#include "epset_int.h"
#include "sys.h"
#include "token.h"

static struct epset *all; /* under g_lock */

#define WAITERS 0x80000000u

/* ---- the set's lock. No system call when free; signals stay open, so a handler may find its own thread holding it. */
static uint32_t self(void)
{
	return token_tid ? token_tid : token_ask_tid();
}

void epset_lock(struct epset *e)
{
	uint32_t me = self();
	for (int i = 0; i < 100; i++) {
		if (cas_acquire(&e->lock, 0u, me))
			return;
		cpu_relax();
	}
	for (;;) {
		uint32_t cur = load_relaxed(&e->lock);
		if (!cur && cas_acquire(&e->lock, 0u, me | WAITERS))
			return;
		if (cur && (cur & WAITERS || cas_acquire(&e->lock, cur, cur | WAITERS)))
			futex_wait(&e->lock, cur | WAITERS, -1);
	}
}

bool epset_lock_is_mine(const struct epset *e)
{
	return (load_relaxed(&e->lock) & ~WAITERS) == self();
}

void epset_unlock(struct epset *e)
{
	if (xchg_acqrel(&e->lock, 0u) & WAITERS)
		futex_wake(&e->lock, 1);
}

/* ---- life */

void epset_new(int fd)
{
	struct guard g;
	struct epset *e;
	if (!fdtab_init() || (unsigned)fd >= fdtab_len)
		return;
	guard_enter(&g);
	for (e = all; e && load_relaxed(&e->refs); e = e->next)
		;
	if (!e) {
		long p = sys6(SYS_mmap, 0, sizeof(*e), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p < 0 && p > -4096) {
			guard_leave(&g);
			return;
		}
		e = (struct epset *)(uintptr_t)p;
		e->next = all;
		all = e;
	}
	struct epset *next = e->next;
	if (e->room)
		sys2(SYS_munmap, e->hot, e->room * sizeof(*e->hot));
	memset((void *)e, 0, sizeof(*e));
	e->next = next;
	e->fd = fd;
	e->side = e->bell_fd = -1;
	store_release(&e->refs, 1);
	fdtab_set(fd, (uintptr_t)e | FD_EPSET);
	guard_leave(&g);
}

void epset_dup(struct epset *e, int fd)
{
	add_acqrel(&e->refs, 1u);
	if (!fdtab_set(fd, (uintptr_t)e | FD_EPSET))
		sub_acqrel(&e->refs, 1u);
}

static void drop_members(struct sock *s, void *arg)
{
	struct epset *e = arg;
	for (struct member *m = s->members, *next; m; m = next) {
		next = m->next;
		if (m->set == e)
			epset_unlink_member(e, m);
	}
}

void epset_forget_inner(struct epset *outer, const struct epset *e)
{
	for (int i = 0; i < N_INNER; i++)
		if (load_relaxed(&outer->inner[i]) == e)
			store_relaxed(&outer->inner[i], NULL);
}

void epset_note_inner(struct epset *outer, struct epset *e)
{
	epset_forget_inner(outer, e);
	for (int i = 0; i < N_INNER; i++) {
		if (!load_relaxed(&outer->inner[i])) {
			store_release(&outer->inner[i], e);
			return;
		}
	}
}

void epset_forget(int fd)
{
	struct guard g;
	guard_enter(&g);
	struct epset *e = fd_epset(fd);
	if (e) {
		fdtab_set(fd, 0);
		bool last = sub_acqrel(&e->refs, 1u) == 1;
		for (unsigned i = 0; !last && e->fd == fd && i < fdtab_len; i++)
			if (fd_epset((int)i) == e)
				e->fd = (int)i;
		if (last) {
			for (struct epset *o = all; o; o = o->next)
				epset_forget_inner(o, e);
		}
		if (last && e->n_members)
			sock_each(drop_members, e);
		if (last && e->side >= 0) {
			for (uint32_t i = 0; i < e->n_slot; i++)
				if (load_acquire(&e->slots[i].a->live) && e->slots[i].a->seg.nonce == e->slots[i].nonce &&
					!e->foreign)
					seg_bell_free(&e->slots[i].a->seg, e->slots[i].a->side, e->slots[i].idx);
			fdtab_close_hidden(e->side);
			fdtab_close_hidden(e->bell_fd);
			e->side = e->bell_fd = -1;
		}
	}
	guard_leave(&g);
}

/* The child inherits S as the kernel has it. */
void epset_fork_prepare(void)
{
	for (struct epset *e = all; e; e = e->next) {
		bool mine = epset_lock_is_mine(e);
		if (!mine)
			epset_lock(e);
		for (uint32_t i = 0; i < e->n_hot; i++)
			epset_sync(e->hot[i]);
		if (!mine)
			epset_unlock(e);
	}
}

void epset_fork_child(void)
{
	for (struct epset *e = all; e; e = e->next) {
		store_relaxed(&e->lock, 0);
		store_relaxed(&e->sleepers, 0);
		e->foreign = true;
		for (uint32_t i = 0; i < e->n_hot; i++)
			e->hot[i]->hot = false;
		e->n_hot = 0;
	}
}
