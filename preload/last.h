/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * last.h - a process whose own threads have all ended, and in which only our service thread is left.
 *
 * Its first thread may leave by pthread_exit; the process then ends with the last of the others, and the C library counts ours among
 * them. So when the first thread has left, the service thread looks from time to time whether it is alone, and ends the process as
 * the C library would: exit(0), or as the kernel would, where the first one has made the bare system call. Whoever does not leave its first thread so, which is nearly everybody, pays nothing.
 */
#ifndef SHUNT_LAST_H
#define SHUNT_LAST_H

#include <stdbool.h>

#define LAST_MS 10 /* how often it looks */

void last_init(void); /* in the first thread, of the process or of a child of fork */
/* A thread makes the bare system call `exit`. Does not return if it is the last one of the program's. */
void last_exits(int status);
/* The first thread has left: the service thread shall look. */
bool last_is_due(void);
/* Service thread: ends the process if it is alone in it. Without /proc it cannot know, and the process stays. */
void last_look(void);

#endif
