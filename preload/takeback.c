/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeback.c - leaving shared memory for good, in either direction.
 *
 * A reader that will not be able to read rings (stdio, exec, a descriptor passed away) withdraws: no consent any more, and what it has not read has to be in the kernel's socket. A
 * writer that has gone down has seen to that already (dup.h). One that is in the ring is left there, if all has been read: it follows with its next send. Else it is asked to go down: its service thread does, so that the
 * program need not call us. If nobody answers, since the process is stopped, or killed and another that has the socket has no such thread, it is left there all the same: what is unread comes by the kernel when it goes on.
 * The reader holds its token meanwhile: nobody reads.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "assoc.h"
#include "bell.h"
#include "dg.h"
#include "dup.h"
#include "fault.h"
#include "link.h"
#include "log.h"
#include "move.h"
#include "notify.h"
#include "ring.h"
#include "sys.h"
#include "token.h"

#define WAIT_NS INT64_C(1000000000) /* for the peer's service thread */
#define ASK_NS INT64_C(100000000)   /* the same, where no octet depends on it, */
#define MUTE_NS                                                                                                                \
	INT64_C(1000000000) /* and for how long it is not tried again, with any connection to a process that has not answered */
#define NAP_NS INT64_C(20000000)   /* between two looks, if nobody wakes us */
#define ROOM_MS 200		   /* for space in the kernel's socket */
#define STILL_NS INT64_C(20000000) /* the kernel's input has not grown for so long: it is full, or nothing comes */

static int ask_down(struct sock *s, int64_t wait_ns)
{
	struct chan *c = &s->chan;
	uint32_t want = load_relaxed(&c->my->want_back) + 1;
	int64_t end = now_ns() + wait_ns;
	FAULT_POINT("back: down wanted, before asked");
	store_release(&c->my->want_back, want);
	FAULT_POINT("back: asked, before bell");
	for (;;) {
		uint32_t val = load_acquire(&c->my->futex);
		or_acqrel(&c->my->armed, SM_ARM_FUTEX);
		fence_storeload();
		if (!(load_acquire(&c->peer->tx_epoch) & 1))
			return 0;
		int64_t left = end - now_ns();
		if (left <= 0 || load_relaxed(&s->hup))
			return -ETIMEDOUT;
		uint32_t bell = load_relaxed(&c->peer->svc_bell);
		if (bell)
			notify_bell(c, bell - 1);
		FAULT_POINT("back: bell, before sleep");
		if (futex_wait(&c->my->futex, val, left < NAP_NS ? left : NAP_NS) == -ETIMEDOUT)
			notify_bells(c);
	}
}

/* Drop the duplicate of what has been read; the last of it may still be under way. */
static int drop_all(struct sock *s)
{
	int64_t end = now_ns() + WAIT_NS;
	while (!dup_drop(s)) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		struct timespec ts = {0, NAP_NS};
		if (now_ns() > end)
			return -ETIMEDOUT;
		sys5(SYS_ppoll, &p, 1, &ts, 0, 8);
	}
	return 0;
}

/*
 * `want` octets that were unread here are on their way through the kernel: what could be read, or looked at, before shall not be missing for a moment afterwards. As much
 * of it as the receive buffer takes. true: all of it is there.
 */
static bool await_input(const struct sock *s, uint64_t want)
{
	static const struct timespec nap = {0, 100000};
	int64_t still = now_ns() + STILL_NS;
	for (int in = 0, seen = 0; now_ns() < still; sys2(SYS_nanosleep, &nap, 0)) {
		if (sys3(SYS_ioctl, s->fd, SIOCINQ, &in) < 0)
			return false;
		if ((uint64_t)in >= want)
			return true;
		if (in > seen)
			still = now_ns() + STILL_NS;
		seen = in;
	}
	return false;
}

/* Octets of the kernel's own that come before those of a ring that has not been entered yet. */
static uint64_t owed_first(const struct fam_sock *f)
{
	uint32_t epoch = load_relaxed(&f->rx_epoch);
	return !(epoch & 1) && load_acquire(&f->rx_kepoch) == epoch + 1 ? load_relaxed(&f->rx_kleft) : 0;
}

/*
 * From epoch `its` on the kernel alone is read. The ring ends at `end`: read, or the kernel has what is left of it. An up and a down with nothing between them may be pending still:
 * both lie behind the kernel's octets, and change nothing.
 */
static int leave_ring(struct sock *s, uint32_t its)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint64_t head = load_relaxed(&f->rx_head), end = load_acquire(&c->peer->tx_tail);
	if (load_relaxed(&f->rx_epoch) == its && !(its & 1)) /* it has been left; what its writer does there is none of ours */
		return 0;
	if (end != head && (its & 1 || !dup_covers(s, its, end)))
		return -ENODATA;
	int r = drop_all(s);
	if (r < 0 || its & 1) /* dead in the ring, which has been read: there is nothing to follow */
		return r;
	if (end != head) {
		uint64_t first = owed_first(f), want = first + end - head;
		int64_t read = move_kernel_read(s->fd);
		store_relaxed(&f->rx_over_kread, (uint64_t)read);
		store_relaxed(&f->rx_over_kpos, first || read < 0 ? 0 : (uint64_t)read + want); /* before the epoch */
		if (await_input(s, want)) /* who reads meets no end that is not the end */
			store_relaxed(&f->rx_over_kread, KREAD_ANY);
	}
	/* The epoch first: should we be killed in between, another holder must not take what was unread for read, and drop it from the kernel. To the writer the head first: its tail is not to be put back (move_up). */
	FAULT_POINT("back: all in kernel, before own epoch");
	store_relaxed(&f->rx_epoch, its);
	FAULT_POINT("back: own epoch, before head");
	f->rx_tail = end;
	store_relaxed(&f->rx_head, end);
	store_release(&c->my->rx_head, end);
	FAULT_POINT("back: head, before published");
	store_release(&c->my->rx_epoch, its);
	return 0;
}

void move_ask_unread(struct sock *s)
{
	if (!load_acquire(&s->linked) || ring_end(s) == load_relaxed(&s->f->rx_head))
		return;
	_Atomic int64_t *mute = &s->chan.assoc->mute_until_ns; /* its process stands still: one connection has waited for all */
	if (now_ns() < load_relaxed(mute))
		return;
	if (ask_down(s, ASK_NS) == 0)
		await_input(s, 1);
	else
		store_relaxed(mute, now_ns() + MUTE_NS);
}

bool move_over(struct sock *s)
{
	uint32_t its = load_acquire(&s->chan.peer->tx_epoch);
	return !(its & 1) && leave_ring(s, its) == 0;
}

/*
 * The writer is in the ring, in the odd epoch `its`, and all that is there has been read (or it need not be, and he lives: he has it still): we leave it first. From here on we read the kernel alone, in the epoch that follows; who writes into the ring
 * all the same finds our mark behind publishing it, and sends it by the kernel (reader_had_left in move.c). Either we see his octets, or he our mark; either we see that he makes a duplicate, or he makes it from where we stand; and if
 * he leaves the epoch before we do, he has done so in the usual way. The mark is set. false: nothing has changed.
 */
static bool leave_first(struct sock *s, uint32_t its, bool unread)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint64_t head = load_relaxed(&f->rx_head);
	if ((!unread && load_acquire(&c->peer->tx_tail) != head) || load_acquire(&c->peer->dup_epoch) == its)
		return false;
	store_relaxed(&c->peer->down_rpos, head); /* for another holder, should we be killed in the middle of this */
	FAULT_POINT("back: nothing unread, before its epoch");
	if (!cas_acqrel(&c->peer->tx_epoch, its, its + 1)) {
		fence_acquire();						     /* his epoch, then his tail and position */
		store_relaxed(&c->peer->down_rpos, load_acquire(&c->peer->tx_tail)); /* as he has written it down himself */
		return false;
	}
	FAULT_POINT("back: its epoch, before own");
	store_relaxed(&f->rx_epoch, its + 1);
	FAULT_POINT("back: own epoch, before told");
	store_release(&c->my->rx_epoch, its + 1);
	return true;
}

/* Somebody has the socket at the other end, who may go on: no end has come. (A process without a service thread has not been told of one.) */
static bool stands(const struct sock *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLRDHUP};
	struct timespec zero = {0, 0};
	return !load_relaxed(&s->hup) && sys5(SYS_ppoll, &p, 1, &zero, 0, 8) == 0;
}

/* stays: who cannot take back what is unread, reads it in the ring. */
static int withdraw(struct sock *s, bool stays)
{
	struct chan *c = &s->chan;
	uint64_t kleft;
	store_release(&c->my->consent, 0);
	FAULT_POINT("back: consent withdrawn, before look");
	fence_storeload(); /* faces move_up: epoch, fence, consent */
	move_follow(s, &kleft);
	uint32_t its = load_acquire(&c->peer->tx_epoch);
	if (its & 1) {
		or_acqrel(&c->my->flags, SM_END_LEFT); /* who sends meanwhile, and has no service thread, goes down, too */
		FAULT_POINT("back: mark, before look at ring");
		fence_for_sender(c); /* faces the sender: publish, fence, flags; and dup.c: dup_epoch, fence, flags */
		if (leave_first(s, its, false))
			return 0;
		int r = ask_down(s, WAIT_NS);
		if (r < 0 && !stays && stands(s) && leave_first(s, its, true)) {
			log_line("fd %d: unread octets will come when their writer, who does not answer, goes on", s->fd);
			return 0;
		}
		and_acqrel(&c->my->flags, ~SM_END_LEFT);
		its = load_acquire(&c->peer->tx_epoch);
		if (r < 0 && its & 1 && !load_relaxed(&s->hup))
			return r;
		move_follow(s, &kleft);
	}
	return leave_ring(s, its); /* not a later epoch: the peer may just be coming up in vain (move_up) */
}

/* Passing, and what is only a matter between the socket and an epoll set, is of no concern to who has the socket next. */
static uint32_t own_reason(enum why why)
{
	return why == WHY_PASSED || why == WHY_EXEC || why == WHY_EPOLL ? 0 : FAM_OWN_PIN;
}

void move_note_pin(struct sock *s, uint32_t pin, enum why why)
{
	uint32_t was, pass = why == WHY_PASSED || why == WHY_EXEC ? 0 : FAM_PASS_PIN; /* in one step: see unpin() in pass.c */
	do
		was = load_relaxed(&s->f->flags);
	while (!cas_acqrel(&s->f->flags, was, (was | pin | own_reason(why)) & ~pass));
}

/*
 * ours: whoever reads the socket afterwards does so by calls that we see. Then there is no need for the writer: what he has left in the ring is read to its end. If he is dead, that is all; if he stands still, he finds our
 * request when he goes on, leaves the ring, and we follow. (An epoll set of the kernel's tells only of the dead.)
 */
static int withdraw_for(struct sock *s, enum why why, bool ours)
{
	int r = 0;
	if (sock_is_dgram(s)) {
		dg_pin(s, why);
		return 0;
	}
	move_note_pin(s, FAM_PIN_RX, why);
	store_relaxed(&s->f->rx_why, why);
	if (!link_ready(s))
		return 0;
	int how = token_take(s, &s->f->rx_token);
	if (load_acquire(&s->linked))
		r = withdraw(s, ours && why != WHY_EPOLL);
	token_drop(s, &s->f->rx_token, how);
	store_relaxed(&s->f->rx_why, why);
	if (r < 0 && ours && (why != WHY_EPOLL || load_relaxed(&s->hup)))
		return 0;
	if (r < 0) { /* rather no connection than one with octets missing or in another order */
		log_line("fd %d: unread octets could not be taken back (error %d): the connection ends here", s->fd, -r);
		or_acqrel(&s->f->flags, FAM_BROKEN);
		sys2(SYS_shutdown, s->fd, SHUT_RDWR);
	}
	return r;
}

int move_withdraw(struct sock *s, enum why why)
{
	return withdraw_for(s, why, why == WHY_EPOLL);
}

static void pin_tx(struct sock *s, enum why why, uint32_t told)
{
	move_note_pin(s, FAM_PIN_TX, why);
	if (link_ready(s)) {
		int how = token_take(s, &s->f->tx_token);
		move_look_back(s);
		if (s->f->tx_epoch & 1)
			move_down(s, why);
		FAULT_POINT("pin: down, before told");
		or_acqrel(&s->chan.my->flags, told);
		token_drop(s, &s->f->tx_token, how);
		FAULT_POINT("pin: told, before bell");
		notify_peer(&s->chan);
	}
	store_relaxed(&s->f->tx_why, why);
}

void move_pin_tx(struct sock *s, enum why why)
{
	if (sock_is_dgram(s))
		dg_pin(s, why);
	else
		pin_tx(s, why, SM_END_PINNED);
}

void move_pin(struct sock *s, enum why why)
{
	withdraw_for(s, why, why == WHY_OPTION || why == WHY_EPOLL);
	move_pin_tx(s, why);
}

void move_pass(struct sock *s, enum why why)
{
	move_withdraw(s, why);
	if (!sock_is_dgram(s))
		pin_tx(s, why, SM_END_PASSED);
}

bool move_unread_to_kernel(struct sock *s, uint64_t head)
{
	uint64_t tail = load_relaxed(&s->f->tx_tail);
	struct pollfd p = {.fd = s->fd, .events = 0};
	struct timespec zero = {0, 0};
	/* An error that is pending is the program's to see: a send of ours would take it. */
	if (tail == head || tail - head > SM_RING_LEN || sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 0)
		return true;
	return dup_send(s, head, tail, 0, ROOM_MS) == tail - head || sys5(SYS_ppoll, &p, 1, &zero, 0, 8) != 0;
}

void move_give_back(struct sock *s)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	int how = token_take(s, &f->tx_token);
	if (load_acquire(&s->linked))
		move_look_back(s);
	uint32_t want = load_acquire(&c->peer->want_back);
	bool left = load_relaxed(&c->peer->flags) & SM_END_LEFT; /* a handler's send has found that */
	if (load_acquire(&s->linked) && (want != load_relaxed(&c->my->did_back) || left)) {
		FAULT_POINT("back: request seen, before down");
		if (f->tx_epoch & 1)
			move_down(s, WHY_PEER);
		FAULT_POINT("back: down, before answered");
		store_release(&c->my->did_back, want);
	}
	token_drop(s, &f->tx_token, how);
	FAULT_POINT("back: answered, before bell");
	notify_peer(c);
}

void move_stop_serving(struct sock *s)
{
	struct chan *c = &s->chan;
	uint32_t bell = c->assoc->svc_bell, told = load_relaxed(&c->my->svc_bell);
	if (!bell || (told != bell && (!told || notify_has_service(c))))
		return;
	int how = token_take(s, &s->f->tx_token);
	move_look_back(s);
	if (s->f->tx_epoch & 1)
		move_down(s, WHY_FORK);
	cas_acqrel(&c->my->svc_bell, told, 0u); /* before another holder can go up in our name (move_up) */
	token_drop(s, &s->f->tx_token, how);
	notify_peer(c);
}
