/* SPDX-License-Identifier: BSD-2-Clause */
#include "dup.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "end.h"
#include "fault.h"
#include "move.h"
#include "notify.h"
#include "sys.h"
#include "token.h"

#define ROOM_MS 200    /* for space in the kernel's socket, where it may be waited for */
#define ROOM_MIN 16384 /* a ring of which less may be used is not worth its switches */
#define CLOSE_MS 20    /* for the rest of a duplicate that is being sent while we close */
#define SIGSET_LEN 8   /* the kernel's */

static bool poll_says(int fd, short events, int ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct timespec ts = {0, ms * 1000000L};
	return sys5(SYS_ppoll, &p, 1, &ts, 0, SIGSET_LEN) > 0;
}

/* ---- the writer */

uint64_t dup_send(struct sock *s, uint64_t from, uint64_t to, int flags, int room_ms)
{
	uint64_t at = from;
	while (at != to) {
		size_t off = (at + s->f->tx_shift) & SM_RING_MASK, n = to - at, more = 0;
		if (n > SM_RING_LEN - off) {
			n = SM_RING_LEN - off;
			more = MSG_MORE;
		}
		long r = sys6(
			SYS_sendto, s->fd, s->chan.tx_ring + off, n, (size_t)flags | more | MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
		if (r == -EAGAIN && room_ms && poll_says(s->fd, POLLOUT, room_ms))
			continue;
		if (r < 0) {
			end_keep_reset(s, r); /* it has come since the caller asked whether an error is pending */
			break;
		}
		FAULT_POINT("dup: sent in part");
		at += (uint64_t)r;
	}
	return at - from;
}

void dup_push(int fd)
{
	int was = 1, on = 1;
	socklen_t len = sizeof(was);
	sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &was, &len);
	sys5(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!was)
		sys5(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &was, sizeof(was));
}

/* The peer reads no more, or an error is pending, which is the program's to see: a send of ours would take it. */
static bool pointless(struct sock *s)
{
	return load_relaxed(&s->chan.peer->flags) & (SM_END_CLOSED | SM_END_DEAF) || poll_says(s->fd, 0, 0);
}

/* The first `sent` octets behind `head` are in the kernel already, with the same mark. */
static void mark_and_send(struct sock *s, uint64_t head, uint64_t sent, enum dup_how how)
{
	struct sm_end *my = s->chan.my;
	uint64_t tail = load_relaxed(&s->f->tx_tail);
	store_relaxed(&my->dup_rpos, head);
	store_relaxed(&my->dup_len, (uint32_t)(tail - head));
	FAULT_POINT("dup: length, before mark");
	store_release(&my->dup_epoch, s->f->tx_epoch);
	fence_storeload(); /* faces a reader that closes: CLOSED, fence, dup_epoch; one that leaves: LEFT, the same; and one that falls asleep: armed, fence, dup_epoch */
	if (!sent &&
		load_acquire(&s->chan.peer->flags) &
			SM_END_LEFT) { /* he may not have seen the mark, and goes where he stands now: no octet before that */
		head = load_acquire(&s->chan.peer->rx_head);
		if (tail - head > SM_RING_LEN)
			head = tail;
		store_relaxed(&my->dup_rpos, head);
		store_relaxed(&my->dup_len, (uint32_t)(tail - head));
	}
	FAULT_POINT("dup: mark, before bell");
	notify_armed(&s->chan); /* should we die in the middle of it, our FIN comes only behind what it takes from the kernel */
	FAULT_POINT("dup: mark, before sent");
	if (!pointless(s)) {
		int flags = how == DUP_FIN ? MSG_MORE : 0;
		sent += dup_send(s, head + sent, tail, flags, how == DUP_WAIT ? ROOM_MS : 0);
		if (how >= DUP_PUSH) { /* a reader may wait for it, and nothing will follow that could take it along */
			FAULT_POINT("dup: sent, before pushed");
			dup_push(s->fd);
		}
	}
	FAULT_POINT("dup: sent, before true length");
	store_relaxed(&my->dup_len, (uint32_t)sent); /* before the even epoch, and before anything else is sent */
}

/* What there is of it stands, and no more is needed if all has been read. */
static void go_on(struct sock *s, bool needed, uint64_t given, enum dup_how how)
{
	struct sm_end *my = s->chan.my;
	uint64_t from = load_relaxed(&my->dup_rpos), len = load_relaxed(&s->f->tx_tail) - from;
	if (len > SM_RING_LEN)
		return;
	if (given > len)
		given = len;
	if (needed)
		mark_and_send(s, from, given, how);
	else
		store_relaxed(&my->dup_len, (uint32_t)given);
}

void dup_make(struct sock *s, enum dup_how how, int64_t given)
{
	uint64_t head = load_acquire(&s->chan.peer->rx_head), left = load_relaxed(&s->f->tx_tail) - head;
	bool needed = left && left <= SM_RING_LEN && !load_relaxed(&s->hup);
	if (given >= 0 && dup_begun(s))
		go_on(s, needed, (uint64_t)given, how);
	else if (needed)
		mark_and_send(s, head, 0, how);
}

uint32_t dup_room(int fd, int out)
{
	int buf = 0;
	socklen_t len = sizeof(buf);
	if (sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_SNDBUF, &buf, &len) < 0)
		return 0;
	int64_t room = (int64_t)buf - buf / 8 - out; /* an eighth for the kernel's own account of each segment */
	return room < ROOM_MIN ? 0 : room < SM_RING_LEN ? (uint32_t)room : SM_RING_LEN;
}

/* ---- the reader */

/* Nothing more can come: FIN has been received, or the connection is gone. */
static bool is_over(int fd)
{
	uint8_t state[8] = {0};
	socklen_t len = sizeof(state);
	if (sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, state, &len) < 0)
		return true;
	return state[0] != TCP_ESTABLISHED && state[0] != TCP_FIN_WAIT1 && state[0] != TCP_FIN_WAIT2;
}

static uint32_t marked_len(const struct sm_end *peer)
{
	uint32_t len = load_relaxed(&peer->dup_len);
	return len <= SM_RING_LEN ? len : SM_RING_LEN;
}

/* How many octets have come. Asked first: a read that finds none would take an error that is the program's. */
static int unread(int fd)
{
	int in = 0;
	return sys3(SYS_ioctl, fd, SIOCINQ, &in) < 0 ? 0 : in;
}

/* How many of its octets have been read from the ring. */
static uint64_t read_of_it(const struct sock *s)
{
	uint64_t past = load_relaxed(&s->f->rx_head) - load_relaxed(&s->chan.peer->dup_rpos);
	uint32_t len = marked_len(s->chan.peer);
	return past < len ? past : len;
}

bool dup_drop(struct sock *s)
{
	struct fam_sock *f = s->f;
	if (!dup_marked(s))
		return true;
	if (__builtin_expect(sock_flags(s) & FAM_RX_HEIR, 0))
		move_recount(s);
	uint32_t done;
	while ((done = load_relaxed(&f->rx_dropped)) < read_of_it(s)) {
		int in = unread(s->fd);
		if (in <= 0)
			return is_over(s->fd) && !unread(s->fd);
		uint64_t past = read_of_it(s); /* its octets are there: so is where they begin (mark_and_send) */
		if (done >= past)
			break;
		uint64_t n = past - done < (uint64_t)in ? past - done : (uint64_t)in;
		long r = sys6(SYS_recvfrom, s->fd, 0, n, MSG_TRUNC | MSG_DONTWAIT, 0, 0);
		if (r <= 0)
			return r != -EAGAIN;
		FAULT_POINT("dup: dropped, before counted");
		store_relaxed(&f->rx_dropped, done + (uint32_t)r);
	}
	return true;
}

bool dup_covers(struct sock *s, uint32_t its, uint64_t end)
{
	const struct sm_end *peer = s->chan.peer;
	uint64_t from = load_relaxed(&peer->dup_rpos), head = load_relaxed(&s->f->rx_head);
	uint32_t len = marked_len(peer);
	return load_acquire(&peer->dup_epoch) == its - 1 && from + len == end && head - from <= len;
}

uint32_t dup_among(struct sock *s, uint32_t in)
{
	struct fam_sock *f = s->f;
	uint32_t epoch = load_relaxed(&f->rx_epoch), len = marked_len(s->chan.peer), done = 0;
	uint64_t first = 0;
	if (epoch & 1) {
		done = load_relaxed(&f->rx_dropped);
	} else { /* an up is on record: the kernel's own octets come first */
		epoch++;
		if (load_acquire(&f->rx_kepoch) == epoch)
			first = load_relaxed(&f->rx_kleft);
	}
	if (load_acquire(&s->chan.peer->dup_epoch) != epoch || in <= first || done >= len)
		return 0;
	return in - first < len - done ? (uint32_t)(in - first) : len - done;
}

/* `flags` have CLOSED, and a fence is behind it: a writer that has not marked a duplicate yet will make none. */
void dup_close(struct sock *s)
{
	struct fam_sock *f = s->f;
	const struct sm_end *peer = s->chan.peer;
	int64_t end = now_ns() + CLOSE_MS * INT64_C(1000000);
	while (dup_marked(s) && load_acquire(&peer->tx_tail) == load_relaxed(&f->rx_head) && now_ns() < end) {
		bool whole = load_acquire(&peer->tx_epoch) != load_relaxed(&f->rx_epoch);
		if (dup_drop(s) && whole)
			return;
		poll_says(s->fd, POLLIN, 1);
	}
}
