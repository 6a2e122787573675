/* SPDX-License-Identifier: BSD-2-Clause */
#include "evil_dg.h"

#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "bell.h"
#include "dring.h"

#define TURNS 5000 /* of a chase */
#define FILLED (SM_RING_LEN / 16)

/* The victim gets to run, also where there is one processor. */
static void breathe(int i)
{
	if (i % 64 == 0)
		sched_yield();
}

static uint8_t *own_ring(const struct evil *e)
{
	return seg_ring(e->seg, e->idx, e->side);
}

static uint8_t *its_ring(const struct evil *e)
{
	return seg_ring(e->seg, e->idx, !e->side);
}

static void head_at(uint8_t *ring, uint64_t at, uint32_t len, uint32_t mark, uint64_t stamp)
{
	uint64_t word = (uint64_t)mark << 32 | len;

	store_relaxed((_Atomic uint64_t *)(uintptr_t)(ring + dring_off(at)), word);
	store_relaxed((_Atomic uint64_t *)(uintptr_t)(ring + dring_off(at) + 8), stamp);
}

static uint64_t edge_stamp(void)
{
	uint64_t of[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, INT64_MAX, dring_now(), dring_now() + (UINT64_C(1) << 63)};

	return of[evil_rnd() % (sizeof(of) / sizeof(*of))];
}

static uint32_t edge_len(void)
{
	uint32_t of[] = {0, 1, 15, 16, 600, DRING_MAX, DRING_MAX + 1, SM_RING_LEN, SM_RING_LEN - 16, INT32_MAX, 1u << 31,
		UINT32_MAX, UINT32_MAX - 15};
	uint32_t n = sizeof(of) / sizeof(*of), i = evil_rnd() % (n + 1);

	return i < n ? of[i] : evil_rnd();
}

/* All of a ring: empty datagrams, one behind the other. */
static void fill_empty(uint8_t *ring, uint64_t stamp)
{
	for (uint64_t i = 0; i < FILLED; i++)
		head_at(ring, 16 * i, 0, DRING_MARK, stamp);
}

/* Whoever sleeps at its end. */
static void wake(const struct evil *e)
{
	uint64_t m = xchg_acqrel(&e->its->armed, UINT64_C(0));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (m &= (UINT64_C(1) << SM_N_BELL) - 1; m; m &= m - 1) {
		struct sm_bell *b = seg_bell(e->seg, !e->side, (uint32_t)__builtin_ctzll(m));
		or_acqrel(&b->ready[e->idx / 64], UINT64_C(1) << (e->idx % 64));
		store_release(&b->any, 1);
		store_release(&b->sleeping, 0);
		bell_ring(fd, b->name);
	}
	close(fd);
	add_acqrel(&e->its->futex, 1u);
	futex_wake(&e->its->futex, INT_MAX);
}

static void reads_all(struct evil *e)
{
	store_relaxed(&e->my->consent, 1);
	store_relaxed(&e->my->flags, SM_END_LINKED);
	store_relaxed(&e->my->rx_limit, UINT32_MAX);
	store_relaxed(&e->my->rx_cost, 0);
	store_relaxed(&e->my->rx_head, load_acquire(&e->its->tx_tail));
	store_release(&e->my->rx_epoch, load_relaxed(&e->its->tx_epoch));
}

/* Datagrams in our ring, as an honest sender puts them there. */
static void feed(struct evil *e, uint32_t n, uint32_t max_len)
{
	uint64_t at = load_acquire(&e->its->rx_head) & ~UINT64_C(15), used = 0;

	store_relaxed(&e->my->tx_shift, 0);
	for (; n; n--) {
		uint32_t len = evil_rnd() % max_len;
		head_at(own_ring(e), at + used, len, DRING_MARK, dring_now());
		used += dring_size(len);
	}
	store_relaxed(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) | 1);
	store_release(&e->my->tx_tail, at + used);
	wake(e);
}

void evil_dg_play_along(struct evil *e)
{
	reads_all(e);
	feed(e, 1 + evil_rnd() % 16, evil_rnd() % 8 ? 600 : 9000);
}

/* The victim has something to answer, and runs. */
static void feed_now_and_then(struct evil *e, int i)
{
	if (i % 64 == 0)
		feed(e, 16, 4000);
	breathe(i);
}

/* Lengths, marks and stamps, where they are looked for and elsewhere, in either ring. */
static void scribble_rings(struct evil *e)
{
	uint64_t near[] = {load_relaxed(&e->its->rx_head), load_relaxed(&e->its->rx_head), load_relaxed(&e->my->tx_tail),
		load_relaxed(&e->its->tx_tail), load_relaxed(&e->my->rx_head), evil_rnd()};

	for (int i = 0; i < 256; i++) {
		uint64_t at = near[evil_rnd() % (sizeof(near) / sizeof(*near))] + 16 * (evil_rnd() % 64);
		head_at(evil_rnd() % 4 ? own_ring(e) : its_ring(e), at, edge_len(), evil_rnd() % 8 ? DRING_MARK : evil_rnd(),
			edge_stamp());
	}
	if (evil_rnd() % 2)
		store_release(&e->my->tx_tail, load_relaxed(&e->its->rx_head) + evil_rnd() % (SM_RING_LEN + 64));
	wake(e);
}

/* What is read is short when its length is checked, and long when it is used; and the other way round. */
static void lie_of_length(struct evil *e)
{
	uint64_t at = load_relaxed(&e->its->rx_head);
	uint32_t a = edge_len(), b = evil_rnd() % 64;

	store_relaxed(&e->my->tx_shift, 0);
	store_relaxed(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) | 1);
	head_at(own_ring(e), at, b, DRING_MARK, 0);
	store_release(&e->my->tx_tail, at + SM_RING_LEN);
	wake(e);
	for (int i = 0; i < TURNS; i++) {
		breathe(i);
		head_at(own_ring(e), load_relaxed(&e->its->rx_head), i & 1 ? a : b, DRING_MARK, 0);
	}
}

/* The start of the ring moves under what is read there. */
static void shift_it(struct evil *e)
{
	evil_dg_play_along(e);
	for (int i = 0; i < TURNS; i++) {
		breathe(i);
		store_relaxed(&e->my->tx_shift, evil_edge64(e));
	}
	store_relaxed(&e->my->tx_shift, 0);
}

void evil_dg_flood(struct evil *e)
{
	fill_empty(own_ring(e), 0);
	reads_all(e);
	store_relaxed(&e->my->tx_shift, 0);
	store_relaxed(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) | 1);
	for (int i = 0; i < TURNS; i++) {
		breathe(i);
		store_release(&e->my->tx_tail, (load_relaxed(&e->its->rx_head) & ~UINT64_C(15)) + SM_RING_LEN);
		if (i % 256 == 0)
			wake(e);
	}
}

void evil_dg_flood_down(struct evil *e)
{
	fill_empty(own_ring(e), 0);
	store_relaxed(&e->my->tx_shift, 0);
	for (int i = 0; i < TURNS; i++) {
		breathe(i);
		store_release(&e->my->tx_tail, (load_relaxed(&e->its->rx_head) & ~UINT64_C(15)) + SM_RING_LEN);
		store_release(&e->my->tx_epoch, (load_relaxed(&e->its->rx_epoch) + 1) & ~1u);
		if (i % 256 == 0)
			wake(e);
	}
}

/* Always one switch ahead of the reader, or two, or where it was. */
static void chase_reader(struct evil *e)
{
	fill_empty(own_ring(e), edge_stamp());
	for (int i = 0; i < TURNS; i++) {
		breathe(i);
		store_relaxed(&e->my->tx_tail, load_relaxed(&e->its->rx_head) + 16 * (evil_rnd() % 4));
		store_release(&e->my->tx_epoch, load_relaxed(&e->its->rx_epoch) + evil_rnd() % 3);
		if (i % 256 == 0)
			wake(e);
	}
}

/* Something there whenever it looks, nothing when it reads. */
static void tease_reader(struct evil *e)
{
	evil_dg_play_along(e);
	for (int i = 0; i < TURNS; i++) {
		breathe(i);
		store_release(&e->my->tx_tail, load_relaxed(&e->its->rx_head) + (uint64_t)(i & 1) * 16);
	}
}

/* It is never asleep; its word for that is taken away as soon as it is there. */
static void disarm(struct evil *e)
{
	for (int i = 0; i < TURNS; i++) {
		feed_now_and_then(e, i);
		store_relaxed(&e->its->armed, i % 2 ? 0 : evil_edge64(e));
		if (i % 1024 == 0)
			wake(e);
	}
}

/* A reader that has always followed, with a ring that is full, or empty, or beyond that: up, full, down, once more by the kernel ... */
static void chase_writer(struct evil *e)
{
	uint64_t off = evil_rnd() % 4 ? SM_RING_LEN : evil_rnd() % 2 ? 0 : SM_RING_LEN + 16;

	reads_all(e);
	for (int i = 0; i < TURNS; i++) {
		feed_now_and_then(e, i);
		store_relaxed(&e->my->rx_head, load_relaxed(&e->its->tx_tail) - (i % 2 ? off : 0));
		store_release(&e->my->rx_epoch, load_relaxed(&e->its->tx_epoch));
	}
}

/* A buffer that takes nothing, and a reader that seems to be at work: it is waited for. */
static void creep(struct evil *e)
{
	uint64_t head = load_relaxed(&e->its->tx_tail) - SM_RING_LEN;

	reads_all(e);
	store_relaxed(&e->my->cpu, load_relaxed(&e->its->cpu));
	for (int i = 0; i < TURNS; i++) {
		feed_now_and_then(e, i);
		store_relaxed(&e->my->rx_limit, i % 8 ? 0 : UINT32_MAX);
		store_relaxed(&e->my->rx_cost, i % 16 ? 0 : evil_edge64(e));
		store_release(&e->my->rx_head, head + 16 * (uint64_t)(i % 4));
	}
}

/* The receiver's half of an undo, where the sender has just gone up, or down again. Nobody has ever followed. */
static void undo(struct evil *e)
{
	for (int i = 0; i < TURNS / 16; i++) {
		uint32_t seen = load_relaxed(&e->its->rx_epoch);
		feed(e, 4, 600);
		store_release(&e->its->rx_epoch, seen + 2);
		store_release(&e->my->tx_epoch, seen + 1 + evil_rnd() % 2);
		store_release(&e->my->rx_epoch, load_relaxed(&e->its->tx_epoch) - evil_rnd() % 3);
		sched_yield();
	}
}

/* All sleep, at bells that are nobody's. */
static void deaf_bells(struct evil *e)
{
	reads_all(e);
	for (uint32_t i = 0; i < SM_N_BELL; i++) {
		struct sm_bell *b = seg_bell(e->seg, e->side, i);
		memset(b->name, (int)evil_rnd(), sizeof(b->name));
		store_relaxed(&b->sleeping, 1);
	}
	for (int i = 0; i < 64; i++) {
		store_release(&e->my->armed, UINT64_MAX);
		store_relaxed(&e->my->rx_head, load_relaxed(&e->its->tx_tail));
		store_release(&e->my->rx_epoch, load_relaxed(&e->its->tx_epoch));
		feed(e, 4, 600);
		sched_yield();
	}
}

/* Our reader wants what it has not read, for ever: as many datagrams as the ring can hold. */
static void demand_back(struct evil *e)
{
	if (evil_rnd() % 2)
		fill_empty(its_ring(e), 0);
	store_relaxed(&e->my->rx_head, load_relaxed(&e->its->tx_tail) - evil_rnd() % (SM_RING_LEN + 1));
	add_acqrel(&e->my->want_back, 1u);
	evil_ring_service(e);
	sched_yield();
	store_relaxed(&e->its->want_back, evil_edge32(e));
	store_release(&e->my->did_back, load_relaxed(&e->its->want_back));
}

/* It is switched off, has closed, has left, is somebody else's: now one, now another. */
static void wear_marks(struct evil *e)
{
	static const uint32_t marks[] = {SM_END_OFF, SM_END_RESTS, SM_END_PASSED, SM_END_ORPHAN, SM_END_LEFT, SM_END_DEAF,
		SM_END_FIN, SM_END_PINNED, SM_END_NO_BARRIER, 0};

	for (int i = 0; i < 100; i++) {
		breathe(i);
		store_release(&e->my->flags, SM_END_LINKED | marks[evil_rnd() % (sizeof(marks) / sizeof(*marks))]);
		store_release(&e->my->consent, evil_rnd() % 2);
		if (evil_rnd() % 8 == 0)
			evil_ring_service(e);
	}
	if (evil_rnd() % 8 == 0)
		or_acqrel(&e->my->flags, SM_END_CLOSED);
}

static void (*const attacks[])(struct evil *) = {evil_scribble, scribble_rings, lie_of_length, shift_it, evil_dg_flood,
	evil_dg_flood_down, chase_reader, tease_reader, disarm, chase_writer, creep, undo, deaf_bells, demand_back, wear_marks,
	evil_dg_play_along, evil_dg_play_along, scribble_rings};

void evil_dg_attack(struct evil *e)
{
	attacks[evil_rnd() % (sizeof(attacks) / sizeof(*attacks))](e);
}

void evil_dg_talk(const struct evil *e, const struct sockaddr_in *to)
{
	char b[9000] = "scribble";

	for (uint32_t n = evil_rnd() % 8; n; n--)
		sendto(e->fd, b, evil_rnd() % 8 ? evil_rnd() % 600 : evil_rnd() % sizeof(b), MSG_DONTWAIT,
			(const struct sockaddr *)to, sizeof(*to));
	for (uint32_t n = evil_rnd() % 32; n && recv(e->fd, b, sizeof(b), MSG_DONTWAIT) >= 0; n--)
		;
}
