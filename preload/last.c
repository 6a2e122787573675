/* SPDX-License-Identifier: BSD-2-Clause */
#include "last.h"

#include <pthread.h>
#include <stdlib.h>

#include "atomic.h"
#include "startup.h"
#include "svc.h"
#include "sys.h"
#include "threads.h"

static pthread_key_t key; /* its destructor runs in a thread that ends, however it does, but not at exit */
static bool has_key;
static _Atomic uint32_t left;
static uint64_t mask; /* the signals that the first thread blocked */
static bool bare;     /* it has left by the system call */

static void first_leaves(void *arg)
{
	(void)arg;
	sys4(SYS_rt_sigprocmask, 0, 0, &mask, 8);
	store_release(&left, 1);
	svc_nudge();
}

/* No handlers, no destructors: the program did not want them. */
static void end_bare(int status)
{
	startup_end(false);
	sys1(SYS_exit_group, status);
}

void last_exits(int status)
{
	bool first = sys0(SYS_gettid) == sys0(SYS_getpid);
	if (threads_alone_but(svc_runs() + (!first && last_is_due()))) { /* its zombie, where the first one has left */
		end_bare(status);
	} else if (first) {
		bare = true;
		store_release(&left, 1);
		svc_nudge();
	}
}

void last_init(void)
{
	store_relaxed(&left, 0);
	bare = false;
	has_key = has_key || pthread_key_create(&key, first_leaves) == 0;
	if (has_key)
		pthread_setspecific(key, &key);
}

bool last_is_due(void)
{
	return load_acquire(&left) != 0;
}

/* With a stack of the usual size, and the signals of a thread of the program: exit runs the program's handlers. */
static void *last_thread(void *arg)
{
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
	exit(0);
	return arg;
}

void last_look(void)
{
	pthread_t t;
	if (!last_is_due() || !threads_alone_but(1)) /* the first thread stays, as a zombie */
		return;
	store_release(&left, 0);
	if (bare)
		end_bare(0); /* as the last one has, who has returned from its function */
	if (pthread_create(&t, NULL, last_thread, NULL))
		last_thread(NULL);
	pthread_detach(t);
}
