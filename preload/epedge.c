/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epedge.c - edges of the kernel's that are no news to an edge-triggered member: what the program has been told of in the ring has arrived in the kernel a second time.
 *
 * That is so when the writer has gone down with octets unread (dup.h), and stays so when the reader leaves the ring for them (takeback.c): they are the kernel's only ones then, and reported already.
 * It may have been read before its edge is looked at. The kernel reports all that is ready with an edge, so output comes along with it, or alone; it is old as well unless a send has met a full socket since the member was told of it last.
 */
#include <poll.h>
#include <sys/ioctl.h>

#include "dup.h"
#include "epset_int.h"
#include "hold.h"
#include "move.h"
#include "ready.h"
#include "sys.h"
#include "token.h"

/*
 * Output has an edge of its own only behind a send that found no room. out_ns lies before the moment at which the kernel last said to this member that there was room; tx_met_ns behind such a send, and is
 * stored before that is counted out of tx_inkernel. Whose edge we have seen has been counted in before.
 */
static bool output_is_old(const struct member *m)
{
	const struct fam_sock *f = m->s->f;
	if (move_is_pinned(m->s, FAM_PIN_TX)) /* the C library's stdio may send, and nobody counts that */
		return false;
	return !hold_tx_inside(m->s) && load_relaxed(&f->tx_met_ns) < m->out_ns;
}

/* All that is unread is the duplicate of what lies unread in the ring, of which the member has seen all. */
static bool is_duplicate(const struct member *m, uint32_t in)
{
	struct sock *s = m->s;
	return dup_marked(s) && m->et_tail == load_acquire(&s->chan.peer->tx_tail) && dup_among(s, in) == in;
}

/*
 * The reader has left the ring, of which the member had seen all, and nothing has come since but the duplicate that it left it for; nor, unless all of that was there already, has anything been
 * read. (Who has read so far may have met an end that was only that of what had come of it: the rest is news to him.)
 */
static bool was_duplicate(const struct member *m, uint32_t in)
{
	struct fam_sock *f = m->s->f;
	uint64_t end = load_relaxed(&f->rx_over_kpos);
	if (!end || load_relaxed(&f->rx_epoch) & 1 || m->et_tail != load_relaxed(&f->rx_head))
		return false;
	int64_t got = move_kernel_got(m->s->fd);
	uint64_t read = load_relaxed(&f->rx_over_kread);
	bool known = got >= 0 && (uint64_t)got <= end && (read == KREAD_ANY || (uint64_t)got - in == read);
	if (!known)
		store_relaxed(&f->rx_over_kpos, 0);
	return known;
}

/* Behind the octets that came before the ring the kernel has received nothing but the duplicate that the ring ended with, read or not, or what has come of it. */
static bool was_nothing_else(const struct fam_sock *f, const struct sock *s)
{
	uint64_t first = load_relaxed(&f->rx_up_kpos), end = load_relaxed(&f->rx_over_kpos);
	if (dup_marked(s))
		end = first + load_relaxed(&s->chan.peer->dup_len);
	else if (load_relaxed(&f->rx_epoch) & 1)
		return false;
	else if (load_relaxed(&f->rx_dropped) && first + load_relaxed(&f->rx_dropped) > end)
		end = first + load_relaxed(&f->rx_dropped);
	int64_t got = end ? move_kernel_got(s->fd) : -1;
	return got >= 0 && (uint64_t)got <= end;
}

/* A duplicate has arrived, and nothing of it is left to be input. Under the rx token, as below. */
static bool input_was_old(const struct member *m)
{
	struct sock *s = m->s;
	int how = token_try(s, &s->f->rx_token);
	if (how == TOKEN_NONE)
		return false;
	bool old = load_acquire(&s->linked) && was_nothing_else(s->f, s);
	token_drop(s, &s->f->rx_token, how);
	return old;
}

/* Under the rx token: who drops a duplicate counts it after it has taken it. The end of a connection is counted nowhere; whoever asks for it in an event is told of it. */
static bool input_is_old(const struct member *m)
{
	static const struct timespec zero;
	struct pollfd end = {.fd = m->s->fd, .events = POLLRDHUP};
	struct sock *s = m->s;
	int in = 0;
	int how = token_try(s, &s->f->rx_token);
	if (how == TOKEN_NONE)
		return false;
	bool old = load_acquire(&s->linked) && sys3(SYS_ioctl, s->fd, FIONREAD, &in) == 0 && in > 0 &&
		   (is_duplicate(m, (uint32_t)in) || was_duplicate(m, (uint32_t)in)) &&
		   sys5(SYS_ppoll, &end, 1, &zero, 0, 8) == 0;
	token_drop(s, &s->f->rx_token, how);
	return old;
}

uint32_t epset_news(const struct member *m, uint32_t said)
{
	struct sock *s = m->s;
	uint32_t bits = said & ready_really(s, s->fd, m->events, said);
	if (!(m->events & EPOLLET) || m->events & EPOLLONESHOT || !(m->events & IN_BITS) || said & ~(IN_BITS | OUT_BITS))
		return bits;
	bool gone = !(bits & IN_BITS); /* it was the duplicate of what has been read */
	if (!gone && !dup_marked(s) && !load_relaxed(&s->f->rx_over_kpos))
		return bits;
	if (sock_flags(s) & (FAM_RD_SHUT | FAM_WR_SHUT)) /* an edge of its own, from our own call */
		return bits;
	if (bits & OUT_BITS && !output_is_old(m))
		return bits;
	bool old = !gone ? input_is_old(m) : said & IN_BITS || input_was_old(m);
	return old ? 0 : bits;
}

void epset_output_seen(struct member *m, uint32_t bits, int64_t before_ns)
{
	if (m->events & OUT_BITS)
		m->out_ns = bits & OUT_BITS ? before_ns : 0;
}
