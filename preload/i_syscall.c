/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_syscall.c - syscall(): libc's own way around its names. libuv closes so, Rust forks so, sandboxes make their children so.
 *
 * One table leads from the number to what is done here first (i_raw.h). All other numbers, and those that turn out to concern nothing of ours, go on to the real function
 * by a jump: with the registers, the stack and the return address that the program gave. That costs a comparison and a load; and a child that clone() starts
 * on another stack returns to its caller, not to us.
 */
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "i_raw.h"
#include "real.h"

#define RAW_N 512

/* Known to the piece of machine code below by its name. */
extern raw_call *const raw_table[RAW_N];
raw_call *const raw_table[RAW_N] = {
#define X(name) [SYS_##name] = raw_##name,
	/* clang-format off */
	RAW_NAMES(X)
	RAW_OLD_NAMES(X)
	RAW_PROCESS(X)
/* clang-format on */
#undef X
};

#if defined(__x86_64__)
/* On the stack: six arguments, the result, the number. */
EXPORT __attribute__((naked)) long syscall(__attribute__((unused)) long nr, ...)
{
	__asm__("	cmpq %[n], %%rdi\n"
		"	jae 1f\n"
		"	leaq raw_table(%%rip), %%rax\n"
		"	movq (%%rax, %%rdi, 8), %%rax\n"
		"	testq %%rax, %%rax\n"
		"	je 1f\n"
		"	subq $72, %%rsp\n"
		"	.cfi_adjust_cfa_offset 72\n"
		"	movq %%rsi, (%%rsp)\n"
		"	movq %%rdx, 8(%%rsp)\n"
		"	movq %%rcx, 16(%%rsp)\n"
		"	movq %%r8, 24(%%rsp)\n"
		"	movq %%r9, 32(%%rsp)\n"
		"	movq 80(%%rsp), %%rdx\n" /* behind the return address, whether it was given or not */
		"	movq %%rdx, 40(%%rsp)\n"
		"	movq %%rdi, 56(%%rsp)\n"
		"	movq %%rdi, %%rdx\n"
		"	movq %%rsp, %%rdi\n"
		"	leaq 48(%%rsp), %%rsi\n"
		"	call *%%rax\n"
		"	testb %%al, %%al\n"
		"	movq 48(%%rsp), %%rax\n"
		"	movq (%%rsp), %%rsi\n"
		"	movq 8(%%rsp), %%rdx\n"
		"	movq 16(%%rsp), %%rcx\n"
		"	movq 24(%%rsp), %%r8\n"
		"	movq 32(%%rsp), %%r9\n"
		"	movq 56(%%rsp), %%rdi\n"
		"	leaq 72(%%rsp), %%rsp\n" /* leaves the flags */
		"	.cfi_adjust_cfa_offset -72\n"
		"	je 1f\n"
		"	ret\n"
		"1:	jmp *real+%c[real](%%rip)\n"
		:
		: [n] "i"(RAW_N), [real] "i"(offsetof(struct real, syscall)));
}
#elif defined(__aarch64__)
/* As libc's own, this keeps its return address in a register: what a child of vfork or clone does to the stack that it shares with us cannot touch it. */
extern typeof(real.syscall) *const raw_real;
typeof(real.syscall) *const raw_real = &real.syscall;

/* On the stack: frame record, six arguments, the result, the number. */
__asm__("	.pushsection .text\n"
	"	.globl syscall\n"
	"	.type syscall, %function\n"
	"	.p2align 4\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	cmp x0, #512\n" /* RAW_N */
	"	b.hs 1f\n"
	"	adrp x9, raw_table\n"
	"	add x9, x9, :lo12:raw_table\n"
	"	ldr x9, [x9, x0, lsl #3]\n"
	"	cbz x9, 1f\n"
	"	stp x29, x30, [sp, #-80]!\n"
	"	.cfi_def_cfa_offset 80\n"
	"	.cfi_offset x29, -80\n"
	"	.cfi_offset x30, -72\n"
	"	mov x29, sp\n"
	"	stp x1, x2, [sp, #16]\n"
	"	stp x3, x4, [sp, #32]\n"
	"	stp x5, x6, [sp, #48]\n"
	"	str x0, [sp, #72]\n"
	"	mov x2, x0\n"
	"	add x0, sp, #16\n"
	"	add x1, sp, #64\n"
	"	blr x9\n"
	"	mov w9, w0\n"
	"	ldp x1, x2, [sp, #16]\n"
	"	ldp x3, x4, [sp, #32]\n"
	"	ldp x5, x6, [sp, #48]\n"
	"	ldp x10, x0, [sp, #64]\n"
	"	ldp x29, x30, [sp], #80\n"
	"	.cfi_def_cfa_offset 0\n"
	"	.cfi_restore x29\n"
	"	.cfi_restore x30\n"
	"	tbz w9, #0, 1f\n"
	"	mov x0, x10\n"
	"	ret\n"
	"1:	adrp x9, raw_real\n"
	"	ldr x9, [x9, :lo12:raw_real]\n"
	"	ldr x9, [x9]\n"
	"	br x9\n"
	"	.cfi_endproc\n"
	"	.size syscall, . - syscall\n"
	"	.popsection\n");
_Static_assert(RAW_N == 512, "the number in the code");
#else
/* Six arguments are read, whatever was given, as libc's own does: the last from the stack, where AddressSanitizer sees something of the caller's. */
__attribute__((no_sanitize_address)) EXPORT long syscall(long nr, ...)
{
	va_list ap;
	long a[6], r;
	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if ((unsigned long)nr < RAW_N && raw_table[nr] && raw_table[nr](a, &r, nr))
		return r;
	return real.syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif
