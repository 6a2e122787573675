/* SPDX-License-Identifier: BSD-2-Clause */
/* i_conn.c - the names that make, connect, configure and end sockets. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "adopt.h"
#include "assoc.h"
#include "end.h"
#include "epset.h"
#include "fault.h"
#include "i_dgram.h"
#include "leave.h"
#include "link.h"
#include "move.h"
#include "notify.h"
#include "policy.h"
#include "rx.h"
#include "svc.h"
#include "switch.h"
#include "token.h"
#include "wrap.h"

#ifndef TCP_REPAIR
#define TCP_REPAIR 19
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

EXPORT int socket(int domain, int type, int protocol)
{
	int fd = real.socket(domain, type, protocol);
	if (fd >= 0 && (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM &&
		(protocol == 0 || protocol == IPPROTO_TCP)) {
		int e = errno;
		sock_new(fd, type & SOCK_NONBLOCK ? FAM_NONBLOCK : 0);
		errno = e;
	}
	if (fd >= 0 && (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_DGRAM &&
		(protocol == 0 || protocol == IPPROTO_UDP)) {
		int e = errno;
		sock_new(fd, FAM_DGRAM | (domain == AF_INET6 ? FAM_V6 : 0) | (type & SOCK_NONBLOCK ? FAM_NONBLOCK : 0));
		errno = e;
	}
	return fd;
}

/* On the map before the kernel lets anybody in: a client may come at once, and looks there first. An address that only listen() gives is published behind that. NULL: not yet. */
static struct server *publish_early(const struct sock *s, int fd)
{
	bool may = !(sock_flags(s) & (FAM_LISTEN | FAM_CONNECTED)) && !server_is_forbidden(fd, false);
	return may ? server_publish(fd) : NULL;
}

static void publish(struct sock *s, int fd)
{
	if (server_is_forbidden(fd, false))
		policy_pin(s);
	else if (!(s->server = server_publish(fd))) /* with SO_REUSEPORT others may listen there too */
		s->server = server_share(fd);
}

/* It has come from elsewhere, listening or bound. Before somebody waits for a client, or says that one may come: the first shall find the endpoint. */
static void before_accept(int listener)
{
	int e = errno;
	if (!fd_get(listener))
		adopt_listener(listener);
	errno = e;
}

EXPORT int listen(int fd, int backlog)
{
	struct sock *s = fd_sock(fd);
	int e = errno;
	struct server *early = s ? publish_early(s, fd) : NULL;
	errno = e;
	int r = real.listen(fd, backlog);
	e = errno;
	if (r == 0 && s && !(sock_flags(s) & FAM_LISTEN)) {
		or_acqrel(&s->f->flags, FAM_LISTEN);
		if (early)
			s->server = early;
		else
			publish(s, fd);
		sock_inode(s);
		sock_names(s); /* has no peer: fails, and leaves what it could find */
	} else if (early) {
		server_withdraw(early);
	} else if (r == 0) {
		before_accept(fd);
	}
	errno = e;
	return r;
}

/* What has been set on the listener. SO_RCVLOWAT may have been set since this connection was made: it is asked for. (SO_RCVTIMEO is, at the first sleep.) */
static void inherit(struct sock *s, const struct sock *l)
{
	uint32_t flags = sock_flags(l);
	int low = 0;
	socklen_t len = sizeof(low);
	or_acqrel(&s->f->flags,
		(flags & (FAM_OPTION | FAM_TIMED | FAM_INQ)) | (flags & FAM_OPTION ? FAM_PIN_RX | FAM_PIN_TX : 0));
	if (load_relaxed(&l->f->lowat) && real.getsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &low, &len) == 0)
		store_relaxed(&s->f->lowat, (uint32_t)low);
}

/* Do the rules keep this connection in the kernel? It is known then for `shunt ps`, the log and the statistics alone. */
static bool is_forbidden(const struct sock *l, struct sock *s)
{
	if (!l->server)
		return true;
	/* Of a listener with an address it has been asked. */
	return policy_has_rules && diag_addr_is_any(&l->f->own) && sock_names(s) >= 0 &&
	       policy_forbids(RULE_TCP, RULE_LISTEN, &s->f->own);
}

/* An accepted connection of a published listener, or of one that the rules forbid. Under g_lock: another thread may close it, or publish it anew. */
static void note_accepted(struct sock *l, int fd, uint32_t fam_flags)
{
	struct server *v = l->server;
	struct sock *s = sock_new(fd, FAM_CONNECTED | fam_flags);
	if (!s)
		return;
	inherit(s, l);
	if (is_forbidden(l, s)) {
		policy_pin(s);
		return;
	}
	uint32_t seq = load_acquire(&v->ept.area->offer_seq);
	enum why w = sock_flags(s) & FAM_OPTION ? WHY_OPTION : switch_is_off() ? WHY_OFF : seq ? WHY_NEW : WHY_NO_OFFER;
	store_relaxed(&s->f->tx_why, w);
	store_relaxed(&s->f->rx_why, w);
	server_use(v);
	s->server = v;
	if (!switch_is_off() &&
		seq != load_relaxed(&v->seen_msg)) { /* somebody offers: the thread that answers is needed now */
		store_relaxed(&v->seen_msg, seq);
		svc_serve();
	}
}

static bool is_noted(const struct sock *l)
{
	return load_acquire(&l->open) && ((l->server && l->server->ept.area) || load_relaxed(&l->f->tx_why) == WHY_RULE);
}

static int accepted(int fd, int listener, int flags)
{
	int e = errno;
	struct sock *l = fd_sock(listener);
	switch_look();
	if (l && l->server && l->server->ept.lock_fd < 0)
		server_share_again(l);
	if (l && is_noted(l)) {
		struct guard g;
		guard_enter(&g);
		if (is_noted(l))
			note_accepted(l, fd, flags & SOCK_NONBLOCK ? FAM_NONBLOCK : 0);
		guard_leave(&g);
	}
	errno = e;
	return fd;
}

EXPORT int accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	before_accept(fd);
	int r = real.accept(fd, sa, len);
	return r < 0 ? r : accepted(r, fd, 0);
}

EXPORT int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	before_accept(fd);
	int r = real.accept4(fd, sa, len, flags);
	return r < 0 ? r : accepted(r, fd, flags);
}

/* An address of no family dissolves the connection. Any other one the kernel refuses as long as there is one, and nothing changes. */
static bool dissolves(const struct sockaddr *sa, socklen_t len)
{
	return len >= sizeof(sa->sa_family) && len <= sizeof(struct sockaddr_storage) && (uintptr_t)sa >= 4096 &&
	       sa->sa_family == AF_UNSPEC;
}

static void find_endpoint(struct sock *s, const struct diag_addr *to, int fd)
{
	bool forbidden = policy_forbids(RULE_TCP, RULE_CONNECT, to);
	if (!forbidden)
		s->endpoint = endpoint_find(to, fd);
	enum why w = forbidden ? WHY_RULE : !s->endpoint ? endpoint_none() : switch_is_off() ? WHY_OFF : WHY_NEW;
	store_relaxed(&s->f->tx_why, w);
	store_relaxed(&s->f->rx_why, w);
}

EXPORT int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sock *s = fd_sock(fd);
	struct diag_addr to;
	if (!s && fd_dgram(fd))
		return dgram_connect(fd_dgram(fd), fd, sa, len);
	if (!s || sock_flags(s) & FAM_LISTEN)
		return real.connect(fd, sa, len);
	int e = errno;
	if (dissolves(sa, len)) {
		if (sock_flags(s) & FAM_CONNECTED)
			sock_reset(s);
		errno = e;
		return real.connect(fd, sa, len);
	}
	if (sock_flags(s) & FAM_CONNECTED && (load_acquire(&s->f->link) || s->server || s->arrived))
		return real.connect(fd, sa, len); /* it has a connection, or has had one */
	if (!s->endpoint && (uintptr_t)sa >= 4096 && diag_addr_from(&to, sa, len) == 0) {
		if (diag_addr_is_any(&to)) /* the kernel connects to the loopback address */
			to.addr[to.family == AF_INET ? 0 : 15] = to.family == AF_INET ? 127 : 1,
							   to.addr[3] |= to.family == AF_INET;
		find_endpoint(s, &to, fd);
		if (s->endpoint && s->members)
			epset_connecting(s);
	}
	errno = e;
	int r = real.connect(fd, sa, len);
	if (r == 0 || errno == EINPROGRESS || errno == EINTR)
		or_acqrel(&s->f->flags, FAM_CONNECTED | FAM_CLIENT);
	return r;
}

EXPORT int __connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	return connect(fd, sa, len);
}

/*
 * Both directions are shut down in the kernel, and the call has not returned: from here on the peer's sends are answered by the kernel. What he has written before is input still, and
 * no more than that. (Not before the kernel knows: it would take what he gives it instead of the ring's for input once more.)
 */
static void turn_deaf(struct sock *s)
{
	const uint32_t both = FAM_RD_SHUT | FAM_WR_SHUT;
	if ((sock_flags(s) & (both | FAM_DEAF)) != both)
		return;
	int how = token_take(s, &s->f->rx_token); /* no reader takes what comes between, which the peer sends once more */
	if (load_acquire(&s->linked) && !(sock_flags(s) & FAM_DEAF)) {
		or_acqrel(&s->chan.my->flags, SM_END_DEAF);
		fence_for_sender(
			&s->chan); /* faces the sender: publish, fence, flags: who does not see ours has been seen by us */
		FAULT_POINT("shutdown: mark, before end of input");
		store_relaxed(&s->f->rx_deaf_end, ring_end(s));
		or_acqrel(&s->f->flags, FAM_DEAF);
	}
	token_drop(s, &s->f->rx_token, how);
}

/* Behind the shutdown of both directions the kernel takes nothing any more: what is unread in the ring, and who inherits the socket is to find, lies there before. */
static void keep_unread(struct sock *s)
{
	int how = token_take(s, &s->f->rx_token);
	move_ask_unread(s);
	token_drop(s, &s->f->rx_token, how);
}

/* What is in the ring stays there, before FIN; the mark tells the peer that the end is meant. */
static void before_shutdown(struct sock *s, int how)
{
	if (how == SHUT_RD || how == SHUT_RDWR)
		or_acqrel(&s->f->flags, FAM_RD_SHUT);
	bool linked = link_ready(s);
	if (linked && (how != SHUT_WR || sock_flags(s) & FAM_RD_SHUT) && (how != SHUT_RD || sock_flags(s) & FAM_WR_SHUT))
		keep_unread(s);
	if (how != SHUT_WR && how != SHUT_RDWR)
		return;
	int tok = token_take(s, &s->f->tx_token);
	or_acqrel(&s->f->flags, FAM_WR_SHUT);
	if (linked) {
		move_look_back(s);
		if (s->f->tx_epoch & 1)
			move_down(s, WHY_CLOSED);
		or_acqrel(&s->chan.my->flags, SM_END_FIN);
	}
	token_drop(s, &s->f->tx_token, tok);
}

EXPORT int shutdown(int fd, int how)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd)) /* who sends through a ring would not hear of it */
		dg_pin(fd_dgram(fd), WHY_CALL);
	bool ours = s && sock_flags(s) & FAM_CONNECTED && !(sock_flags(s) & FAM_LISTEN);
	if (ours)
		before_shutdown(s, how);
	FAULT_POINT("shutdown: down, before kernel told");
	int r = real.shutdown(fd, how);
	if (ours && load_acquire(&s->linked)) {
		int e = errno;
		FAULT_POINT("shutdown: kernel told, before mark");
		turn_deaf(s);
		FAULT_POINT("shutdown: told, before bell");
		notify_peer(&s->chan); /* it may sleep on the ring alone */
		if (how != SHUT_WR) {  /* and so may another thread of ours */
			add_acqrel(&s->chan.my->futex, 1u);
			notify_futex(s->chan.my);
		}
		errno = e;
	}
	return r;
}

/* Options after which shared memory cannot do what the kernel does. (SO_ZEROCOPY alone does nothing: see tx_send.) */
static bool option_pins(int level, int name)
{
	if (level == SOL_SOCKET)
		return name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF || name == SO_PEEK_OFF || name == SO_TIMESTAMP_OLD ||
		       name == SO_TIMESTAMPNS_OLD || name == SO_TIMESTAMPING_OLD || name == SO_TIMESTAMP_NEW ||
		       name == SO_TIMESTAMPNS_NEW || name == SO_TIMESTAMPING_NEW;
	return level == IPPROTO_TCP && (name == TCP_REPAIR || name == TCP_ULP);
}

/* How much may be unread in the ring depends on the kernel's buffer (dup.h): worked out at the next up. */
static void before_resize(struct sock *s)
{
	if (!link_ready(s))
		return;
	int e = errno, how = token_take(s, &s->f->tx_token);
	move_look_back(s);
	if (s->f->tx_epoch & 1)
		move_down(s, WHY_FULL);
	token_drop(s, &s->f->tx_token, how);
	notify_peer(&s->chan);
	errno = e;
}

/* The service thread sets it for a moment, under the token (dup_push): it must not undo what the program has set. */
static int set_nodelay(struct sock *s, int fd, const void *val, socklen_t len)
{
	int how = token_take(s, &s->f->tx_token);
	int r = real.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, val, len);
	token_drop(s, &s->f->tx_token, how);
	return r;
}

EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_setsockopt(fd_dgram(fd), fd, level, name, val, len);
	if (s && level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_SNDBUFFORCE))
		before_resize(s);
	if (s && level == IPPROTO_TCP && name == TCP_NODELAY && link_ready(s))
		return set_nodelay(s, fd, val, len);
	int r = real.setsockopt(fd, level, name, val, len);
	if (!s || r < 0)
		return r;
	if (level == SOL_SOCKET && name == SO_RCVLOWAT) {
		int v = *(const int *)val;
		store_relaxed(&s->f->lowat, (uint32_t)(v < 0 ? INT32_MAX : v));
		if (load_acquire(&s->linked))
			notify_own(&s->chan); /* what waits for more may have enough now */
	} else if (level == SOL_SOCKET && (name == SO_RCVTIMEO_OLD || name == SO_RCVTIMEO_NEW)) {
		rx_timeout_changed(s);
	} else if (level == SOL_SOCKET && (name == SO_SNDTIMEO_OLD || name == SO_SNDTIMEO_NEW)) {
		or_acqrel(&s->f->flags, FAM_TIMED);
	} else if (level == IPPROTO_TCP && name == TCP_INQ) {
		if (*(const int *)val)
			or_acqrel(&s->f->flags, FAM_INQ);
		else
			and_acqrel(&s->f->flags, ~FAM_INQ);
	} else if (option_pins(level, name)) {
		or_acqrel(&s->f->flags, FAM_OPTION);
		move_pin(s, WHY_OPTION);
	}
	return r;
}

/* SO_ERROR, of which the kernel has said `len` octets. */
static void add_reset(struct sock *s, void *val, socklen_t len)
{
	int err = 0;
	memcpy(&err, val, len);
	if (!err && end_take_reset(s)) {
		err = ECONNRESET;
		memcpy(val, &err, len);
	}
}

EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct sock *s = fd_sock(fd);
	if (s && level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE && !move_is_pinned(s, FAM_PIN_RX))
		move_withdraw(s, WHY_OPTION); /* it receives, and maps the kernel's pages */
	int r = real.getsockopt(fd, level, name, val, len);
	if (s && r == 0 && level == SOL_SOCKET && name == SO_ERROR && __builtin_expect(end_has_reset(s), 0))
		add_reset(s, val, *len);
	return r;
}
