/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock.h - a TCP socket as this process knows it, and the table that finds it by descriptor number.
 *
 * Three things describe a socket: the kernel's (the truth about its life), its family record (struct fam_sock: what all processes that hold it
 * by fork agree on), and struct sock, private to the process: pointers, and who waits for it here. Once linked to a channel, payload may move.
 *
 * Lifetime: struct sock and family records are type-stable (never unmapped, recycled oldest first). An operation finds the sock in the table, takes
 * the direction's token, and then checks that the table still says the same; nothing else is needed against a concurrent close().
 *
 * Modes, per direction:   kernel --(link, consent, enough traffic)--> ring --(full ring, withdrawal, close)--> kernel
 */
#ifndef SHUNT_SOCK_H
#define SHUNT_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "atomic.h"
#include "fam.h"
#include "ncadg_sm_abi.h"
#include "spin.h"
#include "why.h"

struct assoc;
struct endpoint;
struct server;
struct member;
struct arena;
struct dg;

/* A linked channel: pointers into a segment, valid for ever as memory (seg.h), as a channel while sock.linked. */
struct chan {
	struct assoc *assoc;
	struct sm_chan *shm;
	struct sm_end *my, *peer;
	uint8_t *tx_ring, *rx_ring;
	uint32_t idx;
	int side;
};

struct count {
	uint64_t bytes, msgs;
};

/* trial.h */
struct trial_of {
	_Atomic int64_t asked_ns;  /* when we sent what woke the peer; 0: not, or it has been answered */
	_Atomic int64_t until_ns;  /* how long the channel rests */
	uint64_t asked_msgs, msgs; /* messages sent with that one; and when `slept` was 0 */
	uint32_t slept;		   /* answers that were slept for */
	uint8_t wins, rests;	   /* trials in a row with one end or the other */
	bool suspected;		   /* slower in the last trial; another is to say so, too */
};

struct sock {
	struct fam_sock *f;
	struct arena *arena;
	_Atomic uint32_t linked; /* 1: chan is valid */
	_Atomic uint32_t hup;	 /* FIN, RST or an error was seen on the kernel socket: nothing goes into the ring any more */
	_Atomic uint32_t look;	 /* the kernel socket has input: ask it when the ring is empty */
	_Atomic uint32_t open;	 /* descriptors of this process that lead here; 0: closed */
	struct chan chan;
	int fd; /* one of its descriptors; for questions to the kernel */
	struct count tx_shm, tx_kernel, rx_shm,
		rx_kernel;	    /* what this process did; under the direction's token (kernel: about) */
	uint32_t n_ops;		    /* calls that went through the kernel before the link: is the connection worth a channel? */
	uint32_t seen_offer;	    /* server: area->offer_seq when we last looked for an offer */
	struct spin spin;	    /* of blocking reads */
	_Atomic bool rare;	    /* the last send that woke the peer came after a pause */
	_Atomic uint64_t rang_msgs; /* messages sent until then */
	_Atomic int64_t rang_ns;
	struct trial_of trial;
	uint64_t quiet_tail;	      /* tx_tail when the service thread looked last (trim.h) */
	uint64_t trimmed;	      /* and when it gave the ring's pages back */
	_Atomic uint32_t watched;     /* the service thread's epoll has the kernel socket */
	struct endpoint *endpoint;    /* client: where it connects to (shunt is there), or NULL */
	struct server *server;	      /* listener or accepted: the published endpoint, or NULL */
	struct member *members;	      /* epoll registrations; changed under g_lock */
	_Atomic uint32_t members_seq; /* odd while they are being changed */
	struct dg *dg;		      /* a UDP socket's peers (dg.h) */
	bool foreign;		      /* it came from another process (adopt.h); for good: threads ask it without a lock */
	bool arrived;		      /* ... and may not be linked yet */
	uint8_t hold, child_hold;     /* this process's place among the record's holders; during a fork, the child's (hold.h) */
	uint8_t exec_left;	      /* EXEC_*: in the middle of an exec */
	uint32_t exec_gen, exec_flags; /* then: of the family record, as it was */
	int64_t adopt_ns, adopt_step;  /* when to ask again, and how long then */
	struct sock *known_next;       /* of those that were passed or have arrived (adopt.c); else itself */
	struct sock *next;	       /* free list */
};

/*
 * sock.exec_left. To be closed by the exec: EXEC_CLOSED, or GIVEN: nobody here holds it then, and a copy that was passed is the only one. Inherited: LEFT, others of the family hold it still; LAST,
 * nobody does; WHOLE, it was not ours yet, and goes over as it came.
 */
enum { EXEC_NOT, EXEC_CLOSED, EXEC_GIVEN, EXEC_LEFT, EXEC_LAST, EXEC_WHOLE };

/* ---- the table: descriptor number -> object. Tagged pointers: what else than a sock a number may be. */
#define FD_TAG 3u
#define FD_EPSET 1u
#define FD_INTERNAL 2u /* ours: invisible to the program's close, dup2, closefrom */
#define FD_DGRAM 3u    /* a sock of datagrams */

extern _Atomic uintptr_t *fdtab;
extern unsigned fdtab_len;
extern _Atomic bool cancels; /* the program has called pthread_cancel (wrap.h) */

/* NULL: not a socket of ours: pass the call on. Any thread, signal handlers. */
static inline struct sock *fd_sock(int fd)
{
	if ((unsigned)fd >= fdtab_len)
		return NULL;
	uintptr_t v = load_acquire(&fdtab[fd]);
	return v & FD_TAG ? NULL : (struct sock *)v;
}

/* Of either kind. */
static inline struct sock *fd_any_sock(int fd)
{
	uintptr_t v = (unsigned)fd < fdtab_len ? load_acquire(&fdtab[fd]) : 0;
	return v & FD_TAG && (v & FD_TAG) != FD_DGRAM ? NULL : (struct sock *)(v & ~(uintptr_t)FD_TAG);
}

static inline uintptr_t fd_get(int fd)
{
	return (unsigned)fd < fdtab_len ? load_acquire(&fdtab[fd]) : 0;
}

/* Make the table (first socket of the process). false: no memory; everything then stays in the kernel. */
bool fdtab_init(void);
/* Set an entry; false if the number is beyond the table. */
bool fdtab_set(int fd, uintptr_t v);
/* Move a descriptor of ours out of the way (close-on-exec) and mark it. The new number; the old one if it could not be moved. */
int fdtab_hide(int fd);
void fdtab_unhide(int fd); /* its mark only: it is about to be closed */
void fdtab_close_hidden(int fd);
/* The program is about to use number `fd` (dup2): if it is ours, move ours elsewhere. `moved(from, to)` hooks tell the owners. */
bool fdtab_is_hidden(int fd);

/* ---- sockets */
/* New sock for descriptor fd, entered into the table. NULL: no memory (the socket stays unknown: kernel). */
struct sock *sock_new(int fd, uint32_t fam_flags);
/* One more descriptor leads to s (dup); enters it. */
void sock_dup(struct sock *s, int fd);
/* Forget descriptor `fd` of s. If it is the last: end the channel (marks; reset if unread bytes), before the kernel's close. */
void sock_forget(struct sock *s, int fd);
/* Fill in addresses of a connected socket (getsockname, getpeername) into the family record. 0 or -errno. */
int sock_names(struct sock *s);
void sock_inode(struct sock *s);
/* For `shunt ps` and the log: names and inode of a connection that has carried something. Once. */
static inline void sock_note(struct sock *s)
{
	if (__builtin_expect(s->n_ops == 0 && load_relaxed(&s->f->flags) & FAM_CONNECTED, 0)) {
		s->n_ops = 1;
		sock_names(s);
		sock_inode(s);
	}
}
/* About to exec: this process's hold of it ends. true: nobody holds it now. */
bool sock_let_go(struct sock *s);
/* The exec has failed. false: others have ended the socket meanwhile; it has a new record, as one that has just arrived (adopt.h), or is unknown. */
bool sock_hold_again(struct sock *s);
/* A new family record, with these flags; the old one is not touched. false: none is to be had. Under g_lock. */
bool sock_renew(struct sock *s, uint32_t fam_flags);
/* connect() on a socket that has had a connection: no channel, no history. */
void sock_reset(struct sock *s);
void sock_fork_prepare(void);
void sock_fork_failed(void);
void sock_fork_child(void);
/* Calls fn for each sock of this process. */
void sock_each(void (*fn)(struct sock *s, void *arg), void *arg);

static inline uint32_t sock_flags(const struct sock *s)
{
	return load_relaxed(&s->f->flags);
}

/* O_NONBLOCK of a stream. Another program that has the socket, to which it was passed or which passed it, may have changed that unseen: it is pinned here, or has just arrived. */
bool sock_ask_nonblock(const struct sock *s);
static inline bool sock_is_nonblock(const struct sock *s)
{
	uint32_t fl = sock_flags(s), pins = FAM_PIN_RX | FAM_PIN_TX;
	return __builtin_expect((fl & pins) == pins || s->arrived, 0) ? sock_ask_nonblock(s) : fl & FAM_NONBLOCK;
}

/* Neither the writer nor the reader is in the ring, as far as they have told each other: what somebody may have written there since goes by the kernel (move_down). Of the ring's tail and this, the tail is looked at first. */
static inline bool ring_is_left(const struct sock *s)
{
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	return !(epoch & 1) && load_acquire(&s->chan.peer->tx_epoch) == epoch;
}

/* How far the ring has been written, as far as that is input. s->linked. */
static inline uint64_t ring_end(const struct sock *s)
{
	const struct fam_sock *f = s->f;
	uint64_t tail = load_acquire(&s->chan.peer->tx_tail);
	if (__builtin_expect(ring_is_left(s), 0))
		return load_relaxed(&f->rx_head);
	if (__builtin_expect(load_relaxed(&f->flags) & FAM_DEAF, 0)) {
		fence_acquire(); /* the flag, then where */
		uint64_t end = load_relaxed(&f->rx_deaf_end), head = load_relaxed(&f->rx_head);
		if ((int64_t)(tail - end) > 0)
			return (int64_t)(head - end) > 0 ? head : end;
	}
	return tail;
}

static inline bool sock_is_dgram(const struct sock *s)
{
	return sock_flags(s) & FAM_DGRAM;
}

/* One call that went through the kernel: for `shunt ps` (family record) and for --stats (this process). About: no token guards it. */
static inline void sock_count_kernel(_Atomic uint64_t *fam_bytes, struct count *c, uint64_t bytes)
{
	c->bytes += bytes;
	c->msgs++;
	store_relaxed(fam_bytes, load_relaxed(fam_bytes) + bytes);
}

/* Tell the peer on which CPU we run: whether spinning for us can pay. A store only when it has changed. */
static inline void sock_publish_cpu(struct chan *c)
{
	uint32_t cpu = (uint32_t)spin_cpu() + 1;
	if (__builtin_expect(load_relaxed(&c->my->cpu) != cpu, 0))
		store_relaxed(&c->my->cpu, cpu);
}

/* The peer was asleep when we sent last, as it was the time before, a while ago: no answer is to be expected before it has been woken. */
static inline bool sock_is_rare(const struct sock *s)
{
	return load_relaxed(&s->rare) && s->tx_shm.msgs == load_relaxed(&s->rang_msgs);
}

/* Can spinning until this connection's peer does something pay? `cpu` is ours (spin_cpu()). What comes by the kernel is not seen while spinning. */
static inline bool sock_spin_pays(const struct sock *s, int cpu)
{
	return (int)load_relaxed(&s->chan.peer->cpu) != cpu + 1 && !sock_is_rare(s) && load_relaxed(&s->f->rx_epoch) & 1;
}

/* ---- payload; -errno. iov is the caller's and not changed. since: when the call began (sig.h). */
struct iovec;
struct sig_mark;
struct rx_control;
long tx_send(struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since);
/* control: of a recvmsg to which the kernel would have something to say (rx.h); or NULL. */
long rx_recv(struct sock *s, int fd, const struct iovec *iov, int niov, int flags, struct sig_mark since,
	struct rx_control *control);
/*
 * Around a call of the kernel's own that may send on s, linked or not: the direction goes down first and stays there meanwhile. No lock held. `r`: octets
 * sent, for the counters.
 */
void tx_kernel_enter(struct sock *s);
void tx_kernel_leave(struct sock *s, long r);

#endif
