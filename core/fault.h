/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault.h - points at which a build for tests (make FAULTS=1) can be made to die, or to stop.
 *
 * A point stands where state that another process sees is half done: between two stores, or between a store and a system call. Its name is "AREA: what stands in front of it",
 * mostly "done, before next". In any other build FAULT_POINT() is nothing at all.
 *
 * All names lie in the section fault_points of the library, NUL-terminated (readelf -p fault_points): who makes a point need not tell anybody, tests/run_faults.py tries all that it finds
 * there. A name may stand at several places; then the point is any of them.
 *
 * The environment says what happens:
 *   SHUNT_FAULT=NAME[@N]            at the N-th time (1) that point is reached ...
 *   SHUNT_FAULT_ACTION=kill|stop|nap  ... the process that reaches it is killed (SIGKILL), or stopped (SIGSTOP); or the thread sleeps for 100 ms
 *   SHUNT_FAULT_BOARD=FILE          where the processes that have the same file count together (struct fault_board); without one each counts for itself
 */
#ifndef SHUNT_FAULT_H
#define SHUNT_FAULT_H

#ifdef SHUNT_FAULTS

#include <stdint.h>

/* In a file, zeroes at first. What is counted once is the point that SHUNT_FAULT names. */
struct fault_board {
	_Atomic uint32_t reached; /* how often */
	_Atomic uint32_t victim;  /* the process that has been killed or stopped there, or has napped; 0: none yet */
	_Atomic uint32_t count[]; /* of the point at this offset of the section */
};

/* Any thread, signal handlers. Before fault_init() nothing happens. */
void fault_reach(const char *point);
/* At the start of a program, while it has one thread. Each may be NULL. */
void fault_init(const char *fault, const char *action, const char *board);

#define FAULT_POINT(name)                                                                                                      \
	do {                                                                                                                   \
		static const char fault_point_[] __attribute__((section("fault_points"), used, aligned(1))) = name;            \
		fault_reach(fault_point_);                                                                                     \
	} while (0)

#else

#define FAULT_POINT(name) ((void)0)

#endif
#endif
