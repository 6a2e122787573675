/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * threadbell.h - a thread's own bell, by which it is woken when it sleeps in poll or select: one descriptor, and a slot in each association with which it waits. Made when it is first needed, gone
 * with the thread. Of the calling thread, all of it; not under g_lock.
 */
#ifndef SHUNT_THREADBELL_H
#define SHUNT_THREADBELL_H

struct assoc;

void threadbell_init(void);
void threadbell_fork_child(void);
/* The slot in an association; -1: none to be had, and the caller naps. */
int threadbell_slot(struct assoc *a);
/* What becomes readable; there once a slot has been had. */
int threadbell_fd(void);
/* Awake: nobody need ring any more, and what has rung is forgotten. */
void threadbell_hush(void);

#endif
