/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * assoc.h - with whom this process talks: published endpoints (server side), endpoints found (client side), and associations with their channels.
 *
 * Slow paths only, under g_lock: lists are arrays that only grow, entries are type-stable, readers without the lock see an entry
 * only after it is complete (release / acquire on its state).
 */
#ifndef SHUNT_ASSOC_H
#define SHUNT_ASSOC_H

#include <stdbool.h>
#include <stdint.h>

#include "ept.h"
#include "rdv.h"
#include "seg.h"
#include "sock.h"

/* The lock of all slow paths: futex-based, recursive; no handler of the program's runs on the holder's thread, so that handlers may come here too. */
struct guard {
	bool outer, blocked;
	uint64_t mask; /* the thread's; if blocked */
};
void guard_enter(struct guard *g);
void guard_leave(struct guard *g);
/* The program is about to install a handler. Before the guard under which that is done. */
void guard_beware(void);
/* A count that is odd while the main thread's signals are blocked by a guard, and changes with each. Any thread. */
uint32_t guard_of_main(void);
/* In our handler of a fatal signal: true: this thread is inside a guard, and the signal comes again at its end. */
bool guard_dies_later(int sig);

struct assoc {
	_Atomic uint32_t live;
	int side; /* SM_CLIENT: we created it */
	struct seg seg;
	struct endpoint *endpoint; /* client side */
	struct server *server;	   /* server side */
	uint32_t svc_bell;	   /* the service thread's bell slot + 1; 0: none */
	_Atomic uint32_t n_linked; /* channels that this process has linked */
	uint64_t idle_since_ns;
	int life_fd;		       /* hidden pidfd of the peer's process, for datagrams: 0: none */
	_Atomic uint32_t ended;	       /* it has ended */
	_Atomic int64_t mute_until_ns; /* its service thread has not answered lately (takeback.c) */
	_Atomic(struct sock *) chan_sock[SM_N_CHAN];
};
#define N_ASSOC 1024
extern struct assoc *assoc_tab[N_ASSOC];
extern _Atomic uint32_t n_assoc; /* entries of assoc_tab, live or not */

/* An endpoint that this process connects to. */
struct endpoint {
	struct diag_addr to;
	bool udp;
	_Atomic uint32_t state; /* EP_* */
	int64_t check_ns;	/* when to look at the map again */
	struct ept_ref ref;	/* EP_FOUND */
	_Atomic(struct assoc *) assoc;
	_Atomic uint32_t want; /* 1: the service thread shall make an association */
	struct diag_addr want_own, want_peer;
	int64_t retry_ns; /* after a failure: not before */
	uint32_t failures;
	bool announced; /* the acceptors know that we are here */
	enum why why;
};
enum { EP_UNKNOWN, EP_NONE, EP_FOUND };

/* An endpoint that this process serves. */
struct server {
	_Atomic uint32_t live;
	struct ept ept;
	uint32_t refs;	/* listening socks */
	uint32_t users; /* accepted socks: they look at the area as long as they live */
	_Atomic uint32_t seen_msg;
	bool watched;		    /* the service thread's epoll has its bell */
	bool left;		    /* a listener of ours was closed that others still hold */
	int64_t share_ns;	    /* another process has published it: when to look again */
	_Atomic int64_t retract_ns; /* no listener any more: off the map then; 0: not waiting */
};

/* Where connect() goes: what the map says of `to` (cached). NULL: nothing is published there, or it is not local. */
struct endpoint *endpoint_find(const struct diag_addr *to, int fd);
/* The root directory is about to change. */
void endpoint_root_moves(void);
/* Why endpoint_find() has found nothing: no-endpoint, or chroot. */
enum why endpoint_none(void);
/* The same for datagrams. */
struct endpoint *endpoint_find_udp(const struct diag_addr *to, int fd);
/* The address (port 0) from which this host sends to `to`, one of its own. false: it is not. No lock. */
bool endpoint_source(const struct diag_addr *to, struct diag_addr *own);
/* No association there any more, and the map shall be asked: the server has ended. Under g_lock. */
void endpoint_ended(struct assoc *a);
/*
 * A connection (fd) is about to be offered to an association there. The server may have been killed, or have become another program, since it was last asked for: then it is forgotten, with
 * its association, and looked up anew, for what is published now belongs to whom this connection leads to. true: it is as it was, or only listens no more. Under g_lock.
 */
bool endpoint_renew(struct endpoint *e, int fd);
/* Ask the service thread for an association, once the connection own-peer (fd) has shown that it is worth it. */
void endpoint_want(struct endpoint *e, int fd, const struct diag_addr *own, const struct diag_addr *peer);
/* Service thread: make those that are wanted. */
void endpoint_serve_wants(void);

/* listen(): publish the endpoint of a bound TCP socket, or of one that is about to listen. NULL: it cannot be (logged), or has no port yet. */
struct server *server_publish(int fd);
/* The same for a UDP socket. */
struct server *server_publish_udp(int fd);
/* Do the rules keep this listener (or UDP socket) from being published? */
bool server_is_forbidden(int fd, bool udp);
/* A listener that another process has published already: one more that accepts there. NULL: nobody has. */
struct server *server_share(int fd);
/* The same process may have ended since: then it is ours to publish. Asked now and then. */
void server_share_again(struct sock *listener);
/* A listener goes; `last`: no other process holds it. */
void server_release(struct server *v, bool last);
/* It was published for a listen() that has failed. */
void server_withdraw(struct server *v);
/* The endpoint that others publish, under whose address `own` a connection was accepted that has come to us: to find its associations. NULL: none, or not for us. Under g_lock; to be used at
 * once (server_use). */
struct server *server_find(const struct diag_addr *own, int fd);
void server_use(struct server *v);
void server_unuse(struct server *v);
/* Service thread, under g_lock: endpoints whose listener is gone, and whose time is over. */
void server_retract_late(int64_t now);
bool server_retracts(void);
/* The process ends: take its endpoints off the map. */
void server_end_all(void);
/* Answer rendezvous messages and adopt associations that other acceptors have made. */
void server_serve_all(void);
/*
 * Answer those, and then call `take` for each channel that is on offer in an association of ours as server, until it returns other than 0: that. Under g_lock.
 */
int server_offers(int (*take)(struct assoc *a, uint32_t i, void *arg), void *arg);
struct server *server_at(uint32_t i); /* for iteration; NULL at the end */

/* Can it be had again, should it be needed? The segment that an endpoint of ours made would be gone; who got its channels from another process is as a server. */
static inline bool assoc_may_go(const struct assoc *a)
{
	return !load_relaxed(&a->n_linked) &&
	       (a->side == SM_SERVER || !a->endpoint || load_relaxed(&a->ended) ||
		       load_acquire(&a->endpoint->assoc) != a); /* nobody will offer there again */
}
/* One channel less is linked. Without any, it is let go in a while. Under g_lock. */
void assoc_chan_ends(struct assoc *a);
struct assoc *assoc_add(const struct seg *g, int side);
bool assoc_room(void); /* assoc_add will find an entry */
struct assoc *assoc_find(int shmid, uint64_t nonce);
/* Its channel number idx, as this process sees it. */
void assoc_chan(struct assoc *a, uint32_t idx, struct chan *c);
void assoc_gc(int64_t now_ns);
void assoc_fork_child(void);

#endif
