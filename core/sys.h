/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sys.h - the system calls that core uses, as functions of our own that return -errno.
 *
 * core never calls a libc name that the interposer replaces (the call would come back to us), and never touches errno: these are
 * async-signal-safe. A test can replace any of them with a failing one through sys_fault (see below).
 */
#ifndef SHUNT_SYS_H
#define SHUNT_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* Raw system call; returns the kernel's value: >= 0, or -errno. */
long sys_call(long nr, long a, long b, long c, long d, long e, long f);

/* If not NULL, asked before each call: a non-zero answer (-errno) is returned instead of making it. Tests only. */
extern long (*sys_fault)(long nr);

/*
 * If not NULL, given each descriptor that core is going to keep (log, diag, bells, endpoint files), as it is made: returns the number
 * that it shall have from now on (the same, or a duplicate out of the program's way, the old one closed; close-on-exec), or
 * -errno after closing it. Set once, before core is used. Descriptors that live for one call only are not shown.
 */
extern int (*sys_keep_fd)(int fd);
int sys_fd_keep(int fd); /* asks it; a negative fd (an error) is returned as it is */
/* Told of each such number, if not NULL, before it is closed. */
extern void (*sys_drop_fd)(int fd);
void sys_fd_close(int fd); /* tells, and closes; nothing if fd < 0 */

/* CLOCK_MONOTONIC, nanoseconds, by a real system call (no vDSO before relocation). */
uint64_t sys_now_ns(void);
/* Fill with random octets. 0 or -errno. Before the machine has entropy it waits, as getrandom(2). */
int sys_random(void *buf, size_t len);

/*
 * memcpy() from, or to, the program's memory, by a system call: where no handler of faults need stand ready (ucopy.h is for the rest). 0, or -EFAULT: a part is not there. In a sandbox
 * that forbids the call a fault is a fault.
 */
int sys_copy_in(void *dst, const void *theirs, size_t len);
int sys_copy_out(void *theirs, const void *src, size_t len);

/*
 * A call that may make a file longer (write, pwrite64, ftruncate). Where RLIMIT_FSIZE forbids that: -EFBIG, and not the signal that goes with it, which would end the program for
 * something that it has not done.
 */
long sys_grow(long nr, int fd, long a, long b, long c);

/* The uid that the kernel shows for users that have no name in this user namespace: may be anybody, never to be believed. */
#define SYS_UID_UNKNOWN 65534u

/* For calls that return addresses: those may look negative. */
static inline int sys_is_err(long ret)
{
	return ret < 0 && ret > -4096;
}

#define SYS_ARG(x) ((long)(uintptr_t)(x))
#define sys0(nr) sys_call((nr), 0, 0, 0, 0, 0, 0)
#define sys1(nr, a) sys_call((nr), SYS_ARG(a), 0, 0, 0, 0, 0)
#define sys2(nr, a, b) sys_call((nr), SYS_ARG(a), SYS_ARG(b), 0, 0, 0, 0)
#define sys3(nr, a, b, c) sys_call((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) sys_call((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), 0, 0)
#define sys5(nr, a, b, c, d, e) sys_call((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), SYS_ARG(e), 0)
#define sys6(nr, a, b, c, d, e, f) sys_call((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), SYS_ARG(e), SYS_ARG(f))

#endif
