/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bias.pml - a token that its last owner keeps: preload/token.h (token_enter, token_drop), token.c (token_bias, token_take_slow, unbias_begin, unbias_end).
 *
 * Two threads of one process take a token, add one to a counter in plain memory, and drop it; the first keeps it by a bias, the second takes the bias away. Wanted: no
 * count is lost, and nobody waits for ever. Not modelled: handlers that interrupt the owner, dead owners, waiting (naps are bounded).
 *
 *   FORK   instead of a second thread a fork, and then the child: it must not find a bias. The fork does not wait for the owner.
 */
#ifndef N
#define N 2
#endif
#define WORD 0 /* 0, or A or B and marks */
#define BUSY 1
#define DATA 2
#define HOLDERS 3
#define N_MEM 4
#define N_CPU 2
#define DEPTH 5
#include "tso.pml"

#define A 1
#define B 2
#define BIAS 4
#define REVOKE 8
#define FORKED 16

bool forked; /* the child exists: there must be no bias from here on */
byte n_done;

inline cas(from, to)
{
	atomic {
		sb[me].n == 0;
		ok = (mem[WORD] == (from));
		if
		:: ok -> mem[WORD] = (to)
		:: else
		fi
	}
}

inline count()
{
	x = SEE(DATA);
	ST(DATA, x + 1);
	atomic { x = 0; n_done++ }
}

/* token_left: a fork has made an ordinary token of it. */
inline left()
{
	if
	:: SEE(WORD) == (A | FORKED) -> cas(A | FORKED, 0)
	:: else
	fi
}

/* membarrier: every thread of a registered process is fenced. (The caller marks the word with a locked operation.) */
#ifdef NO_BARRIER
#define BARRIER skip
#else
#define BARRIER MEMORY_FENCED(0) -> MEMORY_FENCED(1)
#endif

proctype owner(byte me)
{
	byte n, x;
	bool in, biased, ok;
	do
	:: n == N -> break
	:: else ->
		in = false;
		biased = false;
		do
		:: in -> break
		:: !in && SEE(WORD) == (A | BIAS) -> /* token_enter */
			ST(BUSY, 1);
#ifdef ENTER_WITHOUT_SECOND_LOOK
			in = true; biased = true
#else
			if
			:: SEE(WORD) == (A | BIAS) -> in = true; biased = true
			:: else -> ST(BUSY, 0); left()
			fi
#endif
		:: !in && SEE(WORD) == (A | FORKED) -> /* it has left without having seen the mark */
			cas(A | FORKED, A);
			in = ok
		:: !in && SEE(WORD) == 0 ->
			cas(0, A);
			in = ok;
			if
			:: in && SEE(HOLDERS) == 1 -> /* token_bias, if this was once more in a row */
				ST(BUSY, 1);
				EARLY(HOLDERS);
				cas(A, A | BIAS);
				if
				:: !ok -> LATE; ST(BUSY, 0)
				:: else ->
#ifndef NO_BIAS_FENCE
					FENCE;
#endif
					if
					:: SEE(HOLDERS) == 1 -> LATE; biased = true
					:: else ->
						LATE;
						cas(A | BIAS, A);
						if
						:: ok -> ST(BUSY, 0)
						:: else -> biased = true
						fi
					fi
				fi
			:: skip
			fi
		od;
		count();
		n++;
		if
		:: biased ->
#ifdef LEFT_BEFORE_DONE
			skip
#else
			ST(BUSY, 0);
			left()
#endif
		:: else -> atomic { sb[me].n == 0 -> mem[WORD] = 0 }
		fi
	od
}

inline take_away()
{
#ifdef BUSY_LOOKED_AT_FIRST
	SEE(BUSY) == 0;
	BARRIER;
#else
	BARRIER;
#ifndef BUSY_NOT_LOOKED_AT
	SEE(BUSY) == 0;
#endif
#endif
	skip
}

#ifndef FORK
proctype other(byte me)
{
	byte n, x;
	bool in, ok;
	do
	:: n == N -> break
	:: else ->
		in = false;
		do
		:: in -> break
		:: !in && SEE(WORD) == 0 -> cas(0, B); in = ok
		:: !in && SEE(WORD) == (A | BIAS) ->
			cas(A | BIAS, A | BIAS | REVOKE);
			if
			:: ok -> take_away(); cas(A | BIAS | REVOKE, B); in = true
			:: else
			fi
		od;
		count();
		n++;
		atomic { sb[me].n == 0 -> mem[WORD] = 0 }
	od
}
#define TOTAL (2 * N)
#else
/* sock_fork_prepare; and the child */
proctype other(byte me)
{
	byte x;
	bool ok;
	EARLY(WORD);
	ADD(HOLDERS, 1);
#ifndef NO_FORK_FENCE
	FENCE;
#endif
	if
	:: SEE(WORD) == (A | BIAS) ->
		LATE;
		cas(A | BIAS, A | BIAS | REVOKE);
		if
		:: ok ->
			BARRIER;
			if
			:: SEE(BUSY) == 0 -> cas(A | BIAS | REVOKE, 0)
			:: else ->
				cas(A | BIAS | REVOKE, A | FORKED);
#ifndef NO_SECOND_BARRIER
				BARRIER;
#endif
#ifndef NO_SECOND_LOOK
				if
				:: SEE(BUSY) == 0 -> cas(A | FORKED, 0)
				:: else
				fi
#endif
			fi
		:: else
		fi
	:: else -> LATE
	fi;
	forked = true;
	do
	:: SEE(WORD) == 0 ->
		cas(0, B);
		if
		:: ok -> break
		:: else
		fi
	od;
	count();
	atomic { sb[me].n == 0 -> mem[WORD] = 0 }
}
#define TOTAL (N + 1)
#endif

active proctype watch()
{
end:	timeout;
	assert(mem[DATA] == TOTAL)
}

init
{
	atomic {
		mem[HOLDERS] = 1;
		run owner(0);
		run other(1)
	}
}
