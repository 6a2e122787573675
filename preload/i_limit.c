/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_limit.c - the names after which something of ours can no longer be had, and so is had before: the service thread (RLIMIT_NPROC), the statistics' file (chroot).
 *
 * What a limit is set to is the program's memory, and is not read: a thread too early costs a thread.
 */
#include <sys/resource.h>

#include "assoc.h"
#include "i_raw.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"
#include "wrap.h"

static void before_chroot(void)
{
	if (!wrap_own_process())
		return;
	stats_hold();
	endpoint_root_moves();
}

EXPORT int chroot(const char *path)
{
	before_chroot();
	return real.chroot(path);
}

static void look_for_use(struct sock *s, void *arg)
{
	uint32_t flags = sock_flags(s), pinned = flags & (FAM_PIN_RX | FAM_PIN_TX);
	*(bool *)arg |= flags & FAM_LISTEN ? s->server != NULL : pinned != (FAM_PIN_RX | FAM_PIN_TX);
}

/*
 * Without a socket that may go up there is nothing for a thread to do; a program that lowers the limit before it has one stays in the kernel.
 */
static void before_nproc(pid_t pid)
{
	bool of_use = false;
	if ((pid && pid != (pid_t)sys0(SYS_getpid)) || !fdtab_len || !wrap_own_process())
		return;
	sock_each(look_for_use, &of_use);
	if (of_use)
		svc_bring_up();
}

/* AddressSanitizer sets limits before it is ready itself: it cannot watch what it calls then. */
#define EARLY __attribute__((no_sanitize_address))

static EARLY void before_limit(pid_t pid, int which, const void *now)
{
	if (which == RLIMIT_NPROC && now)
		before_nproc(pid);
}

EARLY EXPORT int setrlimit(__rlimit_resource_t which, const struct rlimit *now)
{
	before_limit(0, (int)which, now);
	return real.setrlimit(which, now);
}

EARLY EXPORT int setrlimit64(__rlimit_resource_t which, const struct rlimit64 *now)
{
	before_limit(0, (int)which, now);
	return real.setrlimit64(which, now);
}

EARLY EXPORT int prlimit(pid_t pid, __rlimit_resource_t which, const struct rlimit *now, struct rlimit *was)
{
	before_limit(pid, (int)which, now);
	return real.prlimit(pid, which, now, was);
}

EARLY EXPORT int prlimit64(pid_t pid, __rlimit_resource_t which, const struct rlimit64 *now, struct rlimit64 *was)
{
	before_limit(pid, (int)which, now);
	return real.prlimit64(pid, which, now, was);
}

/* syscall() with one of these numbers. */
bool raw_chroot(const long *a, long *r, long nr)
{
	(void)a;
	(void)r;
	(void)nr;
	before_chroot();
	return false;
}

bool raw_setrlimit(const long *a, long *r, long nr)
{
	(void)r;
	(void)nr;
	before_limit(0, (int)a[0], (const void *)(uintptr_t)a[1]);
	return false;
}

bool raw_prlimit64(const long *a, long *r, long nr)
{
	(void)r;
	(void)nr;
	before_limit((pid_t)a[0], (int)a[1], (const void *)(uintptr_t)a[2]);
	return false;
}
