/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slow_bell.c - a machine on which waking by way of memory is slow: linked into a library for tests alone (make progs: $(B)/slow/libshunt.so) in front of
 * notify_slow(). A sender takes SHUNT_TEST_BELL_US microseconds longer to ring, as long as the file SHUNT_TEST_BELL_FILE is there.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "notify.h"
#include "sys.h"

bool __real_notify_slow(struct chan *c);
bool __wrap_notify_slow(struct chan *c);

bool __wrap_notify_slow(struct chan *c)
{
	const char *us = getenv("SHUNT_TEST_BELL_US"), *file = getenv("SHUNT_TEST_BELL_FILE");
	if (us && file && sys4(SYS_faccessat, AT_FDCWD, file, 0, 0) == 0) {
		struct timespec ts = {0, atol(us) * 1000};
		sys2(SYS_nanosleep, &ts, 0);
	}
	return __real_notify_slow(c);
}
