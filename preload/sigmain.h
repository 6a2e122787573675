/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sigmain.h - a signal that was sent to the process stays the main thread's.
 *
 * The kernel gives such a signal to the main thread, unless that has blocked it; and programs count on it, which sit in pause() or accept() there and look at a flag of the
 * handler's. But it is anybody's until it has been taken. A thread that unblocks its signals takes what is pending for the process, though the main thread was chosen and is about to
 * run; and while the main thread has its own blocked, another one is chosen. We block and unblock (assoc.c) where the program knows of nothing of the kind.
 *
 * So a handler on another thread sends the signal once more, to the process, and waits with it blocked until somebody has taken it. That is the main thread as soon as it runs, or has left our
 * code. If it has not for LOOK_NS, its mask is looked at: if that has the signal, others' handlers run at once from then on, until the main thread takes one again. After WAIT_NS ours runs in
 * any case: what it has interrupted may hold something that the main thread waits for.
 *
 * Meant is what kill() and sigqueue() send, the terminal, and alarm(). What the kernel sends to a thread for what it has done itself (SIGPIPE, profiling timers), to the thread
 * that forked (SIGCHLD), or with a thread as its aim (tgkill) is handled where it comes.
 */
#ifndef SHUNT_SIGMAIN_H
#define SHUNT_SIGMAIN_H

#include <signal.h>
#include <stdbool.h>

/*
 * In a handler of ours, before the program's. true: another thread's handler has it, or ours again: do nothing. Else *info is what the sender wrote, if it is the second time. `flags` are the
 * program's. Async-signal-safe; does not change errno.
 */
bool sigmain_passes(int sig, siginfo_t *info, void *context, int flags);
/* What is kept is the parent's; and the thread that forked is the main thread now. */
void sigmain_fork_child(void);

#endif
