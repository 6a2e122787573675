/* SPDX-License-Identifier: BSD-2-Clause */
/* i_rawproc.c - what syscall() does with the numbers that make this process another, or end it. */
#include <stdint.h>
#include <unistd.h>

#include "assoc.h"
#include "handler.h"
#include "i_raw.h"
#include "last.h"
#include "leave.h"
#include "startup.h"
#include "wrap.h"

#define PTR(i) ((void *)(uintptr_t)a[i])

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
