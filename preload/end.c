/* SPDX-License-Identifier: BSD-2-Clause */
#include "end.h"

#include <poll.h>
#include <sys/socket.h>

#include "sys.h"

static bool meant(struct sock *s)
{
	return load_acquire(&s->chan.peer->flags) & (SM_END_FIN | SM_END_CLOSED);
}

void end_kernel_says(struct sock *s, uint32_t events)
{
	store_relaxed(&s->look, 1);
	if (!(events & (POLLRDHUP | POLLHUP | POLLERR)))
		return;
	/* Half closed, and meant so: the other direction goes on through memory. */
	if (!(events & (POLLHUP | POLLERR)) && load_acquire(&s->chan.peer->flags) & SM_END_FIN &&
		!(load_relaxed(&s->chan.peer->flags) & (SM_END_CLOSED | SM_END_DEAF)))
		return;
	store_release(&s->hup, 1);
	if (events & POLLERR || meant(s) || sock_flags(s) & (FAM_RESET | FAM_RD_SHUT | FAM_WR_SHUT))
		return;
	if (load_relaxed(&s->f->tx_tail) == load_acquire(&s->chan.peer->rx_head))
		return;
	/* From here on the kernel socket is as dead as a reset one: it hangs up, and sends fail. */
	if (!(or_acqrel(&s->f->flags, FAM_RESET) & FAM_RESET))
		sys2(SYS_shutdown, s->fd, SHUT_RDWR);
}

bool end_take_reset(struct sock *s)
{
	return (sock_flags(s) & (FAM_RESET | FAM_RESET_SAID)) == FAM_RESET &&
		!(or_acqrel(&s->f->flags, FAM_RESET_SAID) & FAM_RESET_SAID);
}

uint32_t end_events(const struct sock *s)
{
	uint32_t fl = sock_flags(s);
	if (!(fl & FAM_RESET))
		return 0;
	return fl & FAM_RESET_SAID ? POLLHUP : POLLHUP | POLLERR;
}
