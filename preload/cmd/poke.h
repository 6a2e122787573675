/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * poke.h - the one word in a running process that `shunt off` and `shunt on` write (preload/switch.h), found by way of /proc/PID/mem.
 *
 * That descriptor belongs to the process's memory, not to its number: after an exec or its end it reads and writes nothing. What is read there is the process's own and may be
 * anything; it is copied out, and no more comes of it than a bell that nobody hears.
 */
#ifndef SHUNT_POKE_H
#define SHUNT_POKE_H

#include <stdint.h>

#include "switch.h"

struct poke {
	uint32_t pid;
	int mem;
	uint64_t at; /* address of the word */
	struct switch_word w;
};

/*
 * 0, or -ESRCH (no such process, or it ends), -ENOENT (not under shunt), -EPROTO (another version's), -EACCES (the kernel does not let us), another -errno. poke_close() after a
 * success only.
 */
int poke_open(struct poke *p, uint32_t pid);
void poke_close(struct poke *p);
/* Is it worth it: a process whose maps we may read, and that has the interposer? Its memory is not looked at. */
int poke_may(uint32_t pid);
/* Off, or on: writes the wish, which is then in p->w.wish, and rings. 0; -ESRCH: it has ended, or become another program, meanwhile. */
int poke_switch(struct poke *p, int off);
/* Has it been carried out? 1, 0; -ESRCH. */
int poke_done(struct poke *p);

#endif
