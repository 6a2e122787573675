/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fam.h - family memory: what all processes that hold a socket by fork must agree on, and what the peer must not be able to write.
 *
 * A memfd ("/memfd:shunt-fam" in /proc/PID/fd), sealed against shrinking, mapped shared: a child of fork sees its parent's, and makes one of its
 * own for the sockets that it creates. `shunt ps` reads it. A socket's record exists before a second process can hold the socket.
 *
 * Lifeline: each process that maps an arena has a number in it, and that byte of the memfd is locked by an open file description which it alone has (F_OFD_SETLK): gone at any death, and at exec,
 * since its descriptor is close-on-exec. F_GETLK tells whether the process with that number lives. fork makes the child's description, and locks it, before there is a child, and the parent closes its
 * descriptor of it afterwards: at no moment is a child without one. Where none can be made (no /proc, no descriptor left) the
 * child tries again, when it has closed what is its parent's alone. If it cannot either, it takes a number of its own by a record lock (F_SETLK), which is the process's; but it has its parent's description too, so that the
 * parent counts as alive until both are dead, or the child, which waits for it, finds that it has another parent now, and takes away that lock for all. Such a process opens no other description of the memfd: closing one would
 * undo the record lock.
 */
#ifndef SHUNT_FAM_H
#define SHUNT_FAM_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "diag.h"

#define FAM_MAGIC UINT64_C(0x6d61665f746e6873)
#define FAM_VERSION 9u
#define FAM_N_SOCK 65536u
#define FAM_MEMFD_NAME "shunt-fam"

/* fam_sock.flags */
#define FAM_NONBLOCK 0x0001u /* O_NONBLOCK of the open file description */
#define FAM_CONNECTED 0x0002u
#define FAM_CLIENT 0x0004u /* this end called connect() */
#define FAM_LISTEN 0x0008u
#define FAM_RESET 0x0010u /* the peer died with unread bytes of ours: report ECONNRESET once */
#define FAM_RESET_SAID 0x0020u
#define FAM_RD_SHUT 0x0040u /* shutdown(SHUT_RD) */
#define FAM_WR_SHUT 0x0080u /* shutdown(SHUT_WR) */
#define FAM_USED 0x0100u    /* the record is in use */
#define FAM_BROKEN 0x0200u  /* the peer wrote nonsense: ECONNRESET for ever */
#define FAM_PIN_RX 0x0400u  /* never consent */
#define FAM_PIN_TX 0x0800u  /* never go up */
#define FAM_OPTION 0x1000u  /* an option is set that pins; recvmsg may have ancillary data */
#define FAM_TIMED 0x2000u   /* SO_SNDTIMEO is set */
#define FAM_V6 0x8000u	    /* with FAM_DGRAM: of AF_INET6 */
#define FAM_DGRAM                                                                                                              \
	0x4000u /* a UDP socket (dg.h); FAM_CONNECTED: it has, or has had, a channel, and the addresses are those of the last */
#define FAM_RESTS 0x10000u     /* the channel stays in the kernel for a while (trial.h) */
#define FAM_INQ 0x20000u       /* TCP_INQ is set: recvmsg says how much is left (inq.h) */
#define FAM_DEAF 0x40000u      /* both directions are shut down: rx_deaf_end is valid */
#define FAM_TX_HEIR 0x200000u  /* who held the tx token has died: what he has left half done comes first (move_inherit) */
#define FAM_RX_HEIR 0x400000u  /* the same of the rx token (move_recount) */
#define FAM_OFF 0x100000u      /* a process that holds it is switched off (switch.h): neither up nor consent */
#define FAM_OWN_PIN 0x1000000u /* pinned for a reason that is the socket's, and stays whoever has it */
#define FAM_PASS_PIN                                                                                                           \
	0x2000000u /* pinned because it has been passed, and for no other reason (pass.h); set before the pins, cleared with them */

#define FAM_N_PLACE 16u /* of processes that hold a record; the last is for all that find no other (hold.h) */

/* token.h */
struct token {
	_Atomic uint64_t word; /* 0: free; else (process number in this arena) << 32 | TOKEN_* | tid */
	_Atomic uint32_t busy; /* biased: its owner is inside */
	uint32_t run;	       /* who took it last, and how often in a row; guarded by the token */
};

#define KREAD_ANY UINT64_MAX

struct fam_sock {
	/* tx: guarded by tx_token */
	_Alignas(64) struct token tx_token;
	_Atomic uint64_t tx_tail; /* the truth of which sm_end.tx_tail is the published copy */
	uint64_t tx_head;	  /* last checked value of the peer's rx_head */
	uint64_t tx_limit;	  /* up to here the fast path may write without looking at anything (tx.c) */
	uint64_t tx_rewind;	  /* position at which to look again whether the ring may start over */
	uint32_t tx_shift;	  /* as sm_end.tx_shift, masked */
	uint32_t tx_epoch;	  /* odd: through the ring */
	uint16_t tx_quiet;	  /* sends in a row that found nobody asleep */
	uint16_t tx_step;	  /* tries in a row that could not start over */
	uint32_t tx_leaves;	  /* 1: on the way out of the ring, until everything is told */

	/* rx: guarded by rx_token */
	_Alignas(64) struct token rx_token;
	_Atomic uint64_t rx_head;
	uint64_t rx_tail;	   /* last checked value of the peer's tx_tail (or down_rpos) */
	_Atomic uint32_t rx_shift; /* offset of position p is (p + rx_shift) & MASK, up to rx_tail */
	_Atomic uint32_t rx_epoch;
	_Atomic uint32_t lowat;	     /* SO_RCVLOWAT; 0 counts as 1 */
	_Atomic int64_t rcvtimeo_ns; /* SO_RCVTIMEO; 0: not asked for yet, -1: none */
	_Atomic uint32_t rx_kepoch;  /* the up (value of tx_epoch) for which rx_kleft was worked out */
	_Atomic uint32_t
		rx_dropped; /* octets of the peer's duplicate that were taken from the kernel in this odd epoch (dup.h) */
	_Atomic uint64_t rx_kleft; /* octets to read from the kernel before the ring's first */
	_Atomic uint64_t
		rx_deaf_end; /* FAM_DEAF: no octet of the ring behind this position is input: the kernel answers it (SM_END_DEAF) */

	_Atomic uint64_t
		rx_over_kread; /* octets ever read from the kernel when the reader left the ring for a duplicate (epedge.c), or KREAD_ANY: all of that had come by then; ... */
	_Atomic uint64_t rx_over_kpos; /* ... and received by it when the last of that will be there; 0: it has not left */
	_Atomic uint64_t rx_up_kpos;   /* octets of the kernel's that came before those of the ring it is in, or was in last */

	/* life */
	_Alignas(64) _Atomic uint64_t holders; /* hold.h */
	_Atomic uint32_t flags;		       /* FAM_* */
	_Atomic uint32_t link;		       /* 0 none, 1 being made, 2 done: the next four are valid */
	int32_t link_shmid;
	uint32_t link_chan, link_side;
	uint64_t link_nonce;
	_Atomic uint32_t tx_why, rx_why; /* enum why */
	uint64_t cookie;
	uint32_t inode;	  /* 0: not asked yet */
	uint32_t tx_room; /* octets that may be unread in our ring: the kernel could take as many (dup.h); under tx_token */

	/* for people: read by anybody. (What went through rings is tx_tail and rx_head.) */
	_Atomic uint64_t tx_kernel_bytes, rx_kernel_bytes;
	_Atomic uint32_t ups, downs;

	_Alignas(64) struct diag_addr own, peer;
	_Atomic uint32_t passes;   /* copies that have left the family: passed, or inherited by another program (pass.h) */
	_Atomic int64_t tx_met_ns; /* when a kernel send met, or may have met, a full socket last (epedge.c) */

	/* who holds it: hold.h */
	_Alignas(64) _Atomic uint32_t held_by[FAM_N_PLACE];
	_Alignas(64) _Atomic uint16_t
		tx_inkernel[FAM_N_PLACE];	   /* threads of each in a kernel send: position unknown, no going up */
	_Atomic uint16_t rx_inkernel[FAM_N_PLACE]; /* ... in a kernel wait that shunt's bells cannot end */
};
static_assert(sizeof(struct fam_sock) % 64 == 0, "records start on a cache line");

struct fam_hdr {
	uint64_t magic;
	uint32_t version, sock_len, n_sock, pid;
	_Atomic uint32_t next_proc;  /* process numbers given out */
	_Atomic uint32_t high_water; /* records 0 .. high_water-1 have been used */
	_Atomic uint32_t free_head;  /* where to look next for a free record */
	uint32_t n_free;	     /* about how many records below high_water are free again (a hint) */
};
#define FAM_SOCKS_OFF 4096u
#define FAM_LEN (FAM_SOCKS_OFF + (uint64_t)FAM_N_SOCK * sizeof(struct fam_sock))

struct arena;
/* A free record of this process's own arena (made on first use), zeroed, FAM_USED set, held by this process alone, in place 0 (hold.h). NULL: out of memory or records. */
struct fam_sock *fam_alloc(struct arena **a);
/* For the next fam_alloc(): one record more is free. */
void fam_count_free(void);
/* Is the process with number `nr` in this arena alive? */
bool fam_proc_alive(const struct arena *a, uint32_t nr);
/* That; or it was alive when this process looked last, behind `since` (now_ns(); FAM_NOW: it is asked in any case). */
#define FAM_NOW INT64_MAX
bool fam_proc_alive_since(struct arena *a, uint32_t nr, int64_t since);
/*
 * fork. Before it: the child's number in each arena (arena.child_nr), and its lifeline. In the parent, when it is over, whether there is a child or not: the lifeline is the child's alone (done); if there is none,
 * behind that: its number is dead in these arenas (failed, arena.child_dead. known: for certain; else unless it lives). In the child: it has a number of its own, and no arena of its own yet; done: and no lifeline that was needed
 * until its holds bore that number. Under g_lock.
 */
void fam_fork_prepare(void);
void fam_fork_done(void);
void fam_fork_failed(bool known);
void fam_fork_child(void);

#endif
