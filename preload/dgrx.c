/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dgrx.c - receiving datagrams: from the rings of hot peers, and from the kernel socket.
 *
 * Each turn, under the rx token and without waiting: the earliest datagram that lies in a ring whose sender's last change has been followed (dgmove.c); else what the kernel has. While some peer has gone up
 * and that has not been followed, the kernel comes first, until it has nothing. A busy ring does not keep the kernel's datagrams waiting for more than KERNEL_TURNS of its own.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "dg.h"
#include "dring.h"
#include "fault.h"
#include "leave.h"
#include "log.h"
#include "notify.h"
#include "real.h"
#include "rx.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"

#define KERNEL_TURNS 256
#define KERNEL_FIRST (1u << 22) /* octets that are read from the kernel, at most, before a ring that has been gone up to */
#define KERNEL_NS 10000		/* a spin looks at the kernel so often */

struct take {
	struct msghdr *m;
	int fd, flags;
	size_t len; /* of the buffers */
	struct sig_mark since;
	bool plain; /* one buffer, and nobody asks for msg_flags: the kernel has less to fetch and to store for a recvfrom() */
};

static long kernel_look(const struct take *t)
{
	return sys3(SYS_recvmsg, t->fd, t->m, t->flags | MSG_DONTWAIT);
}

static void count_kernel(struct sock *s, const struct take *t, long r)
{
	if (r >= 0 && !(t->flags & (MSG_PEEK | MSG_ERRQUEUE)))
		sock_count_kernel(&s->f->rx_kernel_bytes, &s->rx_kernel, (uint64_t)r);
}

/* The up that we have not followed has been undone (dg_leave_ring): what lies in the ring has gone by the kernel. */
static bool undone(struct dg_peer *p)
{
	struct chan *c = &p->c;
	if (load_acquire(&c->my->rx_epoch) != p->rx_epoch + 2)
		return false;
	p->rx_epoch += 2;
	p->pending = 0;
	store_relaxed(&p->head, load_acquire(&c->peer->tx_tail));
	store_release(&c->my->rx_head, load_relaxed(&p->head));
	return true;
}

/* The sender's change `its` has been followed: it may change again. */
static void follow(struct dg_peer *p, uint32_t its)
{
	FAULT_POINT("dg follow: all read, before epoch");
	/* Pairs with dg_up's acquire: what was read is read. Faces dg_leave_ring. */
	if (!cas_acqrel(&p->c.my->rx_epoch, p->rx_epoch, its) && undone(p))
		return;
	FAULT_POINT("dg follow: epoch, before own");
	p->rx_epoch = its;
	store_relaxed(&p->s->f->rx_epoch, its); /* for people */
	store_relaxed(&p->s->f->rx_why, its & 1 ? WHY_UP
					: load_relaxed(&p->c.peer->flags) & SM_END_OFF || sock_flags(p->s) & FAM_OFF
						? WHY_OFF
						: WHY_FULL);
}

static bool ended(const struct dg_peer *p)
{
	return load_acquire(&p->c.peer->flags) & SM_END_CLOSED || load_acquire(&p->c.assoc->ended);
}

/* The sender has changed to `its`, which has not been followed. */
static uint64_t unread_behind(struct dg_peer *p, uint32_t its, uint32_t *order)
{
	uint32_t ahead = its - p->rx_epoch;
	if (ahead > 2)
		store_release(&p->s->dg->reap, 1);
	if (undone(p))
		return 0;
	uint64_t tail = load_acquire(&p->c.peer->tx_tail), n = tail - load_relaxed(&p->head);
	if (its & 1 || (ahead == 2 && n)) {
		p->pending = its & 1 ? its : its - 1;
		*order |= DG_KERNEL_FIRST;
		return 0;
	}
	if (p->end_epoch !=
		its) { /* only once: what comes before the kernel's datagrams has an end, whatever the sender does to its tail */
		p->end_epoch = its;
		p->end = tail;
	}
	n = p->end - load_relaxed(&p->head);
	if (n)
		*order |= DG_RING_FIRST;
	else
		follow(p, its);
	return n;
}

/* The tail before the epoch: what is seen in the ring then was put there in this epoch or an earlier one, and not behind an up that we do not know of. */
uint64_t dg_unread(struct dg_peer *p, uint32_t *order)
{
	bool over = ended(p);
	uint64_t n = load_acquire(&p->c.peer->tx_tail) - load_relaxed(&p->head);
	uint32_t its = load_acquire(&p->c.peer->tx_epoch);
	if (over && !n)
		store_release(&p->s->dg->reap, 1);
	return __builtin_expect(its == p->rx_epoch, 1) ? n : unread_behind(p, its, order);
}

/* As the sender says; but not before the floor: nobody is first for ever. */
static uint64_t stamp_of(const struct dg_peer *p)
{
	uint64_t stamp = dring_stamp(
		p->c.rx_ring, load_relaxed(&p->head) + (load_relaxed(&p->c.peer->tx_shift) & SM_RING_MASK));
	return (int64_t)(stamp - p->floor) < 0 ? p->floor : stamp;
}

/* Its sender has seen an rx_cost beyond `lap`, or what was unread would have cost more than our buffer takes: so it was put there after that had been read. */
static void new_lap(struct dg_peer *p)
{
	p->floor = p->lap_began;
	p->lap = p->rx_cost;
	p->lap_began = dring_now();
}

/* The earliest of those that come before `than`, if that is set. */
static struct dg_peer *earliest(struct dg *d, struct dg_peer *than, uint64_t *n, uint32_t *order)
{
	struct dg_peer *best = than;
	uint64_t stamp = than ? stamp_of(than) : 0;
	for (uint32_t i = 0; i < d->n_hot; i++) {
		struct dg_peer *p = d->hot[i];
		uint64_t k = p == than ? 0 : dg_unread(p, order);
		if (!k || (best && (int64_t)(stamp_of(p) - stamp) >= 0))
			continue;
		best = p;
		stamp = stamp_of(p);
		*n = k;
	}
	return best;
}

/*
 * The hot peer whose datagram came first. A ring that was looked at before it got one may have an earlier one than that which was found in another ring later; but what was put
 * there before that is in sight now: so a second look, if there are several.
 */
static struct dg_peer *next_peer(struct dg *d, uint64_t *n, uint32_t *order)
{
	struct dg_peer *p = earliest(d, NULL, n, order);
	return p && d->n_hot > 1 ? earliest(d, p, n, order) : p;
}

/* The kernel socket has been empty since these went up: the ring is next. */
static void follow_pending(struct dg *d)
{
	for (uint32_t i = 0; i < d->n_hot; i++) {
		struct dg_peer *p = d->hot[i];
		if (p->pending) {
			follow(p, p->pending);
			p->pending = 0;
		}
	}
	d->kernel_first = 0;
}

static void put_control(struct msghdr *m, size_t *room, int level, int type, const void *data, size_t len)
{
	char buf[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
	struct cmsghdr c = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type};
	size_t n = CMSG_LEN(len), space = CMSG_SPACE(len);
	if (*room < sizeof(c)) {
		m->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (*room < n) {
		m->msg_flags |= MSG_CTRUNC;
		c.cmsg_len = n = *room;
	}
	memcpy(buf, &c, sizeof(c));
	memcpy(buf + CMSG_LEN(0), data, len);
	char *at = (char *)m->msg_control + m->msg_controllen;
	if (ucopy(at, buf, n))
		return;
	space = *room < space ? *room : space;
	m->msg_controllen += space;
	*room -= space;
}

/* Where it was sent to: what IP_PKTINFO and IPV6_RECVPKTINFO report of a datagram that came over the loopback interface. */
static void put_pktinfo(struct msghdr *m, const struct dg_peer *p, uint32_t which)
{
	const uint8_t *at = p->own.addr;
	size_t room = m->msg_controllen;
	m->msg_controllen = 0;
	if (which & 2) {
		struct in6_pktinfo pi = {.ipi6_ifindex = 1};
		if (p->addr.family == AF_INET6) {
			memcpy(&pi.ipi6_addr, at, 16);
		} else {
			pi.ipi6_addr.s6_addr[10] = pi.ipi6_addr.s6_addr[11] = 0xff;
			memcpy(pi.ipi6_addr.s6_addr + 12, at, 4);
		}
		put_control(m, &room, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	}
	if (which & 1 && p->addr.family == AF_INET) {
		struct in_pktinfo pi = {.ipi_ifindex = 1};
		memcpy(&pi.ipi_spec_dst, at, 4);
		memcpy(&pi.ipi_addr, at, 4);
		put_control(m, &room, IPPROTO_IP, IP_PKTINFO, &pi, sizeof(pi));
	}
}

/* What recvmsg() reports beside the payload. 0 or -EFAULT. */
static long report(struct sock *s, const struct dg_peer *p, const struct take *t, size_t len)
{
	struct msghdr *m = t->m;
	uint32_t which = load_relaxed(&s->dg->pktinfo);
	m->msg_flags = (t->flags & MSG_CMSG_CLOEXEC) | (len > t->len ? MSG_TRUNC : 0);
	if (__builtin_expect(which && m->msg_controllen, 0))
		put_pktinfo(m, p, which);
	else {
		if (which)
			m->msg_flags |= MSG_CTRUNC;
		m->msg_controllen = 0;
	}
	if (m->msg_name) {
		size_t n = m->msg_namelen < p->name_len ? m->msg_namelen : p->name_len;
		m->msg_namelen = p->name_len;
		return ucopy(m->msg_name, &p->name, n) ? -EFAULT : 0;
	}
	return 0;
}

/* One datagram of p's ring, which has `n` octets. -EAGAIN: a handler on this thread took it. */
static long from_ring(struct sock *s, struct dg_peer *p, const struct take *t, uint64_t n)
{
	struct chan *c = &p->c;
	uint64_t head = load_relaxed(&p->head), at = head + ((uint32_t)load_relaxed(&c->peer->tx_shift) & SM_RING_MASK);
	int64_t len = n > SM_RING_LEN || head & 15 ? -1 : dring_len(c->rx_ring, at, n);
	if (__builtin_expect(len < 0, 0)) {
		log_line("udp fd %d: the peer wrote nonsense into the channel", s->fd);
		or_acqrel(&c->my->flags, SM_END_CLOSED); /* it is not listened to any more; and goes at the next dg_reap */
		store_release(&p->deaf, 1);
		p->end = load_acquire(&c->peer->tx_tail);
		store_relaxed(&p->head, p->end);
		store_release(&s->dg->reap, 1);
		return -EAGAIN;
	}
	size_t take = (size_t)len < t->len ? (size_t)len : t->len;
	long r = take && dring_get(c->rx_ring, at, t->m->msg_iov, take) ? -EFAULT : 0;
	FAULT_POINT("dg rx: copied, before committed");
	if (!(t->flags & MSG_PEEK)) { /* also what cannot be handed over is gone, as with the kernel */
		if (!cas_own_thread(&p->head, head, head + dring_size((size_t)len)))
			return -EAGAIN;
		FAULT_POINT("dg rx: committed, before cost");
		p->rx_cost += dring_cost((size_t)len);
		if (__builtin_expect(p->rx_cost - p->lap > load_relaxed(&p->limit), 0))
			new_lap(p);
		store_relaxed(&c->my->rx_cost, p->rx_cost);
		FAULT_POINT("dg rx: cost, before published");
		store_release(&c->my->rx_head, load_relaxed(&p->head));
		FAULT_POINT("dg rx: published, before returned");
		s->rx_shm.bytes += (uint64_t)len;
		s->rx_shm.msgs++;
		store_relaxed(&s->f->rx_head, load_relaxed(&s->f->rx_head) + (uint64_t)len);
	}
	if (!r)
		r = report(s, p, t, (size_t)len);
	return r < 0 ? r : t->flags & MSG_TRUNC ? len : (long)take;
}

/* rx token held. -EAGAIN: nothing is there; unless `ask`, in the rings: the kernel is asked only if it comes first. */
static long take_one(struct sock *s, const struct take *t, bool ask)
{
	struct dg *d = s->dg;
	for (int tries = 0; tries < 4; tries++) {
		uint32_t order = 0;
		uint64_t n = 0;
		dg_take_bells(d);
		struct dg_peer *p = next_peer(d, &n, &order);
		bool first = order == DG_KERNEL_FIRST; /* with both the ring: that one ends */
		bool turn = p ? first || (!order && ++d->n_taken % KERNEL_TURNS == 0) : first || ask;
		long r = turn ? kernel_look(t) : -EAGAIN;
		count_kernel(s, t, r);
		if (r != -EAGAIN) {
			if (first && r > 0 && (d->kernel_first += (uint32_t)r) > KERNEL_FIRST)
				follow_pending(d);
			return r;
		}
		if (first)
			follow_pending(d);
		if (p)
			r = from_ring(s, p, t, n);
		if (r != -EAGAIN || !(first || p))
			return r;
	}
	return -EAGAIN;
}

long dg_next_len(struct sock *s)
{
	struct dg *d = s->dg;
	uint32_t order = 0;
	uint64_t n = 0;
	long r = -1;
	if (!dg_linked(s))
		return -1;
	int how = token_take(s, &s->f->rx_token);
	dg_take_bells(d);
	struct dg_peer *p = next_peer(d, &n, &order);
	if (p && order != DG_KERNEL_FIRST && n <= SM_RING_LEN)
		r = dring_len(p->c.rx_ring, load_relaxed(&p->head) + (load_relaxed(&p->c.peer->tx_shift) & SM_RING_MASK), n);
	token_drop(s, &s->f->rx_token, how);
	return r;
}

static bool spin_for_news(struct sock *s)
{
	struct spin_run r;
	int64_t looked = 0;
	if (!spin_begin(&s->dg->spin, &r, dg_spin_pays(s, spin_cpu())))
		return false;
	bool hit = dg_look(s, NULL);
	while (!hit && spin_again(&r)) {
		dg_prefetch(s);
		hit = dg_look(s, NULL);
		/* Others may send by the kernel. */
		if (!hit && r.last - looked > KERNEL_NS) {
			struct pollfd p = {.fd = s->fd, .events = POLLIN};
			struct timespec zero = {0, 0};
			bool first = !looked;
			looked = r.last;
			if (!first && sys5(SYS_ppoll, &p, 1, &zero, 0, 8) == 1)
				break;
		}
	}
	spin_end(&s->dg->spin, &r, hit);
	return hit;
}

/* 0: look again; -EINTR, -EAGAIN (time-out). */
static long sleep_for_news(struct sock *s, const struct take *t, int64_t *deadline)
{
	struct timespec ts, *rest = NULL;
	int bell = s->dg->bell_fd;
	struct pollfd p[2] = {{.fd = t->fd, .events = POLLIN}, {.fd = bell > 0 ? bell : -1, .events = POLLIN}};
	if (*deadline < 0)
		*deadline = rx_deadline(s);
	if (dg_arm(s, NULL))
		return 0;
	if (*deadline) {
		int64_t left = *deadline - now_ns();
		if (left <= 0)
			return -EAGAIN;
		ts = (struct timespec){left / 1000000000, left % 1000000000};
		rest = &ts;
	}
	stats_sleep();
	svc_stir();
	FAULT_POINT("dg rx: armed, before sleep");
	long r = sig_sleep(t->since, SYS_ppoll, SIG_ARG(p), 2, SIG_ARG(rest), 0, 8, 0);
	s->dg->kernel_recent = r > 0 && p[0].revents;
	if (r > 0 && p[1].revents)
		dg_woken(s);
	if (r == SIG_CAME ||
		(r == -EINTR &&
			sig_since(
				t->since))) /* ppoll is never restarted; what the handler's flags say of recv, the caller asks */
		return 0;
	return r < 0 ? r : 0;
}

static bool may_wait(const struct sock *s, const struct take *t)
{
	return !(t->flags & MSG_DONTWAIT || sock_flags(s) & FAM_NONBLOCK);
}

/* One turn. -EBADF: the number is not this socket's any more. */
static long turn(struct sock *s, const struct take *t, bool ask)
{
	int how = token_take(s, &s->f->rx_token);
	long r = fd_dgram(t->fd) == s ? take_one(s, t, ask) : -EBADF;
	bool more = r >= 0 && load_relaxed(&s->dg->sleepers) && dg_look_held(s);
	token_drop(s, &s->f->rx_token, how);
	if (__builtin_expect(more, 0))
		dg_ring_self(s);
	return r;
}

/* The kernel looks for an error before it looks for a datagram. -errno, or 0. */
static long pending_error(struct sock *s, int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);
	if (!load_relaxed(&s->dg->refused))
		return 0;
	store_relaxed(&s->dg->refused, 0);
	return sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? 0 : -err;
}

#define NOT_LINKED (-4096L) /* any more: the kernel's call is to wait */

/* What an awake reader waits for is in a ring before a system call returns: so the kernel is asked when looking a little longer has not helped. */
static long recv_linked(struct sock *s, struct take *t)
{
	bool wait = may_wait(s, t), ask = !wait || s->dg->kernel_recent;
	int64_t deadline = -1;
	long over = pending_error(s, t->fd); /* -errno: this is the last look */
	if (over)
		return over;
	for (;;) {
		long r = turn(s, t, ask);
		if (r != -EAGAIN || !wait)
			return r;
		if (over)
			return over;
		if (!ask) {
			dg_publish_cpu(s);
			if (spin_for_news(s))
				continue;
		}
		if (sig_since(t->since)) { /* what is there wins: so the kernel is asked before a handler ends the call */
			if (!ask)
				ask = true;
			else if (sig_ends(&t->since, false, t->fd, SO_RCVTIMEO))
				over = -EINTR;
			continue;
		}
		dg_reap_maybe(s);
		if (!dg_linked(s))
			return NOT_LINKED;
		add_acqrel(&s->dg->sleepers, 1u);
		over = sleep_for_news(s, t, &deadline);
		sub_acqrel(&s->dg->sleepers, 1u);
		ask = over || s->dg->kernel_recent; /* the sleep has seen the kernel socket too */
	}
}

/* By the kernel, as a call that may wait there. The sender's name is asked for as long as it may make a difference. */
static long recv_kernel(struct sock *s, struct take *t)
{
	struct sockaddr_storage sa;
	struct msghdr m = *t->m;
	struct diag_addr from;
	bool own_name = !m.msg_name && dg_wants_names(s);
	int e = errno;
	if (own_name) {
		m.msg_name = &sa;
		m.msg_namelen = sizeof(sa);
	}
	long r = t->plain ? real.recvfrom(t->fd, m.msg_iov->iov_base, m.msg_iov->iov_len, t->flags, m.msg_name, &m.msg_namelen)
			  : real.recvmsg(t->fd, &m, t->flags);
	if (r < 0) {
		r = -errno;
		errno = e;
		return r;
	}
	bool known = m.msg_name && diag_addr_from(&from, m.msg_name, m.msg_namelen) == 0;
	t->m->msg_flags = m.msg_flags;
	t->m->msg_controllen = m.msg_controllen;
	if (!own_name)
		t->m->msg_namelen = m.msg_namelen;
	count_kernel(s, t, r);
	if (!(t->flags & MSG_PEEK))
		dg_came(s, known ? &from : NULL);
	return r;
}

long dg_recv(struct sock *s, int fd, struct msghdr *m, int flags, struct sig_mark since, bool plain)
{
	struct take t = {.m = m,
		.fd = fd,
		.flags = flags,
		.len = iov_len(m->msg_iov, (int)m->msg_iovlen),
		.since = since,
		.plain = plain && m->msg_iovlen == 1};
	if (flags & MSG_ERRQUEUE) {
		long r = real.recvmsg(fd, m, flags);
		return r < 0 ? -errno : r;
	}
	bool waits = may_wait(s, &t);
	long r;
	do {
		if (!dg_linked(s)) {
			bool linked = waits && dg_kernel_enter(s); /* it may be linked while we wait */
			r = linked ? 0 : recv_kernel(s, &t);
			if (waits)
				dg_kernel_leave(s);
			if (!linked)
				return r;
		}
		r = recv_linked(s, &t);
	} while (r == NOT_LINKED);
	if (r == -EBADF && leave_done()) /* not ours any more: the process has left in the middle of this call */
		return recv_kernel(s, &t);
	if (r >= 0)
		dg_came(s, NULL);
	dg_reap_maybe(s);
	return r;
}
