/* SPDX-License-Identifier: BSD-2-Clause */
/* dg.c - the peers of UDP sockets: made, found, ended. */
#include "dg.h"

#include <string.h>
#include <sys/mman.h>

#include "barrier.h"
#include "dring.h"
#include "epset.h"
#include "fault.h"
#include "handler.h"
#include "notify.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"

/* Structs of one size from mapped chunks, never unmapped; recycled last in first out. Under g_lock. */
struct pool {
	size_t len;
	void *first; /* free; each holds the next one's address at its beginning */
};
static struct pool dgs = {sizeof(struct dg), NULL};
static struct pool peers = {sizeof(struct dg_peer), NULL};
static struct pool slots = {sizeof(struct dg_slot), NULL};

static void pool_put(struct pool *p, void *x)
{
	*(void **)x = p->first;
	p->first = x;
}

static void *map(size_t len)
{
	long p = sys6(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p < 0 && p > -4096 ? NULL : (void *)(uintptr_t)p;
}

static void *pool_get(struct pool *p)
{
	size_t len = (p->len + 63) & ~(size_t)63, chunk = 16 * 1024;
	if (!p->first) {
		char *c = map(chunk);
		for (size_t at = 0; c && at + len <= chunk; at += len)
			pool_put(p, c + at);
	}
	void *x = p->first;
	if (x) {
		p->first = *(void **)x;
		memset(x, 0, p->len);
	}
	return x;
}

/* The struct stays with the sock, whatever that is used for next: a thread that sleeps on a socket while another closes it finds it, empty. */
bool dg_init(struct sock *s, bool is_v6)
{
	if (!s->dg && !(s->dg = pool_get(&dgs)))
		return false;
	struct dg_peer **hot = s->dg->hot;
	uint32_t room = s->dg->room;
	memset((void *)s->dg, 0, sizeof(*s->dg));
	s->dg->hot = hot;
	s->dg->room = room;
	s->dg->is_v6 = is_v6;
	return true;
}

void dg_fini(struct sock *s)
{
	struct dg *d = s->dg;
	int how = token_take(s, &s->f->rx_token);
	for (struct dg_slot *sl = d->slots, *next; sl; sl = next) {
		next = sl->next;
		if (dg_slot_lives(sl))
			seg_bell_free(&sl->a->seg, sl->a->side, sl->idx);
		pool_put(&slots, sl);
	}
	d->slots = NULL;
	d->n_hot = 0;
	if (d->bell_fd > 0)
		fdtab_close_hidden(d->bell_fd);
	d->bell_fd = 0;
	token_drop(s, &s->f->rx_token, how);
}

static void is_the_parents(struct dg_peer *p, void *arg)
{
	struct assoc *a = p->c.assoc;
	(void)arg;
	store_release(&a->chan_sock[p->c.idx], NULL);
	a->n_linked--;
}

/* The parent has left its channels, or has them for itself; its bells are its own. */
void dg_fork_child(struct sock *s)
{
	struct dg *d = s->dg;
	dg_each(s, is_the_parents, NULL);
	store_release(&d->n_linked, 0);
	memset(d->hash, 0, sizeof(d->hash));
	d->last = NULL;
	d->slots = NULL;
	d->n_hot = 0;
	d->rung = false;
	store_relaxed(&d->stray, 0);
	store_relaxed(&d->sleepers, 0); /* the parent's threads */
	if (d->bell_fd > 0)
		fdtab_close_hidden(d->bell_fd);
	d->bell_fd = 0;
	memset(d->bell_name, 0, sizeof(d->bell_name));
}

static uint32_t hash_of(const struct diag_addr *a)
{
	uint32_t h = a->port;
	for (int i = 0; i < 16; i += 4) {
		uint32_t w;
		memcpy(&w, a->addr + i, 4);
		h = (h ^ w) * 2654435761u;
	}
	return (h >> 16) % DG_N_HASH;
}

struct dg_peer *dg_find(const struct dg *d, const struct diag_addr *to)
{
	for (struct dg_peer *p = d->hash[hash_of(to)]; p; p = p->next)
		if (diag_addr_eq(&p->addr, to))
			return p;
	return NULL;
}

void dg_each(struct sock *s, void (*fn)(struct dg_peer *p, void *arg), void *arg)
{
	for (int i = 0; i < DG_N_HASH; i++)
		for (struct dg_peer *p = s->dg->hash[i], *next; p; p = next) {
			next = p->next;
			fn(p, arg);
		}
}

void dg_heat(struct dg *d, struct dg_peer *p)
{
	if (p->hot)
		return;
	p->hot = true;
	d->hot[d->n_hot++] = p; /* there is room: see grow_hot */
}

/* Room for every peer, so that making one hot cannot fail. */
static bool grow_hot(struct dg *d)
{
	if (load_relaxed(&d->n_linked) < d->room)
		return true;
	uint32_t room = d->room ? 2 * d->room : 512;
	struct dg_peer **hot = map(room * sizeof(*hot));
	if (!hot)
		return false;
	if (d->n_hot)
		memcpy(hot, d->hot, d->n_hot * sizeof(*hot));
	d->hot = hot; /* the old one stays mapped: dg_prefetch may be looking at it */
	d->room = room;
	return true;
}

/* The bell, and its slot in the association. */
static struct dg_slot *slot_in(struct dg *d, struct assoc *a)
{
	struct dg_slot *sl = d->slots;
	while (sl && (sl->a != a || sl->nonce != a->seg.nonce))
		sl = sl->next;
	if (sl)
		return sl;
	if (!d->bell_fd) {
		int fd = bell_open(d->bell_name);
		if (fd < 0)
			return NULL;
		d->bell_fd = fd;
	}
	for (sl = d->slots; sl && dg_slot_lives(sl);)
		sl = sl->next;
	bool fresh = !sl;
	if (fresh && !(sl = pool_get(&slots)))
		return NULL;
	int i = seg_bell_alloc(&a->seg, a->side, d->bell_name);
	if (i < 0) {
		if (fresh)
			pool_put(&slots, sl);
		return NULL;
	}
	struct dg_slot *next = fresh ? d->slots : sl->next;
	memset((void *)sl, 0, sizeof(*sl));
	*sl = (struct dg_slot){.a = a,
		.nonce = a->seg.nonce,
		.bell = seg_bell(&a->seg, a->side, (uint32_t)i),
		.idx = (uint32_t)i,
		.next = next};
	if (fresh)
		d->slots = sl;
	return sl;
}

/* As the kernel would write it on this socket. */
static void name_it(struct dg_peer *p, bool is_v6)
{
	const struct diag_addr *a = &p->addr;
	memset(&p->name, 0, sizeof(p->name));
	if (!is_v6) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
		memcpy(&in.sin_addr, a->addr, 4);
		memcpy(&p->name, &in, sizeof(in));
		p->name_len = sizeof(in);
		return;
	}
	p->name.sin6_family = AF_INET6;
	p->name.sin6_port = htons(a->port);
	if (a->family == AF_INET) {
		p->name.sin6_addr.s6_addr[10] = p->name.sin6_addr.s6_addr[11] = 0xff;
		memcpy(p->name.sin6_addr.s6_addr + 12, a->addr, 4);
	} else {
		memcpy(&p->name.sin6_addr, a->addr, 16);
	}
	p->name_len = sizeof(p->name);
}

struct dg_peer *dg_attach(
	struct sock *s, struct assoc *a, uint32_t idx, const struct diag_addr *to, const struct diag_addr *own)
{
	struct dg *d = s->dg;
	struct dg_peer *p = pool_get(&peers);
	if (!p)
		return NULL;
	int tx = token_take(s, &s->f->tx_token), rx = token_take(s, &s->f->rx_token);
	struct dg_slot *sl = grow_hot(d) ? slot_in(d, a) : NULL;
	if (sl) {
		p->addr = *to;
		p->own = *own;
		p->s = s;
		assoc_chan(a, idx, &p->c);
		name_it(p, s->dg->is_v6);
		p->slot = sl;
		p->next = d->hash[hash_of(to)];
		d->hash[hash_of(to)] = p;
		store_release(&sl->peer[idx], p);
		store_release(&a->chan_sock[idx], s);
		add_relaxed(&a->n_linked, 1u);
		store_relaxed(&p->c.my->svc_bell, a->svc_bell);
		or_acqrel(&p->c.my->flags, SM_END_LINKED | (barrier_ok ? 0 : SM_END_NO_BARRIER));
		dg_heat(d, p);
		add_acqrel(&d->n_linked, 1u);
	}
	token_drop(s, &s->f->rx_token, rx);
	token_drop(s, &s->f->tx_token, tx);
	if (!sl) {
		pool_put(&peers, p);
		return NULL;
	}
	handler_trap();
	epset_dg_linked(s);
	stats_link();
	dg_ring_self(s); /* who sleeps already has not armed this one */
	return p;
}

static void out_of_lists(struct dg *d, struct dg_peer *p)
{
	for (struct dg_peer **at = &d->hash[hash_of(&p->addr)]; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	for (uint32_t i = 0; p->hot && i < d->n_hot; i++)
		if (d->hot[i] == p) {
			d->hot[i] = d->hot[--d->n_hot];
			break;
		}
	if (d->last == p)
		d->last = NULL;
	if (load_relaxed(&p->slot->peer[p->c.idx]) == p)
		store_release(&p->slot->peer[p->c.idx], NULL);
}

void dg_detach(struct dg_peer *p)
{
	struct sock *s = p->s;
	struct dg *d = s->dg;
	struct assoc *a = p->c.assoc;
	int tx = token_take(s, &s->f->tx_token), rx = token_take(s, &s->f->rx_token);
	out_of_lists(d, p);
	sub_acqrel(&d->n_linked, 1u);
	token_drop(s, &s->f->rx_token, rx);
	token_drop(s, &s->f->tx_token, tx);
	if (load_relaxed(&a->chan_sock[p->c.idx]) == s)
		store_release(&a->chan_sock[p->c.idx], NULL);
	assoc_chan_ends(a);
	FAULT_POINT("dg end: unlinked, before gone");
	if (load_acquire(&a->live))
		seg_chan_leave(&a->seg, p->c.idx, p->c.side);
	pool_put(&peers, p);
}
