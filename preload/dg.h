/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dg.h - a UDP socket, and the datagrams that it exchanges through memory.
 *
 * A UDP socket has no connection but any number of peers: addresses that it sends to or hears from. Each peer that is under shunt too may get a channel, as a TCP connection does
 * (assoc.h, link.h), whose rings hold datagrams (core/dring.h). All others, and all that memory cannot do, go by the kernel as ever, on the same socket.
 *
 *   order     Between one sender and one receiver. Up: the sender makes sure that what it has sent by the kernel has arrived there (dgmove.c), then bumps `tx_epoch`; the receiver, which
 *             sees the odd epoch, first empties its kernel socket once. Down: the receiver empties the ring before it reads what came by the kernel; so it looks at rings first.
 *   loss      A full ring is not a full socket: the sender waits a moment for a reader at work, and goes down; the kernel then drops or keeps.
 *   death     The association's lifeline, a pidfd of the peer's process (its number is the kernel's word). Who finds the peer gone, or closed, sends by the kernel, which says so.
 *   sharing   Only a socket that one process holds has channels. Before fork, exec, passing, connect() and the like all channels end (dgback.c): what is unread in rings goes into the
 *             kernel's queue, by the hand of who sent it.
 *   waiting   Each such socket has a bell of its own, a descriptor that is readable when something was put into a ring while nobody looked; whoever waits for the socket waits for both.
 *
 * A peer is "hot" when it is not known to be armed with that bell: only hot ones are looked at. Before somebody sleeps all hot ones are armed, and go cold.
 *
 * Locks: g_lock, then tx token, then rx token. Peers come and go under all three; so who holds either token may use them. In the table (fdtab) such a socket has a tag of
 * its own (FD_DGRAM): code for streams never meets it.
 */
#ifndef SHUNT_DG_H
#define SHUNT_DG_H

#include <netinet/in.h>

#include "assoc.h"
#include "bell.h"
#include "sig.h"
#include "spin.h"
#include "token.h"

#define DG_N_HASH 64
#define DG_N_CAND 16

struct dg_peer {
	struct sock *s;
	struct diag_addr addr, own; /* its address; and ours, that it sends to */
	struct chan c;
	struct dg_slot *slot;
	struct dg_peer *next; /* in its hash chain; or free */
	bool same_source;     /* what we send there has the source address that the peer knows us by */
	/* under the tx token */
	_Atomic uint64_t tail;	   /* the truth of which sm_end.tx_tail is the published copy */
	uint64_t free_upto;	   /* last checked value of the peer's rx_head */
	uint64_t cost;		   /* of all that was put into the ring, as the kernel counts (dring.h) */
	uint64_t cost_free;	   /* last value of the peer's rx_cost */
	uint64_t checked;	   /* when it was last made sure that the peer's process lives (dring_now) */
	uint64_t stalled;	   /* the reader's head when it was last waited for in vain, + 1 */
	uint64_t up_tail, up_cost; /* tail and cost when it last went up */
	uint64_t rewind;	   /* position at which to look whether the ring may start over */
	uint32_t shift, tx_epoch;
	uint16_t quiet;	       /* sends in a row that found nobody asleep */
	_Atomic uint32_t deaf; /* nobody has the bell that it is armed with */
	/* under the rx token */
	_Atomic uint64_t head;
	uint64_t seen; /* tail at the last look */
	uint64_t rx_cost;
	uint32_t rx_epoch;
	uint32_t pending;	 /* the odd epoch that waits until the kernel socket has been empty */
	uint32_t end_epoch;	 /* the last even epoch that was seen while its ring was unread, */
	uint64_t end;		 /* and the tail then, behind which nothing was put before the sender went down */
	uint64_t floor;		 /* no datagram that is in the ring now was sent before (stamp_of) */
	uint64_t lap, lap_began; /* a value of rx_cost, and when that was the last published */
	_Atomic uint32_t limit;	 /* the largest rx_limit that was ever published */
	bool hot;
	uint32_t name_len;
	struct sockaddr_in6 name; /* as recvfrom() reports it */
};

/* The socket's bell in one association. */
struct dg_slot {
	struct assoc *a;
	uint64_t nonce;
	struct sm_bell *bell;
	uint32_t idx;
	bool set; /* `sleeping` was stored; cleared since: the bell has been rung. Under the rx token */
	struct dg_peer *_Atomic peer[SM_N_CHAN];
	struct dg_slot *next;
};

/* The association may have been let go, and its range be another's: its bell is not ours to touch then. */
static inline bool dg_slot_lives(const struct dg_slot *sl)
{
	return load_acquire(&sl->a->live) && sl->a->seg.nonce == sl->nonce;
}

/* An address that datagrams are sent to by the kernel: is it worth a channel? */
struct dg_cand {
	struct diag_addr to;
	uint32_t n, next_try;
};

struct dg {
	_Atomic uint32_t n_linked; /* peers */
	_Atomic uint32_t reap;	   /* some peer has ended: dg_reap() */
	bool bound;		   /* by bind() */
	bool is_v6;
	_Atomic uint32_t connected; /* `to` is valid */
	_Atomic uint32_t pktinfo;   /* 1 IP_PKTINFO, 2 IPV6_RECVPKTINFO */
	_Atomic uint32_t refused;   /* sent by the kernel while connected: an error may wait, which comes before any datagram */
	struct diag_addr to;
	uint32_t n_asked; /* how often it was asked whether a sender is of this host */
	uint32_t n_local; /* datagrams from this host that came by the kernel: worth publishing? */
	uint32_t seen_offer;
	struct dg_peer *hash[DG_N_HASH];
	struct dg_peer *last; /* under the tx token: whom we sent to last */
	struct dg_cand cand[DG_N_CAND];
	/* under the rx token */
	struct dg_peer **hot;
	uint32_t n_hot, room;
	uint32_t n_taken;	   /* looks that found something in a ring */
	uint32_t kernel_first;	   /* octets read from the kernel since a peer went up */
	bool kernel_recent;	   /* the last sleep was ended by the kernel */
	_Atomic uint32_t sleepers; /* threads that sleep in recv */
	uint64_t arrived;	   /* grows whenever a look finds more than the one before */
	bool rung;		   /* the bell may hold a ring of our own */
	_Atomic uint32_t stray;	   /* somebody was woken by it */
	struct dg_slot *slots;
	int bell_fd; /* hidden; 0: none yet */
	uint8_t bell_name[BELL_NAME_LEN];
	struct spin spin;
};

static inline struct sock *fd_dgram(int fd)
{
	uintptr_t v = fd_get(fd);
	return __builtin_expect((v & FD_TAG) == FD_DGRAM, 0) ? (struct sock *)(v & ~(uintptr_t)FD_TAG) : NULL;
}

static inline bool dg_linked(const struct sock *s)
{
	return load_acquire(&s->dg->n_linked) != 0;
}

/* ---- dg.c: the table of peers */
/* For a new UDP socket. false: no memory. Under g_lock. */
bool dg_init(struct sock *s, bool is_v6);
void dg_fini(struct sock *s);
void dg_fork_child(struct sock *s);
struct dg_peer *dg_find(const struct dg *d, const struct diag_addr *to);
/* A new peer on channel `idx` of `a`, entered everywhere, not consenting yet. NULL: no memory, descriptors or bell slots. Under g_lock. */
struct dg_peer *dg_attach(
	struct sock *s, struct assoc *a, uint32_t idx, const struct diag_addr *to, const struct diag_addr *own);
/* And out again; the channel is given back if both sides have left it. Under g_lock. */
void dg_detach(struct dg_peer *p);
/* Calls fn for each peer. Under g_lock. */
void dg_each(struct sock *s, void (*fn)(struct dg_peer *p, void *arg), void *arg);
/* rx token held: look at it from now on. */
void dg_heat(struct dg *d, struct dg_peer *p);

/* ---- dglink.c: peers become linked. No token held. */
/* bind() has succeeded. */
void dg_bound(struct sock *s);
/* connect() has been called: whom datagrams go to and come from now; NULL: anybody. */
void dg_connected(struct sock *s, const struct sockaddr *sa, socklen_t len);
/* A datagram has gone to `to` by the kernel. */
void dg_sent(struct sock *s, const struct diag_addr *to);
/* One has come by the kernel; `from` may be NULL: not known. */
void dg_came(struct sock *s, const struct diag_addr *from);
static inline bool dg_wants_names(const struct sock *s)
{
	return s->dg->bound && !s->server;
}
/* SO_RCVBUF may have changed. */
void dg_limit(struct sock *s);
/* All readers look at rings from now on, if nothing forbids it. */
void dg_consent(struct sock *s);
/* A thread is about to wait in the kernel where no bell reaches it. true: the socket is linked, and the ring is to be used. Leave in any case. */
bool dg_kernel_enter(struct sock *s);
void dg_kernel_leave(struct sock *s);
/* The peer's process of an association has ended. Under g_lock. */
void dg_peer_died(struct assoc *a);

/* ---- dgmove.c: switching. tx token held. */
void dg_move_fork_child(void);
bool dg_up(struct dg_peer *p);
void dg_down(struct dg_peer *p, enum why why);
/* Down while the peer goes on reading: also when it has not followed the up. */
void dg_leave_ring(struct dg_peer *p, enum why why);
/* Will the peer look into the ring at what is put there now? false: it has left, or is about to. */
static inline bool dg_peer_reads(const struct dg_peer *p)
{
	return load_relaxed(&p->c.peer->consent) && !(load_relaxed(&p->c.peer->flags) & SM_END_CLOSED) &&
	       !load_relaxed(&p->c.assoc->ended) && !load_relaxed(&p->deaf);
}

/* ---- dgtx.c, dgrx.c: -errno. The message is the caller's; its buffers may not be there. */
long dg_send(struct sock *s, int fd, const struct msghdr *m, int flags, struct sig_mark since);
/* On success fills in what recvmsg() does; `plain`: but not msg_flags, which nobody asks for. */
long dg_recv(struct sock *s, int fd, struct msghdr *m, int flags, struct sig_mark since, bool plain);
/* Octets of the datagram that is next, if it is in a ring; -1: it is not. */
long dg_next_len(struct sock *s);

/* ---- dgready.c: waiting */
/* Is there something to receive in a ring, or reason to ask? *arrived (may be NULL) differs from the last look's when something has come since. */
bool dg_look(struct sock *s, uint64_t *arrived);
/* rx token held. */
bool dg_look_held(struct sock *s);
void dg_take_bells(struct dg *d);
/* Octets of p's ring that may be read now, and in *order what has to be read before all else. rx token held. (dgrx.c) */
#define DG_KERNEL_FIRST 1u /* some peer has gone up: the kernel socket, until it is empty */
#define DG_RING_FIRST 2u   /* some peer has gone down: what is left in its ring */
uint64_t dg_unread(struct dg_peer *p, uint32_t *order);
/* Tell the hot peers on which CPU we wait. */
void dg_publish_cpu(struct sock *s);
/*
 * Before sleeping in the kernel with dg->bell_fd among what is waited for: true: do not, there is something. known: NULL, or a value of `arrived`: what had come by then is
 * nothing (edges).
 */
bool dg_arm(struct sock *s, const uint64_t *known);
/* The bell has ended a sleep. Without the token. */
static inline void dg_woken(struct sock *s)
{
	store_relaxed(&s->dg->stray, 1);
}
/* More is there, and others may sleep that have not been woken for it. */
void dg_ring_self(struct sock *s);
void dg_prefetch(struct sock *s);
bool dg_spin_pays(struct sock *s, int cpu);

/* ---- dgback.c: leaving */
/* All channels of the socket end; what is unread in our rings goes into its kernel queue. It may be linked anew. No token held. */
void dg_unlink(struct sock *s, enum why why);
/* For people: it is not linked, or about not to be. */
void dg_shows_kernel(struct sock *s, enum why why);
/* And never again. */
void dg_pin(struct sock *s, enum why why);
/* This side ends the channel. Under g_lock. */
void dg_drop(struct dg_peer *p);
/* Peers that have ended, or whose process has. No lock held. */
void dg_reap(struct sock *s);
static inline void dg_reap_maybe(struct sock *s)
{
	if (__builtin_expect(load_relaxed(&s->dg->reap), 0))
		dg_reap(s);
}
/* The last descriptor of this process goes. Under g_lock. */
void dg_end(struct sock *s);
/* What is in p's ring from position `from` on, once more by the kernel. tx token held, the direction is down. */
void dg_send_again(struct dg_peer *p, uint64_t from);
/* The peer on channel idx of `a` asks for what it has not read: service thread. */
void dg_give_back(struct sock *s, struct assoc *a, uint32_t idx);
struct dg_peer *dg_peer_on(struct sock *s, const struct assoc *a, uint32_t idx);
/* ---- dgswitch.c. The process is switched off: all channels go down, and end when they are read; *left is set if some are not. Under g_lock. */
void dg_off(struct sock *s, bool *left);
void dg_on(struct sock *s);
/* The peer on channel idx of `a` has rung: is it switched off? Service thread. */
void dg_asked(struct sock *s, struct assoc *a, uint32_t idx);

/* ---- fork */
/* The socket is about to get a second holder. Under g_lock. */
void dg_fork_prepare(struct sock *s);

#endif
