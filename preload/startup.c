/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * startup.c - what happens in which order.
 *
 *   load    1. bind the real functions (a wrapper that is called before this binds them itself)
 *           2. environment: log, statistics, rules, spinning
 *           3. fork handlers; the keys that end a thread's bell, and tell of the main thread's end
 *           4. connections that were inherited over an exec (adopt.h)
 *           nothing else: no descriptor, no mapping, no thread before the first socket that could be upgraded
 *   fork    prepare: take g_lock, number the child, and count it among the sockets' holders; child: forget the parent's threads, descriptors and waiters
 *   end     append the statistics, take our endpoints off the map
 */
#include "startup.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/auxv.h>

#include "adopt.h"
#include "assoc.h"
#include "barrier.h"
#include "dg.h"
#include "epset.h"
#include "fault.h"
#include "flight.h"
#include "handler.h"
#include "last.h"
#include "leave.h"
#include "link.h"
#include "log.h"
#include "nextenv.h"
#include "policy.h"
#include "real.h"
#include "sigmain.h"
#include "stats.h"
#include "svc.h"
#include "switch.h"
#include "sys.h"
#include "threadbell.h"
#include "token.h"

uint32_t startup_pid;
static struct guard fork_guard;
static bool ended; /* startup_end() has let go of the sockets; under g_lock */

static void fork_prepare(void)
{
	if (leave_sealed())
		return;
	guard_enter(&fork_guard);
	epset_fork_prepare();
	FAULT_POINT("fork: lock, before child's number");
	fam_fork_prepare();
	FAULT_POINT("fork: child's number, before holders counted");
	sock_fork_prepare();
	FAULT_POINT("fork: holders counted, before child");
}

/* failed: there is no child, for certain (known) or as far as its lifeline says. */
static void fork_parent(bool failed, bool known)
{
	if (leave_sealed())
		return;
	FAULT_POINT("fork: child made, before its lifeline is its own");
	fam_fork_done();
	if (failed) {
		fam_fork_failed(known);
		sock_fork_failed();
	}
	FAULT_POINT("fork: child made, before unlocked");
	guard_leave(&fork_guard);
}

/* Each module forgets what is the parent's alone. fam before sock: tokens carry the process's number. */
static void fork_child(void)
{
	if (leave_sealed())
		return;
	FAULT_POINT("fork: child, before its own state");
	ended = false;
	startup_pid = (uint32_t)sys0(SYS_getpid);
	flight_fork_child();
	leave_fork_child();
	link_fork_child();
	barrier_init();
	svc_fork_child(); /* it has two descriptors for us, should there be no other */
	fam_fork_child();
	assoc_fork_child();
	sigmain_fork_child();
	stats_fork_child();
	diag_fork_child();
	dg_move_fork_child();
	last_init();
	threadbell_fork_child();
	epset_fork_child();
	sock_fork_child();
	fam_fork_done();
	FAULT_POINT("fork: child's own state, before unlocked");
	guard_leave(&fork_guard);
}

void startup_fork(enum startup_fork stage)
{
	if (stage == STARTUP_PREPARE)
		fork_prepare();
	else if (stage == STARTUP_CHILD)
		fork_child();
	else
		fork_parent(stage == STARTUP_FAILED, true);
}

/*
 * The handlers are not told whether fork has failed; but they are the last that run before it and the first behind it, and errno tells. Should another library's handler have left one there, the child's lifeline
 * contradicts.
 */
static int errno_before; /* guarded by g_lock */

static void atfork_prepare(void)
{
	if (leave_sealed())
		return;
	fork_prepare();
	errno_before = errno;
	errno = 0;
}

static void atfork_parent(void)
{
	bool failed = errno != 0;
	if (leave_sealed())
		return;
	if (!failed)
		errno = errno_before;
	fork_parent(failed, false);
}

static void atfork_child(void)
{
	if (leave_sealed())
		return;
	errno = errno_before;
	fork_child();
}

static void read_environment(void)
{
	const char *v;
	if (getauxval(AT_SECURE))
		return;
#ifdef SHUNT_FAULTS
	fault_init(getenv("SHUNT_FAULT"), getenv("SHUNT_FAULT_ACTION"), getenv("SHUNT_FAULT_BOARD"));
#endif
	if ((v = getenv("SHUNT_LOG")) && fdtab_init())
		log_open(v);
	if ((v = getenv("SHUNT_STATS"))) {
		stats_init(v);
		handler_guard();
	}
	ept_map_set(getenv("SHUNT_MAP"));
	policy_init(getenv("SHUNT_RULES"));
	switch_init(getenv("SHUNT_OFF"));
	spin_configure(getenv("SHUNT_SPIN"), getenv("SHUNT_SPIN_BUDGET"));
}

static char own_name[64]; /* of this library's file */

static void note_own_name(void)
{
	Dl_info info;
	const char *name = dladdr((void *)(uintptr_t)startup_find_in, &info) && info.dli_fname ? info.dli_fname : "";
	const char *slash = strrchr(name, '/');
	fmt_buf(own_name, sizeof(own_name), "%s", slash ? slash + 1 : name);
}

const char *startup_find_in(const char *list)
{
	for (const char *end; *list; list = *end ? end + 1 : end) {
		const char *at = list;
		end = list + strcspn(list, ": ");
		for (const char *p = list; p < end; p++)
			at = *p == '/' ? p + 1 : at;
		if ((size_t)(end - at) == strlen(own_name) && end > at && !memcmp(at, own_name, (size_t)(end - at)))
			return end;
	}
	return NULL;
}

static void at_exit(void);

__attribute__((constructor(101))) static void startup(void)
{
	real_bind();
	sys_keep_fd = fdtab_hide;
	sys_drop_fd = fdtab_unhide;
	barrier_init();
	startup_pid = (uint32_t)sys0(SYS_getpid);
	read_environment();
	note_own_name();
	nextenv_init();
	pthread_atfork(atfork_prepare, atfork_parent, atfork_child);
	if (at_quick_exit(at_exit)) /* which runs no destructor */
		log_line("quick_exit will leave what it leaves");
	threadbell_init();
	last_init();
	if (!getauxval(AT_SECURE))
		adopt_inherited();
}

void startup_end(bool exec)
{
	struct guard g;
	if (leave_sealed())
		return;
	if ((uint32_t)sys0(SYS_getpid) != startup_pid)
		return; /* a child of vfork */
	stats_write();
	FAULT_POINT("exit: counted, before names closed");
	flight_close();
	guard_enter(&g);
	FAULT_POINT("exit: names closed, before endpoints");
	server_end_all();
	FAULT_POINT("exit: endpoints, before links");
	if (!exec && !ended) {
		ended = true;
		link_end_all(); /* as close() would: the kernel closes the sockets in a moment, and knows nothing of the channels */
	}
	guard_leave(&g);
}

void startup_goes_on(void)
{
	flight_reopen();
}

__attribute__((destructor)) static void at_exit(void)
{
	startup_end(false);
}
