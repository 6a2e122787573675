/* SPDX-License-Identifier: BSD-2-Clause */
/* svc_int.h - inside the service thread: shared by svc.c (what it does) and svcrun.c (when it is there). */
#ifndef SHUNT_SVC_INT_H
#define SHUNT_SVC_INT_H

#include "bell.h"
#include "svc.h"

/*
 * Is it there? The C library makes the thread, under locks of its own that a thread of the program may hold when a handler interrupts it; and the handler may want g_lock. So
 * it is not made under that, but by who lets go of it:
 *
 *     NONE -> STARTS   under g_lock, by svc_start(), where nobody has parked it. `due` is set with it, and says so to the end of the same guard, which takes it back before it lets go of the lock.
 *     STARTS -> RUNS   or -> NONE: by that thread, once it has let go. It holds no lock and its signals are blocked; so STARTS ends without anybody else's doing, and may be waited for under
 *                      any lock of ours (though not in a handler, for longer than for a while: it may have interrupted what the C library waits for).
 *     RUNS -> NONE     by who has parked it, when it has gone.
 *     any -> NONE      in the child of fork.
 *
 * So `due` is never seen set by who has just taken the lock. A release each, which the acquires of who reads it pair with: who sees NONE sees failed_ns, and who sees RUNS has a thread that the kernel counts.
 */
enum { NONE, STARTS, RUNS };

struct svc {
	_Atomic uint32_t running;  /* NONE, ...; a futex, woken where STARTS ends */
	_Atomic uint32_t parker;   /* 0; or the tid of who has parked it, high bit: others wait */
	_Atomic uint32_t told;	   /* what it is to do: see svcrun.c */
	_Atomic uint32_t tid;	   /* 0: it has not come up yet */
	_Atomic int64_t failed_ns; /* when it could not be started; 0: it could. Written by who starts it */
	bool wanted;		   /* while parked somebody wanted it; under g_lock */
	int ep;			   /* hidden */
	int bell_fd;		   /* hidden */
	int ring_fd;		   /* hidden; rings others' bells; the one that a child of fork keeps */
	uint8_t bell_name[BELL_NAME_LEN];
};
extern struct svc svc;

/* What comes with an event: a sock (its address, and a bit if all its edges are told), an association's peer (its address, and this bit), or one of these. Addresses leave three bits. */
#define DATA_BELL 1u
#define DATA_SERVER 2u
#define DATA_LIFE 4u
#define DATA_EDGE 2u /* with an address, which makes it another value than the above */

void *svc_main(void *arg);
/* Service thread: does what it has been told. true: it is to go, and has said that it does. */
bool svc_goes(void);
/* Its epoll and its bells are there. Under g_lock. */
bool svc_open(void);
void svc_watch_raw(int op, int fd, uint32_t events, uint64_t data);

#endif
