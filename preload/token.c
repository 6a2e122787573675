/* SPDX-License-Identifier: BSD-2-Clause */
#include "token.h"

#include <errno.h>

#include "bell.h"
#include "sys.h"

#define SPINS 200 /* a holder that runs is done within a few hundred nanoseconds */

__thread uint32_t token_tid __attribute__((tls_model("initial-exec")));

uint32_t token_ask_tid(void)
{
	return token_tid = (uint32_t)sys0(SYS_gettid);
}

/* The futex is the low half of the word: tid and TOKEN_WAIT. */
static _Atomic uint32_t *low_half(_Atomic uint64_t *t)
{
	_Atomic uint32_t *w = (_Atomic uint32_t *)t;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w++;
#endif
	return w;
}

void token_wake(_Atomic uint64_t *t)
{
	futex_wake(low_half(t), 1);
}

/*
 * Having slept once we take the token with the WAIT mark, since others may sleep behind us: their wake-up is then our drop. A sleeper that times out
 * looks whether the holder is alive; a dead one's token is replaced in one exchange, so that only one of several sleepers inherits it. What the dead
 * holder had not committed was never visible to anybody.
 */
int token_take_slow(struct arena *a, _Atomic uint64_t *t, uint64_t me)
{
	for (int i = 0; i < SPINS; i++) {
		uint64_t cur = load_relaxed(t);
		if ((cur & ~TOKEN_WAIT) == me)
			return TOKEN_NESTED;
		if (!cur && cas_acquire(t, UINT64_C(0), me))
			return TOKEN_HELD;
		cpu_relax();
	}
	for (;;) {
		uint64_t cur = load_relaxed(t);
		if (!cur) {
			if (cas_acquire(t, UINT64_C(0), me | TOKEN_WAIT))
				return TOKEN_HELD;
			continue;
		}
		if (!(cur & TOKEN_WAIT) && !cas_acquire(t, cur, cur | TOKEN_WAIT))
			continue;
		cur |= TOKEN_WAIT;
		int r = futex_wait(low_half(t), (uint32_t)cur, TOKEN_DEAD_MS * INT64_C(1000000));
		if (r == -ETIMEDOUT && load_relaxed(t) == cur && !fam_proc_alive(a, (uint32_t)(cur >> 32)) &&
			cas_acquire(t, cur, me | TOKEN_WAIT))
			return TOKEN_HELD;
	}
}
