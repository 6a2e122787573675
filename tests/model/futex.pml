/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * futex.pml - senders, and threads that sleep in recv: preload/tx.c (ring_send, after_send), notify.c (notify_slow), rx.c (turn, sleep_for_news), token.h.
 *
 * Two threads of one side send N and N2 messages, and hand the token to each other; readers of the other side sleep on one futex word. The ring has two places, so
 * that they are written again. Wanted: everything is read, in order and as it was written, and nobody sleeps on (an invalid end state).
 *
 *   READERS=2   two threads read, one message each fewer than they would like: a wake-up for one must not be lost with the other
 *   LAZY        senders leave the fence to the sleeper when they have found nobody asleep (fast.h, notify.h): they hold the token by a bias, or not, as it comes
 *   UNREGISTERED  with LAZY: the second sender's process is not registered with membarrier; it never has a bias
 *   ALONE       one sender, whose bias nobody contests
 *   NESTED      one sender, interrupted anywhere on its own thread by a handler that sends and waits for the answer
 */
#ifndef N
#define N 2
#endif
#ifndef N2
#define N2 N
#endif
#ifndef READERS
#define READERS 1
#endif
#define LEN 2

#define TAIL 0	 /* sm_end.tx_tail */
#define F_TAIL 1 /* fam_sock.tx_tail */
#define HEAD 2	 /* sm_end.rx_head, and fam_sock.rx_head */
#define RX_TAIL 3 /* fam_sock.rx_tail */
#define ARMED 4
#define FUTEX 5
#define TX_TOKEN 6
#define RX_TOKEN 7
#define IS_LAZY 8 /* sm_end.lazy */
#define RING 9
#define N_MEM (RING + LEN)
#define N_CPU 4
#ifndef DEPTH
#define DEPTH 5
#endif
#include "tso.pml"

bool asleep[READERS]; /* in FUTEX_WAIT */
byte n_read;
byte next;	       /* NESTED: the sender's next message that is to be read */
bool answered, in_handler;

#define HANDLERS 9 /* the handler's message */
bool ringing; /* the sender has taken the sleepers' bits, and not yet woken them: see docs/MEMORY-MODEL.md */

#ifdef NO_TOKEN
inline take(token_) { skip }
inline drop(token_) { FENCE }
#else
inline take(token_)
{
	atomic { sb[me].n == 0 && mem[token_] == 0 -> mem[token_] = 1 }
}
#ifdef PLAIN_DROP
inline drop(token_) { ST(token_, 0) }
#else
inline drop(token_) { XCHG(got, token_, 0) }
#endif
#endif

inline futex_wake()
{
#if READERS == 1
	asleep[0] = false
#elif defined WAKE_ONE
	if
	:: atomic { asleep[0] -> asleep[0] = false }
	:: atomic { asleep[1] -> asleep[1] = false }
	:: atomic { !asleep[0] && !asleep[1] -> skip }
	fi
#else
	d_step { asleep[0] = false; asleep[1] = false }
#endif
}

inline notify_slow()
{
	atomic { XCHG(got, ARMED, 0); ringing = got };
	if
	:: got ->
#ifdef WAKE_BEFORE_ADD
		futex_wake();
		ADD(FUTEX, 1)
#elif defined NO_ADD
		futex_wake()
#else
		ADD(FUTEX, 1);
		futex_wake()
#endif
		;
		ringing = false
	:: else
	fi
}

/* ring_send: copy, commit, publish. One try; `done`: it was committed. */
inline ring_send(what)
{
#ifndef NESTED
#ifdef PUBLISH_BEFORE_COPY
	ST(TAIL, tail + 1);
	ST(RING + tail % LEN, what);
#else
	ST(RING + tail % LEN, what);
	ST(TAIL, tail + 1);
#endif
	done = true
#else
	ST(RING + tail % LEN, what);
#ifdef COMMIT_WITHOUT_CAS
	done = true;
#else
	atomic {
		done = (SEE(F_TAIL) == tail);
#endif
		if
		:: done -> ST(F_TAIL, tail + 1)
		:: else
		fi
#ifndef COMMIT_WITHOUT_CAS
	}
#endif
	;
	if
	:: !done
	:: else ->
#ifdef TAIL_GOES_BACK
		ST(TAIL, tail + 1)
#else
		atomic {
			done = (SEE(TAIL) == tail);
			if
			:: done -> ST(TAIL, tail + 1)
			:: else
			fi
		};
		if
		:: !done && SEE(F_TAIL) == tail + 1 -> ST(TAIL, tail + 1)
		:: else
		fi;
		done = true
#endif
	fi
#endif
}

#ifdef LAZY
/* tx_look_for_sleeper, tx_grow_lazy, token_drop; and what a sender does without a bias */
inline after_send()
{
	if
	:: biased && done ->
		lazy = SEE(IS_LAZY);
		if
		:: lazy
#ifdef NO_BIASED_FENCE
		:: !lazy
#else
		:: !lazy -> FENCE
#endif
		fi;
		woken = SEE(ARMED);
		if
#ifndef CLEAR_WITHOUT_TOKEN
		:: woken && lazy -> ST(IS_LAZY, 0)
#endif
		:: !woken && !lazy ->
			ST(IS_LAZY, 1);
#ifndef NO_GROW_FENCE
			FENCE
#endif
		:: skip /* not often enough yet */
		fi
	:: !biased && done && SEE(IS_LAZY) ->
#ifndef UNFENCED_WITHOUT_BIAS
		ST(IS_LAZY, 0)
#else
		skip
#endif
	:: else
	fi;
	if
#ifdef ALONE
	:: biased
#else
	:: biased -> ST(TX_TOKEN, 0)
#endif
	:: !biased ->
#ifdef UNFENCED_WITHOUT_BIAS
		ST(TX_TOKEN, 0);
#else
		drop(TX_TOKEN);
#endif
		woken = SEE(ARMED)
	fi
}
#endif

#ifdef NESTED
#define MY_TAIL F_TAIL
#define RUNS provided(!in_handler)
#else
#define MY_TAIL TAIL
#define RUNS
#endif

proctype writer(byte me; byte n) RUNS
{
	byte tail, got, sent;
	bool done, woken, lazy, biased;
	do
	:: sent == n -> break
	:: else ->
#ifdef LAZY
		woken = false;
		lazy = false;
		if
#ifdef UNREGISTERED
		:: me == 0 ->
#else
		:: true ->
#endif
#ifdef ALONE
			biased = true
#else
			atomic { mem[TX_TOKEN] == 0 -> mem[TX_TOKEN] = 1; biased = true } /* what token.h comes to: see bias.pml */
#endif
		#ifndef ALONE
		:: atomic { sb[me].n == 0 && mem[TX_TOKEN] == 0 -> mem[TX_TOKEN] = 1 }; biased = false
#endif
		fi;
#else
		take(TX_TOKEN);
#endif
		done = false;
		do
		:: done -> break
		:: else ->
			tail = SEE(MY_TAIL);
			if
			:: tail - SEE(HEAD) == LEN -> break /* full: looks again when there is room (naps, bounded) */
			:: else
			fi;
#ifdef NESTED
			ring_send(sent + 1)
#else
			ring_send(tail + 1)
#endif
		od;
#ifdef LAZY
		after_send();
#else
		EARLY(ARMED);
		drop(TX_TOKEN);
#if defined WEAK && !defined NO_FENCE_AFTER_DROP
		FENCE; /* fence_after_drop: on x86 the exchange is it */
#endif
		woken = SEE(ARMED);
		LATE;
#endif
		if
		:: !done -> tail - SEE(HEAD) != LEN
		:: else ->
			sent++;
			if
			:: woken -> notify_slow()
			:: else
			fi
#ifdef CLEAR_WITHOUT_TOKEN
			;
			if
			:: woken && lazy -> ST(IS_LAZY, 0)
			:: else
			fi
#endif
		fi
	od
}

#ifdef NESTED
/* A signal handler on the sender's thread: it finds the token held by itself (TOKEN_NESTED) or takes it. */
proctype handler(byte me)
{
	byte tail, got;
	bool done, nested;
#ifdef RINGING_INTERRUPTED
	in_handler = true;
#else
	atomic { !ringing -> in_handler = true };
#endif
	if
	:: atomic { SEE(TX_TOKEN) == 1 -> nested = true }
	:: else -> take(TX_TOKEN)
	fi;
	do
	:: done -> break
	:: else ->
		tail = SEE(F_TAIL);
		tail - SEE(HEAD) != LEN;
		ring_send(HANDLERS)
	od;
	if
	:: !nested -> drop(TX_TOKEN)
	:: else ->
#ifdef NO_NESTED_FENCE
		skip
#else
		FENCE
#endif
	fi;
	if
	:: SEE(ARMED) -> notify_slow()
	:: else
	fi;
	answered;
	in_handler = false
}
#endif

inline consume()
{
	v = SEE(RING + head % LEN);
	d_step {
#ifdef NESTED
		if
		:: v == HANDLERS -> assert(!answered); answered = true
		:: else -> next++; assert(v == next)
		fi;
#else
		assert(v == head + 1);
#endif
		v = 0;
		n_read++
	}
}

#ifdef NESTED
#define TOTAL (N + 1)
#elif defined ALONE
#define TOTAL N
#else
#define TOTAL (N + N2)
#endif

proctype reader(byte me; byte i; byte quota)
{
	byte head, tail, rx_tail, val, v, got;
	bool lazy;
	do
	:: quota == 0 -> break
	:: else ->
#if READERS > 1
		take(RX_TOKEN);
#endif
		head = SEE(HEAD);
#if READERS > 1
		tail = SEE(RX_TAIL);
#else
		tail = rx_tail;
#endif
		if
		:: tail == head ->
			tail = SEE(TAIL);
#if READERS > 1
			ST(RX_TAIL, tail)
#else
			rx_tail = tail
#endif
		:: else
		fi;
		got = (tail != head);
		if
		:: got ->
#ifdef HEAD_BEFORE_COPY
			ST(HEAD, head + 1);
			consume();
#else
			consume();
			ST(HEAD, head + 1);
#endif
			quota--
		:: else
		fi;
		if
		:: got ->
			got = 0;
#if READERS > 1
			drop(RX_TOKEN)
#endif
		:: else -> /* sleep_for_news */
#if READERS > 1
			drop(RX_TOKEN);
#endif
#if !defined VAL_AFTER_LOOK
			val = SEE(FUTEX);
#endif
#ifdef LOOK_BEFORE_ANNOUNCE
			got = (SEE(TAIL) != tail);
#endif
#ifdef LAZY_LOOKED_AT_FIRST
			lazy = SEE(IS_LAZY);
#endif
			EARLY(TAIL);
#ifdef PLAIN_ANNOUNCE
			ST(ARMED, 1);
#else
			OR(ARMED, 1);
#endif
#ifndef NO_SLEEPER_FENCE
			FENCE;
#endif
#if defined LAZY && !defined NO_BARRIER /* fence_for_sender */
#ifndef LAZY_LOOKED_AT_FIRST
			lazy = SEE(IS_LAZY);
#endif
			if
			:: lazy ->
				MEMORY_FENCED(0);
#ifndef UNREGISTERED
				MEMORY_FENCED(1)
#endif
			:: else
			fi;
#endif
#if !defined LOOK_BEFORE_ANNOUNCE && !defined NO_SECOND_LOOK
			got = (SEE(TAIL) != tail);
#endif
			LATE;
#ifdef VAL_AFTER_LOOK
			val = SEE(FUTEX);
#endif
			if
			:: got -> got = 0
			:: else ->
				atomic { asleep[i] = (mem[FUTEX] == val); val = 0 };
				!asleep[i]
			fi
		fi;
		tail = 0;
		head = 0
	od
}

init
{
	atomic {
#ifdef NESTED
		run writer(0, N);
		run handler(0);
		run reader(1, 0, TOTAL)
#elif defined ALONE
		run writer(0, N);
		run reader(2, 0, TOTAL)
#elif READERS == 2
		run writer(0, N);
		run writer(1, N2);
		run reader(2, 0, N);
		run reader(3, 1, N2)
#else
		run writer(0, N);
		run writer(1, N2);
		run reader(2, 0, TOTAL)
#endif
	}
}
