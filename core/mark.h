/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mark.h - what a socket tells its next owner: marks on the open file description itself.
 *
 * A socket that is passed (SCM_RIGHTS) or inherited by another program may go on through memory there, if that process is its only user now: a second one that sends by the kernel
 * would put octets where nobody expects them. Only who let go can know that. He says so with locks of the kernel's (F_OFD_SETLK) on octets of the socket, which mean nothing to a
 * socket otherwise: they belong to the description, so all its copies show them, in whatever process and of whatever user; whoever has none cannot make or see them; and they end with
 * the socket, so nothing is ever left behind. F_GETLK shows them, since it asks in the process's name.
 *
 *     never    more than one process may use it: nobody links it any more
 *     exec     it was left to the program that process N becomes, at the start of that program
 *     closing  the process that holds this lock is about to close its copy, by exec: not yet. (A lock of the process's own, which ends with that.)
 *     ready    exactly one copy is left, and its holder may link it; how is told by the place of the lock
 *
 * About 1 us each: slow paths. Async-signal-safe. Who reads and changes them holds the process's lock for that socket.
 */
#ifndef SHUNT_MARK_H
#define SHUNT_MARK_H

#include <stdbool.h>
#include <stdint.h>

struct mark {
	bool linked;  /* it has a channel, whose end on our side is without a process; else it has never had one */
	uint8_t side; /* SM_CLIENT: this end connected */
	uint8_t chan; /* linked: which channel of which segment */
	int shmid;
};

/* false: the kernel does not keep such locks; the socket stays in the kernel. */
bool mark_ready(int fd, const struct mark *m);
/* May the holder of fd link it now? Then *m is what mark_ready() said, and the mark stays. */
bool mark_look(int fd, struct mark *m);
/* It is ours now, or was not left after all. */
void mark_unready(int fd);
void mark_never(int fd);
bool mark_exec(int fd, uint32_t pid);
/* It may be ready from the moment on at which this process has closed it; or not, after all. */
bool mark_closing(int fd, bool on);
/* At the start of a program, or when there was none after all: what was left to it by this process. false: there is no such mark, or it is another's. */
bool mark_exec_end(int fd, uint32_t pid);

#endif
