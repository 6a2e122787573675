/* SPDX-License-Identifier: BSD-2-Clause */
#include "pass.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "adopt.h"
#include "assoc.h"
#include "fault.h"
#include "hold.h"
#include "leave.h"
#include "link.h"
#include "move.h"
#include "orphan.h"
#include "sys.h"

#define PINS (FAM_PIN_RX | FAM_PIN_TX)

void pass_begin(struct sock *s, enum why why, bool known)
{
	if (sock_is_dgram(s)) {
		move_pin(s, why);
		return;
	}
	struct guard g;
	guard_enter(&g);		   /* no other thread links it, or takes back a pass, in between */
	if (s->arrived && !adopt_now(s)) { /* somebody else may use it, and two more will */
		adopt_never(s);
		guard_leave(&g);
		return;
	}
	sock_inode(s);
	adopt_note(s);
	uint32_t before = add_acqrel(&s->f->passes, 1u);
	FAULT_POINT("pass: counted, before pinned");
	if (!before && !(sock_flags(s) & PINS))
		or_acqrel(&s->f->flags, FAM_PASS_PIN);
	guard_leave(&g);
	if (before || !known)
		mark_never(s->fd);
	FAULT_POINT("pass: pinned, before down");
	move_pass(s, why);
	FAULT_POINT("pass: down, before it leaves");
}

/*
 * Nobody else has it yet, or any more: as it was before. In one step with the question whether it is pinned for the pass's sake alone: whoever pins for another reason takes away the
 * mark with the same word (move_note_pin). Who sleeps in the kernel since has been counted, and keeps the consent (rest_in_kernel).
 */
static void unpin(struct sock *s)
{
	uint32_t was;
	do {
		was = load_relaxed(&s->f->flags);
		if ((was & (FAM_PASS_PIN | FAM_OWN_PIN)) != FAM_PASS_PIN)
			return;
	} while (!cas_acqrel(&s->f->flags, was, was & ~(FAM_PASS_PIN | PINS)));
	store_relaxed(&s->f->tx_why, WHY_NEW);
	store_relaxed(&s->f->rx_why, WHY_NEW);
	if (link_ready(s)) {
		and_acqrel(&s->chan.my->flags, ~SM_END_PASSED);
		link_consent(s);
	}
}

void pass_undo(struct sock *s)
{
	struct guard g;
	guard_enter(&g);
	uint32_t n = load_relaxed(&s->f->passes);
	if (!sock_is_dgram(s) && n && sub_acqrel(&s->f->passes, 1u) == 1)
		unpin(s);
	guard_leave(&g);
}

void pass_unknown(int fd)
{
	if (adopt_is_stream(fd))
		mark_never(fd);
}

/* Its only other user may link it. */
static bool may_be_linked(struct sock *s)
{
	const struct fam_sock *f = s->f;
	return load_acquire(&f->passes) == 1 &&
	       !(sock_flags(s) & (FAM_OWN_PIN | FAM_OPTION | FAM_BROKEN | FAM_RESET | FAM_RD_SHUT | FAM_WR_SHUT)) &&
	       !load_relaxed(&s->hup) && !hold_tx_inside(s) && !hold_rx_inside(s) && !leave_done();
}

/* How it may be linked: it keeps the channel, or it is known that the other side is under shunt. */
static bool describe(const struct sock *s, struct mark *m)
{
	const struct chan *c = &s->chan;
	*m = (struct mark){.linked = load_acquire(&s->linked) != 0};
	if (m->linked) {
		m->side = (uint8_t)c->side;
		m->chan = (uint8_t)c->idx;
		m->shmid = c->assoc->seg.shmid;
		return true;
	}
	m->side = s->endpoint ? SM_CLIENT : SM_SERVER;
	return s->endpoint || (s->server && load_relaxed(&s->server->ept.area->offer_seq));
}

void pass_last(struct sock *s)
{
	struct mark m;
	bool may = may_be_linked(s);
	FAULT_POINT("pass: last one, before orphan");
	if (link_ready(s))
		orphan_leave(s);
	may = may && describe(s, &m);
	FAULT_POINT("pass: orphan, before left");
	if (load_acquire(&s->linked))
		link_leave(s);
	FAULT_POINT("pass: left, before ready");
	if (may)
		mark_ready(s->fd, &m);
}

/* What nobody has linked yet goes over to the new program as it came. false: another thread has, meanwhile. */
static bool exec_arrived(struct sock *s, bool known)
{
	struct mark m;
	struct guard g;
	guard_enter(&g);
	bool still = s->arrived;
	if (!still)
		;
	else if (!known || hold_is_shared(s))
		adopt_never(s);
	else if (mark_look(s->fd, &m) && mark_exec(s->fd, (uint32_t)sys0(SYS_getpid)))
		s->exec_left = EXEC_WHOLE;
	guard_leave(&g);
	return still;
}

/* The program that this process becomes is the only one that has it then. Under g_lock. */
static void leave_to_program(struct sock *s, bool known)
{
	struct mark m;
	bool may = known && may_be_linked(s);
	if (link_ready(s))
		orphan_leave(s);
	FAULT_POINT("pass: exec, orphan, before marks");
	if (may && describe(s, &m) && mark_exec(s->fd, (uint32_t)sys0(SYS_getpid))) {
		FAULT_POINT("pass: exec, one mark, before ready");
		mark_ready(s->fd, &m);
	}
}

void pass_exec(struct sock *s, bool known)
{
	struct guard g;
	if (sock_flags(s) & FAM_LISTEN) { /* the new program shall publish it at once, as this one has */
		if (known && s->server && s->server->ept.lock_fd >= 0 &&
			s->server->ept.owner_pid == (uint32_t)sys0(SYS_getpid) && mark_exec(s->fd, s->server->ept.owner_pid))
			s->exec_left = EXEC_WHOLE;
		return;
	}
	if (s->arrived && exec_arrived(s, known))
		return;
	pass_begin(s, WHY_EXEC, known);
	if (sock_is_dgram(s))
		return;
	guard_enter(&g); /* a fork of another thread's comes before it, or sees exec_left (sock.c: hold) */
	s->exec_left = sock_let_go(s) ? EXEC_LAST : EXEC_LEFT;
	FAULT_POINT("pass: exec, one holder less, before orphan");
	if (s->exec_left == EXEC_LAST)
		leave_to_program(s, known);
	guard_leave(&g);
}

/* As pass_last, but for the case that it is not the last: until the exec has closed it nobody else may have it. Under g_lock. */
static void give_up(struct sock *s)
{
	struct mark m;
	bool may = may_be_linked(s) && mark_closing(s->fd, true);
	if (link_ready(s))
		orphan_leave(s);
	if (may && describe(s, &m))
		mark_ready(s->fd, &m);
}

void pass_exec_closed(struct sock *s)
{
	struct guard g;
	guard_enter(&g); /* as in pass_exec */
	hold_reap(s, FAM_NOW);
	bool last = !hold_is_shared(s), given = last && load_acquire(&s->f->passes) && !sock_is_dgram(s);
	s->exec_left = given ? EXEC_GIVEN : EXEC_CLOSED;
	if (given) {
		give_up(s);
		sock_let_go(s);
	}
	guard_leave(&g);
	if (given)
		return;
	if (last)
		link_before_end(s);
	else if (link_ready(s) && !sock_is_dgram(s)) /* our service thread ends, too */
		move_stop_serving(s);
	if (sock_let_go(s) && !last) /* the others have closed theirs since */
		link_before_end(s);
}

/* It was not closed. */
static void take_back(struct sock *s, uint8_t left)
{
	bool again = sock_hold_again(s);
	if (!again && left == EXEC_GIVEN) { /* somebody else has given it up too, and here there is a copy still */
		mark_never(s->fd);
		mark_closing(s->fd, false);
	}
	if (!again || left == EXEC_CLOSED)
		return;
	mark_unready(s->fd);
	mark_closing(s->fd, false);
	if (link_ready(s))
		orphan_back(s);
}

void pass_exec_undo(struct sock *s)
{
	uint8_t left = s->exec_left;
	s->exec_left = EXEC_NOT;
	if (left == EXEC_CLOSED || left == EXEC_GIVEN)
		take_back(s, left);
	if (left < EXEC_LEFT)
		return;
	bool was = mark_exec_end(s->fd, (uint32_t)sys0(SYS_getpid));
	if (left == EXEC_WHOLE)
		return;
	if (was)
		mark_unready(s->fd);
	if (!sock_hold_again(s))
		return;
	if (left == EXEC_LAST && link_ready(s))
		orphan_back(s);
	pass_undo(s);
}
