/* SPDX-License-Identifier: BSD-2-Clause */
#include "token.h"

#include <errno.h>
#include <limits.h>

#include "barrier.h"
#include "bell.h"
#include "hold.h"
#include "sys.h"

#define SPINS 200 /* a holder that runs is done within a few hundred nanoseconds */
#define NAP_NS 1000000

__thread uint32_t token_tid __attribute__((tls_model("initial-exec")));

_Atomic bool token_keeps, token_refused;

uint32_t token_ask_tid(void)
{
	return token_tid = (uint32_t)sys0(SYS_gettid);
}

/* The futex is the low half of the word: tid and marks. */
static _Atomic uint32_t *low_half(struct token *t)
{
	_Atomic uint32_t *w = (_Atomic uint32_t *)&t->word;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w++;
#endif
	return w;
}

void token_wake(struct token *t, int n)
{
	futex_wake(low_half(t), n);
}

/*
 * Held by `me`: keep it, if no other process holds the socket. A fork that begins now counts its child first, and looks for biases afterwards: either it sees ours, or
 * we see the child.
 */
int token_bias(struct sock *s, struct token *t, uint64_t me)
{
	if (!barrier_ok || hold_is_shared(s))
		return TOKEN_HELD;
	if (!load_relaxed(&token_keeps)) {
		store_relaxed(&token_refused, true);
		return TOKEN_HELD;
	}
	store_relaxed(&t->busy, 1);
	if (!cas_acqrel(&t->word, me, me | TOKEN_BIAS)) { /* somebody waits */
		store_relaxed(&t->busy, 0);
		return TOKEN_HELD;
	}
	fence_storeload(); /* faces fork: holders, fence, word */
	if (!hold_is_shared(s) || !cas_acqrel(&t->word, me | TOKEN_BIAS, me))
		return TOKEN_BIASED;
	store_relaxed(&t->busy, 0);
	return TOKEN_HELD;
}

/* The owner of a bias has left, or turned back at the door, and finds marks in the word. One that a fork has made an ordinary token is dropped by him, or by that fork: by one of them. */
void token_left(struct token *t, uint64_t me)
{
	store_release(&t->busy, 0);
	uint64_t w = load_relaxed(&t->word);
	if (w & TOKEN_REVOKE)
		token_wake(t, INT_MAX);
	while ((w & ~(TOKEN_WAIT | TOKEN_FORK)) == me) {
		if (cas_acqrel(&t->word, w, UINT64_C(0))) {
			if (w & TOKEN_WAIT)
				token_wake(t, 1);
			break;
		}
		w = load_relaxed(&t->word);
	}
}

/* The holder is dead. By his successor; should that die before this, the next one finds a dead holder, too. */
static void note_death(struct sock *s, const struct token *t)
{
	or_acqrel(&s->f->flags, t == &s->f->tx_token ? FAM_TX_HEIR : FAM_RX_HEIR);
}

/* The owner is inside for some hundred nanoseconds, if he runs. */
static bool is_out(struct token *t)
{
	for (int i = 0; i < SPINS; i++) {
		if (!load_acquire(&t->busy))
			return true;
		cpu_relax();
	}
	return false;
}

/* REVOKE is set, and everybody has been fenced since: wait until the owner is out, or a fork has made another token of it. It wakes us if it sees the mark, and it does, unless it is out already. */
static void wait_for_owner(struct sock *s, struct token *t)
{
	if (is_out(t))
		return;
	uint64_t w;
	for (int naps = 0; load_acquire(&t->busy) && (w = load_relaxed(&t->word)) & TOKEN_REVOKE; naps++) {
		futex_wait(low_half(t), (uint32_t)w, NAP_NS);
		if (naps >= TOKEN_DEAD_MS && !fam_proc_alive(s->arena, (uint32_t)(w >> 32))) {
			note_death(s, t);
			store_relaxed(&t->busy, 0);
		}
	}
}

/* A bias that we have marked becomes `to`: waiters keep their mark. false: it is none any more: a fork. */
static bool end_bias(struct token *t, uint64_t to)
{
	uint64_t w = load_relaxed(&t->word);
	while (w & TOKEN_REVOKE && !cas_acqrel(&t->word, w, to ? to | (w & TOKEN_WAIT) : 0))
		w = load_relaxed(&t->word);
	return w & TOKEN_REVOKE;
}

/* A bias of ours, whoever takes it away meanwhile. */
static bool is_own_bias(uint64_t w, uint64_t me)
{
	return (w & ~(TOKEN_WAIT | TOKEN_REVOKE)) == (me | TOKEN_BIAS);
}

/*
 * Having slept once we take the token with the WAIT mark, since others may sleep behind us: their wake-up is then our drop. A sleeper that times out
 * looks whether the holder is alive; a dead one's token is replaced in one exchange, so that only one of several sleepers inherits it. What the dead
 * holder had not committed was never visible to anybody; that it may have been in the middle of something else is noted.
 */
int token_take_slow(struct sock *s, struct token *t, uint64_t me)
{
	for (int i = 0;; i++) {
		uint64_t cur = load_relaxed(&t->word);
		if (cur & TOKEN_FORK && (cur & ~(TOKEN_WAIT | TOKEN_FORK)) == me &&
			!load_relaxed(&t->busy)) { /* we have left without having seen it */
			if (cas_acquire(&t->word, cur, cur & ~TOKEN_FORK))
				return TOKEN_HELD;
			continue;
		}
		if ((cur & ~(TOKEN_WAIT | TOKEN_FORK)) == me)
			return TOKEN_NESTED;
		if (cur == (me | TOKEN_BIAS)) { /* a handler has been here since we looked */
			int how = token_enter(t, me);
			if (how != TOKEN_NONE)
				return how;
			continue;
		}
		if (is_own_bias(cur, me) &&
			load_relaxed(
				&t->busy)) /* a handler has interrupted us inside, and who has marked it waits for the end of that */
			return TOKEN_NESTED;
		if ((cur & (TOKEN_BIAS | TOKEN_REVOKE)) == TOKEN_BIAS) {
			if (!cas_acqrel(&t->word, cur, cur | TOKEN_REVOKE))
				continue;
			barrier_everywhere();
			wait_for_owner(s, t);
			if (!end_bias(t, me))
				continue;
			t->run = 0;
			return TOKEN_HELD;
		}
		if (i < SPINS) {
			if (!cur && cas_acquire(&t->word, UINT64_C(0), me))
				return TOKEN_HELD;
			cpu_relax();
			continue;
		}
		if (!cur) {
			if (cas_acquire(&t->word, UINT64_C(0), me | TOKEN_WAIT))
				return TOKEN_HELD;
			continue;
		}
		if (!(cur & TOKEN_WAIT) && !cas_acquire(&t->word, cur, cur | TOKEN_WAIT))
			continue;
		cur |= TOKEN_WAIT;
		int r = futex_wait(low_half(t), (uint32_t)cur, TOKEN_DEAD_MS * INT64_C(1000000));
		if (r == -ETIMEDOUT && load_relaxed(&t->word) == cur && !fam_proc_alive(s->arena, (uint32_t)(cur >> 32)) &&
			cas_acquire(&t->word, cur, me | TOKEN_WAIT)) {
			note_death(s, t);
			return TOKEN_HELD;
		}
	}
}

/*
 * Our own bias needs no barrier. In the middle of a call that a handler has interrupted (and forks): it becomes an ordinary token, which that call drops (without the mark FORK: the child comes out of a copy of that call, and clears `busy`); also if somebody takes it away, who waits for
 * the end of that call, and then finds the mark gone.
 */
static bool unbias_own(struct token *t, uint64_t me)
{
	uint64_t w = load_relaxed(&t->word);
	if (!load_relaxed(&t->busy))
		return cas_acqrel(&t->word, me | TOKEN_BIAS, UINT64_C(0));
	while (is_own_bias(w, me)) {
		if (cas_acqrel(&t->word, w, me | (w & TOKEN_WAIT)))
			return true;
		w = load_relaxed(&t->word);
	}
	return false;
}

static bool unbias_begin(struct sock *s, struct token *t)
{
	uint64_t cur = load_relaxed(&t->word), me = token_self(s->arena);
	if (!(cur & TOKEN_BIAS) || unbias_own(t, me))
		return false;
	if (!(cur & TOKEN_REVOKE))
		cas_acqrel(&t->word, cur, cur | TOKEN_REVOKE);
	return true;
}

/* Also for who has set the mark before us: he may be waiting for us, in a handler. There is no new bias, since the child is counted. true: the owner is inside. */
static bool unbias_end(struct token *t)
{
	uint64_t w;
	while ((w = load_acquire(&t->word)) & TOKEN_REVOKE) {
		bool inside = !is_out(t);
		if (!cas_acqrel(&t->word, w, inside ? (w & ~(TOKEN_BIAS | TOKEN_REVOKE)) | TOKEN_FORK : UINT64_C(0)))
			continue;
		if (!inside)
			token_wake(t, INT_MAX);
		return inside;
	}
	return false;
}

static void unbias_settle(struct token *t)
{
	uint64_t w;
	while ((w = load_acquire(&t->word)) & TOKEN_FORK && !load_acquire(&t->busy))
		if (cas_acqrel(&t->word, w, UINT64_C(0)))
			token_wake(t, INT_MAX);
}

bool token_unbias_begin(struct sock *s)
{
	bool tx = unbias_begin(s, &s->f->tx_token), rx = unbias_begin(s, &s->f->rx_token);
	return tx || rx;
}

bool token_unbias_end(struct sock *s)
{
	bool tx = unbias_end(&s->f->tx_token), rx = unbias_end(&s->f->rx_token);
	return tx || rx;
}

void token_unbias_settle(struct sock *s)
{
	unbias_settle(&s->f->tx_token);
	unbias_settle(&s->f->rx_token);
}
