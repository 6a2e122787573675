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

/* Start it if it does not run. Under g_lock. */
void svc_start(void);
bool svc_runs(void);
/* The kernel has refused a thread (RLIMIT_NPROC, a cgroup's limit). Tried again after a second. Under g_lock. */
bool svc_failed(void);
/* svc_start(), not under g_lock. */
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
void svc_fork_child(void);

#endif
