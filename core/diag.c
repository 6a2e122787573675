/* SPDX-License-Identifier: BSD-2-Clause */
#include "diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "atomic.h"
#include "sys.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/*
 * One netlink socket is kept. Who wants it exchanges the word for DIAG_BUSY and puts it back; who finds it busy (another thread, or
 * the code that his signal handler interrupted, or, in the child of a fork, a thread that is no more) uses a socket of his own for
 * this one question. So nobody ever waits here.
 */
#define DIAG_NONE 0
#define DIAG_BUSY (-1)
static _Atomic int diag_kept; /* DIAG_NONE, DIAG_BUSY, or descriptor + 1 */
static _Atomic uint32_t diag_seq;

static int diag_open(void)
{
	return (int)sys3(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
}

/* Gives a socket back. An unusable one is closed, and the next question opens a new one. */
static void diag_give(int fd, int kept, int usable)
{
	if (kept && usable) {
		store_release(&diag_kept, fd + 1);
		return;
	}
	sys_fd_close(fd);
	if (kept)
		store_release(&diag_kept, DIAG_NONE);
}

static int diag_take(int *kept)
{
	int word = load_relaxed(&diag_kept);
	int fd;

	*kept = word != DIAG_BUSY && cas_acquire(&diag_kept, word, DIAG_BUSY);
	if (*kept && word > 0)
		return word - 1;
	fd = diag_open();
	if (!*kept)
		return fd;
	fd = sys_fd_keep(fd);
	if (fd < 0)
		store_release(&diag_kept, DIAG_NONE);
	return fd;
}

void diag_fork_child(void)
{
	int word = xchg_acqrel(&diag_kept, DIAG_NONE);

	if (word > 0)
		sys_fd_close(word - 1);
}

static int is_mapped(const uint8_t *a)
{
	static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	return !memcmp(a, prefix, sizeof(prefix));
}

static void addr_set(struct diag_addr *a, int family, const void *addr, uint16_t port_be)
{
	memset(a, 0, sizeof(*a));
	a->port = ntohs(port_be);
	if (family == AF_INET6 && is_mapped(addr)) {
		family = AF_INET;
		addr = (const uint8_t *)addr + 12;
	}
	a->family = (uint16_t)family;
	memcpy(a->addr, addr, family == AF_INET ? 4 : 16);
}

int diag_addr_from(struct diag_addr *a, const struct sockaddr *sa, uint32_t len)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	/* Copies: the caller's buffer may be unaligned. */
	if (len >= sizeof(in)) {
		memcpy(&in, sa, sizeof(in));
		if (in.sin_family == AF_INET) {
			addr_set(a, AF_INET, &in.sin_addr, in.sin_port);
			return 0;
		}
	}
	if (len < sizeof(in6) - sizeof(in6.sin6_scope_id)) /* the kernel takes the older, shorter form too */
		return -EAFNOSUPPORT;
	memset(&in6, 0, sizeof(in6));
	memcpy(&in6, sa, len < sizeof(in6) ? len : sizeof(in6));
	if (in6.sin6_family != AF_INET6)
		return -EAFNOSUPPORT;
	if (in6.sin6_scope_id || (in6.sin6_addr.s6_addr[0] == 0xfe && (in6.sin6_addr.s6_addr[1] & 0xc0) == 0x80))
		return -EINVAL;
	addr_set(a, AF_INET6, &in6.sin6_addr, in6.sin6_port);
	return 0;
}

int diag_addr_eq(const struct diag_addr *a, const struct diag_addr *b)
{
	return a->family == b->family && a->port == b->port && !memcmp(a->addr, b->addr, sizeof(a->addr));
}

int diag_addr_is_any(const struct diag_addr *a)
{
	static const uint8_t any[16];

	return !memcmp(a->addr, any, sizeof(any));
}

int diag_addr_is_loopback(const struct diag_addr *a)
{
	static const uint8_t one[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

	return a->family == AF_INET ? a->addr[0] == 127 : !memcmp(a->addr, one, sizeof(one));
}

struct diag_query {
	struct nlmsghdr nlh;
	struct inet_diag_req_v2 req;
};

static int diag_send(int fd, uint8_t proto, const struct diag_addr *own, const struct diag_addr *peer, uint32_t seq)
{
	struct diag_query q;
	struct inet_diag_sockid *id = &q.req.id;
	long n;

	memset(&q, 0, sizeof(q));
	q.nlh.nlmsg_len = sizeof(q);
	q.nlh.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	q.nlh.nlmsg_flags = NLM_F_REQUEST;
	q.nlh.nlmsg_seq = seq;
	q.req.sdiag_family = (uint8_t)own->family;
	q.req.sdiag_protocol = proto;
	q.req.idiag_states = UINT32_MAX;
	id->idiag_sport = htons(own->port);
	id->idiag_dport = htons(peer->port);
	memcpy(id->idiag_src, own->addr, sizeof(own->addr));
	memcpy(id->idiag_dst, peer->addr, sizeof(peer->addr));
	id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	do {
		n = sys6(SYS_sendto, fd, &q, sizeof(q), 0, 0, 0);
	} while (n == -EINTR);
	return n < 0 ? (int)n : 0;
}

static void diag_fill(struct diag_sock *out, struct inet_diag_msg *m, uint32_t len)
{
	struct nlattr *a = (struct nlattr *)(m + 1);
	uint32_t left = len - (uint32_t)sizeof(*m);

	out->uid = m->idiag_uid;
	out->inode = m->idiag_inode;
	out->cookie = (uint64_t)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0];
	out->state = m->idiag_state;
	out->dual = m->idiag_family == AF_INET6;
	addr_set(&out->own, m->idiag_family, m->id.idiag_src, m->id.idiag_sport);
	while (left >= sizeof(*a) && a->nla_len >= sizeof(*a) && a->nla_len <= left) {
		uint32_t step = NLA_ALIGN(a->nla_len);

		if (a->nla_type == INET_DIAG_SKV6ONLY && a->nla_len > sizeof(*a) && *(uint8_t *)(a + 1))
			out->dual = 0;
		if (step >= left)
			break;
		left -= step;
		a = (struct nlattr *)((char *)a + step);
	}
}

/* The kernel answers within sendto(), so the answer is there, or it never comes. */
static int diag_recv(int fd, uint32_t seq, struct diag_sock *out)
{
	union {
		struct nlmsghdr nlh;
		char buf[1024];
	} u;

	for (;;) {
		long n = sys6(SYS_recvfrom, fd, &u, sizeof(u), MSG_DONTWAIT, 0, 0);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return n == -EAGAIN ? -EIO : (int)n;
		if (n < (long)sizeof(u.nlh) || u.nlh.nlmsg_len > (uint32_t)n || u.nlh.nlmsg_len < sizeof(u.nlh))
			return -EIO;
		if (u.nlh.nlmsg_seq != seq) /* left from a question whose asker jumped out of a signal handler */
			continue;
		if (u.nlh.nlmsg_type == NLMSG_ERROR)
			return u.nlh.nlmsg_len >= NLMSG_LENGTH(sizeof(int)) && *(int *)NLMSG_DATA(&u.nlh)
				       ? *(int *)NLMSG_DATA(&u.nlh)
				       : -EIO;
		if (u.nlh.nlmsg_type != SOCK_DIAG_BY_FAMILY || u.nlh.nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
			return -EIO;
		diag_fill(out, NLMSG_DATA(&u.nlh), u.nlh.nlmsg_len - (uint32_t)NLMSG_HDRLEN);
		return 0;
	}
}

static int diag_ask(uint8_t proto, const struct diag_addr *own, const struct diag_addr *peer, struct diag_sock *out)
{
	uint32_t seq = add_relaxed(&diag_seq, 1) + 1;
	int kept, err, fd;

	if (own->family != AF_INET && own->family != AF_INET6)
		return -EAFNOSUPPORT;
	fd = diag_take(&kept);
	if (fd < 0)
		return fd;
	err = diag_send(fd, proto, own, peer, seq);
	if (!err)
		err = diag_recv(fd, seq, out);
	diag_give(fd, kept, !err || err == -ENOENT);
	return err;
}

int diag_conn(const struct diag_addr *own, const struct diag_addr *peer, struct diag_sock *out)
{
	int err;

	if (own->family != peer->family)
		return -EINVAL;
	err = diag_ask(IPPROTO_TCP, own, peer, out);
	if (err)
		return err;
	/* The kernel's look-up goes on to the listeners when it finds no connection. */
	return out->state == TCP_LISTEN ? -ENOENT : 0;
}

/*
 * The look-up of a packet from nowhere (address and port 0) to `at`: no connection has such a peer, so the kernel goes on to the
 * listeners, and picks as it does for a SYN: the exact address before wildcards, and for IPv4 dual-stack sockets as well.
 */
int diag_listener(const struct diag_addr *at, struct diag_sock *out)
{
	struct diag_addr nobody = {.family = at->family};
	int err = diag_ask(IPPROTO_TCP, at, &nobody, out);

	if (err)
		return err;
	return out->state == TCP_LISTEN ? 0 : -ENOENT;
}

/* For UDP the kernel looks up as for a datagram on its way in: what it calls the source is the sender, and not our side as with TCP. */
int diag_udp(const struct diag_addr *at, const struct diag_addr *from, struct diag_sock *out)
{
	return at->family == from->family ? diag_ask(IPPROTO_UDP, from, at, out) : -EINVAL;
}

uint64_t diag_netns(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}
