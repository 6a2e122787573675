/* SPDX-License-Identifier: BSD-2-Clause */
#include "adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "assoc.h"
#include "fault.h"
#include "leave.h"
#include "link.h"
#include "move.h"
#include "orphan.h"
#include "policy.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#define FIRST_NS INT64_C(500000) /* between two questions whether it may be linked; doubles */
#define LAST_NS INT64_C(1000000000)
#define N_KNOWN 256

/*
 * Those that have been passed, or have arrived, by cookie: a descriptor that arrives may be one more for a socket that is here already. Under g_lock.
 */
static struct sock *known[N_KNOWN];

static struct sock **slot_of(uint64_t cookie)
{
	return &known[cookie % N_KNOWN];
}

void adopt_note(struct sock *s)
{
	struct guard g;
	guard_enter(&g);
	if (!s->known_next) { /* the last of a chain is its own next */
		struct sock **at = slot_of(s->f->cookie);
		s->known_next = *at ? *at : s;
		*at = s;
	}
	guard_leave(&g);
}

static struct sock *next_of(const struct sock *s)
{
	return s->known_next == s ? NULL : s->known_next;
}

static struct sock *find(uint64_t cookie)
{
	for (struct sock *s = *slot_of(cookie); s; s = next_of(s))
		if (s->f->cookie == cookie && load_acquire(&s->open))
			return s;
	return NULL;
}

static bool forget_in(struct sock **at, struct sock *s)
{
	struct sock *before = NULL;
	for (struct sock *p = *at; p; before = p, p = next_of(p)) {
		if (p != s)
			continue;
		if (before)
			before->known_next = next_of(s) ? next_of(s) : before;
		else
			*at = next_of(s);
		s->known_next = NULL;
		return true;
	}
	return false;
}

void adopt_forget(struct sock *s)
{
	if (s->known_next)
		forget_in(slot_of(s->f->cookie), s);
}

/* ---- what the kernel knows of it */

static int option(int fd, int level, int name)
{
	int v = 0;
	socklen_t len = sizeof(v);
	return sys5(SYS_getsockopt, fd, level, name, &v, &len) < 0 ? -1 : v;
}

static bool is_stream(int fd)
{
	int domain = option(fd, SOL_SOCKET, SO_DOMAIN);
	return (domain == AF_INET || domain == AF_INET6) && option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

bool adopt_is_stream(int fd)
{
	return is_stream(fd) && !option(fd, SOL_SOCKET, SO_ACCEPTCONN);
}

static bool is_established(int fd)
{
	uint8_t state[8] = {0};
	socklen_t len = sizeof(state);
	return sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, state, &len) == 0 && state[0] == TCP_ESTABLISHED;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	return sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

/* What its former owner may have set, as far as the kernel tells. */
void adopt_options(struct sock *s)
{
	static const int stamps[] = {SO_TIMESTAMP_OLD, SO_TIMESTAMPNS_OLD, SO_TIMESTAMPING_OLD, SO_TIMESTAMP_NEW,
		SO_TIMESTAMPNS_NEW, SO_TIMESTAMPING_NEW};
	int v[2] = {0}; /* SO_TIMESTAMPING has two */
	socklen_t len = sizeof(v);
	for (size_t i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++, len = sizeof(v))
		if (real.getsockopt(s->fd, SOL_SOCKET, stamps[i], v, &len) == 0 && v[0])
			or_acqrel(&s->f->flags, FAM_OPTION);
	if (real.getsockopt(s->fd, IPPROTO_TCP, TCP_INQ, v, &len) == 0 && v[0])
		or_acqrel(&s->f->flags, FAM_INQ);
	if (real.getsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, v, &len) == 0)
		store_relaxed(&s->f->lowat, v[0] == 1 ? 0 : (uint32_t)v[0]);
	struct timeval tv = {0};
	len = sizeof(tv);
	if (real.getsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0 && (tv.tv_sec || tv.tv_usec))
		or_acqrel(&s->f->flags, FAM_TIMED);
}

/* Options that only the kernel can serve, and that can be asked for. */
static bool is_the_kernels(int fd)
{
	char ulp[16] = "";
	socklen_t len = sizeof(ulp), none = 0;
	return (sys3(SYS_fcntl, fd, F_GETFL, 0) & O_ASYNC) || option(fd, SOL_SOCKET, SO_PEEK_OFF) >= 0 ||
	       (sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_GET_FILTER, 0, &none) == 0 && none) ||
	       (sys5(SYS_getsockopt, fd, IPPROTO_TCP, TCP_ULP, ulp, &len) == 0 && len);
}

/* ---- arriving */

static void becomes_arrived(struct sock *s, uint64_t cookie)
{
	s->f->cookie = cookie;
	s->foreign = s->arrived = true;
	store_relaxed(&s->f->tx_why, WHY_ARRIVED);
	store_relaxed(&s->f->rx_why, WHY_ARRIVED);
	adopt_options(s);
	adopt_note(s);
	sock_names(s);
}

static void arrive(int fd)
{
	uint64_t cookie = cookie_of(fd);
	struct sock *s = leave_done() ? NULL : find(cookie);
	if (s) {
		sock_dup(s, fd);
		if (fd <= 2)
			or_acqrel(&s->f->flags, FAM_OWN_PIN | FAM_PIN_RX | FAM_PIN_TX);
		return;
	}
	if (!cookie || leave_done() || !is_established(fd) || is_the_kernels(fd) ||
		!(s = sock_new(fd, FAM_CONNECTED | (sys3(SYS_fcntl, fd, F_GETFL, 0) & O_NONBLOCK ? FAM_NONBLOCK : 0)))) {
		mark_never(fd); /* it is used here, and nobody will know */
		return;
	}
	FAULT_POINT("adopt: arrived, before known");
	becomes_arrived(s, cookie);
}

/* What of a record's flags is the socket's, and not a channel's. */
#define KEPT                                                                                                                   \
	(FAM_NONBLOCK | FAM_CONNECTED | FAM_LISTEN | FAM_RD_SHUT | FAM_WR_SHUT | FAM_BROKEN | FAM_OPTION | FAM_TIMED |         \
		FAM_V6 | FAM_DGRAM | FAM_INQ | FAM_OWN_PIN)

void adopt_again(struct sock *s)
{
	uint32_t was = s->exec_flags, keep = was & KEPT;
	if (!(was & FAM_PASS_PIN))
		keep |= was & (FAM_PIN_RX | FAM_PIN_TX);
	link_leave(s);
	for (int i = 0; s->known_next && i < N_KNOWN; i++) /* the old record may be another socket's by now, with its cookie */
		forget_in(&known[i], s);
	if (!sock_renew(s, keep)) {
		mark_never(s->fd);
		for (int fd = 0; fd < (int)fdtab_len; fd++)
			if (fd_any_sock(fd) == s)
				fdtab_set(fd, 0);
		return;
	}
	if (!(keep & FAM_CONNECTED) || keep & FAM_DGRAM)
		return;
	if (s->server)
		server_unuse(s->server);
	s->server = NULL;
	s->endpoint = NULL;
	s->adopt_ns = s->adopt_step = 0;
	becomes_arrived(s, cookie_of(s->fd));
}

static void adopt_locked(int fd)
{
	long fl = sys3(SYS_fcntl, fd, F_GETFL, 0);
	struct sock *s = fd_get(fd) ? NULL : sock_new(fd, FAM_LISTEN | (fl & O_NONBLOCK ? FAM_NONBLOCK : 0));
	if (!s)
		return;
	adopt_options(s);
	if (server_is_forbidden(fd, false)) {
		policy_pin(s);
		return;
	}
	if (!(s->server = server_publish(fd)))
		s->server = server_share(fd);
}

/* Several threads may be about to accept: one of them makes it known, and the others find all of it. */
void adopt_listener(int fd)
{
	struct guard g;
	if (leave_done() || !is_stream(fd) || option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
		return;
	guard_enter(&g);
	adopt_locked(fd);
	guard_leave(&g);
}

void adopt_message(const struct msghdr *m, bool peek)
{
	struct guard g;
	FAULT_POINT("adopt: message, before known");
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (!is_stream(fd))
				continue;
			guard_enter(&g);
			if (adopt_is_stream(fd)) {
				if (peek)
					mark_never(fd);
				arrive(fd);
			} else if (!peek) {
				adopt_listener(fd);
			}
			guard_leave(&g);
		}
	}
}

/* ---- over an exec */

struct dirent64_raw {
	uint64_t ino, off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static int number(const char *p)
{
	int v = 0;
	for (; *p >= '0' && *p <= '9' && v < 1 << 24; p++)
		v = v * 10 + (*p - '0');
	return *p ? -1 : v;
}

static bool is_socket(int fd)
{
	struct stat st;
	return sys2(SYS_fstat, fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* An epoll set that was inherited too may have the socket for a member, and would not hear of what comes through memory. */
static bool is_epoll(int fd)
{
	static const char is[] = "anon_inode:[eventpoll]";
	char path[32] = "/proc/self/fd/", to[sizeof(is)];
	int n = 14;
	for (int d = 1000000000; d; d /= 10)
		if (fd >= d || d == 1)
			path[n++] = (char)('0' + fd / d % 10);
	path[n] = 0;
	return sys4(SYS_readlinkat, AT_FDCWD, path, to, sizeof(to)) == sizeof(is) - 1 && !memcmp(to, is, sizeof(is) - 1);
}

/* Calls fn for each descriptor until it says true. One pass costs about what opening a file does. */
static bool each_fd(bool (*fn)(int fd))
{
	_Alignas(8) char buf[1024];
	bool found = false;
	long n, dir = sys4(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dir < 0)
		return false;
	while (!found && (n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n && !found; at += ((struct dirent64_raw *)(buf + at))->reclen) {
			int fd = number(((struct dirent64_raw *)(buf + at))->name);
			found = fd >= 0 && fd != dir && !fd_get(fd) && fn(fd);
		}
	sys1(SYS_close, dir);
	return found;
}

static bool is_inherited(int fd)
{
	return fd > 2 && is_socket(fd) && is_stream(fd);
}

/*
 * What listens was published by the program that we were until now, or waits to be accepted from. But root's sockets only root can publish, and who accepts may be a child that has given that
 * up by then.
 */
static bool inherit(int fd)
{
	if (!is_inherited(fd))
		return false;
	bool ours = mark_exec_end(fd, (uint32_t)sys0(SYS_getpid));
	FAULT_POINT("adopt: exec's mark taken, before known");
	if (adopt_is_stream(fd))
		arrive(fd);
	else if (ours || !sys0(SYS_geteuid))
		adopt_listener(fd);
	return false;
}

static bool give_up(int fd)
{
	if (is_inherited(fd) && adopt_is_stream(fd))
		mark_never(fd);
	return false;
}

/* Numbers that stdio reads and writes: one more for a socket that has another, or one that nobody may link, here or later. */
static void inherit_stdio(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fd_get(fd) || !is_socket(fd) || !adopt_is_stream(fd))
			continue;
		if (find(cookie_of(fd)))
			arrive(fd);
		else
			mark_never(fd);
	}
}

void adopt_inherited(void)
{
	struct guard g;
	bool any = each_fd(is_inherited);
	guard_enter(&g);
	if (any)
		each_fd(each_fd(is_epoll) ? give_up : inherit);
	inherit_stdio();
	guard_leave(&g);
}

/* ---- linking */

bool adopt_due(struct sock *s)
{
	struct mark m;
	int64_t now = now_ns();
	if (now < s->adopt_ns)
		return false;
	s->adopt_step = s->adopt_step ? s->adopt_step * 2 : FIRST_NS;
	if (s->adopt_step > LAST_NS)
		s->adopt_step = LAST_NS;
	s->adopt_ns = now + s->adopt_step;
	return mark_look(s->fd, &m);
}

/* It has never had a channel. Where would it get one? */
static void find_role(struct sock *s, const struct mark *m)
{
	struct fam_sock *f = s->f;
	if (m->side == SM_CLIENT) {
		or_acqrel(&f->flags, FAM_CLIENT);
		s->endpoint = endpoint_find(&f->peer, s->fd);
	} else {
		s->server = server_find(&f->own, s->fd);
		if (s->server)
			server_use(s->server);
	}
	enum why w = s->endpoint ? WHY_NEW : s->server ? WHY_NO_OFFER : endpoint_none();
	store_relaxed(&f->tx_why, w);
	store_relaxed(&f->rx_why, w);
}

static bool is_forbidden(const struct sock *s, const struct mark *m)
{
	return m->side == SM_CLIENT ? policy_forbids(RULE_TCP, RULE_CONNECT, &s->f->peer)
				    : policy_forbids(RULE_TCP, RULE_LISTEN, &s->f->own);
}

bool adopt_link(struct sock *s)
{
	struct mark m;
	int r = -ENOENT;
	if (!mark_look(s->fd, &m))
		return false;
	mark_unready(s->fd);
	FAULT_POINT("adopt: mark taken, before linked");
	if (sys3(SYS_fcntl, s->fd, F_GETFL, 0) & O_NONBLOCK) /* the former owner may have changed it since, and options */
		or_acqrel(&s->f->flags, FAM_NONBLOCK);
	else
		and_acqrel(&s->f->flags, ~FAM_NONBLOCK);
	adopt_options(s);
	if (is_forbidden(s, &m)) {
		policy_pin(s);
		s->arrived = false;
		return false;
	}
	if (sock_flags(s) & FAM_OPTION || is_the_kernels(s->fd))
		r = -EPERM;
	else if (m.linked)
		r = orphan_adopt(s, &m);
	if (r == -ENOENT)
		find_role(s, &m);
	s->arrived = false;
	if (r == -EPERM)
		store_relaxed(&s->f->tx_why, WHY_REFUSED);
	return r == 0 || s->endpoint || s->server;
}

bool adopt_now(struct sock *s)
{
	if (!wrap_own_process()) /* a child of vfork: descriptors and threads that it made would not be its parent's */
		return !s->arrived;
	s->adopt_ns = 0;
	if (link_ready(s) || link_try(s, SIZE_MAX)) /* or another process of the family has linked it */
		s->arrived = false;
	return !s->arrived;
}

void adopt_never(struct sock *s)
{
	mark_never(s->fd);
	s->arrived = false;
}
