/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dup.h - the duplicate: a writer that leaves the ring sends what is unread there by the kernel too.
 *
 * A reader may have to leave shared memory at any time (exec, stdio, a descriptor passed away), and then wants its unread octets in the kernel's socket, in front of what the kernel
 * holds. Only the writer could put them there, and by then it may be blocked, stopped, dead, or behind its own FIN. So it does so beforehand, whenever it goes down with octets
 * unread: they are in the ring and, a second time, in the kernel.
 *
 *     ring           |..read..|=======|          positions dup_rpos .. down_rpos
 *     kernel  ..K..|..dropped..|=======|..K2..    the same octets behind what was sent before the up; then what is sent from now on, or FIN
 *
 * Nothing changes for a reader that stays: it reads the ring to its end, drops the duplicate from the kernel's socket unseen (MSG_TRUNC), and follows into the kernel. One that
 * leaves at ring position x drops the duplicate's octets before x, and finds the rest of the stream in the kernel: it needs nobody for that.
 *
 * The writer marks the duplicate (dup_rpos, dup_len, then dup_epoch = its odd epoch) before it sends it: a reader never finds octets in the kernel that no mark explains. Behind an
 * up the kernel carries nothing else until the next even epoch. How much has been dropped is counted in family memory, under the rx token.
 *
 * A writer that is killed in the middle of it leaves a mark, and nobody's word of how much he has sent. The kernel has it: what it has been given since the up is the duplicate's beginning, to the octet. So another holder of
 * the socket goes on behind that, and with the same mark. (Nothing has been written behind it in the ring: the direction is taken down before anything else, move_inherit().)
 */
#ifndef SHUNT_DUP_H
#define SHUNT_DUP_H

#include <stdbool.h>
#include <stdint.h>

#include "sock.h"

/* What follows: the writer's own octets; FIN, with which a short one shares a segment; nothing; nor, and it may be waited for that there is room. */
enum dup_how { DUP_DATA, DUP_FIN, DUP_PUSH, DUP_WAIT };

/*
 * Writer; tx token held, epoch odd, about to go down, signals blocked. Nothing unread: nothing is done. given: octets that the kernel has been given since the up, by one who has made a part of it, and died; else 0; -errno:
 * the connection is at its end.
 */
void dup_make(struct sock *s, enum dup_how how, int64_t given);
/* Send ring positions [from, to) by the kernel, waiting for room for up to room_ms at a time. How many octets it took. */
uint64_t dup_send(struct sock *s, uint64_t from, uint64_t to, int flags, int room_ms);
/* What the kernel holds back (Nagle, a cork) goes out now; tx token held, or nobody else is left who could set TCP_NODELAY meanwhile. */
void dup_push(int fd);
/* Octets that may be unread in the ring so that the kernel could take them all besides the `out` that it has not delivered; 0: too few for a ring. */
uint32_t dup_room(int fd, int out);

/* Reader; rx token held. Drop the duplicate of what has been read from the ring. false: some of it has not arrived yet. */
bool dup_drop(struct sock *s);
/* Reader; rx token held; the writer is in epoch `its`: does the kernel hold all of the ring's octets from our head to `end`? */
bool dup_covers(struct sock *s, uint32_t its, uint64_t end);
/* Reader: octets among the `in` unread ones of the kernel's socket that are duplicates. */
uint32_t dup_among(struct sock *s, uint32_t in);
/* Reader; ours is about to be closed, and marked so: what is left of the duplicate of a ring that has been read is no unread input. */
void dup_close(struct sock *s);

/* Writer, epoch odd: there is a duplicate's mark, of one who has died over it. */
static inline bool dup_begun(const struct sock *s)
{
	return load_relaxed(&s->chan.my->dup_epoch) == s->f->tx_epoch;
}

/* Reader: the writer has marked a duplicate in the ring epoch that we are in. */
static inline bool dup_marked(const struct sock *s)
{
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	return epoch & 1 && load_acquire(&s->chan.peer->dup_epoch) == epoch;
}

/*
 * Reader: is the ring read to where the writer, who has gone down, left it? Or past that: of a reader that wanted to leave the ring in the same moment (takeback.c), and was killed, it is where he stood; the writer has found his
 * mark, and what lay behind is in the kernel.
 */
static inline bool dup_behind(const struct sock *s)
{
	return (int64_t)(load_relaxed(&s->f->rx_head) - load_relaxed(&s->chan.peer->down_rpos)) >= 0;
}

/* Reader: the ring is read to where the writer left it, and only the kernel, which owes the rest of the duplicate, can bring news. */
static inline bool dup_owed(const struct sock *s)
{
	const struct sm_end *peer = s->chan.peer;
	return dup_marked(s) && load_relaxed(&peer->tx_epoch) == load_relaxed(&s->f->rx_epoch) + 1 && dup_behind(s) &&
	       load_relaxed(&s->f->rx_dropped) < load_relaxed(&peer->dup_len);
}

#endif
