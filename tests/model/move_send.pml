/* SPDX-License-Identifier: BSD-2-Clause */
/* move_send.pml - what the senders of move.pml and rest.pml are made of, who wakes whom, and how the kernel is read: move_up, move_down, notify.c. */

#define NOTHING 0
#define AGAIN 1
#define END 2

/* recv(MSG_DONTWAIT), at most one octet. Who has left the ring takes a duplicate for what it is. */
inline kernel_read(peek_)
{
	atomic {
		if
		:: ARRIVED ->
			if
			:: peek_ -> skip
			:: else -> kq?o; assert(is_out || !(o & DUPLICATE)); got((o & ~DUPLICATE)); k_read++; o = 0
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
	:: atomic { ARRIVED -> kq?o; assert(is_out || !(o & DUPLICATE)); got((o & ~DUPLICATE)); k_read++; o = 0; r = NOTHING }
	:: atomic { len(kq) == 0 && k_fin -> r = END }
	:: NOBODY_CARES
	fi
}

inline add_futex()
{
#ifdef BOTH
	d_step { sb[me].n == 0 -> moved[d] = true }
#else
	d_step { sb[me].n == 0 -> moved[0] = true; moved[1] = true }
#endif
}

inline wake_all()
{
#ifdef BOTH
	asleep[d] = false
#else
	d_step { asleep[0] = false; asleep[1] = false }
#endif
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
#if defined BOTH /* the program's thread has a bias: whoever else takes it, has it fenced */
inline take_tx() { atomic { (me == d || (sb[me].n == 0 && MEMORY_FENCED(d))) && mem[TX_TOKEN] == 0 -> mem[TX_TOKEN] = 1 } }
inline drop_tx() { atomic { (me == d || sb[me].n == 0) -> mem[TX_TOKEN] = 0 } }
#elif defined DUPS
inline take_tx() { atomic { (me == WRITER || (sb[me].n == 0 && MEMORY_FENCED(WRITER))) && mem[TX_TOKEN] == 0 -> mem[TX_TOKEN] = 1 } }
inline drop_tx() { atomic { (me == WRITER || sb[me].n == 0) -> mem[TX_TOKEN] = 0 } }
#else
inline take_tx() { skip }
inline drop_tx() { skip }
#endif

#if defined TX_HEIR && !defined DUP_ANEW
#define NOT_BEGUN (mem[DUP_EPOCH] != tx_epoch)
#else
#define NOT_BEGUN true
#endif

#ifdef DUPS
/* dup_make */
inline make_dup()
{
	n_back = head;
	if
#ifdef TX_HEIR /* go_on: the kernel knows how much it has been given */
#ifndef DUP_ANEW
	:: mem[DUP_EPOCH] == tx_epoch ->
		n_back = mem[DUP_RPOS] + k_written - mem[UP_KPOS];
		if
		:: head == tx_tail ->
#ifndef LENGTH_AS_MEANT
			dup_len = n_back - mem[DUP_RPOS]
#else
			skip
#endif
		:: else ->
			if
			:: n_back == mem[DUP_RPOS] && SEE(LEFT) -> n_back = head; ST(DUP_RPOS, n_back); dup_len = tx_tail - n_back
			:: else
			fi;
			do
			:: n_back == tx_tail -> break
			:: else -> k_write(ring_at[n_back] | DUPLICATE); n_back++
			od
		fi
#endif
#endif
	:: NOT_BEGUN && n_back == tx_tail
	:: NOT_BEGUN && n_back != tx_tail ->
#ifndef DUP_UNMARKED
		ST(DUP_RPOS, n_back);
#ifdef TX_HEIR
		dup_len = tx_tail - n_back;
#endif
		ST(DUP_EPOCH, tx_epoch);
#ifndef NO_MARK_FENCE
		FENCE;
#endif
#if defined LEAVING && !defined NO_LOOK_BEHIND_MARK
		if
#ifdef TX_HEIR
		:: SEE(LEFT) -> n_back = head; ST(DUP_RPOS, n_back); dup_len = tx_tail - n_back
#else
		:: SEE(LEFT) -> n_back = head; ST(DUP_RPOS, n_back)
#endif
		:: else
		fi;
#endif
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
	fi;
	n_back = 0
}
#else
inline make_dup() { skip }
#endif

#ifdef LEAVING
/* reader_had_left: all is in the kernel, or was read. Whether he has told, or is dead, or only about to tell: x */
inline had_left()
{
#ifdef TAIL_STAYS
	skip
#else
	if
#ifdef TAIL_BACK_AT_ONCE
	:: true ->
#else
	:: SEE(RX_EPOCH) == tx_epoch ->
#endif
		tx_tail = head;
		ST(DOWN_RPOS, tx_tail);
		ST(TAIL, tx_tail)
	:: else
	fi
#endif
}

/* move_up: ring_is_over. The reader has followed, or left the ring before us. */
inline ring_is_over()
{
#ifdef TAIL_STAYS
	skip
#else
	if
	:: head == tx_tail
	:: else ->
		tx_tail = head;
		ST(TAIL, tx_tail)
	fi
#endif
}

/* tx_peer_left, tx_unsend */
inline is_left()
{
#ifndef LOOK_BEFORE_TAIL
	x = SEE(LEFT);
#endif
	if
	:: x ->
		x = 0;
		take_tx();
		if
		:: tx_epoch % 2 -> go_down()
		:: else
		fi;
		drop_tx();
		FENCE;
		notify_armed()
	:: else
	fi
}
#else
inline ring_is_over() { skip }
inline is_left() { skip }
#endif

/* tell_epoch: the family knows. x: one who has died may have told it */
inline tell_epoch(again_)
{
#ifdef LEAVING
	XCHG(x, TX_EPOCH, tx_epoch);
	if
	:: x == tx_epoch && (!(again_) || SEE(LEFT)) -> had_left()
	:: else
	fi;
	x = 0;
	if
	:: SEE(LEFT) -> AND(LEFT, 255)
	:: else
	fi
#else
	ST(TX_EPOCH, tx_epoch)
#endif
}

#ifdef TX_HEIR
#define GOES(x_) going = x_
#define LEAVES_IS(x_) leaves = x_
#else
#define GOES(x_) skip
#define LEAVES_IS(x_) skip
#endif

inline go_down()
{
	GOES(true);
	LEAVES_IS(true);
#ifndef DUP_AFTER_EPOCH
	make_dup();
#endif
#ifdef EPOCH_BEFORE_RPOS
	tx_epoch++;
	tell_epoch(false);
	ST(DOWN_RPOS, tx_tail);
#else
	ST(DOWN_RPOS, tx_tail);
	tx_epoch++;
#ifndef DUP_AFTER_EPOCH
	tell_epoch(false);
#else
	ST(TX_EPOCH, tx_epoch);
	tx_epoch--;
	make_dup();
	tx_epoch++;
#endif
#endif
	LEAVES_IS(false);
	GOES(false)
}

#ifdef TX_HEIR
/* move_inherit */
inline inherit()
{
	if
	:: tx_epoch % 2 -> go_down()
#ifndef NOT_TOLD_AGAIN
	:: tx_epoch % 2 == 0 && leaves -> tell_epoch(true); leaves = false
#endif
	:: else
	fi;
	FENCE;
	notify_armed()
}
#endif

inline move_up()
{
	if
	:: !SEE(CONSENT) || STAYS_DOWN
	:: else ->
		if
		:: SEE(RX_EPOCH) != tx_epoch || KEPT_DOWN
		:: else ->
			ring_is_over();
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
