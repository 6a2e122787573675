/* SPDX-License-Identifier: BSD-2-Clause */
/* i_dgram.c - UDP sockets behind the names that are for sockets of every kind; and bind(). */
#include "i_dgram.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "i_iov.h"
#include "move.h"
#include "rx.h"
#include "sys.h"
#include "ucopy.h"
#include "wrap.h"

EXPORT int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sock *s = fd_dgram(fd);
	int r = real.bind(fd, sa, len);
	if (r == 0 && s)
		dg_bound(s);
	return r;
}

static bool nowhere(const void *p, size_t len)
{
	return len && (uintptr_t)p < 4096;
}

/* ---- sending */

ssize_t dgram_sendto(struct sock *s, int fd, const void *buf, size_t len, int flags, const struct sockaddr *sa, socklen_t salen)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_name = (void *)(uintptr_t)sa, .msg_namelen = salen};
	if (nowhere(buf, len) || nowhere(sa, sa != NULL) || len > MAX_RW ||
		(sa && (!salen || salen > sizeof(struct sockaddr_storage))))
		return real.sendto(fd, buf, len, flags, sa, salen);
	wrap_testcancel();
	return wrap_result(dg_send(s, fd, &m, flags, sig_now()));
}

ssize_t dgram_sendmsg(struct sock *s, int fd, const struct msghdr *msg, int flags, struct sig_mark since)
{
	if ((uintptr_t)msg < 4096 || iov_look(msg->msg_iov, msg->msg_iovlen) < 0 ||
		nowhere(msg->msg_control, msg->msg_controllen) || nowhere(msg->msg_name, msg->msg_name != NULL))
		return real.sendmsg(fd, msg, flags);
	wrap_testcancel();
	return wrap_result(dg_send(s, fd, msg, flags, since));
}

/* Writing nothing sends nothing. */
ssize_t dgram_writev(struct sock *s, int fd, const struct iovec *iov, int n, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	if (n < 0 || iov_look(iov, (size_t)n) <= 0)
		return real.writev(fd, iov, n);
	wrap_testcancel();
	return wrap_result(dg_send(s, fd, &m, flags, sig_now()));
}

/* ---- receiving */

ssize_t dgram_recvfrom(struct sock *s, int fd, void *buf, size_t len, int flags, struct sockaddr *sa, socklen_t *salen)
{
	struct iovec iov = {buf, len > MAX_RW ? MAX_RW : len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	socklen_t room = 0;
	bool bad = sa && ((uintptr_t)salen < 4096 || ucopy(&room, salen, sizeof(room)));
	if (sa && !bad && (int)room >= 0) {
		m.msg_name = sa;
		m.msg_namelen = room;
	}
	wrap_testcancel();
	long r = dg_recv(s, fd, &m, flags, sig_now(), true);
	if (r >= 0 && m.msg_name)
		*salen = m.msg_namelen;
	else if (r >= 0 && sa) /* the kernel sees that when it has taken the datagram */
		r = bad ? -EFAULT : -EINVAL;
	return wrap_result(r);
}

ssize_t dgram_recvmsg(struct sock *s, int fd, struct msghdr *msg, int flags, struct sig_mark since)
{
	if ((uintptr_t)msg < 4096 || iov_look(msg->msg_iov, msg->msg_iovlen) < 0 ||
		(msg->msg_name && (int)msg->msg_namelen < 0))
		return real.recvmsg(fd, msg, flags);
	wrap_testcancel();
	return wrap_result(dg_recv(s, fd, msg, flags, since, false));
}

ssize_t dgram_readv(struct sock *s, int fd, const struct iovec *iov, int n, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	if (n < 0 || iov_look(iov, (size_t)n) <= 0)
		return real.readv(fd, iov, n);
	wrap_testcancel();
	return wrap_result(dg_recv(s, fd, &m, flags, sig_now(), true));
}

/* ---- addresses and options */

/* What lies in rings goes where it would have lain; and whoever sends to us now may be another. */
int dgram_connect(struct sock *s, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage to;
	socklen_t n = sizeof(to);
	int e = errno;
	dg_unlink(s, WHY_NEW);
	errno = e;
	int r = real.connect(fd, sa, len);
	e = errno;
	bool has = sys3(SYS_getpeername, fd, &to, &n) == 0;
	dg_connected(s, has ? (struct sockaddr *)&to : NULL, n);
	dg_unlink(s, WHY_NEW); /* what another thread has linked meanwhile may be what we do not hear any more */
	errno = e;
	return r;
}

/* Is it an option that changes nothing of what memory does? Of those that do, being switched off is as good. */
static bool is_harmless(int level, int name)
{
	if (level == SOL_SOCKET)
		return name == SO_SNDBUF || name == SO_RCVBUF || name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE ||
		       name == SO_BROADCAST || name == SO_PRIORITY || name == SO_SNDTIMEO || name == SO_RCVTIMEO ||
		       name == SO_RCVLOWAT || name == SO_LINGER || name == SO_KEEPALIVE || name == SO_BUSY_POLL;
	if (level == IPPROTO_IP)
		return name == IP_TOS || name == IP_TTL || name == IP_RECVERR || name == IP_MTU_DISCOVER ||
		       name == IP_PKTINFO || (name >= IP_MULTICAST_IF && name <= IP_DROP_MEMBERSHIP) ||
		       name == IP_BIND_ADDRESS_NO_PORT;
	if (level == IPPROTO_IPV6)
		return name == IPV6_V6ONLY || name == IPV6_RECVPKTINFO || name == IPV6_RECVERR || name == IPV6_MTU_DISCOVER ||
		       name == IPV6_UNICAST_HOPS || name == IPV6_TCLASS || name == IPV6_DONTFRAG ||
		       (name >= IPV6_MULTICAST_IF && name <= IPV6_LEAVE_GROUP);
	return false;
}

static uint32_t pktinfo_bit(int level, int name)
{
	if (level == IPPROTO_IP && name == IP_PKTINFO)
		return 1;
	return level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO ? 2 : 0;
}

/* What has come before the option is what the kernel would have of it then: so it is put there first. */
int dgram_setsockopt(struct sock *s, int fd, int level, int name, const void *val, socklen_t len)
{
	bool shared = level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_REUSEPORT);
	uint32_t bit = pktinfo_bit(level, name);
	int e = errno;
	if (shared || !is_harmless(level, name))
		dg_unlink(s, shared ? WHY_REUSE : WHY_OPTION);
	else if (bit & ~load_relaxed(&s->dg->pktinfo)) /* what is there already is reported as it came; and see tells_all() */
		dg_unlink(s, WHY_OPTION);
	errno = e;
	int r = real.setsockopt(fd, level, name, val, len);
	if (r < 0)
		return r;
	int v = 0;
	if (val && len)
		memcpy(&v, val, len < sizeof(v) ? len : sizeof(v));
	if (v)
		or_acqrel(&s->dg->pktinfo, bit);
	else
		and_acqrel(&s->dg->pktinfo, ~bit);
	if (level == SOL_SOCKET && (name == SO_RCVTIMEO_OLD || name == SO_RCVTIMEO_NEW))
		rx_timeout_changed(s);
	else if (level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE))
		dg_limit(s);
	else if (!shared && !is_harmless(level, name) && v)
		move_pin(s, WHY_OPTION);
	return r;
}
