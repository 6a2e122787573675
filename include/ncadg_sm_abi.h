/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ncadg_sm_abi.h - every byte that two processes share through an association's segment or an endpoint's message area.
 *
 * The layout is an ABI between processes that may run different builds: SM_VERSION and the sizes are in the header of the
 * segment, and a peer that finds others refuses the segment (the connection then stays in the kernel).
 *
 *   segment                                                     end (one side of one channel, four cache lines)
 *   +--------------------+ 0                                    +---------------------------------------------+
 *   | sm_hdr             | identity, allocation bitmaps         | tx    tx_tail  tx_shift                     | 0
 *   +--------------------+ SM_BELLS_OFF                         +---------------------------------------------+
 *   | sm_bell[2][60]     | who sleeps, and what became ready    | ctl   armed  futex  flags  consent ...      | 64
 *   +--------------------+ SM_CHANS_OFF                         +---------------------------------------------+
 *   | sm_chan[256]       | identity and two ends                | rx    rx_head                               | 128
 *   +--------------------+ SM_RINGS_OFF                         +---------------------------------------------+
 *   | ring[2][256]       | 256 KiB each, page aligned; by side  | move  tx_epoch  up_kpos  down_rpos dup_...  | 192
 *   +--------------------+ SM_SEG_LEN                           +---------------------------------------------+
 *                                                               every field of an end is written by that end's side only,
 *                                                               except `armed`, which the peer exchanges for 0, and the
 *                                                               rx_epoch of datagrams (dgmove.c)
 *
 * Everything a peer wrote is input: read once, check, then use. Sizes and masks are constants of this header, never read back.
 */
#ifndef NCADG_SM_ABI_H
#define NCADG_SM_ABI_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SM_MAGIC UINT64_C(0x6d735f676461636e) /* "ncadg_sm", little endian */
#define SM_VERSION 7u

#define SM_N_CHAN 256u	       /* channels in a segment */
#define SM_RING_LEN (1u << 18) /* bytes in a ring; a power of two */
#define SM_RING_MASK (SM_RING_LEN - 1)
#define SM_N_BELL 60u /* bells of a side; fits the low bits of sm_end.armed */
#define SM_CLIENT 0   /* side that created the segment */
#define SM_SERVER 1

/* sm_end.armed: bit i (i < SM_N_BELL) = notify bell i of the owning side; the rest: */
#define SM_ARM_FUTEX (UINT64_C(1) << 63) /* a thread sleeps on sm_end.futex */
#define SM_ARM_DOWN (UINT64_C(1) << 62)	 /* the reader withdrew its consent: look at the flags */

/* sm_end.flags: only ever set (by the owning side) while a channel lives, but for RESTS, OFF, PASSED, ORPHAN and LEFT */
#define SM_END_LINKED 0x01u /* this side has bound the channel to its kernel socket */
#define SM_END_FIN 0x02u    /* shutdown(SHUT_WR) or close is about to send FIN: the end of file is meant */
#define SM_END_CLOSED 0x04u /* the last descriptor is closed: nobody will read here again */
#define SM_END_DEAF 0x10u   /* both directions are shut down here: what is sent has to be answered by the kernel */
#define SM_END_PINNED 0x08u /* this end's sending direction stays in the kernel for good */
#define SM_END_NO_BARRIER                                                                                                      \
	0x20u		   /* sleepers of this side cannot fence for the peer's senders (membarrier): these fence themselves */
#define SM_END_RESTS 0x40u /* nothing of the channel goes into rings for a while; readers may sleep in the kernel's own call */
#define SM_END_OFF                                                                                                             \
	0x100u /* the same, since a process of this side is switched off: at once, by the hand of the service thread */
#define SM_END_PASSED                                                                                                          \
	0x200u /* as RESTS: the socket has been given to another process, or will be in a moment; until it is at home there */
#define SM_END_ORPHAN                                                                                                          \
	0x400u /* no process has this end: who takes the mark away may. The successor, or the other side when it ends */
#define SM_END_LEFT                                                                                                            \
	0x800u /* the reader leaves the ring, or has left it, empty: who writes there goes down at once. The writer takes the mark away */

struct sm_end {
	/* tx: written on each send by the owning side; a peer that waits looks at nothing else */
	_Alignas(64) _Atomic uint64_t
		tx_tail; /* bytes written to this end's ring, ever (release; pairs with the peer's acquire) */
	_Atomic uint64_t
		tx_shift; /* ring offset of position p is (p + tx_shift) & MASK; changes only while the ring is empty */

	/* ctl: written when somebody sleeps, wakes, or changes state; read by the peer on every send */
	_Alignas(64) _Atomic uint64_t armed; /* SM_ARM_* and bell bits; set by the owner, exchanged for 0 by whoever rings */
	_Atomic uint32_t futex;		     /* value changes at each ring of SM_ARM_FUTEX */
	_Atomic uint32_t flags;		     /* SM_END_* */
	_Atomic uint32_t consent;	     /* 1: every reader of this end looks at the ring; the peer may go up */
	_Atomic uint32_t cpu;		     /* where the owner last ran (a hint for the peer's spinning) */
	_Atomic uint32_t tx_want;	     /* 1: the writer waits for space (a hint: its wait is bounded) */
	_Atomic uint32_t lazy;		     /* 1: senders of this end do not fence before they look at the peer's `armed` */
	_Atomic uint32_t svc_bell;	     /* bell of the process that serves requests about this end, + 1; 0: none */
	_Atomic uint32_t want_back;	     /* take-back requests made by this end's reader, ever */
	_Atomic uint32_t did_back;	     /* take-back requests of the peer that this end has answered, ever */
	_Atomic uint32_t rx_limit;	     /* datagrams: what may be unread, as the kernel counts it (SO_RCVBUF) */

	/* rx: written on each receive; a line of its own, or it would take the tx line away from a peer that waits for our answer */
	_Alignas(64) _Atomic uint64_t
		rx_head;	  /* bytes read from the peer's ring, ever (release: the space may be written again) */
	_Atomic uint64_t rx_cost; /* datagrams: what they would have cost in the kernel's buffer, ever (core/dring.h) */

	/* move: the sending direction's switches; one record holds the last up and the last down */
	_Alignas(
		64) _Atomic uint32_t tx_epoch; /* odd: this end sends through the ring; written after the positions (release) */
	_Atomic uint32_t rx_epoch;	       /* the peer's tx_epoch as far as this end has followed it */
	_Atomic uint64_t up_kpos;	       /* bytes this direction has carried through the kernel when it last went up */
	_Atomic uint64_t down_rpos;	       /* tx_tail when it last went down */
	_Atomic uint64_t dup_rpos; /* behind up_kpos the kernel carries a duplicate of the ring's octets from here ... */
	_Atomic uint32_t dup_len;  /* ... so many: as intended, and before the even epoch as sent */
	_Atomic uint32_t
		dup_epoch; /* the odd tx_epoch to which that applies (release: marked before it is sent); another: no duplicate */
};
static_assert(sizeof(struct sm_end) == 256, "ABI");
static_assert(offsetof(struct sm_end, armed) == 64 && offsetof(struct sm_end, rx_head) == 128, "ABI");
static_assert(offsetof(struct sm_end, tx_epoch) == 192, "ABI");

/* sm_chan.state */
enum { SM_CHAN_FREE, SM_CHAN_OFFERED, SM_CHAN_LINKED };

struct sm_chan {
	/* identity: written by the client before it sets state to OFFERED (release) */
	_Alignas(128) _Atomic uint32_t state;
	_Atomic uint32_t gone;			  /* bit SM_CLIENT, bit SM_SERVER: that side will not touch the channel again */
	uint64_t client_cookie;			  /* SO_COOKIE of the client's kernel socket */
	_Atomic uint64_t server_cookie;		  /* SO_COOKIE of the server's, written when it links */
	uint8_t client_addr[16], server_addr[16]; /* network order; IPv4 in the first four octets */
	uint16_t family;			  /* AF_INET or AF_INET6; v4-mapped addresses are AF_INET */
	uint16_t client_port, server_port;	  /* host order */
	uint16_t proto; /* IPPROTO_TCP: the rings hold octets; IPPROTO_UDP: datagrams (core/dring.h) */

	_Alignas(128) struct sm_end end[2]; /* [SM_CLIENT], [SM_SERVER] */
};
static_assert(offsetof(struct sm_chan, end) == 128 && sizeof(struct sm_chan) == 640, "ABI");

/* A bell slot: one sleeper (an epoll set, a thread in poll, a service thread) of one side. */
struct sm_bell {
	_Alignas(64) _Atomic uint32_t sleeping; /* 1: ring the socket; exchanged for 0 by the ringer */
	_Atomic uint32_t any;			/* some bit of `ready` may be set (a hint that saves the scan) */
	uint8_t name[16];			/* its socket's abstract name is "\0shunt/" + these in hex */
	_Atomic uint64_t ready[SM_N_CHAN / 64]; /* channels on which something happened */
	uint8_t pad[8];
};
static_assert(sizeof(struct sm_bell) == 64, "ABI");

struct sm_hdr {
	uint64_t magic;	  /* SM_MAGIC */
	uint32_t version; /* SM_VERSION */
	uint32_t hdr_len; /* sizeof(struct sm_hdr) */
	uint64_t seg_len; /* SM_SEG_LEN */
	uint32_t n_chan, ring_len, n_bell, chan_len;
	uint64_t nonce;			 /* distinguishes this segment from a later one with the same id */
	uint32_t client_uid, client_pid; /* for people to read; never believed */

	_Alignas(64) _Atomic uint32_t server_attached;	    /* 1: a server process has accepted the association */
	_Atomic uint32_t offer_seq;			    /* bumped at each offer of a channel */
	_Alignas(64) _Atomic uint64_t used[SM_N_CHAN / 64]; /* channels in use; client side */
	_Atomic uint64_t offered[SM_N_CHAN / 64];	    /* channels in state OFFERED: where a server looks */
	_Alignas(64) _Atomic uint64_t bell_used[2];	    /* bell slots in use, by side */
};

#define SM_BELLS_OFF 4096u
#define SM_CHANS_OFF (SM_BELLS_OFF + 2u * 64u * 64u)
#define SM_RINGS_OFF ((SM_CHANS_OFF + SM_N_CHAN * (uint32_t)sizeof(struct sm_chan) + 4095u) & ~4095u)
#define SM_SEG_LEN ((uint64_t)SM_RINGS_OFF + 2u * SM_N_CHAN * (uint64_t)SM_RING_LEN)
static_assert(sizeof(struct sm_hdr) <= SM_BELLS_OFF, "ABI");
static_assert(2 * SM_N_BELL * sizeof(struct sm_bell) <= SM_CHANS_OFF - SM_BELLS_OFF, "ABI");

/*
 * The message area of a published endpoint: System V shared memory under the endpoint file's ftok() key, mode 0666. Anybody may
 * write here, so nothing in it is believed: it can cost upgrades, never data.
 */
#define SM_AREA_MAGIC UINT64_C(0x616572615f6d7361)
#define SM_N_ASSOC 64u

struct sm_area {
	uint64_t magic; /* SM_AREA_MAGIC */
	uint32_t version, area_len;
	uint8_t nonce[16]; /* the endpoint file's: an area of another endpoint under a colliding key is recognised by it */

	_Alignas(64) _Atomic uint32_t offer_seq; /* bumped whenever a client offers an association or a channel */
	_Atomic uint32_t assoc_seq;		 /* bumped whenever the list of associations changes */
	_Atomic uint32_t off;			 /* 1: who accepts here is switched off: there is no use in asking */

	/* the message: written under the lock semaphore; msg_nonce first 0, then everything else, then msg_nonce (release) */
	_Alignas(64) _Atomic uint32_t msg_shmid;
	_Atomic uint32_t msg_semid;
	_Atomic uint32_t msg_uid, msg_pid;
	_Atomic uint64_t msg_nonce;

	/* live associations, so that every process that accepts on this endpoint finds them: shmid + 1, 0 = none */
	_Alignas(64) _Atomic uint32_t assoc[SM_N_ASSOC];
};
#define SM_AREA_LEN 131072u /* two of the largest pages: see sysv_shm_is_huge() */
static_assert(sizeof(struct sm_area) <= 4096, "one page is used");
#define SM_SEM_LOCK 0 /* semaphore set of an endpoint: 1 = free; taken with SEM_UNDO */
#define SM_SEM_MSG 1  /* 1 = a message waits */
#define SM_N_SEM 2

/*
 * A client's own semaphores, of key IPC_PRIVATE: [0] is the one it waits on; the others and the meaningless x bits of the mode mark
 * the set as ours, so that the server posts on no stranger's semaphore, and a set whose client was killed can be found and removed.
 */
#define SM_CSEM_ANSWER 0
#define SM_CSEM_MARK0 1
#define SM_CSEM_MARK1 2
#define SM_N_CSEM 3
#define SM_CSEM_MODE 0711
#define SM_CSEM_MARK0_VAL 0x5348
#define SM_CSEM_MARK1_VAL 0x4e54

#endif
