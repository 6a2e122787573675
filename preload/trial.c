/* SPDX-License-Identifier: BSD-2-Clause */
#include "trial.h"

#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

#include "hold.h"
#include "log.h"
#include "stats.h"
#include "sys.h"

#define N_TURN 4		     /* memory, kernel, memory, kernel */
#define SLOT_NS INT64_C(10000000000) /* who has not come to an end by then gives way to others */

static struct {
	_Atomic(struct sock *) who;
	_Atomic uint32_t busy; /* a thread is writing what follows; another's answer is left out */
	int64_t begin_ns;
	uint32_t turn, n;
	uint64_t msgs;	       /* sent when the turn began, */
	uint64_t sent[N_TURN]; /* and in each turn */
	uint32_t ns[N_TURN][TRIAL_N_SAMPLE];
} trial;

static uint64_t sent(const struct sock *s)
{
	return s->tx_shm.msgs + s->tx_kernel.msgs;
}

static void rest(struct sock *s, int64_t until)
{
	store_relaxed(&s->trial.until_ns, until);
	or_acqrel(&s->chan.my->flags, SM_END_RESTS);
	or_acqrel(&s->f->flags, FAM_RESTS);
}

static void rest_ends(struct sock *s)
{
	and_acqrel(&s->f->flags, ~FAM_RESTS);
	and_acqrel(&s->chan.my->flags, ~SM_END_RESTS);
}

static uint32_t due(const struct trial_of *t)
{
	return t->rests || t->suspected ? TRIAL_DUE_AGAIN : (uint32_t)TRIAL_DUE << (TRIAL_DUE_MORE * t->wins);
}

static void count_from_here(struct sock *s)
{
	s->trial.slept = 0;
	s->trial.msgs = sent(s);
}

static void next_turn(uint32_t turn)
{
	trial.turn = turn;
	trial.n = 0;
}

static void begin(struct sock *s, int64_t now)
{
	struct sock *who = load_acquire(&trial.who);
	if (hold_is_shared(s) || (who && now - trial.begin_ns < SLOT_NS) || xchg_acqrel(&trial.busy, 1u))
		return;
	trial.begin_ns = now;
	next_turn(0);
	store_release(&trial.who, s);
	store_release(&trial.busy, 0);
	stats_trial();
}

static uint32_t median(const uint32_t *v)
{
	uint32_t a[TRIAL_N_SAMPLE];
	memcpy(a, v, sizeof(a));
	for (uint32_t i = 1; i < TRIAL_N_SAMPLE; i++) /* few */
		for (uint32_t j = i; j && a[j - 1] > a[j]; j--) {
			uint32_t x = a[j];
			a[j] = a[j - 1];
			a[j - 1] = x;
		}
	return a[TRIAL_N_SAMPLE / 2];
}

/* ns a message, of a turn. What was not slept for counts nothing; in the kernel's turns there is hardly any, and it is left out. */
static uint64_t figure(uint32_t turn)
{
	uint64_t ns = median(trial.ns[turn]);
	return turn & 1 || !trial.sent[turn] ? ns : ns * (TRIAL_N_SKIP + TRIAL_N_SAMPLE) / trial.sent[turn];
}

static bool kernel_is_faster(void)
{
	for (uint32_t m = 0; m < N_TURN; m += 2)
		for (uint32_t k = 1; k < N_TURN; k += 2)
			if (figure(k) * 100 > figure(m) * (100 - TRIAL_MARGIN_PC))
				return false;
	return true;
}

/* The trial is over. */
static void judge(struct sock *s, bool slower, int64_t now)
{
	struct trial_of *t = &s->trial;
	bool once_more = slower && !t->rests && !t->suspected;
	store_release(&trial.who, NULL);
	count_from_here(s);
	t->suspected = once_more;
	if (!slower) {
		t->rests = 0;
		t->wins += t->wins < TRIAL_STEPS;
	}
	if (!slower || once_more) {
		rest_ends(s);
		return;
	}
	log_line("fd %d: slower through memory (%llu ns a message; kernel %llu): rests", s->fd, (unsigned long long)figure(0),
		(unsigned long long)figure(1));
	stats_slower();
	rest(s, now + (TRIAL_REST_NS << t->rests));
	t->rests += t->rests < TRIAL_REST_STEPS;
	t->wins = 0;
}

/* A turn in the kernel, or in memory, begins when both directions are there. */
static bool in_its_place(const struct sock *s, uint32_t turn)
{
	uint32_t tx = s->f->tx_epoch & 1, rx = load_relaxed(&s->f->rx_epoch) & 1;
	return turn & 1 ? !tx && !rx : tx && rx;
}

/* One answer of the channel that is being tried. */
static void sample(struct sock *s, int64_t now, int64_t ns)
{
	uint32_t turn = trial.turn;
	if (load_relaxed(&trial.who) != s || !in_its_place(s, turn)) /* another thread may just have ended the trial */
		return;
	if (!trial.n)
		trial.msgs = sent(s);
	if (trial.n++ < TRIAL_N_SKIP)
		return;
	trial.ns[turn][trial.n - 1 - TRIAL_N_SKIP] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
	if (trial.n < TRIAL_N_SKIP + TRIAL_N_SAMPLE)
		return;
	trial.sent[turn] = sent(s) - trial.msgs + 1;
	if (turn == N_TURN - 1) {
		judge(s, kernel_is_faster(), now);
	} else {
		next_turn(turn + 1);
		if (turn & 1)
			rest_ends(s);
		else
			rest(s, now + TRIAL_LIMIT_NS);
	}
}

void trial_answer(struct sock *s)
{
	struct trial_of *t = &s->trial;
	int64_t now = now_ns(), ns = now - xchg_acqrel(&t->asked_ns, INT64_C(0));
	if (ns == now || sent(s) != t->asked_msgs || !load_acquire(&s->linked))
		return;
	if (load_acquire(&trial.who) == s) {
		if (!xchg_acqrel(&trial.busy, 1u)) {
			sample(s, now, ns);
			store_release(&trial.busy, 0);
		}
		return;
	}
	if (sock_flags(s) & FAM_RESTS || ++t->slept < due(t))
		return;
	bool usual = sent(s) - t->msgs <= (uint64_t)t->slept * TRIAL_FEW;
	count_from_here(s);
	if (usual)
		begin(s, now);
}

void trial_forget(struct sock *s)
{
	cas_acqrel(&trial.who, s, (struct sock *)NULL);
}

/* The side that follows. */
static bool peer_rests(struct sock *s)
{
	if (load_relaxed(&s->chan.peer->flags) & (SM_END_RESTS | SM_END_PASSED))
		return true;
	and_acqrel(&s->f->flags, ~FAM_RESTS);
	return false;
}

bool trial_leaves(struct sock *s)
{
	int out = 1;
	bool now = s->chan.side == SM_CLIENT ? !(load_relaxed(&s->chan.peer->tx_epoch) & 1) : peer_rests(s);
	return now && sys3(SYS_ioctl, s->fd, SIOCOUTQ, &out) == 0 && !out;
}

void trial_send(struct sock *s)
{
	if (s->chan.side != SM_CLIENT) {
		peer_rests(s);
		return;
	}
	int64_t now = now_ns();
	if (now < load_relaxed(&s->trial.until_ns)) {
		trial_asks(s, now, sent(s) + 1);
		return;
	}
	trial_forget(s); /* a turn that has taken too long: no trial */
	count_from_here(s);
	rest_ends(s);
}
