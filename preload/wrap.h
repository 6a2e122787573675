/* SPDX-License-Identifier: BSD-2-Clause */
/* wrap.h - what every replaced function does with its result. */
#ifndef SHUNT_WRAP_H
#define SHUNT_WRAP_H

#include <errno.h>
#include <pthread.h>

#include "real.h"
#include "sock.h"

/* -errno inside, errno and -1 outside; errno is untouched on success. The one place where it is set. */
static inline long wrap_result(long r)
{
	if (__builtin_expect(r < 0, 0)) {
		errno = (int)-r;
		return -1;
	}
	return r;
}

/* A call that the ring can answer is a cancellation point all the same. Nothing is held. */
static inline void wrap_testcancel(void)
{
	if (__builtin_expect(load_relaxed(&cancels), 0))
		pthread_testcancel();
}

/* Is this the process that the tables describe? A child of vfork, _Fork or raw clone shares or copies them without our knowing: it must not change them. */
bool wrap_own_process(void);

#endif
