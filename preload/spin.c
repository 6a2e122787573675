/* SPDX-License-Identifier: BSD-2-Clause */
#include "spin.h"

#include <sys/resource.h>
#include <sys/rseq.h>
#include <time.h>

#include "atomic.h"
#include "spin_opt.h"
#include "stats.h"
#include "sys.h"

#define CLOCK_EVERY 16 /* looks; reading the clock costs more than looking */
#define LOOK_AROUND_NS 1000000
#define CHARGE_EVERY 256 /* looks; what a spin cost is charged to the budget so often */

static int64_t spin_limit_ns = SPIN_NS;

/*
 * The budget, in ns of one CPU. It fills as time goes by, up to what CREDIT_NS of time bring; spins of all threads are charged. When it is empty, nobody spins
 * until it would be filled again.
 */
#define CREDIT_NS 100000000
static struct {
	int64_t percent;
	_Atomic int64_t credit, filled, empty_until;
	_Atomic uint32_t look_ns; /* what a look costs, as measured last */
} budget = {.percent = SPIN_BUDGET, .credit = CREDIT_NS, .look_ns = 20};

static __thread struct {
	int64_t banned_until; /* 0: not */
	long n_switched;      /* involuntary switches so far, */
	long n_slept;	      /* and voluntary ones */
	int64_t seen_ns;      /* when we looked for them last, */
	int64_t seen_cpu;     /* and what CPU time we had had then */
	uint32_t looks;	      /* not charged yet */
} self __attribute__((tls_model("initial-exec")));

int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts); /* vDSO */
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

int spin_cpu(void)
{
	if (!__rseq_size)
		return -1;
	const struct rseq *r = (const struct rseq *)((const char *)__builtin_thread_pointer() + __rseq_offset);
	return (int)*(const volatile uint32_t *)&r->cpu_id;
}

bool spin_begin(struct spin *s, struct spin_run *r, bool can_pay)
{
	if (!can_pay || !spin_limit_ns)
		return false;
	uint8_t skip = load_relaxed(&s->skip);
	if (skip) {
		store_relaxed(&s->skip, (uint8_t)(skip - 1));
		return false;
	}
	if (__builtin_expect(self.banned_until || load_relaxed(&budget.empty_until), 0)) {
		int64_t now = now_ns();
		if (now < self.banned_until || now < load_relaxed(&budget.empty_until))
			return false;
		self.banned_until = 0;
		store_relaxed(&budget.empty_until, 0);
	}
	*r = (struct spin_run){.of = s};
	return true;
}

static void ban(int64_t now, int64_t lost)
{
	int64_t ns = lost * SPIN_BAN;
	self.banned_until = now + (ns < SPIN_BAN_MAX_NS ? ns : SPIN_BAN_MAX_NS);
}

/* We have lost `gap` ns. To another thread? (An interrupt, or the machine's own host, would take it from a sleeper too.) */
static bool was_switched(int64_t now, int64_t gap)
{
	struct rusage ru;
	if (sys2(SYS_getrusage, RUSAGE_THREAD, &ru) < 0 || ru.ru_nivcsw == self.n_switched)
		return false;
	self.n_switched = ru.ru_nivcsw;
	ban(now, gap);
	return true;
}

/*
 * Where spins are short, one is seldom what a switch interrupts. But if we have not slept since we looked last, the CPU time that we did not have is what others
 * took.
 */
static void look_around(int64_t now)
{
	struct rusage ru;
	if (now - self.seen_ns < LOOK_AROUND_NS || sys2(SYS_getrusage, RUSAGE_THREAD, &ru) < 0)
		return;
	int64_t cpu = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * INT64_C(1000000000) +
		      (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * INT64_C(1000);
	int64_t lost = (now - self.seen_ns) - (cpu - self.seen_cpu);
	if (ru.ru_nvcsw == self.n_slept && ru.ru_nivcsw != self.n_switched && lost > SPIN_GAP_NS)
		ban(now, lost);
	self.n_slept = ru.ru_nvcsw;
	self.n_switched = ru.ru_nivcsw;
	self.seen_ns = now;
	self.seen_cpu = cpu;
}

bool spin_again(struct spin_run *r)
{
	cpu_relax();
	if (++r->n % CLOCK_EVERY)
		return true;
	int64_t now = now_ns();
	if (!r->start) {
		r->start = r->last = now;
		return true;
	}
	int64_t gap = now - r->last;
	r->last = now;
	int64_t spun = now - r->start;
	if (spun >= SPIN_SHORT_NS && now < load_relaxed(&r->of->poor_until))
		return false;
	return spun < spin_limit_ns && !(gap > SPIN_GAP_NS && was_switched(now, gap));
}

static void charge(uint32_t looks, int64_t now)
{
	int64_t full = CREDIT_NS / 100 * budget.percent;
	int64_t since = now - atomic_exchange_explicit(&budget.filled, now, memory_order_relaxed);
	int64_t more = since > CREDIT_NS ? full : since * budget.percent / 100;
	int64_t credit = load_relaxed(&budget.credit) + more - (int64_t)looks * load_relaxed(&budget.look_ns);
	if (credit > full)
		credit = full;
	store_relaxed(&budget.credit, credit); /* two threads at once: a charge may be lost */
	if (credit < 0)
		store_relaxed(&budget.empty_until, now - credit * 100 / budget.percent);
}

/* A look was in vain; a long one is to be paid for. (Two threads at once: one payment may be lost.) */
static void pay(struct spin *s, const struct spin_run *r)
{
	if (!r->start || r->last - r->start < 2 * (int64_t)SPIN_SHORT_NS)
		return;
	int64_t from = load_relaxed(&s->poor_until), least = r->last - SPIN_CREDIT_NS;
	store_relaxed(&s->poor_until, (from > least ? from : least) + SPIN_PRICE_NS);
}

static void earn(struct spin *s)
{
	int64_t until = load_relaxed(&s->poor_until);
	if (__builtin_expect(until != 0, 0))
		store_relaxed(&s->poor_until, until - SPIN_HIT_PAYS_NS);
}

void spin_end(struct spin *s, const struct spin_run *r, bool hit)
{
	stats_spin();
	if (r->start && r->n >= 4 * CLOCK_EVERY)
		store_relaxed(&budget.look_ns, (uint32_t)((r->last - r->start) / (r->n - CLOCK_EVERY)) + 1);
	self.looks += r->n + 1;
	if (self.looks >= CHARGE_EVERY) {
		int64_t now = now_ns();
		charge(self.looks, now);
		look_around(now);
		self.looks = 0;
	}
	if (hit) {
		store_relaxed(&s->miss, 0);
		earn(s);
		return;
	}
	pay(s, r);
	uint8_t miss = load_relaxed(&s->miss);
	if (miss < SPIN_MISS_MAX)
		store_relaxed(&s->miss, ++miss);
	store_relaxed(&s->skip, (uint8_t)((1u << miss) - 2)); /* one miss is an accident */
}

void spin_configure(const char *limit, const char *percent)
{
	int64_t us = limit ? spin_parse_limit(limit) : SPIN_AUTO, pc = percent ? spin_parse_budget(percent) : -1;
	if (us >= 0)
		spin_limit_ns = us * 1000;
	if (pc >= 0)
		budget.percent = pc;
	if (pc == 0)
		spin_limit_ns = 0;
}
