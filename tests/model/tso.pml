/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tso.pml - memory as x86 has it, for models that include this file. Promela's own memory is sequentially consistent, which would hide what fences are for.
 *
 * Each processor has a queue of stores (FIFO) before it. A load sees the newest store of its own queue to that address, else memory. Stores reach memory one by one, at any
 * time (process `drain`). A locked instruction and a fence wait until the own queue is empty. Kernel calls are NOT taken for fences: a model that holds without is the
 * stronger statement.
 *
 * A model defines N_MEM (addresses), N_CPU (processors) and maybe DEPTH (stores that a queue holds), and each of its processes has a variable or parameter `me`,
 * its processor. STRICT: that a queue is never full is checked, too; else a store waits for room. Several processes on one processor are interrupt handlers of each other.
 *
 * SC: no queues, for what is large and not a matter of fences.
 *
 * WEAK adds what aarch64 allows around a locked operation that is acquire and release only: a later load may be carried out before it. EARLY(a), written
 * before the operation, is that load; whoever looks at `a` with SEE() later sees the early value, unless a fence has come between.
 */
#ifndef DEPTH
#define DEPTH 3
#endif

byte mem[N_MEM];

typedef queue {
	byte n;
	byte at[DEPTH];
	byte v[DEPTH];
};
queue sb[N_CPU];

#define Q(i, a, older) (sb[me].n > (i) && sb[me].at[i] == (a) -> sb[me].v[i] : older)
#define Q2(a) Q(1, a, Q(0, a, mem[a]))
#define Q3(a) Q(2, a, Q2(a))
#define Q4(a) Q(3, a, Q3(a))
#define Q5(a) Q(4, a, Q4(a))
#if defined SC
#define SB_OR_MEM(a) mem[a]
#elif DEPTH == 3
#define SB_OR_MEM(a) Q3(a)
#elif DEPTH == 4
#define SB_OR_MEM(a) Q4(a)
#elif DEPTH == 5
#define SB_OR_MEM(a) Q5(a)
#elif DEPTH == 7
#define SB_OR_MEM(a) Q(6, a, Q(5, a, Q5(a)))
#endif

#ifdef WEAK
#define NOWHERE 255
byte early_at[N_CPU] = NOWHERE;
byte early_v[N_CPU];
#define SEE(a) (early_at[me] == (a) -> early_v[me] : SB_OR_MEM(a))
inline EARLY(where_)
{
	if
	:: atomic { early_v[me] = SB_OR_MEM(where_); early_at[me] = where_ }
	:: skip
	fi
}
#define FENCE atomic { sb[me].n == 0 -> early_at[me] = NOWHERE }
#define LATE early_at[me] = NOWHERE /* the looks are over */
#else
#define SEE(a) SB_OR_MEM(a)
#define EARLY(a) skip
#define FENCE (sb[me].n == 0)
#define LATE skip
#endif

#define MEMORY_FENCED(cpu) (sb[cpu].n == 0)

inline ST(where_, what_)
{
#ifdef SC
	mem[where_] = what_
#else
	atomic {
#ifdef STRICT
		assert(sb[me].n < DEPTH);
#else
		sb[me].n < DEPTH;
#endif
		sb[me].at[sb[me].n] = where_;
		sb[me].v[sb[me].n] = what_;
		sb[me].n++
	}
#endif
}

/* Locked operations; `old_` gets the value before. */
inline XCHG(old_, where_, what_)
{
	atomic {
		sb[me].n == 0;
		old_ = mem[where_];
		mem[where_] = what_
	}
}

inline OR(where_, bits_)
{
	atomic {
		sb[me].n == 0;
		mem[where_] = mem[where_] | (bits_)
	}
}

inline AND(where_, but_)
{
	atomic {
		sb[me].n == 0;
		mem[where_] = mem[where_] & (255 - (but_))
	}
}

inline ADD(where_, by_)
{
	atomic {
		sb[me].n == 0;
		mem[where_] = mem[where_] + (by_)
	}
}

#define SHIFT(cpu, i) sb[cpu].at[i - 1] = sb[cpu].at[i]; sb[cpu].v[i - 1] = sb[cpu].v[i]; sb[cpu].at[i] = 0; sb[cpu].v[i] = 0
inline drain_one(cpu)
{
	mem[sb[cpu].at[0]] = sb[cpu].v[0];
	sb[cpu].at[0] = 0; sb[cpu].v[0] = 0;
	SHIFT(cpu, 1);
	SHIFT(cpu, 2);
#if DEPTH > 3
	SHIFT(cpu, 3);
#endif
#if DEPTH > 4
	SHIFT(cpu, 4);
#endif
#if DEPTH > 5
	SHIFT(cpu, 5);
	SHIFT(cpu, 6);
#endif
	sb[cpu].n--
}

active proctype drain()
{
end:	do
	:: d_step { sb[0].n > 0 -> drain_one(0) }
#if N_CPU > 1
	:: d_step { sb[1].n > 0 -> drain_one(1) }
#endif
#if N_CPU > 2
	:: d_step { sb[2].n > 0 -> drain_one(2) }
#endif
#if N_CPU > 3
	:: d_step { sb[3].n > 0 -> drain_one(3) }
#endif
#if N_CPU > 4
	:: d_step { sb[4].n > 0 -> drain_one(4) }
#endif
	od
}
