/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bare_ring - the limit to compare with: two processes that spin on a ring in shared memory, with no socket interface, no sleeping,
 * no second user to exclude. Prints round trips (rr) or messages (stream) a second.
 *
 * One writer, one reader. The writer owns `tail`, the reader owns `head`, each on a line of its own, and each side keeps a copy of the
 * other's index that it renews only when the copy says "full" or "empty". Messages are copied in by the writer and out by the
 * reader, as a socket's would be; both have the cost of two copies and of moving the lines between two cores, and nothing else.
 * A long message is published in parts, so that the reader copies one part out while the writer copies the next one in.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>

#include "net.h"

#define RING_MAX (1u << 22)
#define LONGEST (1u << 20)

struct ring {
	_Alignas(128) _Atomic uint64_t tail; /* bytes written, ever; the writer's */
	_Alignas(128) _Atomic uint64_t head; /* bytes read, ever; the reader's */
	_Alignas(4096) char data[RING_MAX];
};

struct shared {
	struct ring ring[2];
	_Alignas(128) _Atomic int stop;
};

/* One side's private view of a ring. */
struct end {
	struct ring *r;
	uint64_t own, other; /* own index; copy of the other side's */
};

/*
 * A small ring stays in the nearest caches of both cores, and a part that is no longer than a few of its lines is copied out
 * before it has left them: these lengths were the fastest of those from 4 KiB to 4 MiB and 512 to 16384.
 */
static uint64_t ring_len, part = 2048;

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

static inline void ring_copy(struct ring *r, uint64_t pos, char *buf, uint64_t n, int in)
{
	uint64_t at = pos & (ring_len - 1), first = ring_len - at < n ? ring_len - at : n;

	if (in) {
		memcpy(r->data + at, buf, first);
		memcpy(r->data, buf + first, n - first);
	} else {
		memcpy(buf, r->data + at, first);
		memcpy(buf + first, r->data, n - first);
	}
}

/* 0: told to stop while waiting. */
static inline int put(struct end *e, char *buf, uint64_t len, _Atomic int *stop)
{
	while (len) {
		uint64_t n = len < part ? len : part;

		while (ring_len - (e->own - e->other) < n) {
			e->other = atomic_load_explicit(&e->r->head, memory_order_acquire);
			if (ring_len - (e->own - e->other) >= n)
				break;
			if (atomic_load_explicit(stop, memory_order_relaxed))
				return 0;
			relax();
		}
		ring_copy(e->r, e->own, buf, n, 1);
		e->own += n;
		atomic_store_explicit(&e->r->tail, e->own, memory_order_release);
		buf += n;
		len -= n;
	}
	return 1;
}

static inline int get(struct end *e, char *buf, uint64_t len, _Atomic int *stop)
{
	while (len) {
		uint64_t n = len < part ? len : part;

		while (e->other - e->own < n) {
			e->other = atomic_load_explicit(&e->r->tail, memory_order_acquire);
			if (e->other - e->own >= n)
				break;
			if (atomic_load_explicit(stop, memory_order_relaxed))
				return 0;
			relax();
		}
		ring_copy(e->r, e->own, buf, n, 0);
		e->own += n;
		atomic_store_explicit(&e->r->head, e->own, memory_order_release);
		buf += n;
		len -= n;
	}
	return 1;
}

/* To the nth core of those that this process may use. */
static void pin(int nth)
{
	cpu_set_t may, set;
	size_t cpu;

	if (sched_getaffinity(0, sizeof(may), &may))
		die("sched_getaffinity");
	CPU_ZERO(&set);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may) && nth-- == 0)
			CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void reader(struct shared *s, int rr, char *buf, uint64_t len)
{
	struct end in = {.r = &s->ring[0]}, out = {.r = &s->ring[1]};

	while (get(&in, buf, len, &s->stop))
		if (rr && !put(&out, buf, len, &s->stop))
			break;
}

static void writer(struct shared *s, int rr, char *buf, uint64_t len, uint64_t ms)
{
	struct end out = {.r = &s->ring[0]}, in = {.r = &s->ring[1]};
	uint64_t start = now_ns(), from = 0, t, n = 0;

	for (;;) {
		put(&out, buf, len, &s->stop);
		if (rr)
			get(&in, buf, len, &s->stop);
		if (++n % 64 && len < 65536)
			continue;
		t = now_ns();
		if (!from && t - start >= ms * 200000) {
			from = t;
			n = 0;
		}
		if (from && t - from >= ms * 1000000)
			break;
	}
	while (!rr && atomic_load_explicit(&s->ring[0].head, memory_order_acquire) != out.own)
		relax();
	t = now_ns() - from;
	atomic_store(&s->stop, 1);
	report(n, t);
}

int main(int argc, char **argv)
{
	unsigned long len = 64, ms = 500;
	cpu_set_t may;
	struct shared *s;
	static char buf[LONGEST];
	int o, rr = 1, st;
	pid_t pid;

	while ((o = getopt(argc, argv, "m:s:t:r:k:")) != -1)
		switch (o) {
		case 'm':
			rr = !strcmp(optarg, "rr") ? 1 : !strcmp(optarg, "stream") ? 0 : -1;
			break;
		case 's':
			len = number("-s", optarg, 1, LONGEST);
			break;
		case 't':
			ms = number("-t", optarg, 1, 600000);
			break;
		case 'r':
			ring_len = UINT64_C(1) << number("-r", optarg, 12, 22);
			break;
		case 'k':
			part = number("-k", optarg, 64, RING_MAX);
			break;
		default:
			rr = -1;
		}
	if (!ring_len)
		ring_len = len <= part ? 1u << 12 : 1u << 14;
	if (rr < 0 || optind != argc || part > ring_len) {
		fputs("usage: bare_ring [-m rr|stream] [-s LEN] [-t MILLISECONDS] [-r LOG2_RING] [-k PART]\n", stderr);
		return 2;
	}
	if (sched_getaffinity(0, sizeof(may), &may) || CPU_COUNT(&may) < 2) {
		fputs("bare_ring: two spinning processes need two cores\n", stderr);
		return 3;
	}
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		die("mmap");
	pid = fork();
	if (pid < 0)
		die("fork");
	pin(pid ? 0 : 1);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		reader(s, rr, buf, len);
		_exit(0);
	}
	writer(s, rr, buf, len, ms);
	waitpid(pid, &st, 0);
	return st != 0;
}
