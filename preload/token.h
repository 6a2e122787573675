/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * token.h - who may send (or receive) on a socket now. Threads, forked processes and a handler that interrupts its own thread take turns.
 *
 * The word is in family memory: 0 free, else (process number) << 32 | WAIT | tid. Taking it is one compare-and-swap (acquire: pairs with the exchange
 * that dropped it, release); dropping is one exchange, which on x86 is also the store-load fence that a sender needs between publishing its tail and
 * looking for sleepers.
 *
 * A token is never held asleep. A holder that died (kill -9) is found out by its lifeline (fam.h) after TOKEN_DEAD_MS, and replaced.
 * A handler that interrupted the holder on its own thread is let in (TOKEN_NESTED): it completes, and the interrupted call, whose commit is a
 * compare-and-swap on the position it started from, starts its copy again.
 */
#ifndef SHUNT_TOKEN_H
#define SHUNT_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"
#include "sock.h"

#define TOKEN_WAIT UINT64_C(0x80000000)
#define TOKEN_DEAD_MS 20

enum { TOKEN_HELD = 0, TOKEN_NESTED = 1 };

/* The calling thread's id, cached. 0 in a fresh thread: token_self() asks. */
extern __thread uint32_t token_tid __attribute__((tls_model("initial-exec")));
uint32_t token_ask_tid(void);

struct arena {
	struct fam_hdr *hdr;
	int fd;		  /* hidden descriptor of the memfd */
	uint32_t proc_nr; /* this process's number: byte of its lifeline */
	uint64_t token_hi;
};

static inline uint64_t token_self(const struct arena *a)
{
	uint32_t tid = token_tid;
	return a->token_hi | (__builtin_expect(tid != 0, 1) ? tid : token_ask_tid());
}

int token_take_slow(struct arena *a, _Atomic uint64_t *t, uint64_t me);
void token_wake(_Atomic uint64_t *t);

static inline int token_take(struct arena *a, _Atomic uint64_t *t)
{
	uint64_t me = token_self(a);
	if (__builtin_expect(cas_acquire(t, UINT64_C(0), me), 1))
		return TOKEN_HELD;
	return token_take_slow(a, t, me);
}

/* true: taken. Never waits, never nests. */
static inline bool token_try(struct arena *a, _Atomic uint64_t *t)
{
	return cas_acquire(t, UINT64_C(0), token_self(a));
}

/* `how` is what token_take() returned. A full fence on x86 (see fence_after_drop). */
static inline void token_drop(_Atomic uint64_t *t, int how)
{
	if (how == TOKEN_NESTED)
		return;
	if (__builtin_expect(xchg_acqrel(t, UINT64_C(0)) & TOKEN_WAIT, 0))
		token_wake(t);
}

/* Between publishing under a token that has just been dropped and looking for sleepers. */
static inline void fence_after_drop(int how)
{
#if defined(__x86_64__)
	if (how == TOKEN_NESTED) /* a nested call dropped nothing: no locked instruction has been executed */
		fence_storeload();
	else
		__asm__ volatile("" ::: "memory");
#else
	(void)how;
	fence_storeload();
#endif
}

#endif
