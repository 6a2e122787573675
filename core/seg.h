/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seg.h - an association's segment: System V shared memory, created by the client, attached by the server's processes.
 *
 * The client marks it for removal at once: it lives while somebody has it attached, and has no name to leak. System V on purpose: it
 * cannot be truncated under a reader, and the kernel attests who created it.
 *
 * Address space is type-stable: a detached segment's range is mapped over with private zero pages and kept for the next
 * segment, so that a thread which still holds a stale pointer reads zeros or another segment's tokens, and never faults. Whoever takes a token
 * checks afterwards that the channel is still his.
 *
 * Any thread, not signal handlers.
 */
#ifndef SHUNT_SEG_H
#define SHUNT_SEG_H

#include <stdint.h>

#include "ncadg_sm_abi.h"

struct seg {
	struct sm_hdr *hdr; /* base of the mapping; NULL: none */
	int shmid;
	uint64_t nonce;
	uint32_t cuid; /* who created it, from the kernel */
	uint32_t cgid; /* and with which group */
	uint32_t peer; /* pid of the process at the other end, from the kernel; 0: none, or not of our pid namespace */
};

/* Create, attach, mark for removal, initialise the header, give to `server_uid`. 0 or -errno (-ENOSPC: SHMMNI or SHMALL). */
int seg_create(struct seg *s, uint32_t server_uid);
/*
 * Attach one that a client made: attach first, IPC_STAT after (ids are reused). Refuses (-EPERM) unless: size is SM_SEG_LEN,
 * mode 0600 at most, the creator has a name here (not uid 65534), no huge pages, header as this build has it, nonce as told
 * (0: any). -EACCES: it was given to another user, and we are not its creator. -EINVAL, -EIDRM: the kernel's (gone).
 */
int seg_attach(struct seg *s, int shmid, uint64_t nonce);
/* Forget it (s->hdr becomes NULL; nothing to do if it is); the address range stays ours. */
void seg_detach(struct seg *s);
/* Creator: the server has just attached it, and is noted as s->peer. */
void seg_note_peer(struct seg *s);
/* How many attachments it has, ours included (IPC_STAT); or -errno. 1 in the creator: no server has it any more. */
int seg_peers(const struct seg *s);

static inline struct sm_chan *seg_chan(const struct seg *s, uint32_t i)
{
	return (struct sm_chan *)((char *)s->hdr + SM_CHANS_OFF) + i;
}
/*
 * Bell i of each segment lies at another place: who looks at the bells of many segments, which start at equal offsets of the caches, would otherwise find
 * all of them in the same few lines' sets.
 */
static inline struct sm_bell *seg_bell(const struct seg *s, int side, uint32_t i)
{
	uint32_t at = (uint32_t)((i + s->nonce) % SM_N_BELL);
	return (struct sm_bell *)((char *)s->hdr + SM_BELLS_OFF) + (uint32_t)side * SM_N_BELL + at;
}
/* The ring into which `side` writes. */
static inline uint8_t *seg_ring(const struct seg *s, uint32_t i, int side)
{
	return (uint8_t *)s->hdr + SM_RINGS_OFF + ((uint32_t)side * SM_N_CHAN + i) * (uint64_t)SM_RING_LEN;
}

/*
 * Channel allocation in the segment (client side). Index of a channel that is all zero, or -ENOSPC. Lock-free; any thread or
 * process of the side.
 */
int seg_chan_alloc(const struct seg *s);
/*
 * Client: put the channel on offer, as the sockets `client` and `server` of `proto` (IPPROTO_TCP, IPPROTO_UDP), the client's of that SO_COOKIE. The acceptors are told by
 * rdv_offer().
 */
struct diag_addr;
void seg_chan_offer(const struct seg *s, uint32_t i, uint16_t proto, const struct diag_addr *client,
	const struct diag_addr *server, uint64_t cookie);
/* This side will not touch it again. Given back if the other side never took it, or has left it too. */
void seg_chan_leave(const struct seg *s, uint32_t i, int side);
/* Give back; the caller knows that neither side touches it any more. */
void seg_chan_free(const struct seg *s, uint32_t i);
/* Bell slots of a side. Index, or -ENOSPC. */
int seg_bell_alloc(const struct seg *s, int side, const uint8_t name[16]);
void seg_bell_free(const struct seg *s, int side, uint32_t i);

#endif
