/* SPDX-License-Identifier: BSD-2-Clause */
/* move_recv.pml - what the readers of move.pml and rest.pml are made of: turn, move_follow, sleep_for_news, poll, move_withdraw. */

#if defined BOTH
inline take() { atomic { (me == 1 - d || (sb[me].n == 0 && MEMORY_FENCED(1 - d))) && mem[TOKEN] == 0 -> mem[TOKEN] = 1 } }
inline drop() { atomic { (me == 1 - d || sb[me].n == 0) -> mem[TOKEN] = 0 } }
#elif defined KWAIT || defined POLLER || defined REST || defined LEAVER
inline take() { atomic { sb[me].n == 0 && mem[TOKEN] == 0 -> mem[TOKEN] = me } }
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

#ifdef STOPS_AT_RPOS_ONLY
#define BEFORE_RPOS (head != SEE(DOWN_RPOS))
#else
#define BEFORE_RPOS (head < SEE(DOWN_RPOS))
#endif

#define IN_KERNEL 1
#define UPTO 2
#define IN_RING 3
#define IN_DUP 4

#ifdef DUPS
#ifdef TX_HEIR
#define READ_OF_IT (head - SEE(DUP_RPOS) < dup_len -> head - SEE(DUP_RPOS) : dup_len)
#else
#define READ_OF_IT (head - SEE(DUP_RPOS))
#endif
/* dup_drop: what has been read, as far as it has come. rx token held. */
inline drop_dup()
{
	do
	:: atomic { SEE(DUP_EPOCH) == mine && dropped < READ_OF_IT && len(kq) > 0 ->
		kq?o; assert(o & DUPLICATE); k_read++; dropped++; o = 0 }
	:: else -> break
	od
}
#else
inline drop_dup() { skip }
#endif

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
		:: mine % 2 && (its == mine || BEFORE_RPOS) -> where = IN_RING
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
				:: mine % 2 ->
#ifndef NOT_DROPPED
					drop_dup()
#else
					skip
#endif
				:: mine % 2 == 0 && !SEE(HUP) ->
					dropped = 0;
					ST(LOOK, 0);
#ifndef NO_FOLLOW_FENCE
					FENCE
#endif
				:: else -> dropped = 0
				fi;
#if defined HEIR || defined TX_HEIR /* of a duplicate that is marked, and still on its way */
				if
				:: mine % 2 && SEE(DUP_EPOCH) == mine && dropped < READ_OF_IT -> where = IN_DUP
				:: else -> ST(RX_EPOCH, mine + 1)
				fi
#else
				ST(RX_EPOCH, mine + 1)
#endif
			fi
		fi
	od;
	its = 0
}

#if defined POLLER || defined BOTH
/* The token is tried, never waited for. */
inline try_follow()
{
	if
	:: take();
		follow();
		atomic { drop(); where = 0; mine = 0 }
	:: mem[TOKEN] != 0 -> unsure = true
	fi
}
#endif

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
	:: !NO_CONSENT ->
		if
		:: !SEE(IN_KERNEL_N) -> ST(CONSENT, 1)
		:: else
		fi
	:: else
	fi;
	its = 0
}

/* The kernel has octets that no epoch has announced. */
inline octets_behind()
{
#ifdef DUPS
	if
	:: SEE(TX_EPOCH) != mine
#ifndef NO_LOOK_BEFORE_DROP
	:: SEE(TAIL) != head /* it wrote, and ends, since we looked */
#endif
	:: else ->
		its = dropped;
		drop_dup();
		assert(dropped != its);
		its = 0
	fi
#else
	assert(SEE(TX_EPOCH) != mine)
#endif
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
			:: r == AGAIN -> octets_behind()
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
				got(RING_OCTET);
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
		:: where == IN_DUP
		fi
	fi;
	atomic { drop(); tail = rx_tail; mine = 0; was = 0; where = 0 }
}

inline want_input()
{
#ifdef BOTH
	watch_in = true
#else
	d_step { watch_in = true; watch_hup = true }
#endif
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
/* ready.h: ready_follow */
inline ready_follow()
{
	unsure = false;
	if
	:: SEE(TX_EPOCH) != SEE(RX_EPOCH) -> try_follow()
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
#ifdef LEAVER /* rest_in_kernel: pinned by another thread, it may not have withdrawn its consent yet */
	if
	:: again ->
		take();
		ST(CONSENT, 0);
		FENCE;
		mine = SEE(RX_EPOCH);
		again = (mine % 2 == 0 && SEE(TX_EPOCH) == mine);
		drop()
	:: else
	fi;
#endif
	mine = 0
}

#ifdef WITHDRAW
/* leave_first: r is END if that was done. Its epoch is odd, and the mark is set. */
inline leave_first(unread_)
{
	if
	:: !(unread_) && SEE(TAIL) != head
#ifndef NO_LOOK_FOR_MARK
	:: SEE(DUP_EPOCH) == its
#endif
	:: else ->
		ST(DOWN_RPOS, head);
		atomic {
			sb[me].n == 0;
			if
			:: mem[TX_EPOCH] == its -> mem[TX_EPOCH] = its + 1; r = END; is_out = true
			:: else
			fi
		};
		if
		:: r == END -> ST(RX_EPOCH, its + 1)
		:: else -> rx_tail = SEE(TAIL); ST(DOWN_RPOS, rx_tail)
		fi
	fi
}

/* ask_down */
inline ask_down()
{
	ST(WANT_BACK, 1);
	asked = true; /* the bell of its service thread, and ours: bounded naps */
	SEE(TX_EPOCH) % 2 == 0;
	AND(LEFT, 255);
	was = SEE(TX_EPOCH);
	follow();
	atomic { its = was; was = 0 }
}

inline leave_ring()
{
	rx_tail = SEE(TAIL);
	mine = SEE(RX_EPOCH);
	if
	:: mine == its
	:: else ->
		if
		:: rx_tail == head
		:: else -> assert(SEE(DUP_EPOCH) == its - 1 && READ_OF_IT <= rx_tail - SEE(DUP_RPOS))
		fi;
#ifndef NOT_DROPPED_LEAVING
		drop_dup();
#endif
#ifdef HEIR /* the family's epoch goes first, the published one last */
#ifdef HEAD_BEFORE_EPOCH
		head = rx_tail;
#endif
		atomic { sb[me].n == 0; head = rx_tail; is_out = true; mem[RX_EPOCH] = its }
#else
		head = rx_tail;
		is_out = true;
		ST(RX_EPOCH, its)
#endif
	fi
}

/* move_withdraw */
inline withdraw()
{
	take();
	pin_rx = true;
	ST(CONSENT, 0);
#ifndef NO_WITHDRAW_FENCE
	FENCE;
#endif
	follow();
	its = SEE(TX_EPOCH);
	r = NOTHING;
	if
	:: its % 2 == 0
	:: else ->
		EARLY(TAIL);
#ifdef PLAIN_MARK
		ST(LEFT, 1);
#else
		OR(LEFT, 1);
#endif
#ifndef NO_LEFT_FENCE
		FENCE;
#endif
		leave_first(false);
		LATE;
		if
		:: r == END
		:: r != END -> ask_down()
#ifdef IMPATIENT /* nobody answers for so long */
		:: r != END ->
			ST(WANT_BACK, 1);
			asked = true;
			leave_first(true);
			if
			:: r == END
			:: else -> ask_down()
			fi
#endif
		fi
	fi;
	if
	:: r == END -> r = NOTHING
	:: else -> leave_ring()
	fi;
	is_out = true;
	atomic { drop(); its = 0; where = 0; mine = 0 }
}

/* A pass in vain. */
inline comes_back()
{
	take();
	pin_rx = false;
	ST(CONSENT, 1);
	drop()
}

#ifdef LEAVER
#ifdef HEIR
bool dies;
#define UNTIL_DEATH provided(!dies)
active proctype reaper()
{
	dies = true;
	MEMORY_FENCED(LEAVES);
	atomic {
		is_out = true; /* a duplicate is read for what it is, if the reader leaves in its stead */
		if
		:: mem[TOKEN] == LEAVES -> mem[TOKEN] = 0
		:: else
		fi
	};
	timeout;
	assert(n_read == N) /* run with -E: the dead do not end */
}
#else
#define UNTIL_DEATH
#endif

proctype leaver(byte me) UNTIL_DEATH
{
	byte mine, its, was, where, r, o;
	withdraw()
}
#endif

/* The sender's service thread: move_give_back. */
proctype giver(byte me) TX_LIVES
{
	byte x;
end:	asked;
	take_tx();
	if
	:: tx_epoch % 2 -> go_down()
	:: else
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
	:: !SEE(IN_KERNEL_N) && !NO_CONSENT -> ST(CONSENT, 1)
	:: else
	fi;
	drop()
}

