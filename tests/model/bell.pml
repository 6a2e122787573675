/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bell.pml - who sleeps in poll or epoll, and is woken through a bell socket: preload/notify.c (notify_bell), epready.c (epset_make_cold, epset_take_bells), epwait.c (kernel_look,
 * epset_expose), waitset.c (announce, withdraw), svc.c (serve_requests).
 *
 * Two channels with a sender each, N and N2 messages; one sleeper, whose bell has one place in shared memory for both. What the token's exchange does for a
 * sender is a fence here (see futex.pml). Wanted: everything is read, and the sleeper does not sleep on.
 *
 *   (nothing)  an epoll set; hot members may go cold one by one
 *   EXPOSED    an epoll set that another set, or poll, watches from outside
 *   POLL       a thread in poll
 *   SVC        a service thread, which senders ring without being asked to
 *   LAZY       with the first or POLL: the senders leave their fences to the sleeper until they find it asleep (see futex.pml)
 */
#ifndef N
#define N 2
#endif
#ifndef N2
#define N2 1
#endif
#define TAIL 0	/* two: sm_end.tx_tail; SVC: want_back */
#define ARMED 2 /* two */
#define SLEEPING 4
#define ANY 5
#define READY 6
#define IS_LAZY 7 /* two: sm_end.lazy */
#define N_MEM 9
#define N_CPU 3
#include "tso.pml"

bool rung; /* the socket's queue; a full one is as good */
byte head[2];

inline notify_bell()
{
#ifdef ANY_BEFORE_READY
	ST(ANY, 1);
	OR(READY, 1 << c);
#else
	OR(READY, 1 << c);
	ST(ANY, 1);
#endif
#ifndef NO_RINGER_FENCE
	FENCE;
#endif
	if
	:: SEE(SLEEPING) ->
		XCHG(got, SLEEPING, 0);
		if
		:: got -> rung = true
		:: else
		fi
	:: else
	fi
}

proctype sender(byte me; byte c)
{
	byte n, got;
	do
	:: n == (c == 0 -> N : N2) -> break
	:: else ->
		n++;
		ST(TAIL + c, n);
#ifdef LAZY
		if
		:: SEE(IS_LAZY + c)
		:: else -> FENCE
		fi;
#else
		FENCE;
#endif
#ifdef SVC
		notify_bell()
#else
		if
		:: SEE(ARMED + c) ->
#ifdef LAZY
			ST(IS_LAZY + c, 0);
#endif
			XCHG(got, ARMED + c, 0);
			if
			:: got -> notify_bell()
			:: else
			fi
		:: else
		fi
#endif
	od
}

#define READ_ALL (head[0] == N && head[1] == N2)

/* What the program does with an event: one message is read. */
inline take(ch)
{
	d_step { head[ch]++; assert(head[ch] <= N) }
}

/* A ready bit is looked at before it is exchanged, and so is `any`. */
inline take_bells()
{
#ifdef READY_BEFORE_ANY
	XCHG(got, READY, 0);
	hot = hot | got;
	XCHG(got, ANY, 0);
#else
	if
	:: SEE(ANY) ->
		XCHG(got, ANY, 0);
		if
		:: got ->
			XCHG(got, READY, 0);
			hot = hot | got
		:: else
		fi
	:: else
	fi;
#endif
	got = 0
}

/* One membarrier for all senders (fence_for_sender has the same for one). */
#if defined LAZY && !defined NO_BARRIER
inline barrier()
{
	if
	:: SEE(IS_LAZY) || SEE(IS_LAZY + 1) -> MEMORY_FENCED(0); MEMORY_FENCED(1)
	:: else
	fi
}
#else
inline barrier() { skip }
#endif

inline look_at(ch)
{
	ready = ready || SEE(TAIL + ch) != head[ch]
}

/* epset_arm: `ready` if there is something already. */
inline arm(ch)
{
	EARLY(TAIL + ch);
	OR(ARMED + ch, 1);
#ifndef NO_ARM_FENCE
	FENCE;
#endif
	barrier();
#ifndef NO_ARM_LOOK
	look_at(ch);
#endif
	LATE
}

inline make_cold()
{
	ready = false;
#ifndef SLEEPING_LAST
	ST(SLEEPING, 1);
#endif
	if
	:: hot & 1 -> OR(ARMED, 1)
	:: else
	fi;
	if
	:: hot & 2 -> OR(ARMED + 1, 1)
	:: else
	fi;
#ifndef NO_COLD_FENCE
	FENCE;
#endif
	barrier();
#ifndef NO_COLD_LOOK
	if
	:: hot & 1 -> look_at(0)
	:: else
	fi;
	if
	:: hot & 2 -> look_at(1)
	:: else
	fi;
#endif
#ifndef NO_ANY_LOOK
	ready = ready || SEE(ANY);
#endif
#ifdef SLEEPING_LAST
	ST(SLEEPING, 1);
#endif
	if
	:: !ready -> hot = 0
	:: else
	fi
}

/* cool_down: one member alone. Only when there are more than N_HOT, so that it may happen or not. */
inline cool_down(ch)
{
	if
	:: (hot >> ch) & 1 ->
		ready = false;
		arm(ch);
		if
		:: !ready -> hot = hot & ~(1 << ch)
		:: else
		fi
	:: skip
	fi
}

/* Events of hot members; n: one was there, and what it told of has been read. */
inline collect()
{
	n = 0;
	take_bells();
	if
	:: (hot & 1) && SEE(TAIL) != head[0] -> take(0); n = 1
	:: else
	fi;
	if
	:: (hot & 2) && SEE(TAIL + 1) != head[1] -> take(1); n = 1
	:: else
	fi
}

#ifdef EXPOSED
inline leave_cold()
{
	make_cold();
	if
	:: ready -> rung = true
	:: else
	fi
}

inline expose()
{
	take_bells();
	make_cold();
	if
	:: !ready ->
		rung = false;
#ifndef NO_SECOND_COLD
		make_cold()
#endif
	:: else
	fi;
	if
	:: ready -> rung = true
	:: else
	fi
}

proctype sleeper(byte me)
{
	byte hot, got, n;
	bool ready;
	hot = 3;
	do
	:: READ_ALL -> break
	:: else ->
		expose();
		rung; /* the outer wait */
		/* the program asks the inner set, without waiting */
		rung = false;
		collect();
		leave_cold()
	od
}

#elif defined POLL
inline announce(ch)
{
	ST(ANY, 0);
#ifndef SLEEPING_LAST
	ST(SLEEPING, 1);
#endif
	OR(ARMED + ch, 1)
}

inline look()
{
	n = 0;
	if
	:: SEE(TAIL) != head[0] -> n = 1
	:: else
	fi;
	if
	:: SEE(TAIL + 1) != head[1] -> n = n | 2
	:: else
	fi
}

proctype sleeper(byte me)
{
	byte n;
	do
	:: READ_ALL -> break
	:: else ->
		look();
		if
		:: n == 0 ->
			EARLY(TAIL);
			announce(0);
			announce(1);
#ifndef NO_POLL_FENCE
			FENCE;
#endif
			barrier();
#ifndef NO_POLL_LOOK
			look();
#endif
			LATE;
#ifdef SLEEPING_LAST
			ST(SLEEPING, 1);
#endif
			if
			:: n == 0 -> rung
			:: else
			fi;
			ST(SLEEPING, 0);
			rung = false;
			look()
		:: else
		fi;
		if
		:: n & 1 -> take(0)
		:: n & 2 -> take(1)
		:: else
		fi;
		n = 0
	od
}

#elif defined SVC
proctype sleeper(byte me)
{
	byte got;
	do
	:: READ_ALL -> break
	:: else ->
#ifndef DRAIN_LAST
		rung = false;
#endif
		EARLY(ANY);
#ifndef SLEEPING_LAST
		ST(SLEEPING, 1);
#ifndef NO_SVC_FENCE
		FENCE;
#endif
#endif
		got = 0;
		if /* an exchange that finds 0 is no more than a load */
		:: SEE(ANY) -> XCHG(got, ANY, 0)
		:: else
		fi;
		LATE;
		if
		:: got ->
			XCHG(got, READY, 0);
			if
			:: got & 1 -> head[0] = SEE(TAIL)
			:: else
			fi;
			if
			:: got & 2 -> head[1] = SEE(TAIL + 1)
			:: else
			fi
		:: else
		fi;
		got = 0;
#ifdef DRAIN_LAST
		rung = false;
#endif
#ifdef SLEEPING_LAST
		ST(SLEEPING, 1);
		FENCE;
#endif
		if
		:: READ_ALL
		:: else -> rung
		fi
	od
}

#else
proctype sleeper(byte me)
{
	byte hot, got, n;
	bool ready;
	hot = 3;
	do
	:: READ_ALL -> break
	:: else ->
		collect();
		if
		:: n == 0 -> /* sleep_in_kernel */
			cool_down(0);
			make_cold();
			if
			:: ready
			:: else -> rung
			fi;
			rung = false;
			ST(SLEEPING, 0)
		:: else
		fi
	od
}
#endif

init
{
	atomic {
#ifdef LAZY
		mem[IS_LAZY] = 1;
		mem[IS_LAZY + 1] = 1;
#endif
		run sender(0, 0);
		run sender(1, 1);
		run sleeper(2)
	}
}
