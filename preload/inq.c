/* SPDX-License-Identifier: BSD-2-Clause */
#include "inq.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ready.h"
#include "ucopy.h"

#ifndef TCP_CM_INQ
#define TCP_CM_INQ 36
#endif

/* Nothing is in the kernel, and nothing that it could say would change the count. */
static bool ring_is_all(const struct sock *s)
{
	uint32_t epoch = load_relaxed(&s->f->rx_epoch);
	const struct sm_end *peer = s->chan.peer;
	return epoch & 1 && load_acquire(&peer->tx_epoch) == epoch &&
	       !(load_relaxed(&peer->flags) & (SM_END_FIN | SM_END_CLOSED)) && !load_relaxed(&s->hup) &&
	       !load_relaxed(&s->look) && !(sock_flags(s) & FAM_RD_SHUT);
}

/* Has a FIN arrived? A connection that is over has had one if its end was meant, and none if it was reset. */
static bool has_ended(const struct sock *s)
{
	uint8_t state[8] = {0}; /* the first octet of TCP_INFO */
	socklen_t len = sizeof(state);
	if (sock_flags(s) & FAM_RESET || sys5(SYS_getsockopt, s->fd, IPPROTO_TCP, TCP_INFO, state, &len) < 0)
		return false;
	if (state[0] == TCP_CLOSE)
		return load_acquire(&s->linked) && load_acquire(&s->chan.peer->flags) & (SM_END_FIN | SM_END_CLOSED);
	return state[0] == TCP_CLOSE_WAIT || state[0] == TCP_LAST_ACK || state[0] == TCP_CLOSING || state[0] == TCP_TIME_WAIT;
}

int inq_left(struct sock *s)
{
	int in = 0;
	if (load_acquire(&s->linked) && ring_is_all(s))
		return (int)ring_unread_by_us(s);
	bool ended = has_ended(s);
	sys3(SYS_ioctl, s->fd, FIONREAD, &in);
	uint64_t left = load_acquire(&s->linked) ? ready_unread(s, in) : (uint64_t)in;
	return left < INT_MAX ? (int)left + ended : INT_MAX;
}

void inq_put(struct rx_control *control, int left)
{
	struct {
		struct cmsghdr head;
		int left;
	} c = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = IPPROTO_TCP, .cmsg_type = TCP_CM_INQ}, .left = left};
	size_t room = control->buf ? control->len : 0;
	control->len = 0;
	if (room < CMSG_LEN(sizeof(int)))
		control->flags |= MSG_CTRUNC;
	if (room < sizeof(struct cmsghdr))
		return;
	if (room < c.head.cmsg_len)
		c.head.cmsg_len = room;
	if ((uintptr_t)control->buf >= 4096 && !ucopy(control->buf, &c, c.head.cmsg_len))
		control->len = room < CMSG_SPACE(sizeof(int)) ? room : CMSG_SPACE(sizeof(int));
}
