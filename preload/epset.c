/* SPDX-License-Identifier: BSD-2-Clause */
/* epset.c - the life of epoll sets: their lock, descriptors, fork. */
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "bell.h"
#include "dg.h"
#include "epset_int.h"
#include "leave.h"
#include "move.h"
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

/*
 * A thread may still be in a set that has been closed, a little behind or ahead of where it sleeps. So structs stay sets for ever, with their lock and their count of
 * sleepers, and are used again only when nobody sleeps there and a while has gone by: sooner only if there are very many.
 */
#define REST_NS INT64_C(1000000000)
#define REST_MAX 256

static struct epset *find_rested(void)
{
	struct epset *oldest = NULL;
	uint32_t n = 0;
	for (struct epset *e = all; e; e = e->next) {
		if (load_acquire(&e->refs) || load_acquire(&e->sleepers) || epset_side(e) >= 0)
			continue;
		n++;
		if (!oldest || e->ended_ns < oldest->ended_ns)
			oldest = e;
	}
	return oldest && (n > REST_MAX || now_ns() - oldest->ended_ns > REST_NS) ? oldest : NULL;
}

static struct epset *new_epset(void)
{
	struct epset *e = find_rested();
	if (!e) {
		long p = sys6(SYS_mmap, 0, sizeof(*e), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p < 0 && p > -4096)
			return NULL;
		e = (struct epset *)(uintptr_t)p;
		e->next = all;
		all = e;
	}
	epset_lock(e);
	if (e->room)
		sys2(SYS_munmap, e->hot, e->room * sizeof(*e->hot));
	memset(&e->fd, 0, offsetof(struct epset, next) - offsetof(struct epset, fd));
	store_relaxed(&e->side, -1);
	store_relaxed(&e->kept, -1);
	e->bell_fd = -1;
	epset_unlock(e);
	return e;
}

void epset_new(int fd)
{
	struct guard g;
	if (leave_done() || !fdtab_init() || (unsigned)fd >= fdtab_len)
		return;
	guard_enter(&g);
	struct epset *e = new_epset();
	if (e) {
		e->fd = fd;
		store_release(&e->refs, 1);
		fdtab_set(fd, (uintptr_t)e | FD_EPSET);
	}
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

/* S and the bell, which nothing needs any more. */
static void end_side(struct epset *e)
{
	for (uint32_t i = 0; epset_side(e) >= 0 && i < e->n_slot && !e->foreign; i++)
		if (slot_lives(&e->slots[i]))
			seg_bell_free(&e->slots[i].a->seg, e->slots[i].a->side, e->slots[i].idx);
	e->n_slot = 0;
	fdtab_close_hidden(epset_side(e));
	fdtab_close_hidden(e->bell_fd);
	store_relaxed(&e->side, -1);
	e->bell_fd = -1;
	e->rung = false;
}

/* No descriptor leads here, and nobody sleeps here. Under g_lock. */
static void end(struct epset *e)
{
	bool mine = epset_lock_is_mine(e);
	if (!mine)
		epset_lock(e);
	if (e->n_members) {
		sock_each(drop_members, e);
		drop_members(&epset_nobody, e);
	}
	end_side(e);
	fdtab_close_hidden(load_relaxed(&e->kept));
	store_relaxed(&e->kept, -1);
	e->ended_ns = now_ns();
	if (!mine)
		epset_unlock(e);
}

void epset_left(struct epset *e)
{
	struct guard g;
	guard_enter(&g);
	if (!load_acquire(&e->refs) && !load_acquire(&e->sleepers))
		end(e);
	guard_leave(&g);
}

/* Who waits in the set when its last descriptor is closed goes on waiting: the kernel keeps it for him, and so do we. */
static void outlive(struct epset *e)
{
	for (struct epset *o = all; o; o = o->next)
		epset_forget_inner(o, e);
	if (load_acquire(&e->sleepers) && !e->foreign)
		store_relaxed(&e->kept, fdtab_hide((int)sys3(SYS_fcntl, e->fd, F_DUPFD_CLOEXEC, 0)));
	e->fd = load_relaxed(&e->kept);
	if (e->fd < 0)
		end(e);
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
		if (last)
			outlive(e);
	}
	guard_leave(&g);
}

static void back_to_program(struct sock *s, void *arg)
{
	struct epset *e = arg;
	for (struct member *m = s->members; m; m = m->next) {
		if (m->set == e && m->side && !m->ghost)
			epset_to_program(e, m);
	}
}

/* A thread that waits in P goes on: it is the whole set now. A set inherited over fork is the parent's too, and stays as it is. */
void epset_leave(void)
{
	for (struct epset *e = all; e; e = e->next) {
		if (!load_relaxed(&e->refs) || e->foreign)
			continue;
		epset_lock(e);
		if (epset_side(e) >= 0) {
			sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, epset_side(e), 0);
			sock_each(back_to_program, e);
		}
		epset_unlock(e);
		for (int fd = 0; fd < (int)fdtab_len; fd++)
			if (fd_epset(fd) == e)
				fdtab_set(fd, 0);
	}
}

static void out_of_side(struct sock *s, void *arg)
{
	struct epset *e = arg;
	for (struct member *m = s->members, *next; m; m = next) {
		next = m->next;
		if (m->set != e || !m->side)
			continue;
		if (m->ghost)
			epset_unlink_member(e, m);
		else
			epset_move_to_program(e, m);
	}
}

static bool is_inherited(const struct epset *e)
{
	for (int fd = 0; fd < (int)fdtab_len; fd++)
		if (fd_epset(fd) == e && sys3(SYS_fcntl, fd, F_GETFD, 0) == 0)
			return true;
	return false;
}

/*
 * P alone is inherited. Members that have something to report are told of again there; of an edge that has been reported nobody can tell the kernel. If the exec fails the set goes on
 * with what it has in P.
 */
void epset_before_exec(void)
{
	struct guard g;
	guard_enter(&g);
	for (struct epset *e = all; e; e = e->next) {
		if (!load_relaxed(&e->refs) || e->foreign || epset_side(e) < 0 || !is_inherited(e))
			continue;
		bool mine = epset_lock_is_mine(e);
		if (!mine)
			epset_lock(e);
		sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, epset_side(e), 0);
		sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, e->bell_fd, 0);
		sock_each(out_of_side, e);
		end_side(e);
		if (!mine)
			epset_unlock(e);
	}
	guard_leave(&g);
}

static void kernel_only(struct sock *s, void *arg)
{
	bool any = false;
	(void)arg;
	for (const struct member *m = s->members; m; m = m->next)
		any |= !m->side && !m->ghost;
	if (any && (sock_is_dgram(s) ? dg_linked(s) : load_acquire(&s->linked) != 0))
		move_withdraw(s, WHY_EPOLL);
}

void epset_exec_failed(void)
{
	sock_each(kernel_only, NULL);
}

/* The child inherits S as the kernel has it. */
void epset_fork_prepare(void)
{
	for (struct epset *e = all; e; e = e->next) {
		bool mine = epset_lock_is_mine(e);
		if (!mine)
			epset_lock(e);
		e->shared = true;
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
		if (!load_relaxed(&e->refs) && epset_side(e) >= 0)
			end(e);
	}
}
