/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * atomic.h - the memory order is in the operation's name.
 *
 * Every access to memory that another thread or process may touch goes through these; a plain load of an _Atomic object (which
 * would be sequentially consistent, silently) is a mistake. Usable from any thread and signal handler.
 */
#ifndef SHUNT_ATOMIC_H
#define SHUNT_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

#define load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define xchg_acqrel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define add_acqrel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define sub_acqrel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define or_acqrel(p, v) atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)
#define and_acqrel(p, v) atomic_fetch_and_explicit((p), (v), memory_order_acq_rel)
/* true: *p was `from` and is now `to`; acquire on success */
#define cas_acquire(p, from, to)                                                                                               \
	__extension__({                                                                                                        \
		__typeof__(from) cas_from_ = (from);                                                                           \
		atomic_compare_exchange_strong_explicit((p), &cas_from_, (to), memory_order_acquire, memory_order_relaxed);    \
	})
#define cas_acqrel(p, from, to)                                                                                                \
	__extension__({                                                                                                        \
		__typeof__(from) cas_from_ = (from);                                                                           \
		atomic_compare_exchange_strong_explicit((p), &cas_from_, (to), memory_order_acq_rel, memory_order_relaxed);    \
	})

/* Store-load order: what was stored before is visible to others before anything after is loaded. The one fence that x86 needs. */
static inline void fence_storeload(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/* Between reading what a counter guards and reading the counter again. */
static inline void fence_acquire(void)
{
	atomic_thread_fence(memory_order_acquire);
}

/*
 * Compare-and-swap that is atomic only towards this thread's own signal handlers: the word is guarded by a token, but a handler that
 * interrupts the holder is let in. On x86 that is the plain instruction without the lock, a tenth of its price.
 */
static inline _Bool cas_own_thread(_Atomic uint64_t *p, uint64_t from, uint64_t to)
{
#if defined(__x86_64__)
	_Bool ok;
	__asm__ volatile("cmpxchgq %3, %0" : "+m"(*p), "+a"(from), "=@ccz"(ok) : "r"(to) : "memory");
	return ok;
#else
	return atomic_compare_exchange_strong_explicit(p, &from, to, memory_order_release, memory_order_relaxed);
#endif
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif
