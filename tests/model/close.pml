/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * close.pml - the reader closes while the sender sends: preload/link.c (end_marks), fast.h (tx_peer_left), tx.c (tx_unsend).
 *
 * A closer marks its end, and then looks whether octets lie unread; a sender publishes, and then looks at the mark. Wanted: an octet that nobody will read is answered, by
 * the closer (which closes with a reset) or by the sender (which sends it again by the kernel, and that resets).
 *
 *   LAZY   the sender leaves its fence to the closer
 */
#define TAIL 0
#define FLAGS 1
#define IS_LAZY 2
#define N_MEM 3
#define N_CPU 2
#include "tso.pml"

#define N 2
#define CLOSED 1

bool reset, closed;
byte unsent;

proctype sender(byte me)
{
	byte n;
	do
	:: n == N -> break
	:: else ->
		n++;
		ST(TAIL, n);
		EARLY(FLAGS);
#ifndef NO_SENDER_FENCE
		if
		:: SEE(IS_LAZY)
		:: else -> FENCE
		fi;
#endif
		if
		:: SEE(FLAGS) -> LATE; unsent = n; break
		:: else -> LATE
		fi
	od
}

proctype closer(byte me)
{
	byte head, tail;
	do
	:: head < SEE(TAIL) -> head++
	:: true -> break
	od;
	EARLY(TAIL);
	OR(FLAGS, CLOSED);
#ifndef NO_CLOSER_FENCE
	FENCE;
#endif
#ifndef NO_BARRIER
	if
	:: SEE(IS_LAZY) -> MEMORY_FENCED(0)
	:: else
	fi;
#endif
	reset = (SEE(TAIL) != head);
	LATE;
	timeout;
	assert(reset || unsent > head || mem[TAIL] == head)
}

init
{
	atomic {
#ifdef LAZY
		mem[IS_LAZY] = 1;
#endif
		run sender(0);
		run closer(1)
	}
}
