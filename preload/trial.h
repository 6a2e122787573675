/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trial.h - is this channel slower through memory than through the kernel? Then it goes down, and stays down for a while.
 *
 * What is measured is an answer: the time from a send that had to wake the peer (one send, and nothing unanswered before it) to the moment when the thread that waits for
 * the answer wakes. Both ends of it are in system calls; who meets his peer awake is not measured, makes no system call either, and cannot be slower. Messages that were answered
 * otherwise count as if they had cost nothing (the median of what is measured, times its share of the messages): the figure for memory is never too high.
 *
 * The first messages of a connection went through the kernel, but those are the slowest of its life; to be compared with them would be to win always. So when
 * DUE answers had to be slept for, one message in FEW or more, the channel is tried: memory, kernel, memory, kernel, N_SAMPLE answers each, behind N_SKIP that are not counted. If the
 * figure was lower by MARGIN_PC percent in both the kernel's turns than in both of memory's, and in a second trial behind DUE_AGAIN answers, too, it rests in the kernel
 * for REST_NS, and twice as long each time that one more trial says so. Else the next trial is DUE_MORE times further away.
 *
 * The client's side tries, for both directions; one channel of a process at a time. To rest: FAM_RESTS in the family record, and SM_END_RESTS in our end's flags, which the
 * peer sees behind its next send, and then sets its own FAM_RESTS. So each direction goes down in front of a send, when what was sent before is read, and needs no duplicate (dup.h); the
 * answers first, then the questions; and not before the kernel's last octets are acknowledged. Otherwise Nagle would keep a message back for the 40 ms that the acknowledgement of
 * the last one takes, when no other octets carry it. While a channel rests a blocking reader sleeps in the kernel's own call (rx.c); else resting would cost what the service
 * thread costs.
 *
 * Not judged: streams without answers (they sleep seldom, and go down by themselves when the reader is slower); whose requests come from the side that accepted.
 */
#ifndef SHUNT_TRIAL_H
#define SHUNT_TRIAL_H

#include "sock.h"

#define TRIAL_DUE 256	   /* answers that were slept for, before the first trial */
#define TRIAL_DUE_AGAIN 64 /* when it was slower the last time */
#define TRIAL_DUE_MORE 3   /* as a power of two; at most TRIAL_STEPS times: a channel that turns slow shall be noticed */
#define TRIAL_STEPS 1
#define TRIAL_FEW 4 /* one answer in so many, at least, was slept for */
#define TRIAL_N_SKIP 8
#define TRIAL_N_SAMPLE 16
#define TRIAL_MARGIN_PC 20
#define TRIAL_REST_NS INT64_C(2000000000)
#define TRIAL_REST_STEPS 5		   /* at most 64 s */
#define TRIAL_LIMIT_NS INT64_C(5000000000) /* of one turn in the kernel */

/* A send has woken the peer, at `now`, before anything else was done for it. tx token not needed. */
static inline void trial_asks(struct sock *s, int64_t now, uint64_t n_sent)
{
	if (s->chan.side == SM_CLIENT) {
		store_relaxed(&s->trial.asked_ns, now);
		s->trial.asked_msgs = n_sent;
	}
}

/* The channel shall rest, and our direction is in the ring: may it go down in front of a send? tx token held. */
bool trial_leaves(struct sock *s);
/* A send is about to go by the kernel because the channel rests. Is its time over? Then it may go up. */
void trial_send(struct sock *s);

/* The channel ends. */
void trial_forget(struct sock *s);
void trial_answer(struct sock *s);
/* A thread that had to wait has been woken, and s has input. */
static inline void trial_woken(struct sock *s)
{
	if (load_relaxed(&s->trial.asked_ns))
		trial_answer(s);
}

/* Somebody is switched off (switch.h), on this side or the other. s->linked. */
static inline bool trial_is_off(const struct sock *s)
{
	return sock_flags(s) & FAM_OFF || load_relaxed(&s->chan.peer->flags) & SM_END_OFF;
}

/* Both directions keep out of the ring. s->linked. */
static inline bool trial_rests(const struct sock *s)
{
	return sock_flags(s) & (FAM_RESTS | FAM_OFF) ||
	       load_relaxed(&s->chan.peer->flags) & (SM_END_RESTS | SM_END_OFF | SM_END_PASSED);
}

#endif
