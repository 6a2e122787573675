/* SPDX-License-Identifier: BSD-2-Clause */
#include "epset_int.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "assoc.h"
#include "leave.h"
#include "link.h"
#include "log.h"
#include "move.h"
#include "ready.h"
#include "real.h"
#include "svc.h"
#include "sys.h"
#include "token.h"

static struct epset *all;	    /* under g_lock */
static struct member *free_members; /* under g_lock */

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

static void unlink_member(struct epset *e, struct member *m);

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
	if (leave_done() || !fdtab_init() || (unsigned)fd >= fdtab_len)
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
			unlink_member(e, m);
	}
}

static void forget_inner(struct epset *outer, const struct epset *e)
{
	for (int i = 0; i < N_INNER; i++)
		if (outer->inner[i] == e)
			outer->inner[i] = NULL;
}

static void note_inner(struct epset *outer, struct epset *e)
{
	forget_inner(outer, e);
	for (int i = 0; i < N_INNER; i++) {
		if (!outer->inner[i]) {
			outer->inner[i] = e;
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
				forget_inner(o, e);
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

/* Make S and the bell, and put S into P. */
static bool make_side(struct epset *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = COOKIE};
	if (e->side >= 0)
		return true;
	long side = sys1(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (side < 0)
		return false;
	int bell = bell_open(e->bell_name);
	if (bell < 0 || sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, side, &ev) < 0) {
		sys1(SYS_close, side);
		sys_fd_close(bell);
		return false;
	}
	/* Moving the number would lose the registration in P: so hide first, register then. */
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, side, 0);
	side = fdtab_hide((int)side);
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, side, &ev);
	ev.data.u64 = COOKIE_BELL;
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, bell, &ev);
	e->bell_fd = bell;
	e->side = (int)side;
	return true;
}

/* ---- members */

struct member *epset_member(struct epset *e, struct sock *s, int fd)
{
	for (struct member *m = s->members; m; m = m->next)
		if (m->set == e && m->fd == fd)
			return m;
	return NULL;
}

static struct member *new_member(struct epset *e, struct sock *s, int fd)
{
	if (!free_members) {
		long p = sys6(SYS_mmap, 0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p < 0 && p > -4096)
			return NULL;
		struct member *m = (struct member *)(uintptr_t)p;
		for (size_t i = 0; i < 65536 / sizeof(*m); i++) {
			m[i].next_free = free_members;
			free_members = &m[i];
		}
	}
	struct member *m = free_members;
	free_members = m->next_free;
	memset(m, 0, sizeof(*m));
	m->set = e;
	m->s = s;
	m->fd = fd;
	m->next = s->members;
	s->members = m;
	e->n_members++;
	return m;
}

static void cool(struct epset *e, struct member *m)
{
	for (uint32_t i = 0; i < e->n_hot; i++) {
		if (e->hot[i] == m) {
			memmove(&e->hot[i], &e->hot[i + 1], (--e->n_hot - i) * sizeof(*e->hot));
			break;
		}
	}
	m->hot = false;
}

/* Under g_lock and the set's lock. */
static void unlink_member(struct epset *e, struct member *m)
{
	if (m->hot)
		cool(e, m);
	for (struct member **p = &m->s->members; *p; p = &(*p)->next) {
		if (*p == m) {
			*p = m->next;
			break;
		}
	}
	if (m->side)
		e->n_side--;
	e->n_members--;
	if (e->cache[m->fd % N_CACHE] == m)
		e->cache[m->fd % N_CACHE] = NULL;
	m->set = NULL;
	m->next_free = free_members;
	free_members = m;
}

void epset_forget_sock(struct sock *s)
{
	for (struct member *m = s->members, *next; m; m = next) {
		struct epset *e = m->set;
		next = m->next;
		bool mine = epset_lock_is_mine(e); /* we are a signal handler in the middle of its epoll_wait */
		if (!mine)
			epset_lock(e);
		unlink_member(e, m);
		if (!mine)
			epset_unlock(e);
	}
}

/* There is room: see grow_hot. */
void epset_heat(struct epset *e, struct member *m)
{
	if (m->hot)
		return;
	m->hot = true;
	m->idle = 0;
	e->hot[e->n_hot++] = m;
}

/* The hot list has room for every member of S, so that making one hot cannot fail. */
static bool grow_hot(struct epset *e)
{
	if (e->n_side < e->room)
		return true;
	uint32_t room = e->room ? 2 * e->room : 512;
	long p = sys6(SYS_mmap, 0, room * sizeof(*e->hot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return false;
	struct member **hot = (struct member **)(uintptr_t)p;
	if (e->n_hot)
		memcpy(hot, e->hot, e->n_hot * sizeof(*hot));
	if (e->room)
		sys2(SYS_munmap, e->hot, e->room * sizeof(*hot));
	e->hot = hot;
	e->room = room;
	return true;
}

void epset_ring_self(struct epset *e)
{
	if (svc_ring_fd() >= 0)
		bell_ring(svc_ring_fd(), e->bell_name);
}

struct slot *epset_slot(struct epset *e, struct assoc *a)
{
	for (uint32_t i = 0; i < e->n_slot; i++) {
		struct slot *sl = &e->slots[i];
		if (sl->a == a && sl->nonce == a->seg.nonce)
			return sl;
	}
	return NULL;
}

static bool make_slot(struct epset *e, struct assoc *a)
{
	if (epset_slot(e, a))
		return true;
	uint32_t n = 0;
	while (n < e->n_slot && load_acquire(&e->slots[n].a->live) && e->slots[n].a->seg.nonce == e->slots[n].nonce)
		n++;
	if (n == N_SLOT)
		return false;
	int i = seg_bell_alloc(&a->seg, a->side, e->bell_name);
	if (i < 0)
		return false;
	e->slots[n] = (struct slot){
		.a = a, .nonce = a->seg.nonce, .bell = seg_bell(&a->seg, a->side, (uint32_t)i), .idx = (uint32_t)i};
	if (n == e->n_slot)
		e->n_slot = n + 1;
	store_release(&e->slots[n].bell->sleeping, load_relaxed(&e->sleepers) != 0 || e->exposed);
	return true;
}

void epset_detach(struct member *m)
{
	if (m->in_kernel)
		sys4(SYS_epoll_ctl, m->set->side, EPOLL_CTL_DEL, m->fd, 0);
	m->in_kernel = false;
}

void epset_sync(struct member *m)
{
	struct epoll_event ev = {.events = m->events, .data.ptr = m};
	if (!m->dirty)
		return;
	m->dirty = false;
	if (m->ghost) {
		epset_detach(m);
		return;
	}
	sys4(SYS_epoll_ctl, m->set->side, m->in_kernel ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, m->fd, &ev);
	m->in_kernel = true;
}

/*
 * From P to S, when a plain member's socket is linked. Moving re-arms it in the kernel: a level-triggered member cannot tell; others stay, and their
 * socket's reader does not consent.
 */
static bool move_to_side(struct epset *e, struct member *m)
{
	struct epoll_event ev = {.events = m->events, .data.ptr = m};
	if (m->events & (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE) || e->foreign || !make_side(e) || !grow_hot(e))
		return false;
	if (sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, m->fd, 0) < 0)
		return false;
	sys4(SYS_epoll_ctl, e->side, EPOLL_CTL_ADD, m->fd, &ev);
	m->side = true;
	m->in_kernel = true;
	e->n_side++;
	return true;
}

void epset_linked(struct sock *s)
{
	for (struct member *m = s->members; m; m = m->next) {
		struct epset *e = m->set;
		bool mine = epset_lock_is_mine(e);
		if (!mine)
			epset_lock(e);
		if ((m->side || move_to_side(e, m)) && make_slot(e, s->chan.assoc)) {
			m->force = true;
			epset_heat(e, m);
			if (load_acquire(&e->sleepers) || e->exposed)
				epset_ring_self(e);
		} else {
			or_acqrel(&s->f->flags, FAM_PIN_RX);
			store_relaxed(&s->f->rx_why, WHY_EPOLL);
		}
		if (!mine)
			epset_unlock(e);
	}
}

/* May the socket be upgraded while it is a member? Then it goes to S at once: later moves cost edges. */
static bool is_candidate(const struct sock *s, uint32_t events)
{
	uint32_t fl = sock_flags(s);
	if (events & EPOLLEXCLUSIVE || fl & (FAM_LISTEN | FAM_PIN_RX | FAM_BROKEN))
		return false;
	if (load_acquire(&s->linked) || s->endpoint)
		return true;
	return s->server && load_relaxed(&s->server->ept.area->offer_seq) != 0;
}

static int ctl_add(struct epset *e, struct sock *s, int fd, struct epoll_event *ev)
{
	struct member *old = epset_member(e, s, fd);
	if (old && !old->ghost)
		return -EEXIST;
	if (old) {
		epset_detach(old);
		unlink_member(e, old);
	}
	bool side = is_candidate(s, ev->events) && !e->foreign && make_side(e) && grow_hot(e);
	struct member *m = new_member(e, s, fd);
	if (!m)
		return -ENOMEM;
	m->events = ev->events;
	m->data = ev->data;
	struct epoll_event kev = {.events = ev->events, .data.ptr = m};
	long r = sys4(SYS_epoll_ctl, side ? e->side : e->fd, EPOLL_CTL_ADD, fd, side ? &kev : ev);
	if (r < 0) {
		unlink_member(e, m);
		return (int)r;
	}
	m->side = side;
	m->in_kernel = true;
	e->n_side += side;
	if (!side && !(sock_flags(s) & FAM_LISTEN) && (s->endpoint || s->server) &&
		ev->events & (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE)) {
		or_acqrel(&s->f->flags, FAM_PIN_RX);
		store_relaxed(&s->f->rx_why, WHY_EPOLL);
	}
	if (load_acquire(&s->linked)) {
		if (!side || !make_slot(e, s->chan.assoc)) {
			move_withdraw(s, WHY_EPOLL);
			return 0;
		}
		m->force = true;
		epset_heat(e, m);
		if (load_acquire(&e->sleepers) || e->exposed)
			epset_ring_self(e);
	}
	return 0;
}

static int ctl_mod(struct epset *e, struct member *m, struct epoll_event *ev)
{
	struct epoll_event kev = {.events = ev->events, .data.ptr = m};
	int op = m->in_kernel ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (m->ghost)
		return -ENOENT;
	if (!m->in_kernel && ev->events & EPOLLEXCLUSIVE)
		return -EINVAL;
	long r = sys4(SYS_epoll_ctl, m->side ? e->side : e->fd, op, m->fd, m->side ? &kev : ev);
	if (r < 0)
		return (int)r;
	m->in_kernel = true;
	m->dirty = m->disabled = false;
	m->events = ev->events;
	m->data = ev->data;
	m->kev = 0;
	m->force = true;
	if (m->side && load_acquire(&m->s->linked)) {
		epset_heat(e, m);
		if (load_acquire(&e->sleepers) || e->exposed)
			epset_ring_self(e);
	}
	return 0;
}

static int ctl_del(struct epset *e, struct member *m)
{
	if (m->ghost)
		return -ENOENT;
	long r = !m->in_kernel ? 0 : sys4(SYS_epoll_ctl, m->side ? e->side : e->fd, EPOLL_CTL_DEL, m->fd, 0);
	if (r < 0)
		return (int)r;
	unlink_member(e, m);
	return 0;
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

int epset_ctl(struct epset *e, int fd_ep, int op, int fd, struct epoll_event *ev)
{
	struct sock *s = fd_sock(fd);
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
		if (inner && op == EPOLL_CTL_ADD && r == 0)
			note_inner(e, inner);
		if (inner && op == EPOLL_CTL_DEL && r == 0)
			forget_inner(e, inner);
		return r;
	}
	if (op != EPOLL_CTL_DEL && (uintptr_t)ev < 4096)
		return -EFAULT;
	if (op >= EPOLL_CTL_ADD && op <= EPOLL_CTL_MOD && e->cache[fd % N_CACHE]) {
		epset_lock(e);
		r = ctl_lazy(e, s, op, fd, ev);
		epset_unlock(e);
		if (r != -EAGAIN)
			return r;
	}
	if (op != EPOLL_CTL_DEL) { /* the kernel checks the pointer before anything else */
		struct iovec here = {&copy, sizeof(copy)}, there = {ev, sizeof(copy)};
		if (sys6(SYS_process_vm_readv, sys0(SYS_getpid), &here, 1, &there, 1, 0) != sizeof(copy))
			return -EFAULT;
		ev = &copy;
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

static void back_to_program(struct sock *s, void *arg)
{
	struct epset *e = arg;
	for (struct member *m = s->members; m; m = m->next) {
		struct epoll_event ev = {.events = m->events, .data = m->data};
		if (m->set == e && m->side && !m->ghost)
			sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, m->fd, &ev);
	}
}

/* A thread that waits in P goes on: it is the whole set now. A set inherited over fork is the parent's too, and stays as it is. */
void epset_leave(void)
{
	for (struct epset *e = all; e; e = e->next) {
		if (!load_relaxed(&e->refs) || e->foreign)
			continue;
		epset_lock(e);
		if (e->side >= 0) {
			sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, e->side, 0);
			sock_each(back_to_program, e);
		}
		epset_unlock(e);
		for (int fd = 0; fd < (int)fdtab_len; fd++)
			if (fd_epset(fd) == e)
				fdtab_set(fd, 0);
	}
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
