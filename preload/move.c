/* SPDX-License-Identifier: BSD-2-Clause */
#include "move.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/socket.h>

#include "assoc.h"
#include "dup.h"
#include "fault.h"
#include "hold.h"
#include "log.h"
#include "notify.h"
#include "ring.h"
#include "stats.h"
#include "sys.h"
#include "token.h"
#include "trial.h"

#ifndef SIOCINQ
#define SIOCINQ 0x541B
#endif

static int tcp_info(int fd, struct tcp_info *ti)
{
	socklen_t len = sizeof(*ti);
	memset(ti, 0, sizeof(*ti));
	return (int)sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, ti, &len);
}

/* The kernel's states of a TCP socket (the header that names them clashes with the one that has its tcp_info). */
enum { KTCP_ESTABLISHED = 1, KTCP_TIME_WAIT = 6, KTCP_CLOSE = 7, KTCP_CLOSE_WAIT = 8, KTCP_LAST_ACK = 9, KTCP_CLOSING = 11 };

/*
 * How many octets are unread in the kernel, as it says to a receiver: with FIN, unlike SIOCINQ. Whoever else receives meanwhile may be told as well, and is kept away by the rx token. -1: it does not say.
 */
static int inq_with_fin(int fd)
{
	union {
		struct cmsghdr head;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	char octet;
	struct iovec iov = {&octet, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int was = 0, on = 1, inq = -1;
	socklen_t len = sizeof(was);
	if (sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INQ, &was, &len) < 0 ||
		(!was && sys5(SYS_setsockopt, fd, IPPROTO_TCP, TCP_INQ, &on, sizeof(on)) < 0))
		return -1;
	if (sys3(SYS_recvmsg, fd, &m, MSG_PEEK | MSG_DONTWAIT) > 0 && m.msg_controllen >= CMSG_LEN(sizeof(int)) &&
		control.head.cmsg_level == IPPROTO_TCP && control.head.cmsg_type == TCP_CM_INQ)
		memcpy(&inq, CMSG_DATA(&control.head), sizeof(inq));
	if (!was)
		sys5(SYS_setsockopt, fd, IPPROTO_TCP, TCP_INQ, &was, sizeof(was));
	return inq;
}

/*
 * Is the peer's FIN among the octets received, of which `in` are unread? In CLOSE it is, if both sides have ended in order (the kernel keeps TIME_WAIT elsewhere), or if a reset came behind it; the error that tells of a
 * reset may have been taken already. If nothing is unread nobody need know.
 */
static bool fin_received(int fd, uint8_t state, int in)
{
	if (state == KTCP_CLOSE)
		return in > 0 && inq_with_fin(fd) > in;
	return state == KTCP_CLOSE_WAIT || state == KTCP_LAST_ACK || state == KTCP_CLOSING || state == KTCP_TIME_WAIT;
}

/*
 * Both positions are a sum of two counters that the kernel keeps exact, but answers for in two calls; an acknowledgement or a segment may come between.
 * The first counter only grows: when it is the same before and after, the sum is of one moment.
 */
static int64_t kernel_written(struct sock *s, int *out, uint8_t *state)
{
	struct tcp_info a, b;
	do {
		if (tcp_info(s->fd, &a) < 0 || sys3(SYS_ioctl, s->fd, SIOCOUTQ, out) < 0 || tcp_info(s->fd, &b) < 0)
			return -1;
		if (b.tcpi_state != KTCP_ESTABLISHED && b.tcpi_state != KTCP_CLOSE_WAIT)
			return -1; /* SYN, FIN in the count: not worth telling apart */
	} while (a.tcpi_bytes_acked != b.tcpi_bytes_acked);
	*state = b.tcpi_state;
	/* The side that connected has had its SYN acknowledged, and counts it. */
	return (int64_t)a.tcpi_bytes_acked + *out - (sock_flags(s) & FAM_CLIENT ? 1 : 0);
}

int64_t move_kernel_read(int fd)
{
	struct tcp_info a, b;
	int in;
	do {
		if (tcp_info(fd, &a) < 0 || sys3(SYS_ioctl, fd, SIOCINQ, &in) < 0 || tcp_info(fd, &b) < 0)
			return -1;
	} while (a.tcpi_bytes_received != b.tcpi_bytes_received || a.tcpi_state != b.tcpi_state);
	return (int64_t)a.tcpi_bytes_received - in - (fin_received(fd, a.tcpi_state, in) ? 1 : 0);
}

int64_t move_kernel_got(int fd)
{
	struct tcp_info ti;
	int r = tcp_info(fd, &ti);
	return r < 0 ? r : (int64_t)ti.tcpi_bytes_received;
}

/* From one position in the kernel's stream to another. Unsigned in between: a peer may have written anything where positions stand. */
static int64_t distance(uint64_t from, int64_t to)
{
	return (int64_t)((uint64_t)to - from);
}

/* Octets that the kernel has been given since we went up: of a duplicate, and nothing else. Negative: the connection is at its end. */
static int64_t given_since_up(struct sock *s)
{
	int out;
	uint8_t state;
	int64_t written = kernel_written(s, &out, &state);
	return written < 0 ? written : distance(load_relaxed(&s->chan.my->up_kpos), written);
}

/*
 * The reader had left the ring before us, empty (takeback.c), and reads the kernel alone: what has been written since is there as a duplicate. Rather no connection than one in which the kernel had no room for it. The ring ends
 * where he left it, as if none of that had ever been there; if he has not said yet that he is out, he may be dead, and another that has his socket is to read the ring: then move_up says where it ends.
 */
static void reader_had_left(struct sock *s)
{
	struct fam_sock *f = s->f;
	struct sm_end *my = s->chan.my;
	uint64_t head = load_acquire(&s->chan.peer->rx_head), tail = load_relaxed(&f->tx_tail), from = head;
	bool marked = load_relaxed(&my->dup_epoch) == f->tx_epoch - 1;
	int64_t given = given_since_up(s);
	if (tail - head > SM_RING_LEN)
		return;
	if (marked)
		from = load_relaxed(&my->dup_rpos);
	if (given >= 0 && tail - from > (uint64_t)given) {
		if (!move_unread_to_kernel(s, from + (uint64_t)given)) {
			log_line("fd %d: the kernel has no room for octets that were sent: the connection ends here", s->fd);
			or_acqrel(&f->flags, FAM_BROKEN);
			sys2(SYS_shutdown, s->fd, SHUT_RDWR);
		} else if (marked) {
			store_relaxed(&my->dup_len, (uint32_t)(tail - from));
		}
	}
	FAULT_POINT("down: unread sent, before tail put back");
	if (load_acquire(&s->chan.peer->rx_epoch) != f->tx_epoch)
		return;
	store_relaxed(&f->tx_tail, head);
	store_relaxed(&my->down_rpos, head);
	store_release(&my->tx_tail, head);
}

static uint64_t block_signals(void)
{
	uint64_t all = ~UINT64_C(0), old = 0;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all));
	return old;
}

static void let_signals(uint64_t old)
{
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
}

/*
 * Our epoch is even; now the published one. Who publishes that first, we or the reader, tells whether he has left the ring before us: his exchange and ours are of the same word. again: one who has died may have published it;
 * then the reader's mark tells, or else it does no harm (in an even epoch nothing has been sent behind the duplicate yet).
 */
static void tell_epoch(struct sock *s, bool again)
{
	struct chan *c = &s->chan;
	uint32_t even = s->f->tx_epoch;
	FAULT_POINT("down: own epoch, before published");
	if (xchg_acqrel(&c->my->tx_epoch, even) == even && (!again || load_acquire(&c->peer->flags) & SM_END_LEFT))
		reader_had_left(s);
	FAULT_POINT("down: epoch, before reader's mark");
	if (load_relaxed(&c->peer->flags) & SM_END_LEFT)
		and_acqrel(&c->peer->flags, ~SM_END_LEFT);
	s->f->tx_leaves = 0;
}

/*
 * From the odd epoch to the even one. A handler that sends in the middle of this would put octets into the ring behind the duplicate, or pass by the kernel those that are still to go there. (One that has come before has
 * perhaps done it.) A holder that has died may have made a part of the duplicate, or committed octets that he did not publish any more.
 */
static void leave_epoch(struct sock *s, enum dup_how how)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	uint64_t old = block_signals();
	if (f->tx_epoch & 1) {
		uint64_t tail = load_relaxed(&f->tx_tail);
		f->tx_leaves = 1;
		if (load_relaxed(&c->my->tx_tail) != tail)
			store_release(&c->my->tx_tail, tail);
		dup_make(s, how, dup_begun(s) ? given_since_up(s) : 0);
		FAULT_POINT("down: duplicate, before position");
		if (load_relaxed(
			    &c->my->lazy)) /* below a ring nobody is lazy, and no sleeper need fence for us: what was published is visible to who sees this */
			store_release(&c->my->lazy, 0);
		store_relaxed(&c->my->down_rpos, tail);
		FAULT_POINT("down: position, before epoch");
		f->tx_epoch++;
		tell_epoch(s, false);
	}
	let_signals(old);
}

void move_inherit(struct sock *s)
{
	struct fam_sock *f = s->f;
	uint64_t old = block_signals();
	if (sock_flags(s) & FAM_TX_HEIR) { /* no handler has come before us */
		if (f->tx_epoch & 1) {
			leave_epoch(s, DUP_WAIT); /* a reader may wait for it */
			store_relaxed(&f->tx_why, WHY_FORK);
		} else if (f->tx_leaves) {
			tell_epoch(s, true);
		}
		FAULT_POINT("heir: down, before told");
		and_acqrel(&f->flags, ~FAM_TX_HEIR);
		notify_peer(&s->chan);
	}
	let_signals(old);
}

void move_recount(struct sock *s)
{
	struct fam_sock *f = s->f;
	uint32_t epoch = load_relaxed(&f->rx_epoch);
	int64_t read = move_kernel_read(s->fd), since = distance(load_relaxed(&f->rx_up_kpos), read);
	if (read >= 0 && epoch & 1 && since >= 0)
		store_relaxed(&f->rx_dropped, (uint32_t)since);
	else if (read >= 0 && !(epoch & 1) && load_relaxed(&f->rx_kepoch) == epoch + 1)
		store_relaxed(&f->rx_kleft, since < 0 ? -(uint64_t)since : 0);
	and_acqrel(&f->flags, ~FAM_RX_HEIR);
}

/* The receiver has followed: all that was ever in the ring has been read; or he left it before us, and the kernel has had the rest (reader_had_left). Else the peer writes nonsense. */
static bool ring_is_over(struct sock *s)
{
	struct fam_sock *f = s->f;
	uint64_t head = load_acquire(&s->chan.peer->rx_head), tail = load_relaxed(&f->tx_tail);
	if (head == tail)
		return true;
	if (tail - head > SM_RING_LEN)
		return false;
	store_relaxed(&f->tx_tail, head);
	store_release(&s->chan.my->tx_tail, head);
	return true;
}

bool move_up(struct sock *s)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	if (!load_relaxed(&c->peer->consent) || sock_flags(s) & (FAM_PIN_TX | FAM_WR_SHUT | FAM_BROKEN | FAM_RESTS | FAM_OFF) ||
		load_relaxed(&s->hup))
		return false;
	if (load_acquire(&c->peer->rx_epoch) != f->tx_epoch ||
		load_relaxed(&c->peer->flags) & (SM_END_CLOSED | SM_END_DEAF | SM_END_RESTS | SM_END_OFF | SM_END_PASSED))
		return false;
	if (!(load_relaxed(&c->peer->flags) & SM_END_LINKED) || hold_tx_inside(s))
		return false;
	if (!ring_is_over(s))
		return false;
	/* Whom the peer asks to go down again: ours, or that of another process that has the socket by fork. */
	uint32_t bell = c->assoc->svc_bell;
	if (bell)
		store_relaxed(&c->my->svc_bell, bell);
	else if (!load_relaxed(&c->my->svc_bell))
		return false;
	f->tx_head = load_relaxed(&f->tx_tail);
	f->tx_limit = 0;
	int out;
	uint8_t state;
	int64_t kpos = kernel_written(s, &out, &state);
	/* A connection on its way out stays in the kernel. Never more in the ring than the kernel could take as well, when we go down. */
	if (kpos < 0 || state != KTCP_ESTABLISHED || !(f->tx_room = dup_room(s->fd, out)))
		return false;
	FAULT_POINT("up: position, before written down");
	store_relaxed(&c->my->up_kpos, (uint64_t)kpos);
	FAULT_POINT("up: written down, before epoch");
	store_release(&c->my->tx_epoch, ++f->tx_epoch);
	fence_storeload(); /* faces the reader's: consent = 0, fence, epoch */
	FAULT_POINT("up: epoch, before second look");
	if (!load_relaxed(&c->peer->consent)) {
		leave_epoch(s, DUP_PUSH); /* nothing is unread, unless a handler has sent in between */
		notify_peer(c);		  /* who has followed us up meanwhile sleeps on the ring alone */
		return false;
	}
	FAULT_POINT("up: in ring, before first octet");
	store_relaxed(&f->tx_why, WHY_UP);
	add_relaxed(&f->ups, 1u);
	stats_up(s->fd);
	return true;
}

void move_down(struct sock *s, enum why why)
{
	struct fam_sock *f = s->f;
	leave_epoch(s, why == WHY_CLOSED ? DUP_FIN : why == WHY_PEER ? DUP_WAIT : why == WHY_OFF ? DUP_PUSH : DUP_DATA);
	FAULT_POINT("down: epoch, before bell");
	store_relaxed(&f->tx_why, why);
	add_relaxed(&f->downs, 1u);
	stats_down(s->fd, why);
}

/* Both directions are shut down here, and all has been read that came before. The writer has left the ring, and what else lies there he gives to the kernel, which answers it. */
static void skip_unheard(struct sock *s)
{
	struct fam_sock *f = s->f;
	uint64_t head = load_relaxed(&f->rx_head), end = load_relaxed(&s->chan.peer->down_rpos);
	if (end == head || end - head > SM_RING_LEN || (int64_t)(head - load_relaxed(&f->rx_deaf_end)) < 0)
		return;
	f->rx_tail = end;
	store_relaxed(&f->rx_head, end);
	store_release(&s->chan.my->rx_head, end);
}

enum move_where move_follow(struct sock *s, uint64_t *kleft)
{
	struct fam_sock *f = s->f;
	struct chan *c = &s->chan;
	if (__builtin_expect(sock_flags(s) & FAM_RX_HEIR, 0))
		move_recount(s);
	for (int turn = 0; turn < 3; turn++) { /* an honest sender is at most two switches ahead */
		uint32_t mine = load_relaxed(&f->rx_epoch), its = load_acquire(&c->peer->tx_epoch);
		uint32_t ahead = its - mine;
		if (ahead > 2 || (ahead == 2 && (mine & 1)))
			return IN_NONSENSE;
		if (mine & 1) {
			if (ahead && __builtin_expect(sock_flags(s) & FAM_DEAF, 0))
				skip_unheard(s);
			if (!ahead || !dup_behind(s))
				return IN_RING;
			if (dup_owed(s) && !load_relaxed(&s->hup)) {
				store_relaxed(&s->look, 0);
				fence_storeload(); /* what comes from here on sets it again: see ring_empty */
			}
			if (!dup_drop(s))
				return IN_DUP;
			store_relaxed(&f->rx_why, trial_is_off(s) ? WHY_OFF : trial_rests(s) ? WHY_SLOWER : WHY_FULL);
		} else {
			if (!ahead)
				return IN_KERNEL;
			if (load_relaxed(&f->rx_kepoch) != mine + 1) {
				FAULT_POINT("follow: up seen, before position asked");
				int64_t read = move_kernel_read(s->fd);
				int64_t since = distance(load_relaxed(&c->peer->up_kpos), read);
				if (read < 0)
					return IN_KERNEL;
				store_relaxed(&f->rx_kleft, since < 0 ? -(uint64_t)since : 0);
				store_relaxed(&f->rx_up_kpos, (uint64_t)read + load_relaxed(&f->rx_kleft));
				FAULT_POINT("follow: rest counted, before told");
				store_release(&f->rx_kepoch, mine + 1);
			}
			*kleft = load_relaxed(&f->rx_kleft);
			if (*kleft)
				return IN_KERNEL_UPTO;
			store_relaxed(&f->rx_why, WHY_UP);
			store_relaxed(&f->rx_dropped, 0);
			if (!load_relaxed(&s->hup)) { /* its input has been read */
				store_relaxed(&s->look, 0);
				fence_storeload(); /* faces end_kernel_says: hup, look. Who looks for an end from here on sees it, or `look` again */
			}
		}
		FAULT_POINT("follow: all read, before own epoch");
		store_relaxed(&f->rx_epoch, mine + 1);
		FAULT_POINT("follow: own epoch, before published");
		store_release(&c->my->rx_epoch, mine + 1); /* pairs with move_up's acquire: what was read is read */
	}
	return IN_NONSENSE;
}
