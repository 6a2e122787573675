/* SPDX-License-Identifier: BSD-2-Clause */
#include "handler.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "assoc.h"
#include "real.h"
#include "sig.h"
#include "sigmain.h"
#include "startup.h"
#include "sys.h"
#include "ucopy.h"
#include "wrap.h"

#define N_SIG 65

struct slot {
	_Atomic uintptr_t handler;
	_Atomic int flags; /* as the program gave them */
};
static struct slot slots[N_SIG][2];
static uint8_t in_force[N_SIG]; /* which of the two; under g_lock */
static bool guarding, trapping;
static _Atomic bool trapped; /* both are in place; read without g_lock */

/* What we change in the flags. */
#define OUR_FLAGS (SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND)

static bool is_fatal(int sig)
{
	return sig == SIGHUP || sig == SIGINT || sig == SIGTERM || sig == SIGPIPE || sig == SIGALRM;
}

static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS;
}

/* The kernel found that the program's memory is not there: the copy shall return and say so. */
static bool fix_up(const siginfo_t *info, void *context)
{
#if defined(__x86_64__)
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct ucopy_regs regs = {(uintptr_t *)&r[REG_RIP], (uintptr_t *)&r[REG_RSP], 0};
#elif defined(__aarch64__)
	mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
	struct ucopy_regs regs = {(uintptr_t *)&m->pc, (uintptr_t *)&m->sp, m->regs[30]};
#else
	struct ucopy_regs regs = {0};
	(void)context;
#endif
	return info->si_code > 0 && ucopy_fail(regs);
}

/*
 * The default action, of which we have taken the place. A fault happens once more when we return, and ends the process where it is; any other signal is sent once more, as
 * it came.
 */
static void by_default(int sig, siginfo_t *info)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	uint64_t one = UINT64_C(1) << (sig - 1);
	if (is_fatal(sig) && guard_dies_later(sig))
		return;
	if (is_fatal(sig))
		startup_end(false);
	real.sigaction(sig, &dfl, NULL);
	if (is_fault(sig) && info->si_code > 0 && info->si_code != BUS_MCEERR_AO)
		return;
	if (sys4(SYS_rt_tgsigqueueinfo, sys0(SYS_getpid), sys0(SYS_gettid), sig, info) < 0)
		sys2(SYS_kill, sys0(SYS_getpid), sig);
	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &one, 0, 8);
}

static inline void run(int sig, siginfo_t *info, void *context, int which)
{
	struct slot *sl = &slots[sig][which];
	int flags = load_relaxed(&sl->flags);
	uintptr_t h;
	if (is_fault(sig)) {
		if (fix_up(info, context))
			return;
		/* The kernel must not take our own handler away. */
		h = flags & (int)SA_RESETHAND ? xchg_acqrel(&sl->handler, (uintptr_t)SIG_DFL) : load_acquire(&sl->handler);
	} else {
		h = load_acquire(&sl->handler);
	}
	if (h == (uintptr_t)SIG_DFL) {
		by_default(sig, info);
		return;
	}
	if (!is_fault(sig) && sigmain_passes(sig, info, context, flags))
		return;
	sig_begins(flags, context);
	/* The kernel also gives all three to a handler that takes one. */
	((void (*)(int, siginfo_t *, void *))h)(sig, info, context);
}

static void run_0(int sig, siginfo_t *info, void *context)
{
	run(sig, info, context, 0);
}

static void run_1(int sig, siginfo_t *info, void *context)
{
	run(sig, info, context, 1);
}

/* The slot that an action of the kernel's stands for; NULL: it is not ours. */
static struct slot *slot_of(int sig, const struct sigaction *k)
{
	if (k->sa_sigaction == run_0)
		return &slots[sig][0];
	return k->sa_sigaction == run_1 ? &slots[sig][1] : NULL;
}

/* What the program set, from what the kernel has. */
static void as_program_has_it(int sig, struct sigaction *k)
{
	const struct slot *sl = slot_of(sig, k), *now = &slots[sig][in_force[sig]];
	if (sl) {
		k->sa_handler = (sighandler_t)load_acquire(&sl->handler); /* the same word as sa_sigaction */
		k->sa_flags = (k->sa_flags & ~OUR_FLAGS) | (load_relaxed(&sl->flags) & OUR_FLAGS);
	} else if (k->sa_handler == SIG_DFL && k->sa_flags & (int)SA_RESETHAND &&
		   load_relaxed(&now->flags) & (int)SA_RESETHAND) {
		/* It has run; the kernel has put the default back, and left the flags. */
		k->sa_flags = (k->sa_flags & ~SA_SIGINFO) | (load_relaxed(&now->flags) & SA_SIGINFO);
	}
}

/* A program that read our function from the kernel by a bare system call, and sets it now. */
static void not_ourselves(int sig, struct sigaction *a)
{
	const struct slot *sl = slot_of(sig, a);
	if (sl)
		a->sa_handler = (sighandler_t)load_acquire(&sl->handler);
}

/* Our function in the place of the handler; `sl` remembers that. Under g_lock; the slot is not in force. */
static void put_in_front(int sig, int which, struct sigaction *a)
{
	struct slot *sl = &slots[sig][which];
	bool dfl = a->sa_handler == SIG_DFL;
	store_relaxed(&sl->flags, a->sa_flags);
	store_release(&sl->handler, (uintptr_t)a->sa_handler);
	if (a->sa_handler == SIG_IGN || (dfl && !(guarding && is_fatal(sig)) && !(trapping && is_fault(sig))))
		return;
	a->sa_sigaction = which ? run_1 : run_0;
	a->sa_flags |= SA_SIGINFO;
	if (is_fault(sig))
		a->sa_flags = (a->sa_flags & ~(int)SA_RESETHAND) | (dfl ? SA_ONSTACK : 0);
}

int handler_set(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction mine;
	struct guard g;
	bool ours = sig > 0 && sig < N_SIG;
	if (act) {
		mine = *act;
		act = &mine;
		if (ours)
			not_ourselves(sig, &mine);
	}
	/* A child of vfork has its own handlers, and shares our slots. */
	bool change = ours && act && wrap_own_process();
	if (change) {
		if (mine.sa_handler != SIG_DFL && mine.sa_handler != SIG_IGN)
			guard_beware();
		guard_enter(&g);
		put_in_front(sig, !in_force[sig], &mine);
	}
	int r = real.sigaction(sig, act, old);
	if (r == 0 && old && ours)
		as_program_has_it(sig, old);
	if (change) {
		if (r == 0)
			in_force[sig] = !in_force[sig];
		guard_leave(&g);
	}
	return r;
}

/* Under g_lock. A fault's handler from before us too; but not an ignored fault: who execs hands it on. */
static void take_over(int sig)
{
	struct sigaction a;
	if (real.sigaction(sig, NULL, &a) < 0 || slot_of(sig, &a) || (a.sa_handler != SIG_DFL && !is_fault(sig)) ||
		a.sa_handler == SIG_IGN)
		return;
	put_in_front(sig, !in_force[sig], &a);
	if (real.sigaction(sig, &a, NULL) == 0)
		in_force[sig] = !in_force[sig];
}

void handler_guard(void)
{
	struct guard g;
	guard_enter(&g);
	if (!guarding) {
		guarding = true;
		for (int sig = 1; sig < N_SIG; sig++)
			if (is_fatal(sig))
				take_over(sig);
	}
	guard_leave(&g);
}

void handler_unguard(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, a;
	struct guard g;
	guard_enter(&g);
	for (int sig = 1; guarding && sig < N_SIG; sig++) {
		if (!is_fatal(sig) || real.sigaction(sig, NULL, &a) < 0)
			continue;
		const struct slot *sl = slot_of(sig, &a);
		if (sl && load_acquire(&sl->handler) == (uintptr_t)SIG_DFL)
			real.sigaction(sig, &dfl, NULL);
	}
	guarding = false;
	guard_leave(&g);
}

void handler_trap(void)
{
	if (handler_traps() || !wrap_own_process()) /* a child of vfork has its own handlers, and shares our words */
		return;
	trapping = true;
	take_over(SIGSEGV);
	take_over(SIGBUS);
	store_release(&trapped, true);
}

bool handler_traps(void)
{
	return load_acquire(&trapped);
}
