/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ucopy.c - libc's memcpy(), called from one place of ours.
 *
 * memcpy() is a leaf in libc's assembly: it saves nothing, so wherever a fault strikes in it, the address that it returns to is where the call has put it: on top of the
 * stack (x86-64), or in the link register (aarch64). If that is our place behind the call, the copy is ours, and going on behind the call a little further down is a return.
 * The program's own calls of memcpy() return elsewhere. A memcpy() that is no leaf (another library's) is not recognised: then a fault is a fault.
 */
#include "ucopy.h"

#include <string.h>

#define HIDDEN __attribute__((visibility("hidden")))
#define MEMCPY_LEN 16384 /* longer than any of libc's; so near to its beginning the stack is sure to be there to look at */

#if defined(__x86_64__) && defined(__SANITIZE_ADDRESS__)
/* The sanitizer's own memcpy() is no leaf. */
__asm__(".pushsection .text\n"
	".globl ucopy\n"
	".hidden ucopy, ucopy_at, ucopy_failed\n"
	".type ucopy, @function\n"
	"ucopy:\n"
	"	movq %rdx, %rcx\n"
	"ucopy_at:\n"
	"	rep movsb\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"ucopy_failed:\n"
	"	movl $1, %eax\n"
	"	ret\n"
	".size ucopy, . - ucopy\n"
	".popsection\n");
extern const char ucopy_at[] HIDDEN, ucopy_failed[] HIDDEN;

_Bool ucopy_fail(struct ucopy_regs r)
{
	if (*r.pc != (uintptr_t)ucopy_at)
		return 0;
	*r.pc = (uintptr_t)ucopy_failed;
	return 1;
}

#elif defined(__x86_64__)
__asm__(".pushsection .text\n"
	".globl ucopy\n"
	".hidden ucopy, ucopy_back, ucopy_failed\n"
	".type ucopy, @function\n"
	".p2align 5\n"
	"ucopy:\n"
	"	.cfi_startproc\n"
	"	subq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call *memcpy@GOTPCREL(%rip)\n"
	"ucopy_back:\n"
	"	xorl %eax, %eax\n"
	"	addq $8, %rsp\n"
	"	.cfi_remember_state\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"ucopy_failed:\n"
	"	.cfi_restore_state\n"
	"	movl $1, %eax\n"
	"	addq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size ucopy, . - ucopy\n"
	".popsection\n");
extern const char ucopy_back[] HIDDEN, ucopy_failed[] HIDDEN;

_Bool ucopy_fail(struct ucopy_regs r)
{
	if (*r.pc - (uintptr_t)memcpy >= MEMCPY_LEN || *(const uintptr_t *)*r.sp != (uintptr_t)ucopy_back)
		return 0;
	*r.pc = (uintptr_t)ucopy_failed;
	*r.sp += sizeof(uintptr_t);
	return 1;
}

#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
	".globl ucopy\n"
	".hidden ucopy, ucopy_back, ucopy_failed\n"
	".type ucopy, %function\n"
	".p2align 5\n"
	"ucopy:\n"
	"	.cfi_startproc\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset x29, -16\n"
	"	.cfi_offset x30, -8\n"
	"	bl memcpy\n"
	"ucopy_back:\n"
	"	mov w0, #0\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	"ucopy_failed:\n"
	"	mov w0, #1\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size ucopy, . - ucopy\n"
	".popsection\n");
extern const char ucopy_back[] HIDDEN, ucopy_failed[] HIDDEN;

_Bool ucopy_fail(struct ucopy_regs r)
{
	if (*r.pc - (uintptr_t)memcpy >= MEMCPY_LEN || r.lr != (uintptr_t)ucopy_back)
		return 0;
	*r.pc = (uintptr_t)ucopy_failed;
	return 1;
}
#endif
