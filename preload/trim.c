/* SPDX-License-Identifier: BSD-2-Clause */
#include "trim.h"

#include <sys/mman.h>

#include "assoc.h"
#include "sys.h"
#include "token.h"

static void trim_ring(struct sock *s, uint64_t tail)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	int how = token_take(s, &f->tx_token);
	if (load_relaxed(&f->tx_tail) == tail && load_acquire(&c->peer->rx_head) == tail &&
		sys3(SYS_madvise, c->tx_ring, SM_RING_LEN, MADV_REMOVE) == 0) {
		f->tx_limit = 0;
		f->tx_rewind = tail; /* at its beginning, as ever */
		s->trimmed = tail;
	}
	token_drop(s, &f->tx_token, how);
}

/* true: it has been written to since we looked last. g_lock is held: it stays linked. */
static bool trim_sock(struct sock *s)
{
	uint64_t tail = load_relaxed(&s->f->tx_tail);
	if (tail != s->quiet_tail) {
		s->quiet_tail = tail;
		return true;
	}
	if (tail != s->trimmed)
		trim_ring(s, tail);
	return false;
}

bool trim_pass(void)
{
	bool moved = false;
	for (uint32_t n = 0; n < load_acquire(&n_assoc); n++) {
		struct assoc *a = assoc_tab[n];
		struct guard g;
		guard_enter(&g); /* one association at a time: others wait for the lock */
		for (uint32_t i = 0; load_acquire(&a->live) && load_relaxed(&a->n_linked) && i < SM_N_CHAN; i++) {
			struct sock *s = load_acquire(&a->chan_sock[i]);
			if (s && load_acquire(&s->linked))
				moved |= trim_sock(s);
		}
		guard_leave(&g);
	}
	return moved;
}
