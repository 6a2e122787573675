/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * set.pml - several threads wait on one epoll set: preload/epwait.c (epset_wait, wait_plain, sleep_in_kernel, collect_locked), epmember.c (epset_linked).
 *
 * One channel, N messages. T is a thread that waits without a limit; U one that waits once, may run into its time-out, and never comes back; W reads a message without
 * asking the set. An event is told, and then one message is read. Wanted: T reads whatever the others leave.
 *
 *   OUTER  T sleeps on another set, of which this one is a member; with LINK it looks at this one before that has a side
 *   LINK   at first the set has no member that can be upgraded: both threads sleep in the kernel's own wait while a third thread links the socket
 */
#ifndef N
#define N 2
#endif
#define TAIL 0
#define ARMED 1
#define SLEEPING 2
#define ANY 3
#define READY 4
#define SLEEPERS 5
#define SIDE 6	/* the set has a side instance and a bell */
#define LOCK 7
#define N_MEM 8
#define N_CPU 4
#include "tso.pml"

bool rung; /* the bell's queue; P reports it, level-triggered, to every thread in its wait */
bool hot;  /* the member; under the lock */
bool consent, exposed;
bool other; /* something else in P has an event; U's business */
byte head;

#define READ_ALL (head == N)

inline lock() { atomic { sb[me].n == 0 && mem[LOCK] == 0 -> mem[LOCK] = 1 } }
inline unlock() { XCHG(got, LOCK, 0) }

proctype sender(byte me)
{
	byte n, got;
	consent;
	do
	:: n == N -> break
	:: else ->
		n++;
		ST(TAIL, n);
		FENCE;
		if
		:: SEE(ARMED) ->
			XCHG(got, ARMED, 0);
			if
			:: got ->
				OR(READY, 1);
				ST(ANY, 1);
				FENCE;
				if
				:: SEE(SLEEPING) ->
					XCHG(got, SLEEPING, 0);
					if
					:: got -> rung = true
					:: else
					fi
				:: else
				fi
			:: else
			fi
		:: else
		fi
	od
}

#ifndef LINK
/* W: recv without waiting. */
active proctype worker()
{
	if
	:: d_step { mem[TAIL] > head -> head++ }
	:: READ_ALL
	fi
}
#else
proctype linker(byte me)
{
	byte got;
	lock();
	ST(SIDE, 1);
	hot = true;
	if
	:: SEE(SLEEPERS) || exposed -> rung = true
	:: else
	fi;
	unlock();
	consent = true
}
#endif

inline make_cold()
{
	ready = false;
	ST(SLEEPING, 1);
	if
	:: hot ->
		OR(ARMED, 1);
		FENCE;
		ready = (SEE(TAIL) != head)
	:: else
	fi;
	FENCE;
	ready = ready || SEE(ANY);
	if
	:: !ready -> hot = false
	:: else
	fi
}

/* collect_locked: n events, each told to the program */
inline collect_locked(last_)
{
	lock();
	n = 0;
	if
	:: SEE(ANY) ->
		XCHG(got, ANY, 0);
		if
		:: got ->
			XCHG(got, READY, 0);
			hot = hot || got
		:: else
		fi
	:: else
	fi;
	n = (hot && SEE(TAIL) != head);
	if
	:: (n || (last_)) && (exposed || SEE(SLEEPERS)) ->
		make_cold();
		if
		:: ready -> rung = true
		:: else
		fi
	:: else
	fi;
	unlock()
}

/* kernel_look: k is 1 if something else has an event (then `other` is over). It may be time before it comes back. */
inline kernel_look(zero_)
{
	bell = false;
	if
	:: atomic { rung -> bell = true; k = (is_u && other); other = other && !is_u }
	:: atomic { is_u && other && !rung -> k = 1; other = false }
	:: (zero_) && !rung
	:: is_u -> over = true
	:: READ_ALL -> over = true /* nobody cares */
	fi;
	if
	:: bell ->
		lock();
		rung = false;
		unlock();
		bell = false
	:: else
	fi;
	if
	:: is_u -> over = true
	:: skip
	fi
}

/* epset_wait. n + k events, or over. */
inline epset_wait()
{
	n = 0;
	k = 0;
	do
	:: true ->
		if
		:: !SEE(SIDE) ->
#ifdef PLAIN_WITHOUT_LOCK
			ADD(SLEEPERS, 1);
			kernel_look(false);
			ADD(SLEEPERS, -1);
#else
			lock();
			got = SEE(SIDE);
			if
			:: !got -> ADD(SLEEPERS, 1); unlock(); kernel_look(false); ADD(SLEEPERS, -1)
			:: else -> unlock()
			fi;
#endif
#ifdef PLAIN_LEAVES_OTHERS
			if
			:: k || !SEE(SIDE) -> break
			:: else
			fi;
			collect_locked(true)
#else
			if
			:: !SEE(SIDE) -> break
			:: else
			fi;
			collect_locked(true)
#endif
		:: else -> collect_locked(false)
		fi;
		if
		:: n + k -> break
		:: else
		fi;
		/* sleep_in_kernel */
		lock();
		ADD(SLEEPERS, 1);
		make_cold();
		unlock();
		kernel_look(ready);
		lock();
		ADD(SLEEPERS, -1);
		if
		:: !SEE(SLEEPERS) -> ST(SLEEPING, 0)
		:: else
		fi;
		unlock();
#ifdef TIMEOUT_LEAVES_OTHERS
		collect_locked(k);
#else
		collect_locked(k || over);
#endif
		if
		:: n + k || over -> break
		:: else
		fi
	od
}

inline read_one()
{
	if
	:: d_step { n && mem[TAIL] > head -> head++ }
	:: !n || mem[TAIL] == head
	fi
}

proctype T(byte me)
{
	byte n, k, got;
	bool ready, bell, over;
	bool is_u = false;
	do
	:: READ_ALL -> break
	:: else -> epset_wait(); read_one()
	od
}

#ifdef OUTER
/* epset_expose, the outer wait, and an inner one that does not wait */
inline take_bells()
{
	if
	:: SEE(ANY) ->
		XCHG(got, ANY, 0);
		if
		:: got ->
			XCHG(got, READY, 0);
			hot = hot || got
		:: else
		fi
	:: else
	fi
}

proctype outer(byte me)
{
	byte n, got;
	bool ready;
	do
	:: READ_ALL -> break
	:: else ->
		lock();
#ifndef EXPOSED_WITH_A_SIDE_ONLY
		exposed = true;
#endif
		if
		:: SEE(SIDE) ->
			exposed = true;
			take_bells();
			make_cold();
			if
			:: !ready -> rung = false; make_cold()
			:: else
			fi;
			if
			:: ready -> rung = true
			:: else
			fi
		:: else
		fi;
		unlock();
		rung || READ_ALL;
		lock();
		rung = false;
		unlock();
		collect_locked(true);
		read_one()
	od
}
#endif

proctype U(byte me)
{
	byte n, k, got;
	bool ready, bell, over;
	bool is_u = true;
	epset_wait();
	read_one()
}

init
{
	atomic {
#ifdef LINK
		run linker(3);
		other = true;
#else
		mem[SIDE] = 1;
		hot = true;
		consent = true;
#endif
		run sender(0);
#ifdef OUTER
		run outer(1)
#else
		run T(1);
		run U(2)
#endif
	}
}
