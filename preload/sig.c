/* SPDX-License-Identifier: BSD-2-Clause */
#include "sig.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include "sys.h"

__thread volatile struct sig_mark sig_self __attribute__((tls_model("initial-exec")));

#if defined(__x86_64__) || defined(__aarch64__)
/* From the look at the count to the system call, which has been made when the program counter is at sig_to. */
extern const char sig_from[] __attribute__((visibility("hidden")));
extern const char sig_to[] __attribute__((visibility("hidden")));
extern const char sig_out[] __attribute__((visibility("hidden")));
#define LABELS ".globl sig_from, sig_to, sig_out\n.hidden sig_from, sig_to, sig_out\n"

uintptr_t *sig_pc(void *context)
{
	mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
	return (uintptr_t *)&m->gregs[REG_RIP];
#else
	return (uintptr_t *)&m->pc;
#endif
}

/* What the system call has returned, at sig_to. */
static long long *result(void *context)
{
	mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
	return &m->gregs[REG_RAX];
#else
	return (long long *)&m->regs[0];
#endif
}
#endif

/* Once in the program: its labels are. */
__attribute__((noinline, noclone)) static long sig_syscall(
	uint32_t all, long nr, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r = nr;
	__asm__ volatile(LABELS "sig_from:\n"
				"	cmpl %[all], %[now]\n"
				"	jne sig_out\n"
				"	syscall\n"
				"sig_to:\n"
				"	jmp 1f\n"
				"sig_out:\n"
				"	movq %[came], %%rax\n"
				"1:\n"
			 : "+a"(r)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			 "r"(r9), [all] "r"(all), [now] "m"(sig_self.all), [came] "i"(SIG_CAME)
			 : "rcx", "r11", "cc", "memory");
	return r;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile(LABELS "sig_from:\n"
				"	ldr w9, [%[now]]\n"
				"	cmp w9, %w[all]\n"
				"	b.ne sig_out\n"
				"	svc #0\n"
				"sig_to:\n"
				"	b 1f\n"
				"sig_out:\n"
				"	mov x0, %[came]\n"
				"1:\n"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4),
			 "r"(x5), [all] "r"(all), [now] "r"(&sig_self.all), [came] "i"(SIG_CAME)
			 : "x9", "cc", "memory");
	return x0;
#else
	/* Here a handler may go unnoticed between the two. */
	return sig_self.all != all ? SIG_CAME : sys_call(nr, a, b, c, d, e, f);
#endif
}

void sig_begins(int flags, void *context)
{
	sig_self.all++;
	if (!(flags & SA_RESTART))
		sig_self.hard++;
#if defined(__x86_64__) || defined(__aarch64__)
	uintptr_t *pc = sig_pc(context);
	if (*pc - (uintptr_t)sig_from < (uintptr_t)sig_to - (uintptr_t)sig_from)
		*pc = (uintptr_t)sig_out;
#else
	(void)context;
#endif
}

void sig_passed(void *context)
{
#if defined(__x86_64__) || defined(__aarch64__)
	if (*sig_pc(context) == (uintptr_t)sig_to && *result(context) == -EINTR)
		*sig_pc(context) = (uintptr_t)sig_out;
#else
	(void)context;
#endif
}

long sig_sleep(struct sig_mark m, long nr, long a, long b, long c, long d, long e, long f)
{
	int type;
	/* Nothing is held here that a cancelled thread would have to give back. */
	pthread_testcancel();
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	long r = sig_syscall(m.all, nr, a, b, c, d, e, f);
	pthread_setcanceltype(type, NULL);
	return r;
}

long sig_futex(struct sig_mark m, _Atomic uint32_t *word, uint32_t val, int64_t rel_ns)
{
	struct timespec ts = {(time_t)(rel_ns / 1000000000), (long)(rel_ns % 1000000000)};
	long r = sig_sleep(m, SYS_futex, SIG_ARG(word), FUTEX_WAIT, (long)val, rel_ns < 0 ? 0 : SIG_ARG(&ts), 0, 0);
	return r == -EAGAIN ? 0 : r;
}

static bool has_limit(int fd, int opt)
{
	struct timeval tv = {0, 0};
	socklen_t len = sizeof(tv);
	return sys5(SYS_getsockopt, fd, SOL_SOCKET, opt, &tv, &len) == 0 && (tv.tv_sec || tv.tv_usec);
}

bool sig_ends(struct sig_mark *m, bool some, int fd, int opt)
{
	if (!sig_since(*m))
		return false;
	if (some || sig_self.hard != m->hard || has_limit(fd, opt))
		return true;
	*m = sig_now();
	return false;
}

void sig_hold(struct sig_wait *w)
{
	uint64_t all = SIG_HOLDABLE;
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &all, &w->was, 8);
	w->held = true;
}

void sig_release(struct sig_wait *w)
{
	if (w->held)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, &w->was, 0, 8);
	w->held = false;
}
