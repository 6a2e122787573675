/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move.h - a direction moves from the kernel to the ring and back, each time at an exact octet.
 *
 * Sender (tx token): `tx_epoch` is odd while it writes to the ring. Going up it writes down up_kpos, the octets that it has ever sent through the
 * kernel; going down, down_rpos, its ring's tail; then it bumps the epoch (release). Receiver (rx token): follows with `rx_epoch`: in an even epoch it
 * reads the kernel socket, and once an up is on record no further than up_kpos; in an odd one it reads the ring, and once a down is on record
 * no further than down_rpos. One record is enough, because the sender goes up only when the receiver has followed everything.
 *
 *     sender    K ---up--> R ---down--> K ........ K ---up--> R         up needs: consent, rx_epoch == tx_epoch,
 *     receiver  K -----------up--> R ---down--> K                       nobody inside a kernel send
 *
 * A reader that leaves the ring for good when it is empty goes first (takeback.c): it puts the writer's published epoch down, and its own; the writer, who finds SM_END_LEFT behind what he has put into the ring, or
 * goes down for another reason, finds his epoch down already, and gives the kernel what has been written since.
 *
 * Consent. While the receiver's side reads the kernel socket, or sleeps where no bell reaches it, its `consent` is 0; it stores 0, fences, and looks at the epoch
 * once more before it reads. The sender going up publishes the epoch, fences, and looks at `consent`: if 0 it goes down again at once, having written
 * nothing. So a receiver can never read past up_kpos while the ring holds something, nor sleep in the kernel while the ring fills.
 */
#ifndef SHUNT_MOVE_H
#define SHUNT_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "sock.h"

/* tx token held, epoch even. true: the direction is in the ring now. */
bool move_up(struct sock *s);
/* tx token held, epoch odd. What is unread goes by the kernel too (dup.h). */
void move_down(struct sock *s, enum why why);
/*
 * tx token held, linked. Its last holder has died: he may have been on his way up, or down, or between what only he knew and what the peer knows. Whatever it was, the direction is down afterwards, with all that he had
 * committed, and the peer told. First thing of all that go up or down, or send by the kernel.
 */
void move_inherit(struct sock *s);
static inline void move_look_back(struct sock *s)
{
	if (__builtin_expect(sock_flags(s) & FAM_TX_HEIR, 0))
		move_inherit(s);
}
/* rx token held. Its last holder has died: what he had taken from the kernel's socket, and not counted, the kernel has counted. */
void move_recount(struct sock *s);
/* Octets ever read from the kernel socket; -errno. */
int64_t move_kernel_read(int fd);
/* Octets ever received by it, read or not; a FIN counts as one. -errno. */
int64_t move_kernel_got(int fd);
/*
 * rx token held. Follow what the sender has recorded as far as has been read. Octets that the kernel still owes before the ring's (only if an up is pending). IN_DUP: the ring is
 * read, and what is to be dropped from the kernel before its next octet has not all come.
 */
enum move_where { IN_KERNEL, IN_KERNEL_UPTO, IN_RING, IN_DUP, IN_NONSENSE };
enum move_where move_follow(struct sock *s, uint64_t *kleft);

/* Note a pin of one or both directions (FAM_PIN_*), and no more. Whatever its reason, a pass that is taken back (pass.h) takes back its own alone. */
void move_note_pin(struct sock *s, uint32_t pin, enum why why);
/* Pinned for a reason that stays? A pass's may be taken back. */
static inline bool move_is_pinned(const struct sock *s, uint32_t pin)
{
	return (sock_flags(s) & (pin | FAM_PASS_PIN)) == pin;
}

/* This side's reader gives up rings for good (stdio, exec ...). Takes unread octets back into the kernel socket. 0, or -errno if that could not be done. */
int move_withdraw(struct sock *s, enum why why);
/* rx token held: octets that are unread in the ring shall be in the kernel's socket, too, in a moment; unless the writer's process stands still. */
void move_ask_unread(struct sock *s);
/*
 * The writer has left the ring, and the reader, who holds the rx token, goes on with the kernel's duplicate of what is unread there. false: it has none, or not all of it has come yet;
 * nothing has changed.
 */
bool move_over(struct sock *s);
/* This side's sender stays in the kernel for good. */
void move_pin_tx(struct sock *s, enum why why);
/* Both. */
void move_pin(struct sock *s, enum why why);
/* Both, for as long as the socket is this family's: whoever has it next may go up again. */
void move_pass(struct sock *s, enum why why);
/*
 * tx token held, direction down, nobody reads the ring any more: its octets from `head` on, which were unread before it went down, go by the kernel as far as that takes them (the peer's
 * kernel answers). false: it has not taken all, though there is no error to report.
 */
bool move_unread_to_kernel(struct sock *s, uint64_t head);
/* The peer's reader asked for its unread octets back: service thread. */
void move_give_back(struct sock *s);
/*
 * This process lets go of a linked socket, and others go on with it, by fork, which may have no service thread: if ours is the one that the peer would ask to leave the ring, or was before one that has been killed, nobody would
 * answer from now on. So the direction goes down; who has a service thread goes up again.
 */
void move_stop_serving(struct sock *s);

#endif
