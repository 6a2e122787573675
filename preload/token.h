/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * token.h - who may send (or receive) on a socket now. Threads, forked processes and a handler that interrupts its own thread take turns.
 *
 * The token is in family memory. Its word is 0 when it is free, else (process number) << 32 | marks | tid. Taking it is one compare-and-swap (acquire: pairs with
 * the exchange that dropped it, release).
 *
 * Bias. A thread that has taken it BIAS_AFTER times in a row, in the only process that holds the socket, keeps it: the word stays its own, with the mark BIAS, and taking
 * and dropping are plain stores to `busy`. Whoever else wants it sets REVOKE in the word and has everybody fenced (barrier.h); then either the owner sees the mark when it
 * looks at the word after setting `busy`, or the other sees `busy`, and waits for it to end. Only who set the mark changes the word then (or a fork). fork takes all biases away before
 * there is a child, and waits for nobody: the owner may have been interrupted inside by a handler that waits for g_lock, which fork holds. It makes an ordinary token of the bias (FORK), which the owner
 * drops: everybody has been fenced once more by the time fork looks at `busy` again; if that is still set, the owner has not looked at the word yet, and will see what it is. If not, he may not have seen
 * it, and fork drops it for him, unless the mark is gone. The mark tells this token from one that the owner has taken since.
 *
 * Only in a process that has a service thread: that tells who keeps a token, and looks at nothing else, that the process is switched off (switch.h). A child of fork has none at first, and gets it
 * when somebody would have kept one.
 *
 * A token is never held asleep. A holder that died (kill -9) is found out by its lifeline (fam.h) after TOKEN_DEAD_MS, and replaced; FAM_TX_HEIR or FAM_RX_HEIR then says so, until his successor, or whoever
 * comes after him, has looked at what was left half done.
 * A handler that interrupted the holder on its own thread is let in (TOKEN_NESTED): it completes, and the interrupted call, whose commit is a
 * compare-and-swap on the position it started from, starts its copy again.
 */
#ifndef SHUNT_TOKEN_H
#define SHUNT_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"
#include "sock.h"

#define TOKEN_WAIT UINT64_C(0x80000000)	  /* somebody sleeps until it is dropped */
#define TOKEN_BIAS UINT64_C(0x40000000)	  /* the owner keeps it */
#define TOKEN_REVOKE UINT64_C(0x20000000) /* somebody takes the bias away */
#define TOKEN_FORK UINT64_C(0x10000000)	  /* an ordinary token that a fork has made of a bias, whose owner is or was inside */
#define TOKEN_TID UINT64_C(0x003fffff)	  /* the kernel's limit of tids is 2^22 */
#define TOKEN_DEAD_MS 20
#define BIAS_AFTER 256 /* taking a bias away costs microseconds: not for a socket that threads hand to each other */

/* How it is held. NESTED: by this thread, which a handler has interrupted. */
enum { TOKEN_NONE = -1, TOKEN_HELD, TOKEN_BIASED, TOKEN_NESTED };

/* The calling thread's id, cached. 0 in a fresh thread: token_self() asks. */
extern __thread uint32_t token_tid __attribute__((tls_model("initial-exec")));
uint32_t token_ask_tid(void);

#define ARENA_N_SEEN 16

struct arena {
	struct fam_hdr *hdr;
	int fd;		  /* hidden descriptor of the memfd, of a description that is this process's lifeline */
	uint32_t proc_nr; /* this process's number: byte of its lifeline */
	uint64_t token_hi;
	uint32_t child_nr;		     /* during a fork: the child's */
	int child_fd;			     /* -1: it will share ours */
	bool child_dead;		     /* there is none */
	int child_ppid;			     /* then: who it is that it shares it with */
	bool by_process;		     /* our number is locked by a record lock of the process (fam.h) */
	uint32_t parent_nr;		     /* then: whose lifeline we share; 0: nobody's */
	int parent_pid;			     /* 0: it cannot be asked for */
	_Atomic uint64_t seen[ARENA_N_SEEN]; /* others that were alive: number << 32 | when, in ms (fam_proc_alive_since) */
};

static inline uint64_t token_self(const struct arena *a)
{
	uint32_t tid = token_tid;
	return a->token_hi | (__builtin_expect(tid != 0, 1) ? tid : token_ask_tid());
}

/* There is a service thread; and: somebody has been refused a bias because there is none. */
extern _Atomic bool token_keeps, token_refused;

int token_take_slow(struct sock *s, struct token *t, uint64_t me);
/* The token has been taken BIAS_AFTER times in a row: how it is held now. */
int token_bias(struct sock *s, struct token *t, uint64_t me);
void token_left(struct token *t, uint64_t me);
void token_wake(struct token *t, int n);

/* As the owner of the bias: TOKEN_BIASED or TOKEN_NESTED; else TOKEN_NONE. */
static inline int token_enter(struct token *t, uint64_t me)
{
	if (load_relaxed(&t->word) != (me | TOKEN_BIAS))
		return TOKEN_NONE;
	if (__builtin_expect(load_relaxed(&t->busy), 0))
		return TOKEN_NESTED;
	store_relaxed(&t->busy, 1);
	atomic_signal_fence(memory_order_seq_cst); /* faces token_revoke: REVOKE, barrier_everywhere, busy */
	if (__builtin_expect(load_relaxed(&t->word) == (me | TOKEN_BIAS), 1))
		return TOKEN_BIASED;
	token_left(t, me);
	return TOKEN_NONE;
}

static inline int token_took(struct sock *s, struct token *t, uint64_t me)
{
	uint32_t tid = (uint32_t)(me & TOKEN_TID), run = t->run;
	t->run = run = (run & TOKEN_TID) == tid ? run + (1u << 22) : tid;
	return __builtin_expect(run >> 22 == BIAS_AFTER, 0) ? token_bias(s, t, me) : TOKEN_HELD;
}

/* s is whose token it is. Waits while another thread has it. */
static inline int token_take(struct sock *s, struct token *t)
{
	uint64_t me = token_self(s->arena);
	int how = token_enter(t, me);
	if (how != TOKEN_NONE)
		return how;
	if (__builtin_expect(cas_acquire(&t->word, UINT64_C(0), me), 1))
		return token_took(s, t, me);
	return token_take_slow(s, t, me);
}

/* TOKEN_NONE: somebody has it. Does not wait for him. Never nests. */
static inline int token_try(struct sock *s, struct token *t)
{
	uint64_t me = token_self(s->arena);
	int how = token_enter(t, me);
	if (how != TOKEN_NONE)
		return how == TOKEN_NESTED ? TOKEN_NONE : how;
	if (cas_acquire(&t->word, UINT64_C(0), me))
		return TOKEN_HELD;
	if (!(load_relaxed(&t->word) & TOKEN_BIAS)) /* a bias is not use: it would keep us out for ever */
		return TOKEN_NONE;
	how = token_take_slow(s, t, me);
	return how == TOKEN_NESTED ? TOKEN_NONE : how;
}

/*
 * The same for who only wants to know what is there, and would look in vain for ever if it were he himself who has it: a handler on the holder's thread is let in, as by token_take(); and so is a thread that has kept the token
 * because a handler of its has left by siglongjmp.
 */
static inline int token_try_nesting(struct sock *s, struct token *t)
{
	int how = token_try(s, t);
	if (__builtin_expect(how != TOKEN_NONE, 1))
		return how;
	uint64_t w = load_relaxed(&t->word);
	bool own = (w & ~(TOKEN_WAIT | TOKEN_BIAS | TOKEN_REVOKE | TOKEN_FORK)) == token_self(s->arena);
	/* The marks are of a token that is, or was, a bias: inside of it or not, only `busy` says. */
	return own && (!(w & (TOKEN_BIAS | TOKEN_FORK)) || load_relaxed(&t->busy)) ? TOKEN_NESTED : TOKEN_NONE;
}

/* `how` is what token_take() returned. From TOKEN_HELD a full fence on x86 (see fence_after_drop). */
static inline void token_drop(const struct sock *s, struct token *t, int how)
{
	if (__builtin_expect(how == TOKEN_BIASED, 1)) {
		store_release(&t->busy, 0);
		atomic_signal_fence(memory_order_seq_cst); /* faces token_revoke, as above */
		if (__builtin_expect((load_relaxed(&t->word) & (TOKEN_BIAS | TOKEN_REVOKE)) != TOKEN_BIAS, 0))
			token_left(t, token_self(s->arena));
	} else if (how == TOKEN_HELD) {
		if (__builtin_expect(xchg_acqrel(&t->word, UINT64_C(0)) & TOKEN_WAIT, 0))
			token_wake(t, 1);
	}
}

/* Between publishing under a token that has just been dropped and looking for sleepers. */
static inline void fence_after_drop(int how)
{
#if defined(__x86_64__)
	if (how != TOKEN_HELD) /* no locked instruction has been executed */
		fence_storeload();
	else
		__asm__ volatile("" ::: "memory");
#else
	(void)how;
	fence_storeload();
#endif
}

/* fork: the biases of both tokens of s are taken away, in three steps with one barrier_everywhere() for all sockets between each two. false: no more is needed. */
bool token_unbias_begin(struct sock *s);
bool token_unbias_end(struct sock *s);
void token_unbias_settle(struct sock *s);

#endif
