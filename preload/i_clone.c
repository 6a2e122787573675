/* SPDX-License-Identifier: BSD-2-Clause */
/* i_clone.c - the ways to make a process that pthread_atfork() does not hear of: _Fork(), clone(), and the numbers of fork, clone and clone3. */
#include <sched.h>
#include <stdint.h>
#include <unistd.h>

#include "i_raw.h"
#include "last.h"
#include "leave.h"
#include "startup.h"
#include "svc.h"
#include "ucopy.h"
#include "wrap.h"

enum way { AS_FORK, UNSEEN };

/*
 * A process of its own that goes on where the parent is, or in a function that we are told: fork. One that borrows our memory while we stand still: vfork, told by its pid. All others share
 * what we take for ours alone (a thread without the C library, whose thread-local variables are another's; a second table of descriptors under one memory), or are out of reach when they
 * start (`lost`: on another stack, nobody knows where), or in other namespaces, or have us stand still with our lock held (vfork with memory of its own): the kernel's then, and so are
 * their children.
 *
 * The C library is not told of any of them, and goes on counting our service thread in the child: setuid() there asks each thread, and waits for one that is just being started.
 */
static enum way way_of(uint64_t flags, bool lost)
{
	const uint64_t apart = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_THREAD | CLONE_SETTLS | CLONE_NEWNET |
			       CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWTIME;
	if (!wrap_own_process() || (flags & (CLONE_VM | CLONE_VFORK | CLONE_THREAD)) == (CLONE_VM | CLONE_VFORK))
		return UNSEEN;
	int e = errno;
	bool forks = !lost && !(flags & apart);
	if (!forks && !leave_over())
		leave(false, "it makes a thread or process that shares with it what shunt takes for one process's alone");
	if (!forks)
		svc_await();
	errno = e;
	return forks ? AS_FORK : UNSEEN;
}

/* Under the lock nobody starts it; who has just done so, while we waited for that, may not have it up. It needs no lock until it is. */
static void begin(void)
{
	int e = errno;
	startup_fork(STARTUP_PREPARE);
	svc_await();
	errno = e;
}

static void made(long pid)
{
	int e = errno;
	startup_fork(pid == 0 ? STARTUP_CHILD : pid < 0 ? STARTUP_FAILED : STARTUP_PARENT);
	errno = e;
}

EXPORT pid_t _Fork(void)
{
	if (way_of(0, false) == UNSEEN)
		return real._Fork();
	begin();
	pid_t r = real._Fork();
	made(r);
	return r;
}

static bool clones(uint64_t flags, bool lost, const long *a, long *r, long nr)
{
	if (way_of(flags, lost) == UNSEEN)
		return false;
	begin();
	*r = real.syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	made(*r);
	return true;
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
	if ((size_t)a[1] < sizeof(args) || (uintptr_t)a[0] < 4096 || ucopy(&args, (void *)(uintptr_t)a[0], sizeof(args)))
		return false;
	return clones(args.flags, args.stack != 0, a, r, nr);
}

#ifdef SYS_fork
bool raw_fork(const long *a, long *r, long nr)
{
	return clones(0, false, a, r, nr);
}
#endif

/* ---- clone(), which calls a function on the new stack */

struct start {
	int (*fn)(void *);
	void *arg;
};

/* In the child. libc makes the bare system call `exit` behind us, which ends one thread. */
static int start(void *arg)
{
	struct start s = *(struct start *)arg; /* in our copy of the parent's stack */
	made(0);
	int status = s.fn(s.arg);
	last_exits(status);
	return status;
}

#define CLONE(name)                                                                                                            \
	EXPORT int name(int (*fn)(void *), void *stack, int flags, void *arg, ...)                                             \
	{                                                                                                                      \
		struct start s = {fn, arg};                                                                                    \
		va_list ap;                                                                                                    \
		va_start(ap, arg); /* read whether given or not, as libc does */                                               \
		pid_t *parent_tid = va_arg(ap, pid_t *);                                                                       \
		void *tls = va_arg(ap, void *);                                                                                \
		pid_t *child_tid = va_arg(ap, pid_t *);                                                                        \
		va_end(ap);                                                                                                    \
		if (!fn || !stack || way_of((uint32_t)flags & ~(uint32_t)CSIGNAL, false) == UNSEEN)                            \
			return real.name(fn, stack, flags, arg, parent_tid, tls, child_tid);                                   \
		begin();                                                                                                       \
		int r = real.name(start, stack, flags, &s, parent_tid, tls, child_tid);                                        \
		made(r);                                                                                                       \
		return r;                                                                                                      \
	}
CLONE(clone)
CLONE(__clone)
