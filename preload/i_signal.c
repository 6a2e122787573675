/* SPDX-License-Identifier: BSD-2-Clause */
/* i_signal.c - the names that install handlers. All of them go through one (handler.c); the older ones are libc's, once more, on top of it. */
#include <signal.h>

#include "handler.h"
#include "wrap.h"

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return handler_set(sig, act, old);
}

EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return handler_set(sig, act, old);
}

static sighandler_t failed(void)
{
	errno = EINVAL;
	return SIG_ERR;
}

static sighandler_t set(int sig, sighandler_t handler, int flags, bool mask_it)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags}, old;
	if (handler == SIG_ERR || sig < 1 || sig >= NSIG)
		return failed();
	if (mask_it)
		sigaddset(&act.sa_mask, sig);
	return handler_set(sig, &act, &old) < 0 ? SIG_ERR : old.sa_handler;
}

/* Signals for which siginterrupt() has said that signal() shall not restart calls. */
static _Atomic uint64_t interrupting;

static uint64_t bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	if (sig < 1 || sig >= NSIG)
		return failed();
	return set(sig, handler, load_relaxed(&interrupting) & bit(sig) ? 0 : SA_RESTART, true);
}

EXPORT sighandler_t bsd_signal(int sig, sighandler_t handler)
{
	return signal(sig, handler);
}

EXPORT sighandler_t ssignal(int sig, sighandler_t handler)
{
	return signal(sig, handler);
}

EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return set(sig, handler, (int)SA_RESETHAND | SA_NODEFER | SA_INTERRUPT, false);
}

EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return sysv_signal(sig, handler);
}

EXPORT int siginterrupt(int sig, int interrupt)
{
	struct sigaction act;
	if (handler_set(sig, NULL, &act) < 0)
		return -1;
	if (interrupt) {
		or_acqrel(&interrupting, bit(sig));
		act.sa_flags &= ~SA_RESTART;
	} else {
		and_acqrel(&interrupting, ~bit(sig));
		act.sa_flags |= SA_RESTART;
	}
	return handler_set(sig, &act, NULL);
}

/* The signal is let in, unless it is to be held; the answer says whether it was held before. */
EXPORT sighandler_t sigset(int sig, sighandler_t handler)
{
	sigset_t one, was;
	struct sigaction old;
	sighandler_t before;
	if (handler == SIG_ERR || sig < 1 || sig >= NSIG)
		return failed();
	sigemptyset(&one);
	sigaddset(&one, sig);
	if (handler == SIG_HOLD) {
		if (sigprocmask(SIG_BLOCK, &one, &was) < 0 || handler_set(sig, NULL, &old) < 0)
			return SIG_ERR;
		return sigismember(&was, sig) ? SIG_HOLD : old.sa_handler;
	}
	before = set(sig, handler, 0, false);
	if (before == SIG_ERR || sigprocmask(SIG_UNBLOCK, &one, &was) < 0)
		return SIG_ERR;
	return sigismember(&was, sig) ? SIG_HOLD : before;
}
