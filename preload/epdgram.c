/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epdgram.c - UDP sockets as members of an epoll set.
 *
 * Their bell (dg.h) is a descriptor of their own, and so it is in S beside the socket, with the member's data and a mark. Edge-triggered: each ring is one event, whoever drains it.
 */
#include <errno.h>

#include "dg.h"
#include "epset_int.h"
#include "sys.h"

/* A member may be told of what rings hold. */
static bool wants(const struct member *m)
{
	return m->side && !m->disabled && !m->ghost && m->events & IN_BITS && dg_linked(m->s);
}

/* What has been reported is not reported again, read or not. */
static bool is_edge(const struct member *m)
{
	return m->events & EPOLLET && !m->force;
}

bool epset_dg_bell(struct epset *e, struct member *m)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = epset_data(m) | EPSET_DG_BELL};
	long r = sys4(SYS_epoll_ctl, e->side, EPOLL_CTL_ADD, m->s->dg->bell_fd, &ev);
	if (r == -EEXIST) /* an earlier member's; or another number of the same socket */
		r = sys4(SYS_epoll_ctl, e->side, EPOLL_CTL_MOD, m->s->dg->bell_fd, &ev);
	return r == 0;
}

/* Several numbers of one socket: the bell, which S knows once, stands for all of them, and stays for those that are left. */
void epset_dg_gone(struct epset *e, struct sock *s)
{
	if (e->side < 0 || e->foreign || s->dg->bell_fd <= 0)
		return;
	for (struct member *m = s->members; m; m = m->next)
		if (m->set == e && m->side) {
			epset_dg_bell(e, m);
			return;
		}
	sys4(SYS_epoll_ctl, e->side, EPOLL_CTL_DEL, s->dg->bell_fd, 0);
}

bool epset_dg_news(struct member *m)
{
	uint64_t arrived = 0;
	return wants(m) && dg_look(m->s, &arrived) && (!is_edge(m) || arrived != m->et_tail);
}

bool epset_dg_arm(struct member *m)
{
	return wants(m) && dg_arm(m->s, is_edge(m) ? &m->et_tail : NULL);
}

/* kev: what the kernel has reported. */
uint32_t epset_dg_events(struct member *m, uint32_t kev)
{
	uint64_t arrived = 0;
	if (m->ghost)
		return 0;
	if (!wants(m))
		return kev;
	bool in = dg_look(m->s, &arrived);
	if (in && m->force && m->events & EPOLLET) { /* what S has to say of the same ADD or MOD is no other edge */
		epset_drain_side(m->set);
		kev |= m->kev;
		m->kev = 0;
	}
	if (in && (!is_edge(m) || kev || arrived != m->et_tail))
		kev |= (m->events & IN_BITS) |
		       (m->events & OUT_BITS || load_relaxed(&m->s->dg->refused) ? epset_ask_kernel(m) : 0);
	m->et_tail = arrived;
	m->force = false;
	return kev;
}

bool epset_dg_spin_pays(struct member *m, int cpu)
{
	if (!wants(m))
		return false;
	dg_publish_cpu(m->s);
	return dg_spin_pays(m->s, cpu);
}
