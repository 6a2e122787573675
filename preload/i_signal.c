/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_signal.c - a process that a signal ends by default still writes its statistics and takes its endpoints off the map.
 *
 * Where there is something to leave behind (an endpoint, or --stats), the default action of the common fatal signals is replaced by a handler that tidies up, puts the
 * default back and raises the signal again. The program keeps seeing SIG_DFL.
 */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "startup.h"
#include "sys.h"
#include "wrap.h"

static const int fatal[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGALRM};
static _Atomic uint32_t guarding;

static bool is_fatal(int sig)
{
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		if (fatal[i] == sig)
			return true;
	return false;
}

static void tidy_and_die(int sig)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	uint64_t one = UINT64_C(1) << (sig - 1);
	startup_end(false);
	real.sigaction(sig, &dfl, NULL);
	sys2(SYS_kill, sys0(SYS_getpid), sig);
	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &one, 0, 8);
}

static const struct sigaction tidy = {.sa_handler = tidy_and_die};

void signal_guard(void)
{
	if (xchg_acqrel(&guarding, 1u))
		return;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++) {
		struct sigaction old;
		if (real.sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			real.sigaction(fatal[i], &tidy, NULL);
	}
}

void signal_unguard(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, old;
	for (size_t i = 0; load_acquire(&guarding) && i < sizeof(fatal) / sizeof(*fatal); i++)
		if (real.sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == tidy_and_die)
			real.sigaction(fatal[i], &dfl, NULL);
	store_release(&guarding, 0);
}

/* The default that the program sets is ours too; ours that it finds is the default. */
EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	if (act && act->sa_handler == SIG_DFL && load_acquire(&guarding) && is_fatal(sig))
		act = &tidy;
	int r = real.sigaction(sig, act, old);
	if (r == 0 && old && old->sa_handler == tidy_and_die) {
		memset(old, 0, sizeof(*old));
		old->sa_handler = SIG_DFL;
	}
	return r;
}

static sighandler_t by_sigaction(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags}, old;
	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	if (!(flags & (int)SA_RESETHAND))
		sigaddset(&act.sa_mask, sig);
	return sigaction(sig, &act, &old) < 0 ? SIG_ERR : old.sa_handler;
}

/* Only the signals that we may have taken over: for the others libc's own keeps its notes (siginterrupt). */
EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	if (!load_acquire(&guarding) || !is_fatal(sig))
		return real.signal(sig, handler);
	return by_sigaction(sig, handler, SA_RESTART);
}

EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	if (!load_acquire(&guarding) || !is_fatal(sig))
		return real.sysv_signal(sig, handler);
	return by_sigaction(sig, handler, (int)SA_RESETHAND | SA_NODEFER);
}

EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return sysv_signal(sig, handler);
}
