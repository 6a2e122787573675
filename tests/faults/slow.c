/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slow.c - a machine on which waking by one of the two ways is slow: linked into a library for tests alone (make progs: $(B)/slow/libshunt.so) in front of
 * notify_slow() and trial_send(). A sender takes SHUNT_TEST_BELL_US microseconds longer to ring, as long as the file SHUNT_TEST_BELL_FILE is there; and
 * SHUNT_TEST_KERNEL_US longer for a message that goes by the kernel because its channel rests.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "notify.h"
#include "sys.h"
#include "trial.h"

bool __real_notify_slow(struct chan *c);
bool __wrap_notify_slow(struct chan *c);
void __real_trial_send(struct sock *s);
void __wrap_trial_send(struct sock *s);

static void take_longer(const char *us)
{
	struct timespec ts = {0, atol(us) * 1000};
	sys2(SYS_nanosleep, &ts, 0);
}

bool __wrap_notify_slow(struct chan *c)
{
	const char *us = getenv("SHUNT_TEST_BELL_US"), *file = getenv("SHUNT_TEST_BELL_FILE");
	if (us && file && sys4(SYS_faccessat, AT_FDCWD, file, 0, 0) == 0)
		take_longer(us);
	return __real_notify_slow(c);
}

void __wrap_trial_send(struct sock *s)
{
	const char *us = getenv("SHUNT_TEST_KERNEL_US");
	__real_trial_send(s); /* which takes the time of the question */
	if (us)
		take_longer(us);
}
