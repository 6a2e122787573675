/* SPDX-License-Identifier: BSD-2-Clause */
/* epready.c - what the members of an epoll set have to report, and how they are announced to their writers. */
#include <poll.h>
#include <string.h>

#include "end.h"
#include "epset_int.h"
#include "notify.h"
#include "ready.h"
#include "sys.h"
#include "trial.h"

/*
 * ET: the kernel's part comes first and is unread, and something has been written to the ring behind it since the last report, which is an edge as well. *tail: how far.
 */
static bool input_behind(const struct member *m, uint64_t *tail)
{
	const struct sock *s = m->s;
	if (!(m->events & EPOLLET) || load_relaxed(&s->f->rx_epoch) & 1 || !(load_acquire(&s->chan.peer->tx_epoch) & 1))
		return false;
	*tail = load_acquire(&s->chan.peer->tx_tail);
	return *tail != load_relaxed(&s->f->rx_head) && (m->force || *tail != m->et_tail);
}

/* Has input of the ring come, and been read up to `head`, that the member has not been told of? (It may have been told of what lies beyond.) */
static bool was_read(const struct member *m, uint64_t head)
{
	return (int64_t)(head - m->et_tail) > 0;
}

/* Is there input in the ring that this member has to be told of? *tail: for the edge's memory. */
static bool ring_input(const struct member *m, uint64_t *tail)
{
	struct sock *s = m->s;
	uint64_t n = ready_octets(s, tail), low = load_relaxed(&s->f->lowat);
	if (!n)
		return input_behind(m, tail);
	if (n < (low ? low : 1))
		return false;
	/* The kernel reports a fresh edge for every write, also when earlier octets are unread. */
	return !(m->events & EPOLLET) || m->force || *tail != m->et_tail;
}

uint32_t epset_ask_kernel(const struct member *m)
{
	struct pollfd p = {.fd = m->s->fd, .events = (short)(m->events & 0x7fff)};
	struct timespec zero = {0, 0};
	if (sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 1)
		return 0;
	uint32_t bits = (unsigned short)p.revents;
	return load_acquire(&m->s->linked) ? ready_really(m->s, m->s->fd, m->events, bits) : bits;
}

/* The next send does not block. */
static bool has_room(const struct member *m)
{
	return ready_out(m->s) || epset_ask_kernel(m) & OUT_BITS;
}

/*
 * ET: input of the ring has come since the last report, and has been read already, up to `head`. The kernel's wake-up made the member one to be looked at, and so it reports what else is so. The reader may have
 * left the ring since; but once the connection's end is known, it has been told with all else.
 */
static bool ring_edge(const struct member *m, uint64_t head)
{
	return m->events & EPOLLET && !m->force && was_read(m, head) && m->events & OUT_BITS && !load_relaxed(&m->s->hup) &&
	       has_room(m);
}

/* The same, and the reader has left the ring: what the kernel has had to say since may not have been told. */
static bool edge_is_late(const struct member *m)
{
	const struct fam_sock *f = m->s->f;
	return m->events & EPOLLET && !(load_relaxed(&f->rx_epoch) & 1) && was_read(m, load_relaxed(&f->rx_head));
}

/*
 * With input in the ring, what else holds now? The kernel would report all that is ready with it. While the connection is whole and we send through the ring we know;
 * otherwise we ask.
 */
static uint32_t with_the_rest(struct member *m)
{
	struct sock *s = m->s;
	int64_t before = load_relaxed(&m->set->looked_ns);
	bool whole = !load_relaxed(&s->hup) && !(load_relaxed(&s->chan.peer->flags) & (SM_END_FIN | SM_END_CLOSED)) &&
		     !(sock_flags(s) & (FAM_RD_SHUT | FAM_WR_SHUT));
	uint32_t bits = whole && !(m->events & EPOLLPRI) && (!(m->events & OUT_BITS) || ready_out(s)) ? m->events & OUT_BITS
												      : epset_ask_kernel(m);
	epset_output_seen(m, bits, before);
	return bits;
}

/* Level-triggered, and a send would go into the ring: writable without asking. (For an edge-triggered one the kernel's own edges are right.) */
static bool ring_output(const struct member *m)
{
	return m->events & OUT_BITS && !(m->events & EPOLLET) && m->side && !m->disabled && !m->ghost &&
	       load_acquire(&m->s->linked) && ready_out(m->s);
}

/*
 * Kernel events that are still true. There was no room for them when they were fetched, and the program may have read since: the kernel asks again before it
 * reports, and so do we.
 */
static uint32_t kernel_events(struct member *m)
{
	if (m->kev && __builtin_expect(m->kev_turn != m->set->turn, 0)) {
		m->kev = epset_ask_kernel(m) & (m->events | EPOLLERR | EPOLLHUP);
		m->out_ns = 0; /* what it was fetched with may never be reported */
		m->kev_turn = m->set->turn;
		if (!m->kev && m->events & EPOLLONESHOT) { /* S has fired, but not for the program: once more */
			m->dirty = true;
			epset_sync(m);
		}
	}
	return m->kev;
}

/* What to report of a member now; 0: nothing. */
static uint32_t member_events(struct member *m)
{
	uint32_t bits = kernel_events(m);
	uint64_t tail = 0;
	m->kev = 0;
	if (m->dgram)
		return epset_dg_events(m, bits);
	if (m->ghost)
		return 0;
	if (epset_wants_ring(m)) {
		if (input_behind(m, &tail) ||
			edge_is_late(m)) { /* if the kernel's own edge has not been told yet, it is the same one */
			epset_drain_side(m->set);
			bits |= m->kev;
			m->kev = 0;
		}
		m->force |= bits != 0; /* an edge from the kernel comes with all that is ready */
		bool in = ring_input(m, &tail);
		uint64_t head = load_relaxed(
			&m->s->f->rx_head); /* behind the tail: what has come and been read in between is not missed */
		if (in) {
			bits |= (m->events & IN_BITS) | with_the_rest(m);
			m->et_tail = tail;
		} else if (ring_edge(m, head)) {
			bits |= with_the_rest(m);
		}
		if (m->force && !(load_relaxed(&m->s->f->rx_epoch) &
					1)) { /* the kernel's part comes first; what lies behind it is no news later */
			uint64_t end = load_acquire(&m->s->chan.peer->tx_tail);
			tail = m->et_tail = ring_is_left(m->s) ? load_relaxed(&m->s->f->rx_head) : end;
		}
		if (tail == head || was_read(m, head)) /* nothing is left of what has been seen */
			m->et_tail = head;
		m->force = false;
	}
	if (bits & IN_BITS) /* with all else that is so */
		m->fresh = false;
	if (ring_output(m))
		bits |= m->events & OUT_BITS;
	if (m->dirty && (load_relaxed(&m->s->look) || !(m->s->f->tx_epoch & load_relaxed(&m->s->f->rx_epoch) & 1))) {
		epset_sync(
			m); /* the kernel does not know of this member's interest, but has something to say about its socket */
		bits |= epset_ask_kernel(m);
	}
	if (bits)
		bits |= end_events(m->s);
	return bits;
}

static void take_ready_bits(struct epset *e, struct slot *sl)
{
	for (uint32_t w = 0; w < SM_N_CHAN / 64; w++) {
		uint64_t bits = load_relaxed(&sl->bell->ready[w]) ? xchg_acqrel(&sl->bell->ready[w], UINT64_C(0)) : 0;
		for (; bits; bits &= bits - 1) {
			struct sock *s = load_acquire(&sl->a->chan_sock[w * 64 + (uint32_t)__builtin_ctzll(bits)]);
			if (!s)
				continue;
			epset_heat_all(e, s);
			if (load_relaxed(&s->f->rx_epoch) & 1 && ring_unread_by_us(s))
				trial_woken(s);
		}
	}
}

void epset_take_bells(struct epset *e)
{
	for (uint32_t i = 0; i < e->n_slot; i++) {
		struct slot *sl = &e->slots[i];
		if (__builtin_expect(slot_rang(sl), 0) && xchg_acqrel(&sl->bell->any, 0u))
			take_ready_bits(e, sl);
	}
}

/* A member that has nothing to report, and has not been active lately. true: it is cold now. */
static bool cool_down(struct epset *e, uint32_t at)
{
	struct member *m = e->hot[at];
	epset_sync(m);
	if (m->kev || epset_arm(e, m))
		return false;
	m->hot = false;
	memmove(&e->hot[at], &e->hot[at + 1], (--e->n_hot - at) * sizeof(*e->hot));
	return true;
}

/* Under the lock: events of the side's members, beginning behind the one that was reported last. */
int epset_collect(struct epset *e, struct epoll_event *ev, int max)
{
	int n = 0;
	epset_take_bells(e);
	uint32_t at = e->start < e->n_hot ? e->start : 0;
	for (uint32_t left = e->n_hot; left && n < max; left--) {
		if (at >= e->n_hot)
			at = 0;
		struct member *m = e->hot[at];
		uint32_t bits = member_events(m);
		if (!bits && (e->n_hot > N_HOT || ++m->idle > IDLE_LOOKS) && cool_down(e, at))
			continue;
		at++;
		if (!bits)
			continue;
		m->idle = 0;
		ev[n].events = bits;
		ev[n++].data = m->data;
		e->start = at;
		if (m->events & EPOLLONESHOT && !m->disabled) {
			m->disabled = true;
			epset_detach(m);
		}
	}
	e->turn++;
	return n;
}

/* Announce the member to its writer; a fence and another look must follow. */
static void announce(struct epset *e, const struct member *m)
{
	struct slot *sl = epset_wants_ring(m) ? epset_slot(e, m->s->chan.assoc) : NULL;
	if (sl)
		or_acqrel(&m->s->chan.my->armed, UINT64_C(1) << sl->idx);
}

static bool has_news(struct member *m)
{
	uint64_t tail = 0;
	if (m->dgram)
		return kernel_events(m) || epset_dg_news(m);
	return kernel_events(m) || ring_output(m) ||
	       (epset_wants_ring(m) && (ring_input(m, &tail) || ring_edge(m, load_relaxed(&m->s->f->rx_head))));
}

/* The second look, which must not miss what another thread that reads just now may leave. */
static bool may_have_news(struct member *m)
{
	return (epset_wants_ring(m) && !ready_follow(m->s)) || has_news(m);
}

bool epset_arm(struct epset *e, struct member *m)
{
	if (m->dgram)
		return epset_dg_arm(m);
	if (ring_output(m))
		return true;
	if (!epset_wants_ring(m))
		return false;
	announce(e, m);
	fence_for_sender(&m->s->chan); /* faces the sender: publish, fence, armed */
	return may_have_news(m);
}

/* Events of S into the members; they are reported by the next collect. Under the lock. */
void epset_drain_side(struct epset *e)
{
	struct epoll_event ev[64];
	int64_t before = load_relaxed(&e->looked_ns);
	long n = sys6(SYS_epoll_pwait, epset_side(e), ev, 64, 0, 0, 0);
	for (long i = 0; i < n; i++) {
		struct member *m = epset_data_member(e, ev[i].data.u64 & ~(uint64_t)EPSET_DG_BELL);
		if (m && ev[i].data.u64 & EPSET_DG_BELL) {
			epset_heat_all(e, m->s);
			continue;
		}
		if (!m || m->disabled || m->ghost)
			continue;
		/* The kernel wakes twice for one reset; a sleeper that its peer's bell has woken already would see two edges. */
		if (m->reset_told && m->events & EPOLLET && load_relaxed(&m->s->hup))
			continue;
		m->reset_told = (ev[i].events & (EPOLLERR | EPOLLHUP)) == (EPOLLERR | EPOLLHUP);
		bool all = m->fresh || m->kev; /* what has not been told yet is news still */
		m->fresh = false;
		m->kev = ev[i].events & (m->events | EPOLLERR | EPOLLHUP);
		m->kev_turn = e->turn;
		if (!m->kev)
			continue;
		if (load_acquire(&m->s->linked)) {
			end_kernel_says(m->s, ev[i].events);
			m->kev &= all ? ready_really(m->s, m->s->fd, m->events, m->kev) : epset_news(m, m->kev);
			if (m->kev & IN_BITS)
				trial_woken(m->s);
			if (!m->kev && m->events & EPOLLONESHOT) { /* S has fired, but not for the program: once more */
				m->dirty = true;
				epset_sync(m);
			}
		}
		if (m->kev)
			epset_output_seen(m, m->kev, before);
		epset_heat(e, m);
	}
}

void epset_set_sleeping(struct epset *e, uint32_t v)
{
	for (uint32_t i = 0; i < e->n_slot; i++)
		if (slot_lives(&e->slots[i]))
			store_relaxed(&e->slots[i].bell->sleeping, v);
}

/*
 * Under the lock: all hot members go cold. true: nothing to report, the set may sleep. A bell that rings from now on stays in the queue, and P is readable.
 */
bool epset_make_cold(struct epset *e)
{
	bool ready = false, lazy = false;
	epset_set_sleeping(e, 1);
	for (uint32_t i = 0; i < e->n_hot; i++) {
		epset_sync(e->hot[i]);
		announce(e, e->hot[i]);
	}
	fence_storeload(); /* faces the senders: publish, fence, armed; and notify_bell: any, fence, sleeping */
	for (uint32_t i = 0; i < e->n_hot && !lazy; i++)
		lazy = epset_wants_ring(e->hot[i]) && load_acquire(&e->hot[i]->s->chan.peer->lazy);
	if (lazy)
		barrier_everywhere(); /* one for all (notify.h) */
	for (uint32_t i = 0; i < e->n_hot; i++)
		ready |= (e->hot[i]->dgram && epset_dg_arm(e->hot[i])) || may_have_news(e->hot[i]);
	for (uint32_t i = 0; i < e->n_slot; i++)
		ready |= slot_rang(&e->slots[i]);
	if (ready)
		return false;
	for (uint32_t i = 0; i < e->n_hot; i++)
		e->hot[i]->hot = false;
	e->n_hot = 0;
	return true;
}

/* Under the lock, after a spin that took a while: what has been answered? */
void epset_woken(struct epset *e)
{
	for (uint32_t i = 0; i < e->n_hot; i++) {
		struct sock *s = e->hot[i]->s;
		if (epset_wants_ring(e->hot[i]) && load_relaxed(&s->f->rx_epoch) & 1 && ring_unread_by_us(s))
			trial_woken(s);
	}
}

/* Under the lock: would a collect report something? */
bool epset_any_ready(struct epset *e)
{
	bool ready = false;
	for (uint32_t i = 0; i < e->n_hot && !ready; i++)
		ready = has_news(e->hot[i]);
	for (uint32_t i = 0; i < e->n_slot && !ready; i++)
		ready = slot_rang(&e->slots[i]);
	return ready;
}
