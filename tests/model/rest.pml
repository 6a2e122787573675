/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rest.pml - a channel is taken out of its rings by the word of either side, and let back: preload/trial.c, switch.c, tx.c (send_linked, tx_unsend), rx.c (rest_in_kernel). Both directions,
 * each made of the pieces of move.pml.
 *
 * Both ends are programs of one thread. The client asks, the server answers, N octets each way; both directions are in the ring at first. Each side has a service thread, which follows the operator's
 * word (switch_serve), the other side's bell (switch_asked), and the kernel's input for who sleeps on the futex. Wanted: octets in order; nobody sleeps on; and when all is quiet and the word
 * stands, both directions are in the kernel, and when it has been taken back, nothing is left of it.
 *
 *   OFF=SIDE   the operator switches that side off; and, unless STANDS, on again
 *   BOTH_OFF   both sides
 *   GIVES_UP   the service thread may give up before all is done: senders then see to themselves
 *   TRIAL      the client rests, between any two questions; and, unless STANDS, its time is over at some send
 *   AHEAD      questions beyond the one that is not answered yet
 */
#ifndef N
#define N 2
#endif
#ifndef AHEAD
#define AHEAD 0
#endif
#define BOTH
#define DUPS

/* A direction is the number of the side that sends in it. `d` is the one that a process is dealing with. */
#define TAIL d
#define TX_EPOCH (2 + d)
#define ITS_EPOCH (3 - d) /* of the other direction */
#define UP_KPOS (4 + d)
#define DOWN_RPOS (6 + d)
#define FLAGS (8 + d) /* the sender's end's */
#define ITS_FLAGS (9 - d)
#define RX_EPOCH (10 + d)
#define CONSENT (12 + d)
#define OWN_CONSENT (13 - d) /* of the sender's end: to the other direction */
#define ARMED (14 + d)
#define IN_KERNEL_N (16 + d)
#define FAM (18 + d) /* fam_sock.flags of the sender's side */
#define ITS_FAM (19 - d)
#define LOOK (20 + d)
#define TOKEN (22 + d)
#define TX_TOKEN (24 + d)
#define DUP_RPOS (26 + d)
#define DUP_EPOCH (28 + d)
#define WISH (30 + d) /* 0: none yet, 1: off, 2: on again */
#define HUP 32 /* nobody dies */
#define N_MEM 33

#define FIN 1
#define PINNED 2
#define RESTS 4
#define IS_OFF 8
#define A_FUTEX 1
#define A_BELL 2

/* processors: the client's program, the server's, and their service threads */
#define N_CPU 4
#define SIDE (me % 2)
#define IS_CLIENT (d == 0)
#ifndef DEPTH
#define DEPTH 5
#endif
#include "tso.pml"

/* Without queues, what a service thread does under one token is one step: move.pml has it in all its steps. */
#ifdef SC
#define STEP atomic
#else
#define STEP
#endif
#ifdef SC
#define SEND atomic
#else
#define SEND
#endif

chan kqs[2] = [2 * N] of { byte };
#define kq kqs[d]
#define DUPLICATE 128
#define ARRIVED len(kq) > 0
#define k_fin false
byte k_writtens[2], k_reads[2];
#define k_written k_writtens[d]
#define k_read k_reads[d]

/* guarded by the rx token of a direction */
byte heads[2], rx_kepochs[2], rx_klefts[2], droppeds[2];
#define head heads[d]
#define rx_tail tail /* of one turn */
#define rx_kepoch rx_kepochs[d]
#define rx_kleft rx_klefts[d]
#define dropped droppeds[d]
/* by the tx token */
byte tx_epochs[2], tx_tails[2];
#define tx_epoch tx_epochs[d]
#define tx_tail tx_tails[d]
typedef ring_of { byte at[N] };
ring_of rings[2];
#define ring_at rings[d].at
#define RING_OCTET rings[d].at[head]

byte n_reads[2];
#define n_read n_reads[d]
inline got(octet_)
{
	assert(octet_ == n_read);
	n_read++
}
bool moved[2], asleep[2], rung, watch_ins[2], watch_hups[2];
#define watch_in watch_ins[d]
#define watch_hup watch_hups[d]
#define is_out false
#define NOBODY_CARES false

bool asked[2]; /* service bells */
bool left[2];  /* switch_again */
byte done[2];  /* the wish that has been carried out */
byte n_over;   /* programs that have come to their end */

#ifdef NO_FAM_LOOK
#define STAYS_DOWN false
#else
#define STAYS_DOWN (SEE(FAM) & (RESTS | IS_OFF))
#endif
#ifdef NO_ITS_FLAGS_LOOK
#define KEPT_DOWN false
#else
#define KEPT_DOWN (SEE(ITS_FLAGS) & (RESTS | IS_OFF))
#endif
#define NO_CONSENT (SEE(ITS_FAM) & IS_OFF)

#include "move_send.pml"
#include "move_recv.pml"

/* ---- switch.c */

/* trial_rests, as a reader */
#define RESTS_HERE (SEE(ITS_FAM) & (RESTS | IS_OFF) || SEE(FLAGS) & (RESTS | IS_OFF))

inline mark()
{
	STEP { OR(FAM, IS_OFF); OR(FLAGS, IS_OFF) };
	STEP { ST(OWN_CONSENT, 0); FENCE }
}

inline switch_tell()
{
	STEP {
		FENCE;
		notify_armed();
#ifndef NO_TELL
		atomic { sb[me].n == 0 -> asked[1 - d] = true }
#endif
	}
}

inline switch_down()
{
	if
	:: SEE(WISH) & 1 ->
		mark();
#ifndef NO_SECOND_WISH_LOOK
		if
		:: !(SEE(WISH) & 1) -> left[d] = true
		:: else
		fi
#endif
	:: else
	fi;
	if
	:: tx_epoch % 2 -> STEP { go_down() }
	:: else
	fi
}

/* goes_off: side `d` */
inline goes_off()
{
	tell = (!(SEE(FAM) & IS_OFF) || SEE(ITS_EPOCH) % 2);
	mark();
	STEP {
		if
		:: take_tx();
			if
			:: tx_epoch % 2 -> go_down(); tell = true
			:: else
			fi;
			drop_tx();
			again = true
		:: mem[TX_TOKEN] == 1 -> again = false
		fi;
		if
		:: tell -> switch_tell()
		:: else
		fi;
		d = 1 - d;
		try_follow();
		its = SEE(TX_EPOCH);
		again = again && its % 2 == 0 && (SEE(TAIL) != head || SEE(RX_EPOCH) == its);
		d = 1 - d;
		atomic { left[d] = !again; again = false; unsure = false; tell = false; its = 0 }
	}
}

inline comes_on()
{
	STEP { AND(FAM, IS_OFF); AND(FLAGS, IS_OFF); d = 1 - d };
	if
	:: STEP { take();
		if
#ifdef COMES_ON_CONSENTS
		:: true -> ST(CONSENT, 1)
#else
		:: !SEE(IN_KERNEL_N) -> ST(CONSENT, 1)
#endif
		:: else
		fi;
		drop() }
	:: mem[TOKEN] == 1
	fi;
	d = 1 - d;
	switch_tell()
}

inline switch_asked()
{
	if
	:: SEE(ITS_FLAGS) & IS_OFF ->
		take_tx();
		STEP {
			tell = (tx_epoch % 2 && SEE(ITS_FLAGS) & IS_OFF);
			if
			:: tell -> go_down()
			:: else
			fi;
			drop_tx()
		};
		if
		:: tell -> STEP { FENCE; notify_armed(); tell = false }
		:: else
		fi
	:: else
	fi;
	STEP {
		d = 1 - d;
		try_follow();
		unsure = false;
		d = 1 - d
	}
}

/* Would another turn get further? (It comes each millisecond; those that would not are left out.) */
#define ITS (1 - SIDE)
#define WOULD_GO (mem[24 + SIDE] == 0 && mem[2 + ITS] % 2 == 0 && (mem[ITS] != heads[ITS] || mem[10 + ITS] == mem[2 + ITS] || mem[22 + ITS] == 0))

proctype service(byte me)
{
	byte d = SIDE, mine, its, where, x, o, n_back;
	bool tell, again, unsure;
end:	do
	:: atomic { done[SIDE] != mem[30 + SIDE] || (left[SIDE] && (!(mem[30 + SIDE] & 1) || WOULD_GO)) ->
		done[SIDE] = mem[30 + SIDE]; left[SIDE] = false };
		if
		:: done[SIDE] & 1 -> goes_off()
		:: !(done[SIDE] & 1) && SEE(FAM) & IS_OFF -> comes_on()
		:: else
		fi
#ifdef GIVES_UP
	:: left[SIDE] -> left[SIDE] = false
#endif
	:: atomic { asked[SIDE] -> asked[SIDE] = false };
		switch_asked()
	:: atomic { watch_ins[1 - SIDE] && len(kqs[1 - SIDE]) > 0 -> watch_ins[1 - SIDE] = false; d = 1 - d };
		STEP { ST(LOOK, 1); add_futex(); wake_all(); d = 1 - d }
	od
}

/* ---- tx.c, trial.c */

inline rest_ends()
{
	AND(FAM, RESTS);
	AND(FLAGS, RESTS)
}

/* The server follows the client's flag. */
inline peer_rests()
{
	again = (SEE(ITS_FLAGS) & RESTS) != 0;
	if
	:: again
	:: else -> AND(FAM, RESTS)
	fi
}

byte late[2];
/* again = the direction may go down in front of this send. What the kernel has had may not be acknowledged: once. */
inline trial_leaves()
{
	if
	:: IS_CLIENT -> again = (SEE(ITS_EPOCH) % 2 == 0)
	:: else -> peer_rests()
	fi;
	if
	:: late[d] == 0 -> late[d] = 1; again = false
	:: true
	fi
}

inline trial_send()
{
	if
	:: !IS_CLIENT -> peer_rests()
#ifndef STANDS
	:: IS_CLIENT -> rest_ends()
#endif
	:: IS_CLIENT
	fi
}

/* switch_moves */
#define SWITCH_MOVES (tx_epoch % 2 -> SEE(FAM) & IS_OFF || SEE(WISH) & 1 || SEE(ITS_FLAGS) & IS_OFF : SEE(WISH) & 1 && !(SEE(FAM) & IS_OFF))

inline tx_unsend()
{
	if
	:: SEE(ITS_FLAGS) & IS_OFF ->
		take_tx();
		tell = (SEE(ITS_FLAGS) & IS_OFF) != 0;
		if
		:: tell && tx_epoch % 2 -> switch_down()
		:: else
		fi;
		drop_tx();
		if
		:: tell -> switch_tell()
		:: else
		fi;
		tell = false
#ifndef NO_UNSEND
	:: SEE(ITS_FLAGS) & RESTS ->
		take_tx();
		OR(FAM, RESTS);
		drop_tx()
#endif
	:: else
	fi
}

inline ring_send()
{
	STEP {
		ring_at[tx_tail] = sent;
		ST(TAIL, tx_tail + 1);
		FENCE;
		atomic { tx_tail++; sent++; drop_tx() }
	};
	STEP { notify_armed() };
	tx_unsend()
}

/* send_linked, one octet */
inline send()
{
	had = sent;
	do
	:: sent != had -> break
	:: else ->
		take_tx();
		if
		:: tx_epoch % 2 && !(SEE(FAM) & (RESTS | IS_OFF)) -> SEND { ring_send() } /* fast_send: looks at nothing else */
		:: SWITCH_MOVES -> switch_down(); drop_tx(); switch_tell()
		:: !SWITCH_MOVES -> SEND {
			if
			:: tx_epoch % 2 == 0 && SEE(FAM) & RESTS -> trial_send()
			:: else
			fi;
			if
			:: tx_epoch % 2 == 0 -> move_up()
			:: else
			fi;
			again = false;
			if
			:: tx_epoch % 2 && SEE(FAM) & RESTS -> trial_leaves()
			:: else
			fi;
			if
			:: tx_epoch % 2 == 0 -> STEP { drop_tx(); k_write(sent); sent++ }
			:: again ->
				STEP { go_down(); drop_tx() };
				FENCE;
#ifndef NO_WORD_OF_DOWN
				STEP { notify_armed() }
#endif
			:: else -> ring_send()
			fi;
			again = false }
		fi
	od;
	had = 0
}

/* ---- rx.c */

inline rest_in_kernel()
{
	STEP {
		take();
		ADD(IN_KERNEL_N, 1);
#ifndef REST_WITH_CONSENT
		ST(CONSENT, 0);
#endif
#ifndef NO_REST_FENCE
		FENCE
#endif
	};
	STEP {
#ifdef NO_REST_LOOK
	again = true;
#else
	mine = SEE(RX_EPOCH);
	again = (SEE(TX_EPOCH) == mine);
#endif
#ifndef NO_REST_EVEN
	again = again && mine % 2 == 0; /* another thread may have followed */
#endif
	mine = 0;
	drop() };
	if
	:: again -> blocking_read()
	:: else
	fi;
	STEP {
		atomic { sb[me].n == 0; mem[IN_KERNEL_N]--; x = mem[IN_KERNEL_N]; again = false };
		if
		:: x == 0 -> link_consent()
		:: else -> x = 0
		fi
	}
}

/* recv_linked, one octet */
inline receive()
{
	had = n_read;
	do
	:: n_read != had -> break
	:: else ->
		STEP { /* may_rest */
			mine = SEE(RX_EPOCH);
			again = (mine % 2 == 0 && RESTS_HERE);
			again = again && SEE(TX_EPOCH) == mine;
			mine = 0
		};
		if
		:: again -> rest_in_kernel()
		:: else ->
			STEP { turn() };
			if
			:: r == NOTHING -> STEP { sleep_for_news() }
			:: else -> r = NOTHING; tail = 0
			fi
		fi
	od;
	had = 0
}

#ifdef TRIAL
bool rested;
byte n_rested;
#endif

proctype program(byte me)
{
	byte d = me, i = 1 - me, mine, its, was, where, r, x, o, tail, n_back, sent, had;
	bool tell, again, unsure;
	do
	:: sent < N && (me == 0 -> sent <= n_reads[1] + AHEAD : sent < n_reads[0]) ->
#ifdef TRIAL
		if
		:: me == 0 && !rested -> OR(FLAGS, RESTS); OR(FAM, RESTS); rested = true; n_rested = sent
		:: true
		fi;
#endif
		send()
	:: n_reads[i] < N && (me == 0 -> n_reads[1] < sent : n_reads[0] == sent) ->
		d = i;
		receive();
		d = me
	:: sent == N && n_reads[i] == N -> break
	od;
	n_over++
}

#ifdef OFF
proctype operator()
{
	byte d;
	atomic {
		d = OFF;
		mem[WISH] = 1;
#ifdef BOTH_OFF
		mem[31 - d] = 1
#endif
	}
#ifndef STANDS
	;
	atomic { mem[WISH] = 2; d = 0 }
#endif
}
#endif

#define IN_KERNEL_BOTH (tx_epochs[0] % 2 == 0 && tx_epochs[1] % 2 == 0)
#define MARKS (mem[8] | mem[9] | mem[18] | mem[19])

/* All is quiet. */
active proctype afterwards()
{
	timeout;
	if
	:: n_over < 2
	:: else ->
#ifndef GIVES_UP
		assert(!left[0] && !left[1]);
		assert(!((mem[30] | mem[31]) & 1) || IN_KERNEL_BOTH);
#endif
		assert((mem[30] | mem[31]) & 1 || !(MARKS & IS_OFF));
#if defined TRIAL && defined STANDS
		assert(!rested || n_rested + 5 > N || IN_KERNEL_BOTH)
#endif
	fi
}

init
{
	atomic {
		mem[2] = 1; mem[3] = 1;
		tx_epochs[0] = 1; tx_epochs[1] = 1;
		mem[10] = 1; mem[11] = 1;
		mem[12] = 1; mem[13] = 1;
		rx_kepochs[0] = 1; rx_kepochs[1] = 1;
		moved[0] = true; moved[1] = true;
#ifdef OFF
		run operator();
#endif
		run service(2);
		run service(3);
		run program(0);
		run program(1)
	}
}
