/* SPDX-License-Identifier: BSD-2-Clause */
/* dgtx.c - sending datagrams: into the ring of the peer, or into the kernel. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "dg.h"
#include "dring.h"
#include "fault.h"
#include "notify.h"
#include "real.h"
#include "stats.h"
#include "sys.h"

#define RING_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CONFIRM) /* others: the kernel */
#define REWIND_AT 2048		/* rather start over at the ring's beginning than touch more pages, when it is empty */
#define PATIENCE_MAX_NS 5000000 /* and however much it reads meanwhile */
#define PATIENCE_NS 100000	/* how long a full ring waits for its reader to begin: twice the price of waking an idle CPU */

/* One call of the program's. */
struct msg {
	const struct msghdr *m;
	int fd, flags;
	struct sig_mark since;
	size_t len;
	struct diag_addr to;
};

/* What sendto() can say, it says for less: the kernel has two structs fewer to fetch. */
static ssize_t real_send(const struct msg *c)
{
	const struct msghdr *m = c->m;
	if (m->msg_iovlen != 1 || m->msg_controllen || m->msg_namelen > sizeof(struct sockaddr_storage))
		return real.sendmsg(c->fd, m, c->flags);
	const struct sockaddr *to = m->msg_namelen ? m->msg_name : NULL;
	return real.sendto(c->fd, m->msg_iov->iov_base, m->msg_iov->iov_len, c->flags, to, m->msg_namelen);
}

static long by_kernel(struct sock *s, const struct msg *c)
{
	int e = errno;
	ssize_t r = real_send(c);
	if (r < 0) {
		r = -errno;
		errno = e;
		return r;
	}
	if (load_relaxed(&s->dg->connected))
		store_relaxed(&s->dg->refused, 1);
	sock_count_kernel(&s->f->tx_kernel_bytes, &s->tx_kernel, (uint64_t)r);
	return r;
}

/* Where does it go? 0, or -1: the kernel shall say. */
static int where_to(const struct dg *d, const struct msghdr *m, struct diag_addr *to)
{
	struct sockaddr_in6 sa;
	socklen_t len = m->msg_namelen;
	if (!m->msg_name || !len) {
		*to = d->to;
		return load_acquire(&d->connected) ? 0 : -1;
	}
	if (len > sizeof(sa))
		len = sizeof(sa);
	if (len < sizeof(struct sockaddr_in) || ucopy(&sa, m->msg_name, len))
		return -1;
	if (sa.sin6_family == AF_UNSPEC && !d->is_v6) /* the kernel takes it for AF_INET */
		sa.sin6_family = AF_INET;
	if (!d->is_v6 && sa.sin6_family != AF_INET)
		return -1;
	if (diag_addr_from(to, (const struct sockaddr *)&sa, len) != 0 || !to->port)
		return -1;
	if (diag_addr_is_any(to)) { /* the loopback address; or the one that the socket is bound to */
		if (d->bound)
			return -1;
		to->addr[to->family == AF_INET ? 0 : 15] = to->family == AF_INET ? 127 : 1;
		to->addr[3] |= to->family == AF_INET;
	}
	return 0;
}

/* Ancillary data that names the source which the ring stands for anyway. */
static bool plain_control(const struct msghdr *m, const struct dg_peer *p)
{
	if (!m->msg_controllen)
		return true;
	struct in_pktinfo pi;
	struct cmsghdr c;
	char buf[CMSG_LEN(sizeof(pi))];
	if (p->addr.family != AF_INET || p->s->dg->is_v6 || m->msg_controllen < sizeof(buf) ||
		m->msg_controllen >= CMSG_SPACE(sizeof(pi)) + CMSG_LEN(0) || ucopy(buf, m->msg_control, sizeof(buf)))
		return false;
	memcpy(&c, buf, sizeof(c));
	if (c.cmsg_level != IPPROTO_IP || c.cmsg_type != IP_PKTINFO || c.cmsg_len != sizeof(buf))
		return false;
	memcpy(&pi, buf + CMSG_LEN(0), sizeof(pi));
	return !pi.ipi_ifindex && (!pi.ipi_spec_dst.s_addr || memcmp(&pi.ipi_spec_dst, p->own.addr, 4) == 0);
}

/* An empty ring starts over at its beginning. The reader loads tx_shift after the tail that it belongs to. */
static void maybe_rewind(struct dg_peer *p, uint64_t tail)
{
	if (load_acquire(&p->c.peer->rx_head) == tail) {
		p->free_upto = tail;
		p->shift = (uint32_t)(0 - tail) & SM_RING_MASK;
		store_relaxed(&p->c.my->tx_shift, p->shift);
	}
	p->rewind = tail + REWIND_AT;
}

/*
 * Is there room? The kernel takes a datagram as long as what lies unread has not gone beyond the receive buffer: ROOM_NONE is when it would drop it. ROOM_RING: it would not, but our
 * ring is full. ROOM_BROKEN: the reader wrote nonsense.
 */
enum room { ROOM_THERE, ROOM_NONE, ROOM_RING, ROOM_BROKEN };

static enum room room(struct dg_peer *p, uint64_t tail, uint64_t need)
{
	const struct sm_end *peer = p->c.peer;
	uint32_t limit = load_relaxed(&peer->rx_limit);
	if (p->cost - p->cost_free > limit && p->cost - (p->cost_free = load_relaxed(&peer->rx_cost)) > limit)
		return ROOM_NONE;
	if (tail - p->free_upto + need <= SM_RING_LEN)
		return ROOM_THERE;
	uint64_t head = load_acquire(&peer->rx_head);
	if (tail - head > SM_RING_LEN)
		return ROOM_BROKEN;
	p->free_upto = head;
	return tail - head + need <= SM_RING_LEN ? ROOM_THERE : ROOM_RING;
}

/*
 * The kernel's sender is so slow that a reader at work keeps up, and so quick to let a reader run which it has woken that this one does, too. Ours is neither: so a full ring is waited
 * for as long as waking a reader takes, and longer while it reads. One that has not read since it was last waited for in vain is not waited for.
 */
static bool wait_for_room(struct dg_peer *p, uint64_t need)
{
	uint64_t tail = load_relaxed(&p->tail), head = load_acquire(&p->c.peer->rx_head);
	int64_t end = 0, last = 0;
	if (p->stalled == head + 1)
		return false;
	for (uint32_t i = 1;; i++) {
		uint64_t now_head = load_acquire(&p->c.peer->rx_head);
		if (now_head != head) {
			head = now_head;
			end = 0;
			if (room(p, tail, need) == ROOM_THERE)
				return true;
		}
		if ((int)load_relaxed(&p->c.peer->cpu) == spin_cpu() + 1)
			sys0(SYS_sched_yield);
		cpu_relax();
		if (i % 32)
			continue;
		int64_t now = now_ns();
		if (!last)
			last = now + PATIENCE_MAX_NS;
		if (!end)
			end = now + PATIENCE_NS;
		if (now > end || now > last)
			break;
	}
	p->stalled = head + 1;
	return false;
}

enum put { PUT_DONE, PUT_DROP, PUT_FULL, PUT_BROKEN, PUT_FAULT };

static enum put put(struct dg_peer *p, uint64_t stamp, const struct iovec *iov, size_t len)
{
	uint64_t need = dring_size(len);
	struct sm_end *my = p->c.my;
	for (;;) {
		uint64_t tail = load_relaxed(&p->tail);
		if (__builtin_expect(tail >= p->rewind, 0))
			maybe_rewind(p, tail);
		enum room r = room(p, tail, need);
		if (__builtin_expect(r != ROOM_THERE, 0))
			return r == ROOM_BROKEN ? PUT_BROKEN : r == ROOM_NONE ? PUT_DROP : PUT_FULL;
		if (__builtin_expect(dring_put(p->c.tx_ring, tail + p->shift, stamp, iov, len), 0))
			return PUT_FAULT;
		FAULT_POINT("dg tx: copied, before committed");
		/* A handler on this thread that has sent in the middle of our copy goes first (fast.h). */
		if (!cas_own_thread(&p->tail, tail, tail + need))
			continue;
		FAULT_POINT("dg tx: committed, before published");
		if (!cas_own_thread(&my->tx_tail, tail, tail + need) && load_relaxed(&p->tail) == tail + need)
			store_release(&my->tx_tail, tail + need);
		FAULT_POINT("dg tx: published, before look");
		p->cost += dring_cost(len);
		return PUT_DONE;
	}
}

/* Behind publishing, token held by `how`: does somebody sleep? As tx_look_for_sleeper() has it. */
static bool looks_asleep(struct dg_peer *p, int how)
{
	struct sm_end *my = p->c.my;
	bool lazy = load_relaxed(&my->lazy) && how == TOKEN_BIASED;
	if (lazy)
		atomic_signal_fence(memory_order_seq_cst);
	else
		fence_storeload();
	if (__builtin_expect(load_relaxed(&p->c.peer->armed) != 0, 0)) {
		p->quiet = 0;
		if (load_relaxed(&my->lazy))
			store_release(&my->lazy, 0);
		return true;
	}
	if (!lazy && how == TOKEN_BIASED && ++p->quiet >= LAZY_AFTER) {
		p->quiet = 0;
		notify_grow_lazy(&p->c);
	}
	return false;
}

/*
 * The service thread hears of the end of the peer's process, but perhaps a little later than this thread has: from the kernel, by a pipe or by wait(). So who has not sent for a while asks.
 */
static bool is_alive(struct dg_peer *p, uint64_t now)
{
	struct pollfd life = {.fd = p->c.assoc->life_fd, .events = POLLIN};
	struct timespec zero = {0, 0};
	p->checked = now;
	return life.fd <= 0 || sys5(SYS_ppoll, &life, 1, &zero, 0, 8) == 0;
}

#define TO_KERNEL (-4096L)

/* A reader that sleeps is told: it has nothing to read perhaps, but to follow. */
static long down(struct dg_peer *p, enum why why, int how, bool *asleep)
{
	if (why == WHY_CALL || why == WHY_FULL || why == WHY_OFF) {
		if (how == TOKEN_NESTED) /* in the middle of what it has interrupted */
			return TO_KERNEL;
		dg_leave_ring(p, why);
	} else {
		dg_down(p, why);
	}
	*asleep = looks_asleep(p, how);
	return TO_KERNEL;
}

/* On one side or the other (switch.h); both can go on reading. */
static bool is_off(const struct dg_peer *p)
{
	fence_acquire(); /* faces goes_off: flags, consent */
	return sock_flags(p->s) & FAM_OFF || load_relaxed(&p->c.peer->flags) & SM_END_OFF;
}

/* tx token held. Length, -EFAULT, or TO_KERNEL; what is behind in the ring then is read first. *asleep: the peer is to be woken. */
static long by_ring(struct sock *s, struct dg_peer *p, const struct msg *c, int how, bool *asleep)
{
	bool up = p->tx_epoch & 1, fits = c->len <= DRING_MAX && !(c->flags & ~RING_FLAGS) && plain_control(c->m, p);
	if (__builtin_expect(!up && (!fits || how == TOKEN_NESTED || !dg_up(p)), 0))
		return TO_KERNEL;
	if (__builtin_expect(!fits || !dg_peer_reads(p) || sock_flags(s) & (FAM_PIN_TX | FAM_OFF), 0))
		return down(p, !fits ? WHY_CALL : is_off(p) ? WHY_OFF : WHY_CLOSED, how, asleep);
	uint64_t now = dring_now();
	if (__builtin_expect(now - p->checked > DRING_WHILE, 0) && !is_alive(p, now))
		return down(p, WHY_CLOSED, how, asleep);
	enum put r = put(p, now, c->m->msg_iov, c->len);
	if (__builtin_expect(r == PUT_FULL || r == PUT_DROP, 0) && wait_for_room(p, dring_size(c->len)))
		r = put(p, now, c->m->msg_iov, c->len);
	if (__builtin_expect(r == PUT_DROP, 0))
		return (long)c->len;
	if (__builtin_expect(r != PUT_DONE, 0)) {
		if (r == PUT_FAULT)
			return -EFAULT;
		if (r == PUT_BROKEN)
			store_release(&s->dg->reap, 1);
		return down(p, r == PUT_FULL ? WHY_FULL : WHY_BROKEN, how, asleep);
	}
	s->tx_shm.bytes += c->len;
	s->tx_shm.msgs++;
	store_relaxed(&s->f->tx_tail, load_relaxed(&s->f->tx_tail) + c->len);
	*asleep = looks_asleep(p, how);
	return (long)c->len;
}

/* c: the peer's, a copy, since without the token that may be another by now. false: it has ended, without a word; what was put into the ring is as good as not sent. */
static bool wake(struct sock *s, struct chan *c, const struct diag_addr *to)
{
	FAULT_POINT("dg tx: sleeper seen, before bell");
	if (notify_slow(c))
		return true;
	int how = token_take(s, &s->f->tx_token);
	struct dg_peer *p = dg_find(s->dg, to);
	if (p && p->c.shm == c->shm)
		store_release(&p->deaf, 1);
	store_release(&s->dg->reap, 1);
	token_drop(s, &s->f->tx_token, how);
	return false;
}

/* And nothing of its is unread. */
static bool has_left(const struct dg_peer *p)
{
	return (load_relaxed(&p->c.peer->flags) & SM_END_CLOSED || load_relaxed(&p->c.assoc->ended)) &&
	       load_acquire(&p->c.peer->tx_tail) == load_relaxed(&p->head);
}

static long send_linked(struct sock *s, struct msg *c)
{
	struct dg *d = s->dg;
	struct chan chan;
	bool asleep = false;
	int how = token_take(s, &s->f->tx_token);
	struct dg_peer *p = d->last;
	if (!p || !diag_addr_eq(&p->addr, &c->to))
		p = dg_find(d, &c->to);
	if (p && how != TOKEN_NESTED)
		d->last = p; /* before: a handler in the middle of what follows may end it */
	long r = p && fd_dgram(c->fd) == s ? by_ring(s, p, c, how, &asleep) : TO_KERNEL;
	if (p)
		sock_publish_cpu(&p->c);
	if (__builtin_expect(asleep, 0))
		chan = p->c;
	if (__builtin_expect(r == TO_KERNEL && p != NULL, 0) && has_left(p)) /* who only sends hears of it here */
		store_release(&d->reap, 1);
	token_drop(s, &s->f->tx_token, how);
	if (__builtin_expect(asleep, 0) && !wake(s, &chan, &c->to))
		r = TO_KERNEL;
	if (r != TO_KERNEL)
		return r;
	r = by_kernel(s, c);
	if (!p && r >= 0)
		dg_sent(s, &c->to);
	return r;
}

static void one_down(struct dg_peer *p, void *arg)
{
	(void)arg;
	int how = token_take(p->s, &p->s->f->tx_token);
	if (p->tx_epoch & 1 && how != TOKEN_NESTED)
		dg_leave_ring(p, WHY_CALL);
	token_drop(p->s, &p->s->f->tx_token, how);
}

static void all_down(struct sock *s)
{
	struct guard g;
	if (!dg_linked(s))
		return;
	guard_enter(&g);
	dg_each(s, one_down, NULL);
	guard_leave(&g);
}

long dg_send(struct sock *s, int fd, const struct msghdr *m, int flags, struct sig_mark since)
{
	struct msg c = {.m = m, .fd = fd, .flags = flags, .since = since};
	if (flags & MSG_MORE) /* the kernel puts one datagram together from several calls */
		dg_pin(s, WHY_OPTION);
	if (where_to(s->dg, m, &c.to) < 0) { /* wherever it goes: nothing in a ring may be overtaken */
		all_down(s);
		return by_kernel(s, &c);
	}
	c.len = iov_len(m->msg_iov, (int)m->msg_iovlen);
	if (__builtin_expect(dg_linked(s), 1)) {
		long r = send_linked(s, &c);
		dg_reap_maybe(s);
		return r;
	}
	long r = by_kernel(s, &c);
	if (r >= 0)
		dg_sent(s, &c.to);
	return r;
}
