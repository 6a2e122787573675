/* SPDX-License-Identifier: BSD-2-Clause */
#include "end.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "sys.h"

static bool meant(struct sock *s)
{
	return load_acquire(&s->chan.peer->flags) & (SM_END_FIN | SM_END_CLOSED);
}

static uint8_t tcp_state(int fd)
{
	uint8_t state[8] = {0};
	socklen_t len = sizeof(state);
	return sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, state, &len) < 0 ? TCP_CLOSE : state[0];
}

/* The kernel's own reset has been here: what there was to report, it reports. */
static bool is_closed(int fd)
{
	return tcp_state(fd) == TCP_CLOSE;
}

/* Input that is shut down here, by us or another process that has the socket, hangs up as well: has the peer ended, too? */
static bool has_ended(int fd)
{
	uint8_t state = tcp_state(fd);
	return state != TCP_ESTABLISHED && state != TCP_FIN_WAIT1 && state != TCP_FIN_WAIT2;
}

/* None; a half-close that is meant, and the other direction goes on through memory; our own shutdown; the connection's. */
enum end { END_NONE, END_HALF, END_OWN, END_WHOLE };

static enum end end_of(const struct sock *s, uint32_t events)
{
	if (events & POLLERR)
		return END_WHOLE;
	/* Both directions have ended; but it may be another process that has shut them down here, and the peer is still there. */
	if (events & POLLHUP && (sock_flags(s) & FAM_WR_SHUT || has_ended(s->fd)))
		return END_WHOLE;
	if (!(events & (POLLRDHUP | POLLHUP)))
		return END_NONE;
	if (load_acquire(&s->chan.peer->flags) & SM_END_FIN &&
		!(load_relaxed(&s->chan.peer->flags) & (SM_END_CLOSED | SM_END_DEAF)))
		return END_HALF;
	return has_ended(s->fd) ? END_WHOLE : END_OWN;
}

/* Some of what we have written to the ring has not been read. Where the reader has left it before us (takeback.c) all of that is in the kernel, which judges by itself. */
static bool ring_is_unread(const struct sock *s)
{
	const struct sm_end *peer = s->chan.peer;
	uint32_t epoch = s->f->tx_epoch;
	if (!(epoch & 1) && load_acquire(&peer->rx_epoch) == epoch)
		return false;
	return load_relaxed(&s->f->tx_tail) != load_acquire(&peer->rx_head);
}

/* It is the whole connection's: with octets of ours unread, and not meant, that is a reset. */
static void whole(struct sock *s, uint32_t events)
{
	if (events & POLLERR || meant(s) || sock_flags(s) & (FAM_RESET | FAM_WR_SHUT))
		return;
	if (!ring_is_unread(s) || is_closed(s->fd))
		return;
	/* From here on the kernel socket is as dead as a reset one: it hangs up, and sends fail. */
	if (!(or_acqrel(&s->f->flags, FAM_RESET) & FAM_RESET) && fd_sock(s->fd) == s)
		sys2(SYS_shutdown, s->fd, SHUT_RDWR);
}

bool end_kernel_says(struct sock *s, uint32_t events)
{
	enum end end = end_of(s, events);
	if (end == END_WHOLE)
		store_release(&s->hup, 1);
	/* Behind hup: move_follow clears this, fences, and has the reader look at that. */
	if (events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR))
		store_release(&s->look, 1);
	if (end == END_WHOLE)
		whole(s, events);
	return end == END_OWN;
}

bool end_take_reset(struct sock *s)
{
	return end_has_reset(s) && !(or_acqrel(&s->f->flags, FAM_RESET_SAID) & FAM_RESET_SAID);
}

void end_keep_reset(struct sock *s, long r)
{
	if (r != -ECONNRESET)
		return;
	or_acqrel(&s->f->flags, FAM_RESET);
	store_release(&s->hup, 1); /* or the next call, if it is a send, would not ask */
}

uint32_t end_events(const struct sock *s)
{
	uint32_t fl = sock_flags(s);
	if (!(fl & FAM_RESET))
		return 0;
	return fl & FAM_RESET_SAID ? POLLHUP : POLLHUP | POLLERR;
}
