/* SPDX-License-Identifier: BSD-2-Clause */
#include "orphan.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "assoc.h"
#include "barrier.h"
#include "fault.h"
#include "link.h"
#include "notify.h"
#include "policy.h"
#include "ring.h"
#include "sys.h"

void orphan_leave(struct sock *s)
{
	struct chan *c = &s->chan;
	struct seg *g = &c->assoc->seg;
	if (c->side == SM_CLIENT && cas_acqrel(&c->shm->state, (uint32_t)SM_CHAN_OFFERED, (uint32_t)SM_CHAN_FREE)) {
		uint32_t idx = c->idx;
		link_leave(s);
		store_release(&s->f->link, 0);
		seg_chan_free(g, idx);
		return;
	}
	or_acqrel(&c->my->flags, SM_END_PASSED | SM_END_ORPHAN);
	FAULT_POINT("orphan: left, before bell");
	notify_peer(c);
}

void orphan_back(struct sock *s)
{
	struct guard g;
	guard_enter(&g);
	if (!(and_acqrel(&s->chan.my->flags, ~SM_END_ORPHAN) &
		    SM_END_ORPHAN)) { /* the other side has ended meanwhile, and given it back */
		link_leave(s);
		store_release(&s->f->link, LINK_NEVER);
	}
	guard_leave(&g);
}

/* Is this the channel of this very connection, left on our side? Two cookies say so, as when it was linked. */
static bool is_ours(const struct sock *s, const struct assoc *a, uint32_t i)
{
	const struct sm_chan *ch = seg_chan(&a->seg, i);
	bool client = a->side == SM_CLIENT;
	struct diag_sock d;
	return load_acquire(&ch->state) == SM_CHAN_LINKED && ch->proto == IPPROTO_TCP &&
	       (client ? ch->client_cookie : load_relaxed(&ch->server_cookie)) == s->f->cookie &&
	       diag_conn(&s->f->peer, &s->f->own, &d) == 0 && d.inode &&
	       (client ? load_relaxed(&ch->server_cookie) : ch->client_cookie) == d.cookie &&
	       a->seg.cuid == (client ? (uint32_t)sys0(SYS_geteuid) : d.uid) &&
	       policy_accepts(d.uid, client ? (uint32_t)-1 : a->seg.cgid);
}

static int assoc_of(const struct mark *m, struct assoc **out)
{
	struct seg seg;
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		*out = assoc_tab[i];
		if (load_acquire(&(*out)->live) && (*out)->seg.shmid == m->shmid && (*out)->side == m->side)
			return 0;
	}
	int r = seg_attach(&seg, m->shmid, 0);
	if (r < 0)
		return r == -EINVAL || r == -EIDRM ? -ENOENT : -EPERM;
	*out = assoc_add(&seg, m->side);
	if (!*out)
		seg_detach(&seg);
	return *out ? 0 : -EPERM;
}

/* Where the former owner stopped. It was in the kernel in both directions, and had followed the peer there. */
static bool load_state(struct fam_sock *f, const struct sm_end *my)
{
	uint32_t tx = load_acquire(&my->tx_epoch), rx = load_relaxed(&my->rx_epoch);
	if ((tx | rx) & 1)
		return false;
	f->tx_epoch = tx;
	f->tx_tail = load_relaxed(&my->tx_tail);
	f->tx_head = f->tx_tail;
	f->tx_limit = f->tx_rewind = 0;
	f->tx_shift = (uint32_t)load_relaxed(&my->tx_shift) & SM_RING_MASK;
	store_relaxed(&f->rx_epoch, rx);
	store_relaxed(&f->rx_head, load_relaxed(&my->rx_head));
	f->rx_tail = load_relaxed(&f->rx_head);
	store_relaxed(&f->rx_kepoch, 0);
	store_relaxed(&f->rx_kleft, 0);
	store_relaxed(&f->rx_dropped, 0);
	return true;
}

int orphan_adopt(struct sock *s, const struct mark *m)
{
	struct assoc *a;
	int r = assoc_of(m, &a);
	if (r < 0)
		return r;
	struct sm_end *my = &seg_chan(&a->seg, m->chan)->end[m->side];
	if (!is_ours(s, a, m->chan))
		return -EPERM;
	FAULT_POINT("orphan: found, before taken");
	if (!(and_acqrel(&my->flags, ~SM_END_ORPHAN) & SM_END_ORPHAN))
		return -EPERM; /* the peer has ended */
	FAULT_POINT("orphan: taken, before positions");
	if (!is_ours(s, a, m->chan) || !load_state(s->f, my)) { /* given back, and another's since */
		or_acqrel(&my->flags, SM_END_ORPHAN);
		return -EPERM;
	}
	if (m->side == SM_CLIENT)
		or_acqrel(&s->f->flags, FAM_CLIENT);
	/* What the former owner's process was. */
	and_acqrel(&my->flags, ~(SM_END_OFF | SM_END_RESTS | (barrier_ok ? SM_END_NO_BARRIER : 0u)));
	store_relaxed(&s->f->tx_why, WHY_PEER);
	store_relaxed(&s->f->rx_why, WHY_PEER);
	FAULT_POINT("orphan: positions, before published");
	link_publish(s, a, m->chan);
	FAULT_POINT("orphan: published, before passed no more");
	and_acqrel(&my->flags, ~SM_END_PASSED);
	return 0;
}

/* Is it known that nobody will come for it? The connection's own end has been closed by whoever had it last. */
static bool has_ended(const struct sm_chan *ch)
{
	struct diag_addr client = {.family = ch->family, .port = ch->client_port},
			 server = {.family = ch->family, .port = ch->server_port};
	struct diag_sock d;
	memcpy(client.addr, ch->client_addr, sizeof(client.addr));
	memcpy(server.addr, ch->server_addr, sizeof(server.addr));
	int r = diag_conn(&client, &server, &d);
	return r == -ENOENT || (r == 0 && (!d.inode || d.cookie != ch->client_cookie));
}

static bool take(struct sm_chan *ch, int side)
{
	return and_acqrel(&ch->end[side].flags, ~SM_END_ORPHAN) & SM_END_ORPHAN;
}

unsigned orphan_reap(struct assoc *a)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < SM_N_CHAN; i++) {
		struct sm_chan *ch = seg_chan(&a->seg, i);
		if (load_acquire(&ch->state) != SM_CHAN_LINKED || ch->proto != IPPROTO_TCP || load_acquire(&a->chan_sock[i]) ||
			!(load_acquire(&ch->end[0].flags) & load_acquire(&ch->end[1].flags) & SM_END_ORPHAN) ||
			!has_ended(ch) || !take(ch, SM_CLIENT))
			continue;
		if (!take(ch, SM_SERVER)) { /* somebody has come all the same, and will find that his peer has ended */
			or_acqrel(&ch->end[SM_CLIENT].flags, SM_END_ORPHAN);
			continue;
		}
		seg_chan_leave(&a->seg, i, SM_CLIENT);
		seg_chan_leave(&a->seg, i, SM_SERVER);
		n++;
	}
	return n;
}
