/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * svc.h - the service thread: what must happen while the program's own threads are elsewhere.
 *
 * It answers and makes rendezvous, watches the kernel sockets of linked channels for hang-ups (and for input, when a thread that sleeps on a futex waits for the
 * kernel's part), and gives unread octets back to a peer that leaves shared memory. Started when the first association or offer appears, never before; all
 * signals blocked; idle it costs nothing. After fork the child has none until it needs one.
 */
#ifndef SHUNT_SVC_H
#define SHUNT_SVC_H

#include <stdbool.h>
#include <stdint.h>

#include "sock.h"
#include "token.h"

struct assoc;
struct park {
	uint64_t mask;
	bool restart;
};

/* Start it if it does not run: at the end of the outermost guard (svc_int.h), not before. What it is wanted for waits in its epoll and on its bells. Under g_lock. */
void svc_start(void);
/* The kernel counts it among the process's threads. */
bool svc_runs(void);
/* It is just being started. */
bool svc_starts(void);
/* It may be there, or come up at any moment. */
bool svc_may_run(void);
/*
 * What cannot do without it is not to be begun now: WHY_FDS, WHY_THREAD (the kernel has refused a thread: RLIMIT_NPROC, a cgroup's limit; tried again after a second); WHY_NONE: there is nothing to say, it is just being
 * started. true: it can. Starts it, if need be. Under g_lock.
 */
bool svc_can(enum why *why);
/* This thread starts it when it leaves g: then, what was refused for want of it is to be tried once more. Under g_lock. */
struct guard;
bool svc_comes(const struct guard *g);
/* For guard_leave(), where svc_comes(): the first before the lock is let go, the other behind. */
void svc_begins(uint64_t *mask);
void svc_create(uint64_t mask);
/* svc_start(), not under g_lock: it is there when this returns, if nobody else is just starting it. */
void svc_ensure(void);
/* When another thread is starting it: it is up, or could not be started; after 2 s neither. Any program thread, not under g_lock. */
void svc_await(void);
/* No thread can be started from now on: it is there, if it can be; whoever has parked it is waited for. Any program thread, not under g_lock. */
void svc_bring_up(void);
/* A thread that uses a socket again and again would keep its token, if there were a service thread (token.h): there shall be one. No token held. */
static inline void svc_for_token(void)
{
	if (__builtin_expect(load_relaxed(&token_refused), 0))
		svc_ensure();
}
/* Wake it to look at endpoints' wants and servers' messages. Any thread. */
void svc_kick(void);
/* Wake it if it runs. */
void svc_nudge(void);
/* Something may wait at the servers: start the thread if need be, and answer what is there now. Under g_lock. */
void svc_serve(void);
/* v's bell is about to be closed: another process, which has it by fork, may keep it ringing. Under g_lock. */
struct server;
void svc_unserve(struct server *v);
/* Service thread: what peers have asked for by its bells. */
void svc_serve_requests(void);
/* Watch the kernel socket of s for its end. Any thread; idempotent. */
void svc_watch(struct sock *s);
void svc_unwatch(struct sock *s);
/* Also report input once: bumps the end's futex. For a sleeper in kernel mode. */
void svc_want_input(struct sock *s);
/* A thread goes to sleep in a linked socket: what has been quiet for a while then gets trimmed. One load, but for the first time in a while. */
void svc_stir_slow(void);
extern _Atomic uint32_t svc_stirred;
static inline void svc_stir(void)
{
	if (__builtin_expect(!load_relaxed(&svc_stirred), 0))
		svc_stir_slow();
}
/* A bell slot of the service thread in an association's segment. Under g_lock. */
void svc_add_assoc(struct assoc *a);
/* Hear of the end of the peer's process. false: that cannot be had. Under g_lock. */
bool svc_watch_life(struct assoc *a);
/* The datagram socket that bells are rung from. */
int svc_ring_fd(void);
/*
 * For calls that behave differently in a process with a second thread: the thread leaves, and is gone for the kernel when svc_park returns; nobody starts it before
 * svc_unpark, which does if it ran (p->restart; the caller may clear that) or somebody has wanted it meanwhile. Its descriptors stay, and what happens
 * waits in them. A thread started again has what the caller has now: credentials, namespaces, descriptors. Any program thread, not under g_lock; all
 * signals are blocked in between. A thread that is busy for more than 2 s stays.
 */
void svc_park(struct park *p);
void svc_unpark(struct park *p);
/*
 * The service thread makes the system call, too, by which the calling thread has just changed itself: pointers lead to what is there until this returns. true: it has, or there is none, and the next one has it
 * from who starts it. false: it could not (another thread's doing may have taken its right to), or is busy. Any program thread, not under g_lock.
 */
bool svc_makes(long nr, const long arg[5]);
/* Service thread, in the middle of something long: makes that system call, if it is told to. true: it is told to go, and had better not begin anything long. */
bool svc_is_told(void);
void svc_fork_child(void);

#endif
