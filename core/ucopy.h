/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ucopy.h - memcpy() for the program's memory, which may not be there: the kernel says EFAULT then, and so shall we.
 *
 * The instructions that touch memory lie in known ranges, use no stack and no callee-saved register. A handler of SIGSEGV and SIGBUS that finds the interrupted one
 * in such a range goes on at ucopy_fixup() instead (preload/trap.c); ucopy() then returns 1. Nothing is to be set up or put back, so it costs nothing, and a handler or
 * a siglongjmp() may come in the middle. Without such a handler, and on other machines than these two, a fault is a fault.
 *
 * Any thread, async-signal-safe. The two may not overlap.
 */
#ifndef SHUNT_UCOPY_H
#define SHUNT_UCOPY_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__aarch64__)
/* 0: all of it has been copied. 1: a part is not there; how much was copied is not known. */
int ucopy(void *dst, const void *src, size_t n);
/* Where to go on after a fault at `pc`; 0: that is not ours. */
uintptr_t ucopy_fixup(uintptr_t pc);
#else
#include <string.h>
static inline int ucopy(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}
static inline uintptr_t ucopy_fixup(uintptr_t pc)
{
	(void)pc;
	return 0;
}
#endif

#endif
