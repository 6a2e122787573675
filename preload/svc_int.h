/* SPDX-License-Identifier: BSD-2-Clause */
/* svc_int.h - inside the service thread: shared by svc.c (what it does) and svcrun.c (when it is there). */
#ifndef SHUNT_SVC_INT_H
#define SHUNT_SVC_INT_H

#include "bell.h"
#include "svc.h"

struct svc {
	_Atomic uint32_t running;
	_Atomic uint32_t parker; /* 0; or the tid of who has parked it, high bit: others wait */
	_Atomic uint32_t told;	 /* what it is to do: see svcrun.c */
	_Atomic uint32_t tid;	 /* 0: it has not come up yet */
	int64_t failed_ns;	 /* when it could not be started; 0: it could. Under g_lock */
	bool wanted;		 /* while parked somebody wanted it; under g_lock */
	int ep;			 /* hidden */
	int bell_fd;		 /* hidden */
	int ring_fd;		 /* hidden; rings others' bells; the one that a child of fork keeps */
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
