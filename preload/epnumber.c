/* SPDX-License-Identifier: BSD-2-Clause */
/* epnumber.c - members and the numbers they are registered under: what the kernel is told late, or for the last time. */
#include <fcntl.h>

#include "epset_int.h"
#include "hold.h"
#include "link.h"
#include "move.h"
#include "sys.h"

/* The kernel finds a registration by file and number: once the number is closed, it can be neither changed nor taken out. */
static bool has_number(const struct member *m)
{
	return fd_any_sock(m->fd) == m->s;
}

void epset_detach(struct member *m)
{
	if (m->in_kernel && has_number(m))
		sys4(SYS_epoll_ctl, epset_side(m->set), EPOLL_CTL_DEL, m->fd, 0);
	m->in_kernel = false;
}

void epset_sync(struct member *m)
{
	struct epoll_event ev = {.events = m->events, .data.u64 = epset_data(m)};
	if (!m->dirty)
		return;
	m->dirty = false;
	if (m->ghost) {
		epset_detach(m);
		return;
	}
	if (!has_number(m))
		return;
	sys4(SYS_epoll_ctl, epset_side(m->set), m->in_kernel ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, m->fd, &ev);
	m->in_kernel = true;
}

void epset_to_program(struct epset *e, struct member *m)
{
	struct epoll_event ev = {.events = m->disabled ? EPOLLONESHOT : m->events, .data = m->data};
	int lent = -1;
	if (!has_number(m)) { /* closed before: the registration is found under this number only, if it is free */
		lent = (int)sys3(SYS_fcntl, m->s->fd, F_DUPFD_CLOEXEC, m->fd);
		if (lent != m->fd) {
			sys_fd_close(lent);
			return;
		}
	}
	if (m->in_kernel)
		sys4(SYS_epoll_ctl, epset_side(e), EPOLL_CTL_DEL, m->fd, 0);
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, m->fd, &ev);
	m->in_kernel = false;
	sys_fd_close(lent);
}

/*
 * It stays in the set as long as another number leads to the socket; not if the program had taken it out. When the last number here goes, but another process holds the socket, the
 * kernel's set would go on reporting it, and nobody could take it out any more: from then on that is the kernel's own business, without us; or, if the set came over a fork, its events go on
 * being translated.
 */
static void member_loses_number(struct epset *e, struct member *m, bool last)
{
	epset_sync(m);
	if (m->ghost)
		epset_unlink_member(e, m);
	else if (last && m->side && e->foreign)
		epset_lose_member(m);
	else if (last && m->side)
		epset_to_program(e, m);
}

/* By a process that has it by fork, by one that it was passed to (or will be: it may be on its way), or by the one that it came from. Of datagram sockets passes are not counted. */
static bool is_held_elsewhere(struct sock *s)
{
	return hold_is_shared(s) || load_acquire(&s->f->passes) || s->arrived ||
	       (sock_is_dgram(s) && sock_flags(s) & FAM_PIN_RX);
}

void epset_number_closes(struct sock *s, int fd)
{
	bool last = load_acquire(&s->open) == 1 && is_held_elsewhere(s);
	for (struct member *m = s->members, *next; m; m = next) {
		struct epset *e = m->set;
		next = m->next;
		if (m->fd != fd && !last)
			continue;
		bool mine = epset_lock_is_mine(e);
		if (!mine)
			epset_lock(e);
		member_loses_number(e, m, last);
		if (!mine)
			epset_unlock(e);
	}
}

/* Not under g_lock: the peer's service thread is asked to give back, and may be our own. */
void epset_before_close(struct sock *s)
{
	bool ours = false;
	struct guard g;
	if (load_acquire(&s->open) != 1 || !hold_is_shared(s) || !load_acquire(&s->linked))
		return;
	guard_enter(&g);
	for (const struct member *m = s->members; m; m = m->next)
		ours |= !m->set->foreign && !m->ghost && m->events & IN_BITS;
	guard_leave(&g);
	if (ours && !load_relaxed(&s->hup) && !move_is_pinned(s, FAM_PIN_RX))
		move_withdraw(s, WHY_EPOLL);
}

bool epset_watches(const struct sock *s)
{
	bool any = false;
	for (const struct member *m = s->members; m; m = m->next)
		any |= !m->ghost;
	return any;
}

void epset_forget_sock(struct sock *s)
{
	for (struct member *m = s->members, *next; m; m = next) {
		struct epset *e = m->set;
		next = m->next;
		bool mine = epset_lock_is_mine(e); /* we are a signal handler in the middle of its epoll_wait */
		if (!mine)
			epset_lock(e);
		epset_unlink_member(e, m);
		if (!mine)
			epset_unlock(e);
	}
}
