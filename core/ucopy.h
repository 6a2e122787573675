/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ucopy.h - memcpy() for the program's memory, which may not be there: the kernel says EFAULT then, and so shall we.
 *
 * It is libc's memcpy(), and costs what that costs: nothing is set up before or put back afterwards, and a handler or a siglongjmp() may come in the middle. A handler of
 * SIGSEGV and SIGBUS (preload/handler.c) asks ucopy_fail() whether it was such a copy that faulted; then ucopy() returns 1. Without such a handler, and on other machines
 * than these two, a fault is a fault.
 *
 * Any thread, async-signal-safe. The two may not overlap.
 */
#ifndef SHUNT_UCOPY_H
#define SHUNT_UCOPY_H

#include <stddef.h>
#include <stdint.h>

/* Of the interrupted code. */
struct ucopy_regs {
	uintptr_t *pc, *sp;
	uintptr_t lr; /* aarch64 */
};

#if defined(__x86_64__) || defined(__aarch64__)
/* 0: all of it has been copied. 1: a part is not there; how much was copied is not known. */
int ucopy(void *dst, const void *src, size_t n);
/* A fault at *r.pc: true: it was in ucopy(), and the registers have been changed so that it returns 1. */
_Bool ucopy_fail(struct ucopy_regs r);
#else
#include <string.h>
static inline int ucopy(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}
static inline _Bool ucopy_fail(struct ucopy_regs r)
{
	(void)r;
	return 0;
}
#endif

#endif
