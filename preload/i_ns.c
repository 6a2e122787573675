/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_ns.c - the names that change namespaces, credentials, descriptor tables and filters: of a thread, or of a process that has but one. The service
 * thread is out of the way while they run, and has what they changed afterwards.
 */
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/nsfs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "diag.h"
#include "i_raw.h"
#include "leave.h"
#include "ns.h"
#include "svc.h"
#include "sys.h"
#include "threads.h"
#include "wrap.h"

#define NEW_NAMES (CLONE_NEWNET | CLONE_NEWIPC)	  /* what is published, and the bells, are not there */
#define NO_THREADS (CLONE_NEWPID | CLONE_NEWTIME) /* after these the process cannot start one */

/* Does the change take the ground from under shared memory? */
static bool must_leave(int flags)
{
	if (flags & NO_THREADS)
		return true;
	if (!fdtab_len) /* nothing is up, or published */
		return false;
	/* Two tables of descriptors in one process, and we have one. */
	return flags & NEW_NAMES || (flags & CLONE_FILES && !threads_alone_but(svc_runs()));
}

/* A child of vfork's, or a process without anything of ours? */
static bool is_of_no_concern(void)
{
	return (leave_over() && !svc_may_run()) || !wrap_own_process();
}

/* false: just make the call. */
static bool begin(struct park *p, int flags)
{
	if (is_of_no_concern())
		return false;
	if (must_leave(flags))
		leave(false, "its namespaces or its descriptors become others");
	svc_park(p);
	return true;
}

static int end(struct park *p, int r)
{
	int e = errno;
	diag_fork_child(); /* the socket that asks the kernel belongs to the namespaces it was made in */
	svc_unpark(p);
	errno = e;
	return r;
}

EXPORT int unshare(int flags)
{
	struct park p;
	if (!begin(&p, flags))
		return real.unshare(flags);
	return end(&p, real.unshare(flags));
}

/* Which namespaces setns() is going to change; of an error the kernel will say the same. */
static int kind_of(int fd, int type)
{
	long r = type ? type : sys2(SYS_ioctl, fd, NS_GET_NSTYPE);
	return r < 0 ? 0 : (int)r;
}

EXPORT int setns(int fd, int type)
{
	struct park p;
	if (!begin(&p, kind_of(fd, type)))
		return real.setns(fd, type);
	return end(&p, real.setns(fd, type));
}

/*
 * What a thread has of its own, and has changed by this system call: r is its result. The service thread makes it, too, or is replaced by one that has it from this thread. (In this order: where no thread
 * can be started any more, it stays.)
 */
static int changed(int r, long nr, const long arg[5])
{
	struct park p;
	int e = errno;
	if (r >= 0 && !is_of_no_concern() && !svc_makes(nr, arg)) {
		svc_park(&p);
		svc_unpark(&p);
	}
	errno = e;
	return r;
}

EXPORT int capset(void *hdr, const void *data)
{
	int r = real.capset(hdr, data);
	if (r < 0)
		return r;
	/* It names the calling thread, by 0 or by its number (libcap-ng); the service thread has another one. */
	struct __user_cap_header_struct own = {.version = ((const struct __user_cap_header_struct *)hdr)->version};
	return changed(r, SYS_capset, (const long[5]){(long)(uintptr_t)&own, (long)(uintptr_t)data});
}

int ns_close_range(unsigned first, unsigned last, int flags)
{
	struct park p;
	if (!begin(&p, CLONE_FILES))
		return fd_close_range(first, last, flags);
	return end(&p, fd_close_range(first, last, flags));
}

/* Of that kind. Not PR_SET_NO_NEW_PRIVS: the service thread gives itself that when it comes up. */
static bool of_a_thread(int op)
{
	return op == PR_CAPBSET_DROP || op == PR_SET_SECUREBITS || op == PR_CAP_AMBIENT || op == PR_SET_KEEPCAPS;
}

/* Asked with no filter, the kernel only says whether it knows the operation. */
static bool filters(int op, unsigned long mode, unsigned long filter)
{
	return op == PR_SET_SECCOMP && (mode == SECCOMP_MODE_STRICT || filter);
}

/* A filter forbids what the program does not do: our own calls would be its death. */
static void seal(void)
{
	struct park p;
	if (leave_sealed() || !wrap_own_process())
		return;
	leave(true, "it sets a seccomp filter");
	svc_park(&p);
	p.restart = false;
	svc_unpark(&p);
}

EXPORT int prctl(int op, ...)
{
	va_list ap;
	unsigned long a[4];
	va_start(ap, op);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (filters(op, a[0], a[1]))
		seal();
	if (op == PR_SET_NO_NEW_PRIVS && wrap_own_process())
		svc_await();
	int r = real.prctl(op, a[0], a[1], a[2], a[3]);
	return of_a_thread(op) ? changed(r, SYS_prctl, (const long[5]){op, (long)a[0], (long)a[1], (long)a[2], (long)a[3]}) : r;
}

/* syscall() with one of these numbers. */
bool raw_unshare(const long *a, long *r, long nr)
{
	(void)nr;
	*r = unshare((int)a[0]);
	return true;
}

bool raw_setns(const long *a, long *r, long nr)
{
	(void)nr;
	*r = setns((int)a[0], (int)a[1]);
	return true;
}

bool raw_capset(const long *a, long *r, long nr)
{
	(void)nr;
	*r = capset((void *)(uintptr_t)a[0], (const void *)(uintptr_t)a[1]);
	return true;
}

bool raw_prctl(const long *a, long *r, long nr)
{
	(void)nr;
	*r = prctl((int)a[0], a[1], a[2], a[3], a[4]);
	return true;
}

bool raw_seccomp(const long *a, long *r, long nr)
{
	(void)r;
	(void)nr;
	if (a[0] == SECCOMP_SET_MODE_STRICT || (a[0] == SECCOMP_SET_MODE_FILTER && a[2]))
		seal();
	return false;
}
