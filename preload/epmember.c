/* SPDX-License-Identifier: BSD-2-Clause */
/* epmember.c - who is in an epoll set: the side instance, members, the hot list, bells. */
#include <string.h>
#include <sys/mman.h>

#include "bell.h"
#include "epset_int.h"
#include "move.h"
#include "svc.h"
#include "sys.h"

#define SLAB_LEN 65536
#define SLAB_N ((SLAB_LEN - sizeof(struct slab)) / sizeof(struct member))

/* Under g_lock; never unmapped. */
static struct slab {
	struct slab *next;
	struct member members[];
} * slabs;
static struct member *free_members;

/* Make S and the bell, and put S into P. */
bool epset_make_side(struct epset *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = COOKIE};
	if (epset_side(e) >= 0)
		return true;
	long side = sys1(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (side < 0)
		return false;
	int bell = bell_open(e->bell_name);
	if (bell < 0 || sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, side, &ev) < 0) {
		sys1(SYS_close, side);
		sys_fd_close(bell);
		return false;
	}
	/* Moving the number would lose the registration in P: so hide first, register then. */
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, side, 0);
	side = fdtab_hide((int)side);
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, side, &ev);
	ev.data.u64 = COOKIE_BELL;
	sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, bell, &ev);
	e->bell_fd = bell;
	store_relaxed(&e->side, (int)side);
	return true;
}

/* ---- members */

struct member *epset_member(const struct epset *e, struct sock *s, int fd)
{
	for (struct member *m = s->members; m; m = m->next)
		if (m->set == e && m->fd == fd)
			return m;
	return NULL;
}

struct member *epset_data_member(const struct epset *e, uint64_t data)
{
	struct member *m = (struct member *)(uintptr_t)(data & 0xffffffffffff);
	bool known = !e->foreign; /* in a child: what the parent has added since means nothing here */
	for (const struct slab *b = slabs; b && !known; b = b->next)
		known = m >= b->members && m < b->members + SLAB_N;
	return known && m->set == e && m->gen == data >> 48 ? m : NULL;
}

static bool more_members(void)
{
	long p = sys6(SYS_mmap, 0, SLAB_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return false;
	struct slab *b = (struct slab *)(uintptr_t)p;
	b->next = slabs;
	slabs = b;
	for (size_t i = 0; i < SLAB_N; i++) {
		b->members[i].next_free = free_members;
		free_members = &b->members[i];
	}
	return true;
}

/*
 * A socket's members are changed under g_lock. Who has the lock of one set only may read the list while another set's member comes or goes: structs stay members for
 * ever, so he cannot get lost, but he may miss one, and then he has to look again.
 */
static void list_changes(struct sock *s)
{
	store_relaxed(&s->members_seq, load_relaxed(&s->members_seq) + 1);
	fence_storeload();
}

static void list_changed(struct sock *s)
{
	store_release(&s->members_seq, load_relaxed(&s->members_seq) + 1);
}

static void put_on(struct sock *s, struct member *m)
{
	list_changes(s);
	m->next = s->members;
	s->members = m;
	list_changed(s);
}

static void take_off(struct member *m)
{
	list_changes(m->s);
	for (struct member **p = &m->s->members; *p; p = &(*p)->next) {
		if (*p == m) {
			*p = m->next;
			break;
		}
	}
	list_changed(m->s);
}

static bool visit(struct epset *e, const struct sock *s, void (*fn)(struct epset *e, struct member *m))
{
	bool any = false;
	for (struct member *m = s->members; m; m = m->next) {
		if (m->set != e || m->s != s)
			continue;
		any = true;
		if (fn)
			fn(e, m);
	}
	return any;
}

static bool visit_all(struct epset *e, const struct sock *s, void (*fn)(struct epset *e, struct member *m))
{
	uint32_t seq;
	bool any;
	do {
		seq = load_acquire(&s->members_seq);
		any = visit(e, s, fn);
		fence_acquire();
	} while (seq & 1 || load_relaxed(&s->members_seq) != seq);
	return any;
}

static void heat_side(struct epset *e, struct member *m)
{
	if (m->side)
		epset_heat(e, m);
}

void epset_heat_all(struct epset *e, const struct sock *s)
{
	visit_all(e, s, heat_side);
}

bool epset_has(struct epset *e, const struct sock *s)
{
	return s->members && visit_all(e, s, NULL);
}

struct member *epset_new_member(struct epset *e, struct sock *s, int fd)
{
	if (!free_members && !more_members())
		return NULL;
	struct member *m = free_members;
	free_members = m->next_free;
	uint16_t gen = m->gen + 1;
	memset(m, 0, sizeof(*m));
	m->gen = gen;
	m->set = e;
	m->s = s;
	m->dgram = sock_is_dgram(s);
	m->fd = fd;
	put_on(s, m);
	e->n_members++;
	return m;
}

static void cool(struct epset *e, struct member *m)
{
	for (uint32_t i = 0; i < e->n_hot; i++) {
		if (e->hot[i] == m) {
			memmove(&e->hot[i], &e->hot[i + 1], (--e->n_hot - i) * sizeof(*e->hot));
			break;
		}
	}
	m->hot = false;
}

/* Under g_lock and the set's lock. */
void epset_unlink_member(struct epset *e, struct member *m)
{
	if (m->hot)
		cool(e, m);
	take_off(m);
	if (m->side)
		e->n_side--;
	e->n_members--;
	if (e->cache[m->fd % N_CACHE] == m)
		e->cache[m->fd % N_CACHE] = NULL;
	m->set = NULL;
	m->next_free = free_members;
	free_members = m;
	if (m->dgram)
		epset_dg_gone(e, m->s);
}

/* What a lost member is a member of: never linked, and without a descriptor. */
static struct fam_sock no_record;
struct sock epset_nobody = {.f = &no_record, .fd = -1};

void epset_lose_member(struct member *m)
{
	take_off(m);
	m->s = &epset_nobody;
	m->dgram = false;
	put_on(m->s, m);
}

/* There is room: see grow_hot. */
void epset_heat(struct epset *e, struct member *m)
{
	if (m->hot)
		return;
	m->hot = true;
	m->idle = 0;
	e->hot[e->n_hot++] = m;
}

/* The hot list has room for every member of S, so that making one hot cannot fail. */
bool epset_grow_hot(struct epset *e)
{
	if (e->n_side < e->room)
		return true;
	uint32_t room = e->room ? 2 * e->room : 512;
	long p = sys6(SYS_mmap, 0, room * sizeof(*e->hot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return false;
	struct member **hot = (struct member **)(uintptr_t)p;
	if (e->n_hot)
		memcpy(hot, e->hot, e->n_hot * sizeof(*hot));
	if (e->room)
		sys2(SYS_munmap, e->hot, e->room * sizeof(*hot));
	e->hot = hot;
	e->room = room;
	return true;
}

void epset_ring_self(struct epset *e)
{
	if (svc_ring_fd() >= 0)
		bell_ring(svc_ring_fd(), e->bell_name);
}

struct slot *epset_slot(struct epset *e, struct assoc *a)
{
	for (uint32_t i = 0; i < e->n_slot; i++) {
		struct slot *sl = &e->slots[i];
		if (sl->a == a && sl->nonce == a->seg.nonce)
			return sl;
	}
	return NULL;
}

bool epset_make_slot(struct epset *e, struct assoc *a)
{
	if (epset_slot(e, a))
		return true;
	uint32_t n = 0;
	while (n < e->n_slot && load_acquire(&e->slots[n].a->live) && e->slots[n].a->seg.nonce == e->slots[n].nonce)
		n++;
	if (n == N_SLOT)
		return false;
	int i = seg_bell_alloc(&a->seg, a->side, e->bell_name);
	if (i < 0)
		return false;
	e->slots[n] = (struct slot){
		.a = a, .nonce = a->seg.nonce, .bell = seg_bell(&a->seg, a->side, (uint32_t)i), .idx = (uint32_t)i};
	if (n == e->n_slot)
		e->n_slot = n + 1;
	store_release(&e->slots[n].bell->sleeping, load_relaxed(&e->sleepers) != 0 || e->exposed);
	return true;
}

/* From P to S. It re-arms the member in the kernel. */
static bool move_to_side(struct epset *e, struct member *m)
{
	struct epoll_event ev = {.events = m->events, .data.u64 = epset_data(m)};
	if (e->foreign || !epset_make_side(e) || !epset_grow_hot(e))
		return false;
	if (sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_DEL, m->fd, 0) < 0)
		return false;
	sys4(SYS_epoll_ctl, epset_side(e), EPOLL_CTL_ADD, m->fd, &ev);
	m->side = true;
	m->in_kernel = true;
	e->n_side++;
	return true;
}

void epset_move_to_program(struct epset *e, struct member *m)
{
	epset_to_program(e, m);
	epset_is_programs(e, m);
}

void epset_is_programs(struct epset *e, struct member *m)
{
	if (m->hot)
		cool(e, m);
	m->side = m->dirty = false;
	m->in_kernel = true;
	e->n_side--;
}

/* A socket that will be linked: a level-triggered member cannot tell; others stay, and their socket's reader does not consent. */
static bool moves_now(const struct member *m)
{
	return !(m->events & (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE));
}

static void linked_in(struct member *m, bool ok)
{
	struct epset *e = m->set;
	if (ok) {
		m->force = true;
		epset_heat(e, m);
		if (load_acquire(&e->sleepers) || e->exposed)
			epset_ring_self(e);
	} else {
		move_note_pin(m->s, FAM_PIN_RX, WHY_EPOLL);
		store_relaxed(&m->s->f->rx_why, WHY_EPOLL);
	}
}

void epset_dg_linked(struct sock *s)
{
	for (struct member *m = s->members; m; m = m->next) {
		bool mine = epset_lock_is_mine(m->set);
		if (!mine)
			epset_lock(m->set);
		linked_in(m, (m->side || (moves_now(m) && move_to_side(m->set, m))) && epset_dg_bell(m->set, m));
		if (!mine)
			epset_unlock(m->set);
	}
}

/*
 * Some programs (Cap'n Proto's, Boost's) register a socket edge-triggered before they connect it. In front of connect() nobody can tell that it moves, if nobody sleeps on the
 * set: what the kernel has to say of a socket that is not connected it says no more then, and being connected is an edge.
 */
static bool moves_before_connect(const struct epset *e, const struct member *m)
{
	return m->events & EPOLLET && !(m->events & (EPOLLONESHOT | EPOLLEXCLUSIVE)) && !m->side && !m->ghost &&
	       !load_acquire(&e->sleepers) && !e->exposed;
}

void epset_connecting(struct sock *s)
{
	struct guard g;
	guard_enter(&g);
	for (struct member *m = s->members; m; m = m->next) {
		struct epset *e = m->set;
		if (epset_lock_is_mine(e)) /* a handler inside of the set's own call */
			continue;
		epset_lock(e);
		if (moves_before_connect(e, m))
			move_to_side(e, m);
		epset_unlock(e);
	}
	guard_leave(&g);
}

void epset_linked(struct sock *s)
{
	for (struct member *m = s->members; m; m = m->next) {
		struct epset *e = m->set;
		bool mine = epset_lock_is_mine(e);
		if (!mine)
			epset_lock(e);
		linked_in(m, (m->side || (moves_now(m) && move_to_side(e, m))) && epset_make_slot(e, s->chan.assoc));
		if (!mine)
			epset_unlock(e);
	}
}
