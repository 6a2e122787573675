/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sig.h - a call that waits in our code ends when a handler of the program has run, as it would end in the kernel.
 *
 * The program's handlers are called by one of ours (handler.c), which counts them, thread by thread. A call notes the counts when it begins. When it has nothing to return it
 * looks at them: changed, and it ends with EINTR, or as its kind does. What is there wins: the counts are looked at last.
 *
 * Between that last look and the sleep no handler may go unnoticed. So both are made by one piece of code, sig_syscall(): "count as before? then the system call". A handler
 * that interrupts it there, the call not yet made or about to be made once more (SA_RESTART), has it go on behind the call, with SIG_CAME. No system call, no lock and nothing
 * to put back: a handler may siglongjmp() away at any time.
 *
 * With a mask of the program's (ppoll, pselect, epoll_pwait) the kernel's own call lets pending signals in, at once with its going to sleep. Until then, and between two sleeps of
 * one call, signals are held back, so that the handlers which run are those that the mask lets in, and only while nothing is ready (sig_hold). Such calls do not spin.
 *
 * Not counted: handlers that were there before us, or were installed by a bare system call; those are noticed only in the sleep itself.
 */
#ifndef SHUNT_SIG_H
#define SHUNT_SIG_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

/* All signals but the C library's own two (setxid and cancellation) and those that a bug here would raise. */
#define SIG_HOLDABLE                                                                                                           \
	(~((UINT64_C(3) << 31) | (UINT64_C(1) << (SIGSEGV - 1)) | (UINT64_C(1) << (SIGBUS - 1)) |                              \
		(UINT64_C(1) << (SIGFPE - 1)) | (UINT64_C(1) << (SIGILL - 1))))

struct sig_mark {
	uint32_t all;  /* handlers that have begun on this thread */
	uint32_t hard; /* those without SA_RESTART */
};
extern __thread volatile struct sig_mark sig_self __attribute__((tls_model("initial-exec")));

static inline struct sig_mark sig_now(void)
{
	return (struct sig_mark){sig_self.all, sig_self.hard};
}

/* A handler has run since the mark. */
static inline bool sig_since(struct sig_mark m)
{
	return sig_self.all != m.all;
}

/* A call on one socket has nothing to hand over but `some`: does it end? opt: SO_RCVTIMEO or SO_SNDTIMEO. If not, it goes on as one that begins now. */
bool sig_ends(struct sig_mark *m, bool some, int fd, int opt);

#define SIG_CAME (-(long)ERESTART) /* a handler has run since the mark, and the system call has not been made */

/* The system call, unless a handler has run since the mark. A cancellation point, as the calls are that sleep. SIG_CAME, or what the kernel says. */
long sig_sleep(struct sig_mark m, long nr, long a, long b, long c, long d, long e, long f);
#define SIG_ARG(x) ((long)(uintptr_t)(x))
/* The same of FUTEX_WAIT, with a time limit unless rel_ns < 0. SIG_CAME, 0 (also if the value differs), -EINTR, -ETIMEDOUT. */
long sig_futex(struct sig_mark m, _Atomic uint32_t *word, uint32_t val, int64_t rel_ns);

/* One of the program's handlers begins. */
void sig_begins(int flags, void *context);
/* A signal has been left to another thread: a sleep of ours that it has ended goes on, as far as its caller can (SIG_CAME, and no handler has run). */
void sig_passed(void *context);

#if defined(__x86_64__) || defined(__aarch64__)
/* Where the interrupted code goes on. */
uintptr_t *sig_pc(void *context);
#endif

/* ---- calls with a mask */
struct sig_wait {
	struct sig_mark since;
	const sigset_t *mask; /* the program's; NULL: none */
	bool held;
	uint64_t was; /* this thread's mask; if held */
};
void sig_hold(struct sig_wait *w);
void sig_release(struct sig_wait *w);

#endif
