/* SPDX-License-Identifier: BSD-2-Clause */
#include "waitset.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "assoc.h"
#include "dg.h"
#include "end.h"
#include "epset.h"
#include "link.h"
#include "notify.h"
#include "ready.h"
#include "real.h"
#include "rx.h"
#include "sig.h"
#include "spin.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"
#include "threadbell.h"
#include "trial.h"

#define ON_STACK 64
#define KERNEL_NS 10000 /* a listener is not kept waiting for longer by busy rings; all else is asked for every time */

/* Of one thread. */
static __thread struct {
	struct spin spin;
	int64_t looked_ns; /* when the kernel was asked last */
} own __attribute__((tls_model("initial-exec")));

static struct sock *linked_sock(int fd)
{
	struct sock *s = fd_sock(fd);
	return s && link_ready(s) ? s : NULL;
}

bool waitset_poll_concerns(struct pollfd *p, nfds_t n)
{
	if (!fdtab_len || n > fdtab_len || (uintptr_t)p < 4096)
		return false;
	for (nfds_t i = 0; i < n; i++) {
		struct sock *s = fd_sock(p[i].fd);
		if (s ? link_ready(s) || waitset_candidate(s) : fd_epset(p[i].fd) || fd_dgram(p[i].fd))
			return true;
	}
	return false;
}

#define IN_BITS (POLLIN | POLLRDNORM)
#define OUT_BITS (POLLOUT | POLLWRNORM)

/* May the kernel have something to report of this descriptor that rings do not know, now? */
static bool needs_kernel(const struct pollfd *p, struct sock *s)
{
	if (p->fd < 0)
		return false;
	struct sock *d = s ? NULL : fd_dgram(p->fd);
	if (d)
		return !(p->revents & IN_BITS) || p->events & ~IN_BITS || load_relaxed(&d->dg->refused);
	if (!s) {
		struct sock *l = fd_sock(p->fd);
		return !(l && sock_flags(l) & FAM_LISTEN) || now_ns() - own.looked_ns > KERNEL_NS;
	}
	if (load_relaxed(&s->hup) || sock_flags(s) & (FAM_RD_SHUT | FAM_WR_SHUT) ||
		load_relaxed(&s->chan.peer->flags) & (SM_END_FIN | SM_END_CLOSED))
		return true;
	if (p->events & ~(IN_BITS | OUT_BITS | POLLRDHUP)) /* urgent data */
		return true;
	/* One direction may be ready in its ring while the other is in the kernel, or about to be. */
	if (p->events & OUT_BITS & ~p->revents)
		return true;
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	return p->events & IN_BITS & ~p->revents && (!(epoch & 1) || load_relaxed(&s->chan.peer->tx_epoch) != epoch);
}

/* What rings say. Number of ready descriptors. */
static int look_at_rings(struct pollfd *p, nfds_t n)
{
	int ready = 0;
	for (nfds_t i = 0; i < n; i++) {
		struct sock *s = linked_sock(p[i].fd);
		short re = 0;
		if (s && p[i].events & IN_BITS && ready_in(s))
			re |= p[i].events & IN_BITS;
		if (s && p[i].events & OUT_BITS && ready_out(s))
			re |= p[i].events & OUT_BITS;
		if (!s && p[i].events & IN_BITS && fd_dgram(p[i].fd) && dg_look(fd_dgram(p[i].fd), NULL))
			re |= p[i].events & IN_BITS;
		p[i].revents = re;
		ready += re != 0;
	}
	return ready;
}

/* Rings have something to report; is that all there is? */
static bool rings_suffice(const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (needs_kernel(&p[i], linked_sock(p[i].fd)))
			return false;
	return true;
}

/* Merge the kernel's answer k into p. Number of ready descriptors. */
static int merge(struct pollfd *p, const struct pollfd *k, nfds_t n)
{
	int ready = 0;
	for (nfds_t i = 0; i < n; i++) {
		struct sock *s = k[i].revents ? linked_sock(p[i].fd) : NULL;
		if (s)
			end_kernel_says(s, (uint32_t)(unsigned short)k[i].revents);
		p[i].revents |= (short)((s ? ready_really(s, p[i].fd, (unsigned short)p[i].events, (unsigned short)k[i].revents)
					   : (unsigned short)k[i].revents) |
					(s ? end_events(s) : 0));
		ready += p[i].revents != 0;
	}
	return ready;
}

/* A copy for the kernel: what the rings said stays in p, and the bell needs a place behind. */
static void kernel_copy(struct pollfd *k, const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		k[i] = p[i];
		k[i].revents = 0;
	}
}

/* What the kernel says of epoll sets shall be what is now. */
static void expose_sets(const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		struct epset *e = fd_epset(p[i].fd);
		if (__builtin_expect(e != NULL, 0))
			epset_expose(e);
	}
}

struct sleep_state {
	bool bells;  /* some linked socket is armed with our bell */
	bool blind;  /* no bell for some association, or another thread is reading just now: sleep in short naps */
	bool relook; /* something is there already */
};

/* A UDP socket: its bell is a descriptor of its own, which the sleep adds (add_bells). Or a wait in the kernel, which keeps it from being linked. */
static void announce_dgram(const struct pollfd *p, struct sock *d, struct sock **entered, struct sleep_state *st)
{
	if (!dg_linked(d)) {
		*entered = d;
		st->relook |= dg_kernel_enter(d);
	} else if (p->events & IN_BITS) {
		st->relook |= dg_arm(d, NULL);
	}
}

/* Announce this thread everywhere; after it, look at the rings again. */
static void announce(const struct pollfd *p, nfds_t n, struct sock **entered, struct sleep_state *st)
{
	memset(st, 0, sizeof(*st));
	expose_sets(p, n);
	for (nfds_t i = 0; i < n; i++) {
		entered[i] = NULL;
		struct sock *s = fd_sock(p[i].fd);
		if (!s && fd_dgram(p[i].fd))
			announce_dgram(&p[i], fd_dgram(p[i].fd), &entered[i], st);
		if (!s)
			continue;
		if (!link_ready(s)) {
			if (waitset_candidate(s)) {
				rx_kernel_enter(s);
				entered[i] = s;
				st->relook |= load_acquire(&s->f->link) == 2;
			}
			continue;
		}
		if (!(p[i].events & IN_BITS))
			continue;
		struct chan *c = &s->chan;
		int slot = threadbell_slot(c->assoc);
		if (slot < 0) {
			st->blind = true;
			continue;
		}
		struct sm_bell *b = seg_bell(&c->assoc->seg, c->side, (uint32_t)slot);
		store_relaxed(&b->any, 0);
		store_release(&b->sleeping, 1);
		or_acqrel(&c->my->armed, UINT64_C(1) << slot);
		st->bells = true;
	}
	fence_storeload(); /* faces the writers: publish, fence, armed; and the linker: link, fence, rx_inkernel */
	bool lazy = false;
	for (nfds_t i = 0; st->bells && !lazy && i < n; i++) {
		struct sock *s = linked_sock(p[i].fd);
		lazy = s && load_acquire(&s->chan.peer->lazy);
	}
	if (lazy)
		barrier_everywhere(); /* one for all (notify.h) */
	for (nfds_t i = 0; st->bells && i < n; i++) {
		struct sock *s = p[i].events & IN_BITS ? linked_sock(p[i].fd) : NULL;
		st->blind |= s && !ready_follow(s);
	}
}

/* `entered[i]` tells what announce() entered. It may have been linked since, or closed, and its number may be another's; a closed one's record is nobody's to count in. */
static void withdraw(nfds_t n, struct sock *const *entered)
{
	for (nfds_t i = 0; i < n; i++)
		if (entered[i] && load_acquire(&entered[i]->open)) {
			if (sock_is_dgram(entered[i]))
				dg_kernel_leave(entered[i]);
			else
				rx_kernel_leave(entered[i]);
		}
	threadbell_hush();
}

static struct timespec *rest_of(int64_t deadline, bool blind, struct timespec *ts)
{
	int64_t left = deadline ? deadline - now_ns() : INT64_MAX;
	if (blind && left > 1000000)
		left = 1000000;
	if (left == INT64_MAX)
		return NULL;
	if (left < 0)
		left = 0;
	ts->tv_sec = left / 1000000000;
	ts->tv_nsec = left % 1000000000;
	return ts;
}

static int real_ppoll(struct pollfd *k, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	int saved = errno, r = real.ppoll(k, n, ts, mask);
	if (r < 0) {
		r = -errno;
		errno = saved;
	}
	return r;
}

/* After a wait that took a while: what has been answered? */
static void woken(const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		struct sock *s = p[i].revents & IN_BITS ? fd_sock(p[i].fd) : NULL;
		if (s && load_acquire(&s->linked))
			trial_woken(s);
	}
}

static const struct timespec zero;

/*
 * The kernel's part of a sleep. With a mask: its own call lets signals in; until now they were held. Without: a handler that has run already ends the wait, if the kernel, too, has
 * nothing to report.
 */
static int sleep_in_kernel(struct pollfd *k, nfds_t n, const struct timespec *rest, const struct sig_wait *w)
{
	if (w->mask)
		return real_ppoll(k, n, rest, w->mask);
	struct timespec left = rest ? *rest : zero; /* the kernel writes into it */
	long r = sig_sleep(w->since, SYS_ppoll, SIG_ARG(k), (long)n, rest ? SIG_ARG(&left) : 0, 0, 8, 0);
	if (r != SIG_CAME)
		return (int)r;
	r = real_ppoll(k, n, &zero, NULL);
	return r ? (int)r : -EINTR;
}

/* A UDP socket of p[i] whose bell is to be waited for: it has been armed, and not entered. */
static struct sock *belled(const struct pollfd *p, const struct sock *entered)
{
	struct sock *d = p->events & IN_BITS && !entered ? fd_dgram(p->fd) : NULL;
	return d && d->dg->bell_fd > 0 ? d : NULL;
}

/* Behind the program's descriptors: the thread's bell, and those of UDP sockets. How many it is then. */
static nfds_t add_bells(struct pollfd *k, const struct pollfd *p, struct sock *const *entered, nfds_t n, bool bells)
{
	nfds_t at = n;
	k[at] = (struct pollfd){.fd = bells ? threadbell_fd() : -1, .events = POLLIN};
	at += bells;
	for (nfds_t i = 0; i < n; i++) {
		struct sock *d = belled(&p[i], entered[i]);
		if (d)
			k[at++] = (struct pollfd){.fd = d->dg->bell_fd, .events = POLLIN};
	}
	return at;
}

/* The bells that have ended the sleep. */
static void hear(const struct pollfd *k, const struct pollfd *p, struct sock *const *entered, nfds_t n, nfds_t all)
{
	for (nfds_t at = n; at < all; at++)
		for (nfds_t i = 0; k[at].revents && i < n; i++) {
			struct sock *d = belled(&p[i], entered[i]);
			if (d && d->dg->bell_fd == k[at].fd)
				dg_woken(d);
		}
}

/* One sleep. Ready descriptors, 0 (look again, or time-out), -errno. k has room for 2 n + 1. */
static int sleep_once(
	struct pollfd *p, struct pollfd *k, struct sock **entered, nfds_t n, int64_t deadline, const struct sig_wait *w)
{
	struct sleep_state st;
	struct timespec ts, *rest;
	announce(p, n, entered, &st);
	int ready = look_at_rings(p, n);
	kernel_copy(k, p, n);
	nfds_t all = add_bells(k, p, entered, n, st.bells);
	rest = rest_of(deadline, st.blind, &ts);
	stats_sleep();
	svc_stir();
	int r = ready || st.relook ? real_ppoll(k, n, &zero, NULL) : sleep_in_kernel(k, all, rest, w);
	if (r == -EINVAL && all > n && !ready && !st.relook) /* as many as may be: no place for the bell */
		r = sleep_in_kernel(k, n, rest_of(deadline, true, &ts), w);
	if (r > 0 && all > n && !ready && !st.relook)
		hear(k, p, entered, n, all);
	withdraw(n, entered);
	if (r < 0)
		return ready ? ready : r;
	look_at_rings(p, n);
	ready = merge(p, k, n);
	woken(p, n);
	return ready;
}

static void prefetch(const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		struct sock *s = p[i].events & IN_BITS ? fd_sock(p[i].fd) : NULL;
		if (s && load_acquire(&s->linked))
			ready_prefetch(s);
		if (!s && p[i].events & IN_BITS && fd_dgram(p[i].fd))
			dg_prefetch(fd_dgram(p[i].fd));
	}
}

/* Number of ready descriptors, as look_at_rings() left it. */
static int spin_once(struct pollfd *p, nfds_t n)
{
	struct spin_run r;
	bool pays = false;
	int cpu = spin_cpu();
	for (nfds_t i = 0; i < n && i < 16; i++) {
		struct sock *s = linked_sock(p[i].fd), *d = fd_dgram(p[i].fd);
		if (d && dg_linked(d)) {
			dg_publish_cpu(d);
			pays |= dg_spin_pays(d, cpu);
		}
		if (!s)
			continue;
		sock_publish_cpu(&s->chan);
		pays |= sock_spin_pays(s, cpu);
	}
	if (n > 16 || !spin_begin(&own.spin, &r, pays))
		return 0;
	int ready = look_at_rings(p, n);
	while (!ready && spin_again(&r)) {
		prefetch(p, n);
		ready = look_at_rings(p, n);
	}
	spin_end(&own.spin, &r, ready);
	if (ready && r.start)
		woken(p, n);
	return ready;
}

/* What is ready is preferred to a signal that the mask would let in; that one stays pending. */
static int poll_with(
	struct pollfd *p, struct pollfd *k, struct sock **entered, nfds_t n, int64_t timeout_ns, struct sig_wait *w)
{
	int64_t deadline = timeout_ns > 0 ? now_ns() + timeout_ns : 0;
	bool spun = false;
	for (;;) {
		int ready = look_at_rings(p, n);
		if (ready && rings_suffice(p, n))
			return ready;
		if (ready || timeout_ns == 0) {
			kernel_copy(k, p, n);
			expose_sets(p, n);
			own.looked_ns = now_ns();
			int r = real_ppoll(k, n, &zero, ready ? NULL : w->mask);
			return r < 0 ? (ready ? ready : r) : merge(p, k, n);
		}
		if (w->mask && !w->held) {
			sig_hold(w);
			continue;
		}
		if (!spun && !w->mask) {
			spun = true;
			ready = spin_once(p, n);
			if (ready && rings_suffice(p, n))
				return ready;
			if (ready)
				continue;
		}
		int r = sleep_once(p, k, entered, n, deadline, w);
		if (r || (deadline && now_ns() >= deadline))
			return r;
	}
}

int waitset_poll_as(struct pollfd *p, nfds_t n, int64_t timeout_ns, struct sig_wait *w)
{
	struct pollfd stack_k[2 * ON_STACK + 1];
	struct sock *stack_e[ON_STACK];
	if (n <= ON_STACK)
		return poll_with(p, stack_k, stack_e, n, timeout_ns, w);
	struct rlimit rl; /* rings would answer for more than the kernel takes */
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &rl) == 0 && n > rl.rlim_cur)
		return -EINVAL;
	/* poll() is async-signal-safe, so no malloc. */
	size_t len = (2 * n + 1) * sizeof(struct pollfd) + n * sizeof(struct sock *) + sizeof(long);
	long m = sys6(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m < 0 && m > -4096)
		return -ENOMEM;
	struct pollfd *k = (struct pollfd *)(uintptr_t)m;
	int r = poll_with(
		p, k, (struct sock **)(uintptr_t)(((uintptr_t)(k + 2 * n + 1) + 7) & ~(uintptr_t)7), n, timeout_ns, w);
	sys2(SYS_munmap, m, len);
	return r;
}

int waitset_poll(struct pollfd *p, nfds_t n, int64_t timeout_ns, const sigset_t *mask)
{
	struct sig_wait w = {.since = sig_now(), .mask = mask};
	int r = waitset_poll_as(p, n, timeout_ns, &w);
	sig_release(&w);
	return r;
}
