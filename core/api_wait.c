/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping and waking of the library's associations.
 *
 *   sleeper   armed |= bit; fence; look again; sleep on the lifeline
 *   waker     publish; fence; armed & bit? take it; send an octet
 *
 * One of both fences comes first, so at least one side sees the other: the sleeper the news, or the waker the bit. Octets are taken out of the lifeline
 * before the bit is set, never after: one that answers the bit is still there for the sleep, and for a program's poll().
 *
 * Of several threads that wait on one association the *first* (it has `one`) takes octets and sleeps on the lifeline. Who comes behind it sleeps on `news`. An
 * octet may be meant for anyone, and the first may go for a reason of its own; so whenever it gives way it changes `news`, and those behind look again, and one of
 * them becomes the first.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>

#include "api.h"
#include "atomic.h"
#include "bell.h"
#include "sys.h"

#define SPIN_MAX_NS 50000u
#define SPIN_MIN_NS 2000u
#define SPIN_ROUND 32  /* looks between two looks at the clock */
#define DULL_ROUNDS 64 /* waits that sleep at once, before looking is tried again */

/* Take what has been rung, and see whether the other side has hung up. */
static void drain(struct ncadg_sm *a)
{
	char buf[64];
	long n;

	do {
		n = sys6(SYS_recvfrom, a->life, buf, sizeof(buf), MSG_DONTWAIT, 0, 0);
	} while (n > 0 || n == -EINTR);
	/* What it published before is visible now: the kernel's locks are between. */
	if (n != -EAGAIN && load_acquire(&a->end) == 0)
		store_release(&a->end, load_acquire(&a->peer->flags) & SM_END_CLOSED ? -EPIPE : -ECONNRESET);
}

static void announce(struct ncadg_sm *a, uint64_t bit)
{
	or_acqrel(&a->own->armed, bit);
	fence_storeload(); /* faces the one in api_wake() */
}

void api_wake(struct ncadg_sm *a, uint64_t bit)
{
	fence_storeload(); /* what was published, before the look; faces announce() */
	if (__builtin_expect(!(load_relaxed(&a->peer->armed) & bit), 1))
		return;
	if (and_acqrel(&a->peer->armed, ~bit) & bit)
		sys6(SYS_sendto, a->life, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, 0,
			0); /* full: it has not taken the last ones yet */
}

static int is_news(struct ncadg_sm *a, const struct api_wait *w)
{
	return load_acquire(&a->end) || (w->bit == API_DATA ? api_has_data(a) : api_has_room(a, w->len));
}

static int n_cpus(void)
{
	static _Atomic int known;
	cpu_set_t set;
	int n = load_relaxed(&known);

	if (n)
		return n;
	n = sys3(SYS_sched_getaffinity, 0, sizeof(set), &set) > 0 ? CPU_COUNT(&set) : 1;
	store_relaxed(&known, n);
	return n;
}

static int look(struct ncadg_sm *a, const struct api_wait *w)
{
	for (int i = 0; i < SPIN_ROUND; i++) {
		if (is_news(a, w))
			return 1;
		cpu_relax();
	}
	return 0;
}

static void spin_paid(struct api_dir *d, uint32_t limit)
{
	__atomic_store_n(&d->spin_ns, limit < SPIN_MAX_NS / 2 ? 2 * limit : SPIN_MAX_NS, __ATOMIC_RELAXED);
}

/* Look for as long as that has paid lately. The two words are hints: threads may overwrite each other's. */
static int spin(struct ncadg_sm *a, const struct api_wait *w)
{
	struct api_dir *d = w->bit == API_DATA ? &a->rx : &a->tx;
	uint32_t limit = __atomic_load_n(&d->spin_ns, __ATOMIC_RELAXED), dull = __atomic_load_n(&d->dull, __ATOMIC_RELAXED);
	uint64_t end;

	if (n_cpus() < 2)
		return 0;
	if (!limit && dull < DULL_ROUNDS) {
		__atomic_store_n(&d->dull, dull + 1, __ATOMIC_RELAXED);
		return 0;
	}
	__atomic_store_n(&d->dull, 0, __ATOMIC_RELAXED);
	limit = limit ? limit : SPIN_MIN_NS;
	if (look(a, w)) { /* an answer that is on its way needs no clock */
		spin_paid(d, limit);
		return 1;
	}
	end = sys_now_ns() + limit;
	do {
		if (look(a, w)) {
			spin_paid(d, limit);
			return 1;
		}
	} while (sys_now_ns() < end);
	__atomic_store_n(&d->spin_ns, limit > 2 * SPIN_MIN_NS ? limit / 2 : 0, __ATOMIC_RELAXED);
	return 0;
}

static void give_way(struct ncadg_sm *a)
{
	store_release(&a->one, 0);
	add_acqrel(&a->news, 1);
	fence_storeload(); /* faces the one in sleep_behind(): the count is seen here, or the new value there */
	if (load_relaxed(&a->behind))
		futex_wake(&a->news, INT_MAX);
}

/* `seen`: what `news` was before the announcement. */
static int sleep_behind(struct ncadg_sm *a, uint32_t seen, uint64_t deadline_ns)
{
	uint64_t now = sys_now_ns();
	int err;

	if (now >= deadline_ns)
		return -ETIMEDOUT;

	add_acqrel(&a->behind, 1);
	fence_storeload();
	err = futex_wait(&a->news, seen, deadline_ns == UINT64_MAX ? -1 : (int64_t)(deadline_ns - now));
	sub_acqrel(&a->behind, 1);
	return err;
}

static int sleep_for(struct ncadg_sm *a, const struct api_wait *w, int first, uint32_t seen)
{
	if (is_news(a, w))
		return 0;
	if (!w->timeout_ms)
		return -EAGAIN;
	return first ? api_life_wait(a->life, w->deadline_ns) : sleep_behind(a, seen, w->deadline_ns);
}

int api_sleep(struct ncadg_sm *a, struct api_wait *w)
{
	uint32_t seen;
	int err, first;

	/* There were news, and they were none: another thread was faster, or the other side plays with us. It shall not keep us. */
	if (w->again && (!w->timeout_ms || (w->deadline_ns && sys_now_ns() >= w->deadline_ns)))
		return w->timeout_ms ? -ETIMEDOUT : -EAGAIN;
	if (w->again && !w->deadline_ns)
		w->deadline_ns = api_deadline(w->timeout_ms);
	w->again = 1;
	if (w->timeout_ms && spin(a, w))
		return 0;
	if (!w->deadline_ns)
		w->deadline_ns = api_deadline(w->timeout_ms);
	seen = load_acquire(&a->news);
	first = cas_acquire(&a->one, 0u, 1u);
	if (first)
		drain(a);
	announce(a, w->bit);
	err = sleep_for(a, w, first, seen);
	if (first)
		give_way(a);
	return err;
}
