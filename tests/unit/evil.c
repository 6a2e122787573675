/* SPDX-License-Identifier: BSD-2-Clause */
#include "evil.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "bell.h"

uint32_t evil_seed;

uint32_t evil_rnd(void)
{
	evil_seed ^= evil_seed << 13, evil_seed ^= evil_seed >> 17, evil_seed ^= evil_seed << 5;
	return evil_seed;
}

uint64_t evil_edge64(const struct evil *e)
{
	uint64_t near[] = {0, 1, SM_RING_LEN, SM_RING_LEN - 1, SM_RING_LEN + 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63,
		INT64_MAX, load_relaxed(&e->its->tx_tail), load_relaxed(&e->its->rx_head), load_relaxed(&e->its->rx_head) + 1,
		load_relaxed(&e->its->tx_tail) - SM_RING_LEN, load_relaxed(&e->its->rx_head) + SM_RING_LEN};
	uint32_t n = sizeof(near) / sizeof(*near), i = evil_rnd() % (n + 2);

	return i < n ? near[i] : (uint64_t)evil_rnd() << 32 | evil_rnd();
}

uint32_t evil_edge32(const struct evil *e)
{
	uint32_t near[] = {0, 1, 2, 3, SM_N_BELL, SM_N_BELL + 1, UINT32_MAX, 1u << 31, INT32_MAX,
		load_relaxed(&e->its->tx_epoch), load_relaxed(&e->its->rx_epoch), load_relaxed(&e->its->rx_epoch) + 1,
		load_relaxed(&e->its->rx_epoch) + 2};
	uint32_t n = sizeof(near) / sizeof(*near), i = evil_rnd() % (n + 2);

	return i < n ? near[i] : evil_rnd();
}

/* One field of an end, which may be the victim's own. */
static void scribble_end(const struct evil *e, struct sm_end *end)
{
	_Atomic uint64_t *wide[] = {&end->tx_tail, &end->rx_head, &end->tx_shift, &end->armed, &end->up_kpos, &end->down_rpos,
		&end->dup_rpos, &end->rx_cost};
	_Atomic uint32_t *narrow[] = {&end->tx_want, &end->futex, &end->flags, &end->consent, &end->cpu, &end->svc_bell,
		&end->want_back, &end->did_back, &end->dup_len, &end->dup_epoch, &end->tx_epoch, &end->rx_epoch, &end->lazy,
		&end->rx_limit};
	uint32_t n_wide = sizeof(wide) / sizeof(*wide), i = evil_rnd() % (n_wide + sizeof(narrow) / sizeof(*narrow));

	if (i < n_wide)
		store_relaxed(wide[i], evil_edge64(e));
	else
		store_relaxed(narrow[i - n_wide], evil_edge32(e));
	if (evil_rnd() % 8 == 0)
		futex_wake(&end->futex, INT_MAX);
}

static void scribble_ends(struct evil *e)
{
	for (int i = 0; i < 64; i++)
		scribble_end(e, evil_rnd() % 4 ? e->my : e->its);
}

static void scribble_channel(struct evil *e)
{
	struct sm_chan *c = evil_rnd() % 2 ? e->ch : seg_chan(e->seg, evil_rnd() % SM_N_CHAN);

	store_relaxed(&c->state, evil_edge32(e));
	store_relaxed(&c->gone, evil_edge32(e));
	store_relaxed(&c->server_cookie, evil_edge64(e));
	if (evil_rnd() % 4 == 0) {
		c->client_cookie = evil_edge64(e);
		c->family = (uint16_t)evil_rnd();
		c->client_port = (uint16_t)evil_rnd();
		memset(c->client_addr, (int)evil_rnd(), sizeof(c->client_addr));
	}
}

static void scribble_header(struct evil *e)
{
	struct sm_hdr *h = e->seg->hdr;
	uint32_t n = offsetof(struct sm_hdr, server_attached) / 4;

	for (int i = 0; i < 4; i++)
		((volatile uint32_t *)h)[evil_rnd() % n] = evil_edge32(e);
	store_relaxed(&h->server_attached, evil_edge32(e));
	store_relaxed(&h->offer_seq, evil_edge32(e));
	for (unsigned w = 0; w < SM_N_CHAN / 64; w++) {
		store_relaxed(&h->used[w], evil_edge64(e));
		store_relaxed(&h->offered[w], evil_edge64(e));
	}
	store_relaxed(&h->bell_used[evil_rnd() % 2], evil_rnd() % 2 ? UINT64_MAX : evil_edge64(e));
}

/* Everything is ready, everybody is to be rung; the names of bells are no names. */
static void scribble_bells(struct evil *e)
{
	for (uint32_t i = 0; i < 2 * SM_N_BELL; i++) {
		struct sm_bell *b = seg_bell(e->seg, (int)(i / SM_N_BELL), i % SM_N_BELL);

		for (unsigned w = 0; w < SM_N_CHAN / 64; w++)
			store_relaxed(&b->ready[w], evil_rnd() % 2 ? UINT64_MAX : evil_edge64(e));
		store_relaxed(&b->any, evil_edge32(e));
		store_relaxed(&b->sleeping, evil_edge32(e));
		if (evil_rnd() % 4 == 0)
			memset(b->name, (int)evil_rnd(), sizeof(b->name));
	}
	store_relaxed(&e->my->armed, UINT64_MAX);
}

static void scribble_words(struct evil *e)
{
	uint64_t n = SM_RINGS_OFF / 8;

	for (int i = 0; i < 256; i++)
		((volatile uint64_t *)e->seg->hdr)[((uint64_t)evil_rnd() << 8 ^ evil_rnd()) % n] = evil_edge64(e);
}

/* Always one switch ahead of the reader, so that it never gets to the end of following. */
static void chase_reader(struct evil *e)
{
	store_relaxed(&e->my->up_kpos, 0);
	for (int i = 0; i < 20000; i++) {
		store_relaxed(&e->my->down_rpos, load_relaxed(&e->its->rx_head));
		store_release(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) + 1);
	}
}

/* A ring that is always full, and a reader that has always followed: up, full, down, up ... */
static void chase_writer(struct evil *e)
{
	for (int i = 0; i < 20000; i++) {
		store_relaxed(&e->my->rx_head, load_relaxed(&e->its->tx_tail) - SM_RING_LEN);
		store_relaxed(&e->my->consent, 1);
		store_relaxed(&e->my->flags, SM_END_LINKED);
		store_release(&e->my->rx_epoch, load_relaxed(&e->its->tx_epoch));
	}
}

/* Something there whenever it looks, nothing when it reads. */
static void tease_reader(struct evil *e)
{
	store_release(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) | 1);
	for (int i = 0; i < 20000; i++)
		store_release(&e->my->tx_tail, load_relaxed(&e->its->rx_head) + (uint64_t)(i & 1));
}

void evil_ring_service(const struct evil *e)
{
	uint32_t slot = load_relaxed(&e->its->svc_bell) - 1;

	if (slot >= SM_N_BELL)
		return;
	struct sm_bell *b = seg_bell(e->seg, !e->side, slot);
	or_acqrel(&b->ready[e->idx / 64], UINT64_C(1) << (e->idx % 64));
	store_release(&b->any, 1);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bell_ring(fd, b->name);
	close(fd);
}

/* Our reader wants its octets back, for ever, and takes none of them. */
static void demand_back(struct evil *e)
{
	store_relaxed(&e->my->consent, 1);
	store_relaxed(&e->my->rx_head, load_relaxed(&e->its->tx_tail) - evil_rnd() % SM_RING_LEN);
	add_acqrel(&e->my->want_back, 1u);
	evil_ring_service(e);
}

/* A duplicate that the victim never made, behind a position where it never was: what it goes by when it leaves the ring, or closes. */
static void forge_duplicate(struct evil *e)
{
	for (int i = 0; i < 1000; i++) {
		store_relaxed(&e->its->up_kpos, evil_edge64(e));
		store_relaxed(&e->its->dup_rpos, evil_edge64(e));
		store_relaxed(&e->its->dup_len, evil_edge32(e));
		store_release(&e->its->dup_epoch, load_relaxed(&e->its->tx_epoch));
	}
}

void evil_play_along(struct evil *e)
{
	uint32_t n = evil_rnd() % 5000;

	store_relaxed(&e->my->consent, 1);
	store_relaxed(&e->my->flags, SM_END_LINKED);
	store_relaxed(&e->my->rx_head, load_acquire(&e->its->tx_tail));
	store_release(&e->my->rx_epoch, load_relaxed(&e->its->tx_epoch));
	store_relaxed(&e->my->up_kpos, 0);
	store_release(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) | 1);
	store_release(&e->my->tx_tail, load_acquire(&e->its->rx_head) + n);
	add_acqrel(&e->its->futex, 1u);
	futex_wake(&e->its->futex, INT_MAX);
}

static void (*const scribbles[])(struct evil *) = {
	scribble_ends, scribble_channel, scribble_header, scribble_bells, scribble_words, scribble_ends};

void evil_scribble(struct evil *e)
{
	scribbles[evil_rnd() % (sizeof(scribbles) / sizeof(*scribbles))](e);
}

static void (*const attacks[])(struct evil *) = {scribble_ends, scribble_channel, scribble_header, scribble_bells,
	scribble_words, chase_reader, chase_writer, tease_reader, demand_back, forge_duplicate, evil_play_along,
	evil_play_along, scribble_ends};

int evil_talk(const struct evil *e)
{
	char b[8192] = "scribble";
	ssize_t n;

	if (evil_rnd() % 2 && send(e->fd, b, 1 + evil_rnd() % 2000, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		return -1;
	if (evil_rnd() % 4)
		return 0;
	n = recv(e->fd, b, sizeof(b), MSG_DONTWAIT);
	return n > 0 || (n < 0 && errno == EAGAIN) ? 0 : -1;
}

void evil_link(struct evil *e, int fd, struct seg *seg, uint32_t idx, int side)
{
	*e = (struct evil){
		fd, seg, idx, side, seg_chan(seg, idx), &seg_chan(seg, idx)->end[side], &seg_chan(seg, idx)->end[!side]};
	or_acqrel(&e->my->flags, SM_END_LINKED);
	store_release(&e->my->consent, 1);
}

void evil_attack(struct evil *e)
{
	attacks[evil_rnd() % (sizeof(attacks) / sizeof(*attacks))](e);
}
