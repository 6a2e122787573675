/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leave.h - a process that goes back to the kernel for good.
 *
 * What is about to happen to it takes away what shared memory needs: another network namespace (bells have their names in one), another IPC namespace (semaphores),
 * no more threads (a new process namespace), two tables of descriptors in one process, or a filter of system calls. So all sockets go down, as at an exec,
 * and are forgotten without being closed; epoll sets get their members back; endpoints leave the map. After that every replaced name makes the program's
 * own system call and no other.
 */
#ifndef SHUNT_LEAVE_H
#define SHUNT_LEAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"

/* 0; LEAVING: no socket is made known any more; LEFT: and all are in the kernel; LEFT_SEALED: and we make no system call of our own. */
enum { LEAVING = 1, LEFT, LEFT_SEALED };
extern _Atomic uint32_t leave_state;

static inline bool leave_done(void)
{
	return load_acquire(&leave_state) != 0;
}

static inline bool leave_over(void)
{
	return load_acquire(&leave_state) >= LEFT;
}

static inline bool leave_sealed(void)
{
	return load_acquire(&leave_state) == LEFT_SEALED;
}

/* cause: for the log, behind "because". Any program thread, not under g_lock; waits for peers as an exec does. Where another thread is leaving, waits until that is over. Signals wait meanwhile. Before sealing the statistics are written, and signals get their default action back. */
void leave(bool seal, const char *cause);
/* In the child of fork: a thread that was leaving is the parent's; who comes next goes on with it. */
void leave_fork_child(void);

#endif
