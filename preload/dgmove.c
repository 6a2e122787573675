/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dgmove.c - what is sent to a peer moves from the kernel to the ring and back.
 *
 * As with streams (move.h) `tx_epoch` is odd while the sender writes to the ring, and the sender goes up only when the receiver has followed all before (rx_epoch == tx_epoch), so that one
 * change at most is pending. There are no positions: a datagram that went by the kernel cannot be told from another. Instead:
 *
 *   up      What this thread has sent by the kernel lies in the receiver's queue before the first datagram lies in the ring, see flushed(). The receiver, when it sees the odd epoch,
 *           reads its kernel socket until it is empty, once, before it reads the ring (dgrx.c).
 *   down    The receiver sees the even epoch only together with all that was put into the ring before it, and reads that first.
 *
 *   undo    A sender that has to go down before the receiver has followed its up would leave datagrams in three places: kernel, ring, kernel. So it takes the up back, by an exchange
 *           of the receiver's rx_epoch; the receiver follows by an exchange as well, and only one of them succeeds. What was put into the ring then goes by the kernel (dg_leave_ring).
 *
 * Consent is withdrawn before a reader leaves; the sender that goes up publishes the epoch, fences, and looks at it once more.
 */
#include <netinet/in.h>
#include <sys/socket.h>

#include "dg.h"
#include "fault.h"
#include "notify.h"
#include "stats.h"
#include "sys.h"

/* A socket connected to itself; made on first use. */
static _Atomic int echo_fd; /* 0: none; -1: somebody is using or making it; else hidden */
#define ECHO_NONE 0
#define ECHO_BUSY (-1)

static int echo_open(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	long fd = sys3(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (sys3(SYS_bind, fd, &in, sizeof(in)) < 0 || sys3(SYS_getsockname, fd, &in, &len) < 0 ||
		sys3(SYS_connect, fd, &in, sizeof(in)) < 0) {
		sys1(SYS_close, fd);
		return -1;
	}
	return fdtab_hide((int)fd);
}

void dg_move_fork_child(void)
{
	int fd = xchg_acqrel(&echo_fd, ECHO_NONE);
	if (fd > 0)
		fdtab_close_hidden(fd); /* the parent's: what either sends, either would receive */
}

static bool echo(int fd)
{
	static _Atomic uint64_t seq;
	uint64_t mine = add_relaxed(&seq, UINT64_C(1)) + 1, got = 0;
	int cpu = spin_cpu();
	if (sys6(SYS_sendto, fd, &mine, sizeof(mine), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0) != sizeof(mine))
		return false;
	while (got != mine)
		if (sys6(SYS_recvfrom, fd, &got, sizeof(got), MSG_DONTWAIT, 0, 0) != sizeof(got))
			return false;
	return cpu >= 0 && cpu == spin_cpu();
}

/*
 * Has all that this thread has sent on this CPU arrived? The loopback interface queues packets by CPU, in order, and delivers them before the call returns: unless the kernel is so
 * busy that it leaves that to a thread of its own. A datagram to ourselves takes the same way; when it is back, all before it are through. (What was sent on another CPU before may still
 * be under way; then the kernel would have let the next one overtake it too.)
 */
static bool flushed(void)
{
	int fd = load_relaxed(&echo_fd);
	if (fd == ECHO_BUSY || !cas_acquire(&echo_fd, fd, ECHO_BUSY))
		return false;
	if (fd == ECHO_NONE)
		fd = echo_open();
	bool ok = fd > 0 && echo(fd);
	store_release(&echo_fd, fd > 0 ? fd : ECHO_NONE);
	return ok;
}

bool dg_up(struct dg_peer *p)
{
	struct chan *c = &p->c;
	uint64_t tail = load_relaxed(&p->tail);
	if (!dg_peer_reads(p) || !p->same_source || sock_flags(p->s) & (FAM_PIN_TX | FAM_OFF))
		return false;
	if (load_acquire(&c->peer->rx_epoch) != p->tx_epoch || !(load_relaxed(&c->peer->flags) & SM_END_LINKED))
		return false;
	/* All that was in the ring has been read, since the receiver has followed; or the peer writes nonsense. */
	if (load_acquire(&c->peer->rx_head) != tail || !flushed())
		return false;
	p->free_upto = tail;
	p->rewind = tail;
	p->up_tail = tail;
	p->up_cost = p->cost;
	FAULT_POINT("dg up: flushed, before epoch");
	store_release(&c->my->tx_epoch, ++p->tx_epoch);
	fence_storeload(); /* faces the reader's: consent = 0, fence, epoch */
	FAULT_POINT("dg up: epoch, before second look");
	if (!dg_peer_reads(p)) {
		store_release(&c->my->tx_epoch, ++p->tx_epoch);
		return false;
	}
	FAULT_POINT("dg up: in ring, before first");
	p->s->f->tx_epoch = p->tx_epoch; /* for people */
	store_relaxed(&p->s->f->tx_why, WHY_UP);
	add_relaxed(&p->s->f->ups, 1u);
	stats_up(p->s->fd);
	return true;
}

void dg_down(struct dg_peer *p, enum why why)
{
	store_relaxed(&p->c.my->down_rpos, load_relaxed(&p->tail));
	FAULT_POINT("dg down: position, before epoch");
	store_release(&p->c.my->tx_epoch, ++p->tx_epoch);
	FAULT_POINT("dg down: epoch, before bell");
	p->s->f->tx_epoch = p->tx_epoch;
	store_relaxed(&p->s->f->tx_why, why);
	add_relaxed(&p->s->f->downs, 1u);
	stats_down(p->s->fd, why);
}

/* The receiver finds its rx_epoch two further: nothing in the ring is for it. An up that has carried nothing needs no undoing. */
void dg_leave_ring(struct dg_peer *p, enum why why)
{
	uint32_t before = p->tx_epoch - 1;
	dg_down(p, why);
	if (load_relaxed(&p->tail) == p->up_tail || !cas_acqrel(&p->c.peer->rx_epoch, before, before + 2))
		return;
	FAULT_POINT("dg down: undone, before sent again");
	p->cost = p->up_cost;
	dg_send_again(p, p->up_tail);
}
