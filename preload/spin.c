/* SPDX-License-Identifier: BSD-2-Clause */
#include "spin.h"

#include <sys/rseq.h>
#include <time.h>

#include "atomic.h"
#include "assoc.h"
#include "stats.h"

int64_t spin_limit_ns = SPIN_NS;

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

bool spin_begin(struct spin *s, struct spin_run *r, bool peer_elsewhere)
{
	if (!peer_elsewhere || !spin_limit_ns)
		return false;
	if (s->skip) {
		s->skip--;
		return false;
	}
	r->n = 0;
	r->end = 0;
	return true;
}

bool spin_again(struct spin_run *r)
{
	cpu_relax();
	if (++r->n & 15)
		return true;
	int64_t now = now_ns();
	if (!r->end) {
		r->end = now + spin_limit_ns;
		r->last = now;
	}
	bool ok = now < r->end && now - r->last < SPIN_GAP_NS;
	r->last = now;
	return ok;
}

void spin_end(struct spin *s, bool hit)
{
	stats_spin();
	if (hit) {
		s->miss = 0;
		return;
	}
	if (s->miss < SPIN_MISS_MAX)
		s->miss++;
	s->skip = (uint8_t)((1u << s->miss) - 2); /* one miss is an accident */
}
