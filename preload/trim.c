/* SPDX-License-Identifier: BSD-2-Clause */
#include "trim.h"

#include <sys/mman.h>

#include "assoc.h"
#include "sys.h"
#include "token.h"

#define RUN_MAX 32 /* rings given back by one system call: what it costs is having other processors forget the pages */

/* Neighbouring rings of one association, all empty, their writers' tokens held. */
struct run {
	uint32_t n;
	struct sock *s[RUN_MAX];
	int how[RUN_MAX];
};

static void end_run(struct run *r)
{
	bool gone = r->n && sys3(SYS_madvise, r->s[0]->chan.tx_ring, r->n * (size_t)SM_RING_LEN, MADV_REMOVE) == 0;
	for (uint32_t i = 0; i < r->n; i++) {
		struct sock *s = r->s[i];
		struct fam_sock *f = s->f;
		if (gone) {
			f->tx_limit = 0;
			f->tx_rewind = load_relaxed(&f->tx_tail); /* at its beginning, as ever */
			s->trimmed = load_relaxed(&f->tx_tail);
		}
		token_drop(s, &f->tx_token, r->how[i]);
	}
	r->n = 0;
}

static void trim_ring(struct run *r, struct sock *s, uint64_t tail)
{
	struct fam_sock *f = s->f;
	if (r->n == RUN_MAX || (r->n && s->chan.tx_ring != r->s[r->n - 1]->chan.tx_ring + SM_RING_LEN))
		end_run(r);
	int how = token_try(s, &f->tx_token);
	if (how == TOKEN_NONE) { /* who holds one waits for no other */
		end_run(r);
		how = token_take(s, &f->tx_token);
	}
	if (load_relaxed(&f->tx_tail) != tail || load_acquire(&s->chan.peer->rx_head) != tail) {
		token_drop(s, &f->tx_token, how);
		return;
	}
	r->s[r->n] = s;
	r->how[r->n++] = how;
}

/* true: it has been written to since we looked last. g_lock is held: it stays linked. */
static bool trim_sock(struct run *r, struct sock *s)
{
	uint64_t tail = load_relaxed(&s->f->tx_tail);
	if (tail != s->quiet_tail) {
		s->quiet_tail = tail;
		return true;
	}
	if (tail != s->trimmed)
		trim_ring(r, s, tail);
	return false;
}

bool trim_pass(void)
{
	bool moved = false;
	struct run r = {0};
	for (uint32_t n = 0; n < load_acquire(&n_assoc); n++) {
		struct assoc *a = assoc_tab[n];
		struct guard g;
		guard_enter(&g); /* one association at a time: others wait for the lock */
		for (uint32_t i = 0; load_acquire(&a->live) && load_relaxed(&a->n_linked) && i < SM_N_CHAN; i++) {
			struct sock *s = load_acquire(&a->chan_sock[i]);
			if (s && load_acquire(&s->linked))
				moved |= trim_sock(&r, s);
		}
		end_run(&r);
		guard_leave(&g);
	}
	return moved;
}
