/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move.pml - one direction moves between the kernel and the ring while others read, wait and close: preload/move.c, rx.c (take_some, read_kernel_safely,
 * ring_empty, sleep_for_news), tx.c (send_linked), link.c (publish_link, end_marks), svc.c (on_sock), ready.h.
 *
 * A sender writes N octets, by whichever way is open, and goes down up to DOWNS times where it likes. The kernel's socket is `kq`, with the sender's FIN behind it.
 * The service thread watches it for sleepers. Wanted: octets in order, whoever reads them; the end only behind the last one; and nobody sleeps on.
 *
 *   (nothing)  one reader, linked
 *   CLOSES     and the sender closes in the end
 *   KILLED     or dies, anywhere: its stores become visible, its descriptors are closed
 *   KWAIT      one thread is in a kernel read since before the link; another one links
 *   REST       an up is on record, the kernel's octet still under way: two threads read, one of them leaves after two octets
 *   POLLER     a thread polls while another reads without waiting
 *   PIN        the sender goes to the kernel for good: readers then wait in the kernel's own call
 *   WIRE       octets are a while between the kernel's two sockets
 *   WITHDRAW   the reader leaves rings for good: an empty one at once, else it asks; the sender duplicates in the kernel what is unread when it goes down (dup.h)
 *   RETURNS    and consents once more afterwards (a pass in vain)
 *   LEAVER     it is another thread that does this, while the reader reads, or sleeps
 *   HEIR       and in another process, which dies anywhere in the middle of it
 *   IMPATIENT  it need not wait for an answer, and leaves what is unread to the sender
 *   TX_HEIR    the sender's process may die anywhere on its way down, and another goes on
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
#ifdef WITHDRAW
#define DUP_RPOS 16 /* the sender's end; dup_len is the tail less this: all is sent */
#define DUP_EPOCH 17
#define LEFT 18 /* the reader's end: SM_END_LEFT */
#define N_MEM 19
#define DUPS
#define LEAVING
#else
#define N_MEM 16
#endif

#define FIN 1
#define PINNED 2

#define A_FUTEX 1
#define A_BELL 2

/* why a direction does not go up, and a reader does not consent: rest.pml has more reasons */
#define STAYS_DOWN false
#define KEPT_DOWN false
#define NO_CONSENT pin_rx

#define WRITER 0
#ifdef LEAVER
#define LEAVES 4
#define N_CPU 5
#else
#define N_CPU 4
#endif
#ifndef DEPTH
#define DEPTH 5
#endif
#include "tso.pml"

/* ---- the kernel's socket */
#ifdef WITHDRAW
chan kq = [2 * N] of { byte };
#define DUPLICATE 128 /* an octet that is in the ring too */
#else
chan kq = [N] of { byte };
#define DUPLICATE 0
#endif
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
byte head, rx_tail, rx_kepoch = 255, rx_kleft, dropped;
byte ring[N];
#ifdef WITHDRAW
#define RING_OCTET ring_at[head]
#else
#define RING_OCTET ring[n_read]
#endif

byte n_read;
bool moved[2]; /* the futex word has changed since thread i loaded it */
bool asleep[2], rung;
bool dead, ended, pin_rx, is_out;

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
#else
#define FINISHED (n_read == N)
#define HAS_ALL true
#define NOBODY_CARES (n_read == N) /* another thread has read the last octet */
#endif

#ifdef WITHDRAW /* the sender's service thread writes them too */
byte tx_epoch, tx_tail, n_back;
byte ring_at[N]; /* which octet lies at a place */
bool asked;
#ifdef TX_HEIR
byte dup_len, sent;
bool going, leaves, tx_dead;
#define TX_LIVES provided(!tx_dead)
#define MINE
#else
#define TX_LIVES
#define MINE byte sent;
#endif
#else
#define MINE byte tx_epoch, tx_tail, sent;
#endif

#include "move_send.pml"

#ifdef KILLED
#define LIVES provided(!dead)
#elif defined TX_HEIR
#define LIVES TX_LIVES
#else
#define LIVES
#endif

proctype sender(byte me) LIVES
{
	MINE
	byte downs, x;
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
#ifdef LOOK_BEFORE_TAIL
			x = SEE(LEFT);
#endif
			ST(TAIL, tx_tail + 1);
#ifndef NO_SENDER_FENCE
			FENCE;
#endif
			atomic { drop_tx(); tx_tail++; sent++ };
#ifdef NO_SENDER_FENCE
			is_left();
			FENCE;
			notify_armed()
#else
			notify_armed();
			is_left()
#endif
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
#ifdef WITHDRAW /* end_marks */
	take_tx();
	if
	:: tx_epoch % 2 -> go_down()
	:: else
	fi;
	drop_tx();
#endif
	OR(FLAGS, FIN);
	FENCE;
	notify_armed();
	k_fin = true
#endif
}

#ifdef TX_HEIR /* he has the dead one's token, and stays in the kernel */
proctype heir(byte me)
{
	byte x;
end:	tx_dead;
	inherit();
	do
	:: sent == N -> break
	:: else -> k_write(sent); sent++
	od
}

active proctype reaper_of_sender()
{
end:	atomic { going -> tx_dead = true };
	timeout;
	assert(n_read == N) /* run with -E: the dead do not end */
}
#endif

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

#include "move_recv.pml"

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
#if defined WITHDRAW && !defined LEAVER
#ifdef RETURNS
	:: !FINISHED && !is_out -> withdraw(); comes_back()
#else
	:: !FINISHED && !pin_rx -> withdraw()
#endif
#endif
	:: !FINISHED ->
#if defined PIN || defined WITHDRAW
		stays_in_kernel();
		if
		:: again -> again = false; blocking_read(); goto next
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
#ifdef TX_HEIR
		run heir(WRITER);
#endif
#ifdef LEAVER
		run leaver(LEAVES);
#endif
		run reader(1, 0)
#else
		run reader(1, 0)
#endif
#endif
	}
}
