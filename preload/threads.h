/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * threads.h - which threads are left.
 *
 * The C library ends a process, by exit(0), in the last thread that ends. It counts the service thread among them. While the main thread lives that makes no difference: its
 * return ends the process. When it ends alone (pthread_exit, thrd_exit, cancellation), the service thread looks every 20 ms whether it is the last, and
 * then returns: exit(0) follows there. To know that, it needs /proc: without it such a process does not end.
 */
#ifndef SHUNT_THREADS_H
#define SHUNT_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"

/* The main thread has ended, or is about to. */
extern _Atomic uint32_t threads_main_gone;
/* Is the caller the only thread of the process? When that cannot be known: no. */
bool threads_alone(void);
/* Is the caller the only thread but for `ours` of ours? The same. */
bool threads_alone_but(unsigned ours);
/* Service thread: is nothing left but this thread and a main thread that has ended? */
bool threads_ours_is_last(void);
/* Service thread: exit handlers find the signal mask that the main thread had. */
void threads_as_main(void);
void threads_init(void);
void threads_fork_child(void);

#endif
