/* SPDX-License-Identifier: BSD-2-Clause */
/* i_rawproc.c - what syscall() does with the numbers that make processes, or make this one another. */
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "assoc.h"
#include "handler.h"
#include "i_raw.h"
#include "last.h"
#include "leave.h"
#include "startup.h"
#include "ucopy.h"
#include "wrap.h"

#define PTR(i) ((void *)(uintptr_t)a[i])

/* As _Fork. */
static bool forks(const long *a, long *r, long nr)
{
	startup_fork(STARTUP_PREPARE);
	*r = real.syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	int e = errno;
	startup_fork(*r == 0 ? STARTUP_CHILD : STARTUP_PARENT);
	errno = e;
	return true;
}

/*
 * A process of its own that goes on where the parent is: fork. One that borrows our memory while we stand still: vfork, told by its pid. All others share what we
 * take for ours alone (a thread without the C library, whose thread-local variables are another's; a second table of descriptors under one memory), or are out of
 * reach when they start (another stack), or in other namespaces, or have us stand still with our lock held (vfork with memory of its own): the kernel's then, and so are their children.
 */
static bool clones(uint64_t flags, bool has_stack, const long *a, long *r, long nr)
{
	const uint64_t apart = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_THREAD | CLONE_NEWNET | CLONE_NEWIPC |
			       CLONE_NEWPID | CLONE_NEWTIME;
	if (!wrap_own_process() || (flags & (CLONE_VM | CLONE_VFORK | CLONE_THREAD)) == (CLONE_VM | CLONE_VFORK))
		return false;
	if (!has_stack && !(flags & apart))
		return forks(a, r, nr);
	if (!leave_done()) {
		int e = errno;
		leave(false, "it makes a thread or process that shares with it what shunt takes for one process's alone");
		errno = e;
	}
	return false;
}

bool raw_clone(const long *a, long *r, long nr)
{
	return clones((uint32_t)a[0] & ~(uint32_t)CSIGNAL, a[1] != 0, a, r, nr);
}

bool raw_clone3(const long *a, long *r, long nr)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
	} args;
	if ((size_t)a[1] < sizeof(args) || (uintptr_t)a[0] < 4096 || ucopy(&args, PTR(0), sizeof(args)))
		return false;
	return clones(args.flags, args.stack != 0, a, r, nr);
}

#ifdef SYS_fork
bool raw_fork(const long *a, long *r, long nr)
{
	return clones(0, false, a, r, nr);
}
#endif

bool raw_execve(const long *a, long *r, long nr)
{
	(void)nr;
	*r = execve(PTR(0), PTR(1), PTR(2));
	return true;
}

bool raw_execveat(const long *a, long *r, long nr)
{
	(void)nr;
	*r = execveat((int)a[0], PTR(1), PTR(2), PTR(3), (int)a[4]);
	return true;
}

/* Of one thread. In strict mode it is one of three calls that are left: then none of ours comes before it. */
bool raw_exit(const long *a, long *r, long nr)
{
	(void)r;
	(void)nr;
	if (!leave_sealed() && wrap_own_process())
		last_exits((int)a[0]);
	return false;
}

bool raw_exit_group(const long *a, long *r, long nr)
{
	(void)a;
	(void)r;
	(void)nr;
	startup_end(false);
	return false;
}

/* A handler that we do not stand in front of. */
bool raw_rt_sigaction(const long *a, long *r, long nr)
{
	(void)a;
	(void)r;
	(void)nr;
	guard_beware();
	return false;
}
