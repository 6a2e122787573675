/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight.h - what has a name for a moment, and a process that ends in that moment.
 *
 * A rendezvous under way owns a set of semaphores, and while it is being prepared a segment that is not marked for removal yet. The
 * process may end under it: exit handlers and signal handlers run in one thread while another one is here.
 *
 *   maker   flight_begin; makes both; flight_made; the rendezvous; flight_end
 *   ender   flight_close: from now on flight_begin refuses; who has begun is waited for (a few system calls); what they made is removed
 *
 * Any thread may do either. A child of fork has the table too: entries bear the pid of who wrote them, and another's mean nothing.
 * (A child that is the first process of a pid namespace may have its parent's number: hence flight_fork_child.)
 */
#ifndef SHUNT_FLIGHT_H
#define SHUNT_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

struct flight {
	int slot;  /* -1: the table is full: if we are killed now, ept_gc() finds it */
	int semid; /* -1: none */
	uint64_t
		mask; /* signals of the thread, blocked while it makes: a handler that ends the process would wait for itself */
};

/* 0, or -ECANCELED: the process is ending. */
int flight_begin(struct flight *f);
/* All is made: `semid`, or -1, is what is left that has a name. 0, or -ECANCELED: it was removed, the process is ending. */
int flight_made(struct flight *f, int semid);
/* The rendezvous is over: the semaphores go, unless flight_close() took them. */
void flight_end(struct flight *f);

/*
 * The process is about to end, or to become another program. Async-signal-safe. Each call counts: flight_reopen() takes one back,
 * when the exec has failed.
 */
void flight_close(void);
void flight_reopen(void);
bool flight_is_closed(void);
void flight_fork_child(void); /* in the child, which has one thread: nothing is under way here, and nothing ends */

#endif
