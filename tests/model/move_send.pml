/* SPDX-License-Identifier: BSD-2-Clause */
/* move_send.pml - the sender of move.pml, and who wakes whom: move_up, move_down, send_linked, notify.c. */

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

#ifdef WITHDRAW
/* dup_make */
inline make_dup()
{
	n_back = head;
	if
	:: n_back == tx_tail
	:: else ->
#ifndef DUP_UNMARKED
		ST(DUP_RPOS, n_back);
		ST(DUP_EPOCH, tx_epoch);
		FENCE;
#endif
		do
		:: n_back == tx_tail -> break
		:: else -> k_write(ring_at[n_back] | DUPLICATE); n_back++
		od
#ifdef DUP_UNMARKED
		;
		ST(DUP_RPOS, head);
		ST(DUP_EPOCH, tx_epoch)
#endif
	fi
}
#else
inline make_dup() { skip }
#endif

inline go_down()
{
#ifndef DUP_AFTER_EPOCH
	make_dup();
#endif
#ifdef EPOCH_BEFORE_RPOS
	ST(TX_EPOCH, tx_epoch + 1);
	ST(DOWN_RPOS, tx_tail);
#else
	ST(DOWN_RPOS, tx_tail);
	ST(TX_EPOCH, tx_epoch + 1);
#endif
#ifdef DUP_AFTER_EPOCH
	make_dup();
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
bool asked;
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

