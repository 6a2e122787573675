/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.h - a seccomp filter that was there before the program: does it let shunt live?
 *
 * A service manager's filter (systemd's SystemCallFilter=) ends the process at the first call that it does not allow, and what the program itself
 * calls says nothing of what we call. Nobody can ask a filter. So before the first socket is made known, a child makes the calls that a program of sockets would not
 * make itself, with words that the kernel refuses; if that is its end, this process stays in the kernel (leave.h). A filter that answers with an
 * error, as a container's does, is passed: such errors are met where they come. (A filter that the program sets: i_ns.c.)
 *
 * A filter that ends who calls prctl or clone ends the program here; it would have been ended by the service thread's start. And membarrier (barrier.h) and getdents64 (adopt.h)
 * are called when the library is loaded.
 */
#ifndef SHUNT_FILTER_H
#define SHUNT_FILTER_H

#include <stdbool.h>

/*
 * true: this process has left, or nobody could be found who tries: not now. Asks once, and without a filter makes one system call for that. Any thread; also under
 * g_lock, since there is no socket yet.
 */
bool filter_forbids(void);
/* As far as is known: nothing is tried. Also in a child of vfork. */
bool filter_may_forbid(void);

#endif
