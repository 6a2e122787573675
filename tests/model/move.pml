/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move.pml - one direction moves between the kernel and the ring while others read, wait and close: preload/move.c, rx.c (take_some, read_kernel_safely,
 * ring_empty, sleep_for_news), tx.c (send_linked), link.c (publish_link, end_marks), svc.c (on_sock), ready.h.
 *
 * A sender writes N octets, by whichever way is open, and goes down up to DOWNS times where it likes. The kernel's socket is `kq`, with the sender's FIN behind it.
 * The service thread watches it for sleepers. Wanted: octets in order, whoever reads them; the end only behind the last one; and nobody sleeps on.
 *
 *   (nothing)  one reader, linked; the sender closes in the end
 *   KILLED     as before, but the sender may die anywhere: its stores become visible, its descriptors are closed
 *   KWAIT      one thread is in a kernel read since before the link; another one links
 *   REST       an up is on record, the kernel's octet still under way: two threads read, one of them leaves after two octets
 *   POLLER     a thread polls while another reads without waiting
 *   PIN        the sender goes to the kernel for good: readers then wait in the kernel's own call
 *   WITHDRAW   the reader leaves rings for good, and takes its unread octets back
 */
#ifndef N
#define N 3
#endif
#ifndef DOWNS
#define DOWNS 1
#endif

/* the sender's end */
#define TAIL 0
#define TX_EPOCH 1
#define UP_KPOS 2
#define DOWN_RPOS 3
#define FLAGS 4
#define DID_BACK 5
/* the reader's end */
#define RX_EPOCH 6 /* fam_sock's, too */
#define CONSENT 7
#define ARMED 8
#define WANT_BACK 9
/* the reader's process */
#define IN_KERNEL_N 10 /* fam_sock.rx_inkernel */
#define LINK 11
#define LOOK 12
#define HUP 13
#define TOKEN 14
#define TX_TOKEN 15
#define N_MEM 16

#define FIN 1
#define PINNED 2

#define A_FUTEX 1
#define A_BELL 2

#define WRITER 0
#define N_CPU 4
#ifndef DEPTH
#define DEPTH 5
#endif
#include "tso.pml"

/* ---- the kernel's socket */
chan kq = [N] of { byte };
byte k_written, k_read;
bool k_fin;
#ifdef WIRE /* octets take their time */
byte on_wire;
#define ARRIVED len(kq) > on_wire
active proctype wire()
{
end:	do
	:: on_wire > 0 -> on_wire--
	od
}
#else
#define ARRIVED len(kq) > 0
#endif
bool watch_in, watch_hup; /* the service thread's one-shot registration */

/* ---- guarded by the rx token */
byte head, rx_tail, rx_kepoch = 255, rx_kleft;
byte ring[N];

byte n_read;
bool moved[2]; /* the futex word has changed since thread i loaded it */
bool asleep[2], rung;
bool dead, ended, pin_rx;

inline got(octet_)
{
	assert(octet_ == n_read);
	n_read++
}

#if defined KILLED
#define FINISHED (r == END)
#define HAS_ALL (len(kq) == 0 && mem[TAIL] == head)
#define NOBODY_CARES false
#elif defined CLOSES
#define FINISHED (r == END)
#define HAS_ALL (n_read == N)
#define NOBODY_CARES false
#elif defined WITHDRAW
#define FINISHED (n_read == N || broken)
#define HAS_ALL true
#define NOBODY_CARES broken
#else
#define FINISHED (n_read == N)
#define HAS_ALL true
#define NOBODY_CARES (n_read == N) /* another thread has read the last octet */
#endif

#define NOTHING 0
#define AGAIN 1
#define END 2

/* recv(MSG_DONTWAIT), at most one octet */
inline kernel_read(peek_)
{
	atomic {
		if
		:: ARRIVED ->
			if
			:: peek_ -> skip
			:: else -> kq?o; got(o); k_read++; o = 0
			fi;
			r = AGAIN
		:: len(kq) == 0 && k_fin -> r = END
		:: else -> r = NOTHING
		fi
	}
}

/* The kernel's own, blocking call. */
inline blocking_read()
{
	if
	:: atomic { ARRIVED -> kq?o; got(o); k_read++; o = 0 }
	:: NOBODY_CARES
	fi
}

/* ---- the sender */

inline add_futex()
{
	d_step { sb[me].n == 0 -> moved[0] = true; moved[1] = true }
}

inline wake_all()
{
	d_step { asleep[0] = false; asleep[1] = false }
}

inline ring_bells()
{
	XCHG(x, ARMED, 0);
	if
	:: x & A_FUTEX -> add_futex(); wake_all()
	:: else
	fi;
	if
	:: x & A_BELL -> rung = true
	:: else
	fi;
	x = 0
}

inline notify_armed()
{
	if
	:: SEE(ARMED) -> ring_bells()
	:: else
	fi
}

/* Threads of the own side that sleep because the kernel owes octets: it does not any more. */
inline notify_own()
{
	notify_armed()
}

inline k_write(octet_)
{
	atomic {
		kq!octet_;
		k_written++;
#ifdef WIRE
		on_wire++
#endif
	}
}

/* Tokens: of a thread that has no rival a bias (token.h), which fences nothing; else a locked word. */
#ifdef WITHDRAW
inline take_tx() { atomic { sb[me].n == 0 && mem[TX_TOKEN] == 0 -> mem[TX_TOKEN] = 1 } }
inline drop_tx() { atomic { sb[me].n == 0 -> mem[TX_TOKEN] = 0 } }
#else
inline take_tx() { skip }
inline drop_tx() { skip }
#endif

inline go_down()
{
#ifdef EPOCH_BEFORE_RPOS
	ST(TX_EPOCH, tx_epoch + 1);
	ST(DOWN_RPOS, tx_tail);
#else
	ST(DOWN_RPOS, tx_tail);
	ST(TX_EPOCH, tx_epoch + 1);
#endif
	tx_epoch++
}

inline move_up()
{
	if
	:: !SEE(CONSENT)
	:: else ->
		if
		:: SEE(RX_EPOCH) != tx_epoch
		:: else ->
#ifdef EPOCH_BEFORE_KPOS
			ST(TX_EPOCH, tx_epoch + 1);
			ST(UP_KPOS, k_written);
#else
			ST(UP_KPOS, k_written);
			ST(TX_EPOCH, tx_epoch + 1);
#endif
			tx_epoch++;
#ifndef NO_UP_FENCE
			FENCE;
#endif
#ifndef NO_SECOND_CONSENT
			if
			:: !SEE(CONSENT) ->
				go_down();
#ifndef NO_WORD_OF_FAILED_UP
				FENCE;
				notify_armed()
#endif
			:: else
			fi
#endif
		fi
	fi
}

#ifdef KILLED
#define LIVES provided(!dead)
#else
#define LIVES
#endif

#ifdef WITHDRAW /* its service thread writes them too */
byte tx_epoch, tx_tail, n_back;
byte ring_at[N]; /* which octet lies at a place */
bool asked, gave_none, broken;
#define MINE
#else
#define MINE byte tx_epoch, tx_tail;
#endif

proctype sender(byte me) LIVES
{
	MINE
	byte sent, downs, x;
	bool pinned;
	do
	:: sent == N -> break
	:: else ->
		take_tx();
		if
		:: tx_epoch % 2 == 0 && !pinned -> move_up()
		:: else
		fi;
		if
		:: tx_epoch % 2 == 0 ->
			drop_tx();
			k_write(sent);
			sent++
		:: tx_epoch % 2 == 1 ->
			ring[sent] = sent; /* by octet, not by place */
#ifdef WITHDRAW
			ring_at[tx_tail] = sent;
#endif
			ST(TAIL, tx_tail + 1);
			FENCE;
			atomic { drop_tx(); tx_tail++; sent++ };
			notify_armed()
		:: tx_epoch % 2 == 1 && downs < DOWNS ->
			downs++;
			go_down();
			drop_tx();
#ifndef NO_NOTIFY_FENCE
			FENCE; /* notify_peer */
#endif
#ifndef NO_WORD_OF_DOWN
			notify_armed()
#endif
#ifdef PIN
		:: !pinned ->
			pinned = true;
			if
			:: tx_epoch % 2 -> go_down()
			:: else
			fi;
			OR(FLAGS, PINNED);
			drop_tx();
			FENCE;
			notify_armed()
#endif
		fi
	od;
#ifdef CLOSES
	OR(FLAGS, FIN);
	FENCE;
	notify_armed();
	k_fin = true
#endif
}

#ifdef KILLED
active proctype killer()
{
	dead = true;
	MEMORY_FENCED(WRITER);
	k_fin = true;
	timeout;
	assert(ended) /* run with -E: the dead do not end */
}
#endif

/* ---- the reader's service thread: on_sock */

inline watch()
{
	d_step { watch_hup = !ev_hup; watch_in = false }
}

proctype service(byte me)
{
	bool ev_in, ev_hup;
end:	do
	:: atomic {
		(watch_in && ARRIVED) || ((watch_hup || watch_in) && k_fin) ->
		ev_hup = k_fin;
		watch_in = false;
		watch_hup = false
	   };
#ifdef LOOK_BEFORE_HUP
		ST(LOOK, 1);
#endif
		if
		:: ev_hup -> ST(HUP, 1)
		:: else
		fi;
#ifndef LOOK_BEFORE_HUP
		ST(LOOK, 1);
#endif
#ifdef REGISTER_LAST
		add_futex();
		wake_all();
		watch()
#else
		watch();
		add_futex();
		wake_all()
#endif
		;
		ev_hup = false
	od
}

/* ---- the readers */

#if defined KWAIT || defined POLLER || defined REST
inline take() { atomic { sb[me].n == 0 && mem[TOKEN] == 0 -> mem[TOKEN] = 1 } }
inline drop() { atomic { sb[me].n == 0 -> mem[TOKEN] = 0 } }
#else
inline take() { skip }
inline drop() { skip }
#endif

/* The kernel owes octets of an up that is on record: only it can bring news. */
#ifdef OWED_BY_EPOCH
#define OWED (rx_kepoch == mine + 1)
#else
#define OWED (rx_kepoch == mine + 1 && rx_kleft > 0)
#endif

#define IN_KERNEL 1
#define UPTO 2
#define IN_RING 3

/* move_follow. rx token held. */
inline follow()
{
	where = 0;
	do
	:: where -> break
	:: else ->
		atomic { mine = SEE(RX_EPOCH); its = SEE(TX_EPOCH) };
		assert(its - mine <= 2 && !(its - mine == 2 && mine % 2));
		if
		:: mine % 2 && (its == mine || head != SEE(DOWN_RPOS)) -> where = IN_RING
		:: mine % 2 == 0 && its == mine -> where = IN_KERNEL
		:: else ->
			if
			:: mine % 2 == 0 && rx_kepoch != mine + 1 ->
				d_step {
					/* less than was read: the sender came up, found consent withdrawn, and went on in the kernel */
					rx_kleft = (SEE(UP_KPOS) > k_read -> SEE(UP_KPOS) - k_read : 0);
					rx_kepoch = mine + 1
				}
			:: else
			fi;
#ifdef NO_KLEFT
			if
			:: false
#else
			if
			:: mine % 2 == 0 && rx_kleft > 0 -> where = UPTO
#endif
			:: else ->
				if
				:: mine % 2 == 0 && !SEE(HUP) ->
					ST(LOOK, 0);
#ifndef NO_FOLLOW_FENCE
					FENCE
#endif
				:: else
				fi;
				ST(RX_EPOCH, mine + 1)
			fi
		fi
	od;
	its = 0
}

inline read_kernel_safely()
{
#ifndef NO_WITHDRAWAL
	ST(CONSENT, 0);
#endif
#ifndef NO_READER_FENCE
	FENCE;
#endif
#ifdef NO_EPOCH_LOOK
	its = mine;
#else
	its = SEE(TX_EPOCH);
#endif
	if
	:: its == mine -> kernel_read(false)
	:: else -> r = AGAIN
	fi;
	if
	:: !pin_rx ->
		if
		:: !SEE(IN_KERNEL_N) -> ST(CONSENT, 1)
		:: else
		fi
	:: else
	fi;
	its = 0
}

/* The ring is empty in an odd epoch: is that the end? */
inline ring_empty()
{
	r = NOTHING;
	if
	:: !(SEE(LOOK) || SEE(HUP) || SEE(FLAGS) & FIN)
	:: else ->
		if
		:: SEE(TX_EPOCH) != mine || SEE(TAIL) != head -> r = AGAIN
		:: else ->
#ifndef LOOK_CLEARED_LATE
			ST(LOOK, 0);
#ifndef NO_LOOK_FENCE
			FENCE;
#endif
#endif
			kernel_read(true);
			if
			:: r == AGAIN -> assert(SEE(TX_EPOCH) != mine)
			:: r == END ->
				ST(LOOK, 1);
#ifndef NO_LAST_WORDS
				if
				:: SEE(TAIL) != head || SEE(TX_EPOCH) != mine -> r = AGAIN
				:: else
				fi
#endif
			:: r == NOTHING ->
#ifdef LOOK_CLEARED_LATE
				ST(LOOK, 0)
#else
				skip
#endif
			fi
		fi
	fi
}

/* turn: take_some under the rx token. At most one octet. */
inline turn()
{
	atomic { take(); mine = SEE(RX_EPOCH); r = NOTHING };
	if
	:: mine % 2 ->
		rx_tail = SEE(TAIL);
		if
		:: rx_tail != head ->
			atomic {
				got(ring[n_read]);
				head++;
				r = AGAIN
			}
		:: else
		fi
	:: else
	fi;
	if
	:: r == AGAIN
	:: else ->
		was = mine;
		follow();
		if
		:: where == IN_KERNEL -> read_kernel_safely()
		:: where == UPTO ->
			kernel_read(false);
			if
			:: r == AGAIN ->
				rx_kleft--;
#ifndef NO_WORD_OF_REST
				if
				:: rx_kleft == 0 -> FENCE; notify_own()
				:: else
				fi
#endif
			:: else
			fi
		:: where == IN_RING ->
			if
			:: mine != was || SEE(TAIL) != head -> r = AGAIN
			:: else -> ring_empty()
			fi
		fi
	fi;
	atomic { drop(); tail = rx_tail; mine = 0; was = 0; where = 0 }
}

inline want_input()
{
	d_step { watch_in = true; watch_hup = true }
}

inline sleep_for_news()
{
#ifndef VAL_LATE
	moved[i] = false;
#endif
	mine = SEE(RX_EPOCH);
	OR(ARMED, A_FUTEX); /* and a fence: see futex.pml */
	again = false;
	if
	:: mine % 2 ->
#ifndef NO_TAIL_LOOK
		again = (SEE(TAIL) != tail);
#endif
#ifndef NO_DOWN_LOOK
		again = again || SEE(TX_EPOCH) != mine;
#endif
#ifndef NO_LOOK_LOOK
		again = again || SEE(LOOK)
#endif
	:: else ->
#ifndef NO_UP_LOOK
		again = (SEE(TX_EPOCH) != mine && !OWED);
#endif
		if
		:: again
		:: else ->
#ifndef NO_WANT_INPUT
			want_input()
#else
			skip
#endif
		fi
	fi;
#ifdef VAL_LATE
	moved[i] = false;
#endif
	if
	:: again
	:: else ->
		asleep[i] = !moved[i];
		!asleep[i] || NOBODY_CARES
	fi;
	atomic { moved[i] = true; mine = 0; again = false; tail = 0 }
}

#if defined POLLER || defined REST
/* Reads without waiting, a few times. */
proctype worker(byte me)
{
	byte mine, its, was, where, r, x, o, tail, n;
	do
	:: n == 3 -> break
	:: else ->
		turn();
		atomic { r = NOTHING; tail = 0; n++ }
	od
}
#endif

#ifdef POLLER
/* ready.h: ready_follow. The token is tried, never waited for. */
inline ready_follow()
{
	unsure = false;
	if
	:: SEE(TX_EPOCH) != SEE(RX_EPOCH) ->
		if
		:: atomic { sb[me].n == 0 && mem[TOKEN] == 0 -> mem[TOKEN] = 1 };
			follow();
			atomic { drop(); where = 0; mine = 0 }
		:: mem[TOKEN] == 1 -> unsure = true
		fi
	:: else
	fi
}

/* ready_octets */
inline look()
{
	ready_follow();
	again = (SEE(RX_EPOCH) % 2 && SEE(TAIL) != head)
}

/* poll_with, sleep_once */
proctype poller(byte me)
{
	byte mine, its, was, where, r, x, o, tail;
	bool again, unsure, nap;
	do
	:: n_read == N -> break
	:: else ->
		look();
		if
		:: again
		:: else ->
			OR(ARMED, A_BELL); /* announce */
#ifdef NO_UNSURE
			look();
			nap = false;
#elif defined UNSURE_LATE
			look();
			nap = unsure;
			ready_follow();
			nap = unsure;
#else
			ready_follow();
			nap = unsure;
			look();
#endif
			if
			:: again || nap /* a nap is bounded */
			:: else -> rung || ARRIVED || NOBODY_CARES
			fi;
			rung = false
		fi;
		atomic { again = false; unsure = false; nap = false };
		turn();
		atomic { r = NOTHING; tail = 0 }
	od
}

#endif

/* stays_in_kernel */
inline stays_in_kernel()
{
	mine = SEE(RX_EPOCH);
#ifdef PIN_LOOKED_AT_LAST
	if
	:: mine % 2 == 0 && SEE(TX_EPOCH) == mine -> again = (SEE(FLAGS) & PINNED) != 0
	:: else
	fi
#else
	if
	:: mine % 2 == 0 && ((SEE(FLAGS) & PINNED) || pin_rx) -> again = (SEE(TX_EPOCH) == mine)
	:: else
	fi
#endif
	;
	mine = 0
}

#ifdef WITHDRAW
/* move_withdraw: settled, ask_back */
inline withdraw()
{
	pin_rx = true;
	take();
	ST(CONSENT, 0);
#ifndef NO_WITHDRAW_FENCE
	FENCE;
#endif
	follow();
	its = SEE(TX_EPOCH);
	if
	:: its % 2 == 0 && head == SEE(TAIL)
	:: else ->
		ST(WANT_BACK, 1);
		asked = true; /* the bell of its service thread, and ours: bounded naps */
		if
		:: SEE(DID_BACK) == 1
		:: gave_none -> broken = true
		fi;
		its = SEE(TX_EPOCH)
	fi;
	rx_tail = head;
#ifdef WITHDRAW_LOOKS_AGAIN
	its = SEE(TX_EPOCH);
#endif
	ST(RX_EPOCH, its);
	atomic { drop(); its = 0; where = 0; mine = 0 }
}

/* The sender's service thread: move_give_back. The socket's octets are sent again by the kernel. */
proctype giver(byte me)
{
	byte x;
end:	asked;
	take_tx();
	if
	:: tx_epoch % 2 ->
		n_back = head;
		do
		:: n_back == tx_tail -> break
		:: else -> k_write(ring_at[n_back]); n_back++
		od;
		tx_tail = head;
		ST(TAIL, tx_tail);
#ifdef DID_BEFORE_EPOCH
		ST(DID_BACK, 1);
		go_down();
#else
		go_down();
		ST(DID_BACK, 1);
#endif
	:: else -> gave_none = true /* it had gone down before: no answer */
	fi;
	drop_tx();
	FENCE;
	notify_armed()
}
#endif

/* link_consent. */
inline link_consent()
{
	take();
	if
	:: !SEE(IN_KERNEL_N) -> ST(CONSENT, 1)
	:: else
	fi;
	drop()
}

/* A thread in recv, one octet a call. */
proctype reader(byte me; byte i)
{
	byte mine, its, was, where, r, x, o, tail;
	bool again;
#ifdef KWAIT /* recv_unlinked */
	EARLY(LINK);
	ADD(IN_KERNEL_N, 1);
#ifndef NO_ENTER_FENCE
	FENCE;
#endif
	if
#ifndef NO_LINK_LOOK
	:: SEE(LINK) == 2 -> LATE
#endif
	:: else -> LATE; blocking_read()
	fi;
	atomic { sb[me].n == 0; mem[IN_KERNEL_N]--; x = mem[IN_KERNEL_N] };
#ifndef NO_LATE_CONSENT
	if
	:: x == 0 && SEE(LINK) == 2 -> x = 0; link_consent()
	:: else -> x = 0
	fi;
#endif
#endif
	do
	:: FINISHED -> break
#ifdef WITHDRAW
	:: !FINISHED && !pin_rx -> withdraw()
#endif
	:: !FINISHED ->
#if defined PIN || defined WITHDRAW
		stays_in_kernel();
		if
		:: again -> again = false; blocking_read(); r = NOTHING; goto next
		:: else
		fi;
#endif
		turn();
		if
		:: r == NOTHING -> sleep_for_news()
		:: r == AGAIN -> r = NOTHING; tail = 0
		:: r == END
		fi;
next:		skip
	od;
	assert(HAS_ALL)
#ifdef KILLED
	;
	ended = true
#endif
}

#ifdef KWAIT
/* publish_link, and one read without waiting */
proctype linker(byte me)
{
	byte mine, its, was, where, r, x, o, tail;
	EARLY(IN_KERNEL_N);
	ST(LINK, 2);
#ifndef NO_LINK_FENCE
	FENCE;
#endif
	link_consent();
	LATE;
	turn()
}
#endif

init
{
	atomic {
		watch_hup = true;
		moved[0] = true;
		moved[1] = true;
		run service(2);
#ifdef REST
		kq!0;
		on_wire = 1;
		k_written = 1;
		mem[UP_KPOS] = 1;
		mem[TX_EPOCH] = 1;
		mem[TAIL] = 2;
		ring[1] = 1;
		ring[2] = 2;
#else
		run sender(WRITER);
#endif
#ifdef KWAIT
		run reader(1, 0);
		run linker(3)
#else
		mem[LINK] = 2;
		mem[CONSENT] = 1;
#if defined POLLER
		run poller(1);
		run worker(3)
#elif defined REST
		run reader(1, 0);
		run worker(3)
#elif defined WITHDRAW
		run giver(3);
		run reader(1, 0)
#else
		run reader(1, 0)
#endif
#endif
	}
}
