/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handler.h - the program's signal handlers, and the four things that we do in front of them.
 *
 *   1. They are counted, so that a call which waits in our code ends when one has run (sig.h).
 *   2. SIGSEGV and SIGBUS in a copy to or from the program's memory make the call fail (ucopy.h); from the first linked socket, or the
 *      first epoll_ctl() with a socket that may be, on also where the program has no handler.
 *   3. One that runs on another thread than the kernel would have chosen without us leaves the signal to the main thread (sigmain.h).
 *   4. While there is something to leave behind (an endpoint, --stats), the default action of the common fatal signals tidies up first.
 *
 * The kernel has one of two functions of ours, with the program's mask and flags, and SA_SIGINFO. Which of the two says which of two slots holds the handler that goes with
 * them: sigaction() fills the slot that is not in force, and the kernel changes handler, mask and flags in one step as ever. What the program asks for it is told: its handler,
 * its flags.
 */
#ifndef SHUNT_HANDLER_H
#define SHUNT_HANDLER_H

#include <signal.h>
#include <stdbool.h>

/* sigaction(): 0, or -1 and errno. */
int handler_set(int sig, const struct sigaction *act, struct sigaction *old);
/* There is something to leave behind from now on. */
void handler_guard(void);
/* What there was has been dealt with: the default actions are the kernel's again. */
void handler_unguard(void);
/* There are copies that may fault from now on. Under g_lock. */
void handler_trap(void);
/* Has handler_trap() been done? Any thread. */
bool handler_traps(void);

#endif
