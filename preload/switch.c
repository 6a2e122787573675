/* SPDX-License-Identifier: BSD-2-Clause */
#include "switch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "assoc.h"
#include "dg.h"
#include "fault.h"
#include "hold.h"
#include "log.h"
#include "move.h"
#include "notify.h"
#include "ready.h"
#include "svc.h"
#include "sys.h"
#include "trial.h"

#define SETTLE_NS INT64_C(50000000) /* for peers, and for who is in the middle of something: then it follows by itself, later */
#define N_TRIES 64

struct switch_word switch_word = {
	.magic = SWITCH_MAGIC, .version = SWITCH_VERSION, .len = sizeof(struct switch_word), .ring_fd = -1};

enum { AGAIN_ASKED = 1, AGAIN_LEFT }; /* somebody asks for it; or a turn has not got everything */
_Atomic uint32_t switch_again;
static _Atomic uint32_t busy; /* somebody is in switch_serve(); the next two are his */
static uint32_t begun;	      /* the wish that is being carried out */
static int64_t until;

void switch_init(const char *env)
{
	or_acqrel(&switch_word.runs, SWITCH_LOADED);
	if (!env || strcmp(env, "1") != 0 || load_relaxed(&switch_word.wish)) /* an operator was quicker */
		return;
	begun = SWITCH_OFF;
	store_relaxed(&switch_word.wish, SWITCH_OFF);
	store_relaxed(&switch_word.done, SWITCH_OFF);
}

void switch_has_bell(int ring_fd, const uint8_t bell[BELL_NAME_LEN])
{
	switch_word.ring_fd = ring_fd;
	memcpy(switch_word.bell, bell, BELL_NAME_LEN);
	or_acqrel(&switch_word.runs, SWITCH_RINGS);
}

void switch_has_none(void)
{
	and_acqrel(&switch_word.runs, ~SWITCH_RINGS);
}

/* The bell is the parent's. */
void switch_fork_child(void)
{
	switch_has_none();
	store_relaxed(&busy, 0);
	store_relaxed(&switch_again, 0);
}

/* ---- one socket */

static void set_why(struct sock *s, enum why w)
{
	if (!(s->f->tx_epoch & 1))
		store_relaxed(&s->f->tx_why, w);
	if (!(load_relaxed(&s->f->rx_epoch) & 1))
		store_relaxed(&s->f->rx_why, w);
}

void switch_keeps(struct sock *s)
{
	if (!s->f->inode) {
		if (!sock_is_dgram(s))
			sock_names(s);
		sock_inode(s);
	}
	if (load_relaxed(&s->f->tx_why) != WHY_OFF || load_relaxed(&s->f->rx_why) != WHY_OFF)
		set_why(s, WHY_OFF);
}

/* The channel is ours: under g_lock, or the tx token. (Consent may be withdrawn at any moment.) */
static void mark(struct sock *s)
{
	or_acqrel(&s->f->flags, FAM_OFF);
	FAULT_POINT("off: own mark, before peer's");
	or_acqrel(&s->chan.my->flags, SM_END_OFF);
	FAULT_POINT("off: marks, before consent withdrawn");
	store_release(&s->chan.my->consent, 0);
	FAULT_POINT("off: consent withdrawn, before down");
	fence_storeload(); /* faces move_up: epoch, fence, consent. Who looks at its epoch from here on sees it odd, or it goes down */
	set_why(s, WHY_OFF);
}

/* The sockets are to be gone through once more. */
static void ask_again(void)
{
	store_release(&switch_again, AGAIN_ASKED);
	svc_nudge();
}

bool switch_moves(const struct sock *s)
{
	uint32_t mine = load_relaxed(&s->f->flags) & FAM_OFF;
	if (!(s->f->tx_epoch & 1))
		return switch_is_off() && !mine;
	return mine || switch_is_off() || load_relaxed(&s->chan.peer->flags) & SM_END_OFF;
}

void switch_down(struct sock *s)
{
	if (switch_is_off()) {
		mark(s);
		if (!switch_is_off()) /* the word has been taken back since, and the service thread may have been here before the mark */
			ask_again();
	}
	if (s->f->tx_epoch & 1)
		move_down(s, WHY_OFF);
}

/* Its sleepers look at the ring alone, and its own direction is its service thread's to move. A bell that is rung in vain does no harm. */
void switch_tell(struct chan *c)
{
	uint32_t bell = load_relaxed(&c->peer->svc_bell);
	notify_peer(c);
	if (bell)
		notify_bell(c, bell - 1);
}

/* Never waits for an owner that may be in the middle of a call for ever. */
static int try_token(struct sock *s, struct token *t)
{
	for (int i = 0; i < N_TRIES; i++, cpu_relax()) {
		int how = load_relaxed(&t->word) & TOKEN_BIAS && load_relaxed(&t->busy) ? TOKEN_NONE : token_try(s, t);
		if (how != TOKEN_NONE)
			return how;
	}
	return TOKEN_NONE;
}

/* As ready_follow(), for a thread that others wait for. */
static void follow(struct sock *s)
{
	uint64_t kleft;
	int how = try_token(s, &s->f->rx_token);
	if (how != TOKEN_NONE && load_acquire(&s->linked))
		move_follow(s, &kleft);
	token_drop(s, &s->f->rx_token, how);
}

/* Has the peer left its ring, and have we followed it, if there is nothing left to read? */
static bool has_left(struct sock *s)
{
	uint32_t its = load_acquire(&s->chan.peer->tx_epoch);
	if (load_relaxed(&s->hup) || load_relaxed(&s->chan.peer->flags) & SM_END_CLOSED)
		return true;
	return !(its & 1) && (ring_unread_by_us(s) || load_relaxed(&s->f->rx_epoch) == its);
}

/* true: both directions are in the kernel, as far as that can be. Under g_lock. */
static bool goes_off(struct sock *s)
{
	bool tell = !(sock_flags(s) & FAM_OFF) || load_relaxed(&s->chan.peer->tx_epoch) & 1;
	mark(s);
	int how = try_token(s, &s->f->tx_token);
	if (how != TOKEN_NONE)
		move_look_back(s);
	if (how != TOKEN_NONE && s->f->tx_epoch & 1) {
		move_down(s, WHY_OFF);
		tell = true;
	}
	token_drop(s, &s->f->tx_token, how);
	FAULT_POINT("off: down, before told");
	if (tell)
		switch_tell(&s->chan);
	FAULT_POINT("off: told, before followed");
	follow(s);
	return how != TOKEN_NONE && has_left(s);
}

/* For `shunt ps`. */
static void may_come_on(struct sock *s)
{
	if (!trial_is_off(s) && load_relaxed(&s->f->tx_why) == WHY_OFF)
		set_why(s, WHY_PEER);
}

/* Whoever reads next consents, if nobody does here. */
static void comes_on(struct sock *s)
{
	struct sm_end *my = s->chan.my;
	and_acqrel(&s->f->flags, ~FAM_OFF);
	and_acqrel(&my->flags, ~SM_END_OFF);
	FAULT_POINT("on: marks gone, before consent");
	may_come_on(s);
	int how = try_token(s, &s->f->rx_token);
	if (how != TOKEN_NONE && !(sock_flags(s) & FAM_PIN_RX) && !hold_rx_inside(s))
		store_release(&my->consent, 1);
	token_drop(s, &s->f->rx_token, how);
	FAULT_POINT("on: consent, before told");
	switch_tell(&s->chan);
}

static bool is_pinned(const struct sock *s)
{
	return sock_flags(s) & (FAM_PIN_RX | FAM_PIN_TX | FAM_LISTEN | FAM_BROKEN) ||
	       (!s->endpoint && !s->server && !s->foreign && !s->dg);
}

static void one_stream(struct sock *s, void *left)
{
	bool off = begun & SWITCH_OFF;
	struct guard g;
	if (!load_acquire(&s->open))
		return;
	guard_enter(&g);
	if (load_acquire(&s->open) && !sock_is_dgram(s)) {
		if (!load_acquire(&s->linked)) {
			if (!is_pinned(s))
				set_why(s, off ? WHY_OFF : WHY_NEW);
		} else if (off) {
			*(bool *)left |= !goes_off(s);
		} else if (sock_flags(s) & FAM_OFF) {
			comes_on(s);
		}
	}
	guard_leave(&g);
}

static void one_dgram(struct sock *s, void *left)
{
	bool off = begun & SWITCH_OFF;
	struct guard g;
	if (!load_acquire(&s->open))
		return;
	guard_enter(&g);
	if (load_acquire(&s->open) && sock_is_dgram(s)) {
		if (off && dg_linked(s))
			dg_off(s, left);
		else if (!off && sock_flags(s) & FAM_OFF)
			dg_on(s);
		if (!dg_linked(s) && !is_pinned(s) && (off || load_relaxed(&s->f->tx_why) == WHY_OFF))
			set_why(s, off ? WHY_OFF : WHY_NEW);
	}
	guard_leave(&g);
}

/* ---- the process */

/*
 * Clients need not try to upgrade connections here. Several processes may accept on one endpoint: who published it speaks for it, or, if that has ended (a daemon's parent), whoever; and
 * one that is on is enough.
 */
static void tell_clients(bool off)
{
	struct guard g;
	uint32_t me = (uint32_t)sys0(SYS_getpid);
	guard_enter(&g);
	for (uint32_t i = 0; server_at(i); i++) {
		struct server *v = server_at(i);
		if (!load_acquire(&v->live) || !v->refs || !v->ept.area)
			continue;
		if (!off || v->ept.owner_pid == me || sys2(SYS_kill, v->ept.owner_pid, 0) == -ESRCH)
			store_relaxed(&v->ept.area->off, off);
	}
	guard_leave(&g);
}

void switch_serve(void)
{
	uint32_t wish = load_acquire(&switch_word.wish);
	if (!switch_is_due() || xchg_acqrel(&busy, 1u))
		return;
	bool left = false, off = wish & SWITCH_OFF;
	int64_t now = now_ns();
	/* Before the sockets are gone through: one that is linked behind our back asks for another turn. */
	if (xchg_acqrel(&switch_again, 0u) == AGAIN_ASKED || wish != begun)
		until = now + SETTLE_NS;
	if (wish != begun) {
		begun = wish;
		tell_clients(off);
		log_line("switched %s", off ? "off: connections stay in the kernel" : "on");
	}
	if (fdtab_len) {
		sock_each(one_stream, &left);
		sock_each(one_dgram, &left);
	}
	if (!left || now > until) {
		FAULT_POINT("off: all moved, before said");
		store_release(&switch_word.done, wish);
	} else {
		cas_acqrel(&switch_again, 0u, (uint32_t)AGAIN_LEFT);
	}
	store_release(&busy, 0);
}

void switch_noticed(void)
{
	if (svc_runs())
		svc_nudge(); /* who wrote the word could not */
	else
		switch_serve();
}

void switch_linked(void)
{
	if (switch_is_off())
		ask_again();
}

void switch_asked(struct sock *s)
{
	struct chan *c = &s->chan;
	if (load_acquire(&c->peer->flags) & SM_END_OFF) {
		int how = token_take(s, &s->f->tx_token);
		if (load_acquire(&s->linked))
			move_look_back(s);
		bool down = load_acquire(&s->linked) && s->f->tx_epoch & 1 && load_relaxed(&c->peer->flags) & SM_END_OFF;
		if (down)
			move_down(s, WHY_OFF);
		token_drop(s, &s->f->tx_token, how);
		if (down) {
			FAULT_POINT("off: down when asked, before bell");
			notify_peer(c);
		}
	} else {
		may_come_on(s);
	}
	if (load_acquire(&s->linked))
		follow(s);
}
