/* SPDX-License-Identifier: BSD-2-Clause */
/* sock.c - the life of struct sock: made by socket() and accept(), shared by dup() and fork, ended by the last close(). */
#include "sock.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "adopt.h"
#include "assoc.h"
#include "barrier.h"
#include "dg.h"
#include "epset.h"
#include "filter.h"
#include "hold.h"
#include "leave.h"
#include "link.h"
#include "mark.h"
#include "notify.h"
#include "stats.h"
#include "svc.h"
#include "sys.h"
#include "token.h"

#define SLAB_LEN (256 * 1024)

/* All under g_lock. Freed socks are used again oldest first. */
static struct sock *free_first, *free_last;
static uint32_t n_free;
static struct slab {
	struct slab *next;
	struct sock socks[];
} * slabs;
#define SLAB_N ((SLAB_LEN - sizeof(struct slab)) / sizeof(struct sock))
#define KEEP_FREE 64 /* how many stay unused at least: a stale pointer should meet a closed sock, not another */

static void put_free(struct sock *s)
{
	s->next = NULL;
	if (free_last)
		free_last->next = s;
	else
		free_first = s;
	free_last = s;
	n_free++;
}

static struct sock *get_free(void)
{
	if (n_free <= KEEP_FREE) {
		long p = sys6(SYS_mmap, 0, SLAB_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p < 0 && p > -4096 && !n_free)
			return NULL;
		if (!(p < 0 && p > -4096)) {
			struct slab *b = (struct slab *)(uintptr_t)p;
			b->next = slabs;
			slabs = b;
			for (size_t i = 0; i < SLAB_N; i++)
				put_free(&b->socks[i]);
		}
	}
	struct sock *s = free_first;
	free_first = s->next;
	if (!free_first)
		free_last = NULL;
	n_free--;
	return s;
}

static void sock_fill(struct sock *s, struct fam_sock *f, struct arena *a, int fd)
{
	struct dg *dg = s->dg; /* stays for the next socket of datagrams: a thread may still be inside */
	memset((void *)s, 0, sizeof(*s));
	s->dg = dg;
	s->f = f;
	s->arena = a;
	s->fd = fd;
	store_release(&s->open, 1);
}

static uintptr_t entry(const struct sock *s)
{
	return (uintptr_t)s | (sock_is_dgram(s) ? FD_DGRAM : 0);
}

struct sock *sock_new(int fd, uint32_t fam_flags)
{
	struct guard g;
	struct sock *s = NULL;
	if (leave_done() || filter_forbids())
		return NULL;
	guard_enter(&g);
	struct arena *a;
	struct fam_sock *f = NULL;
	if (fdtab_init() && (unsigned)fd < fdtab_len)
		s = get_free();
	if (s && ((fam_flags & FAM_DGRAM && !dg_init(s, fam_flags & FAM_V6)) || !(f = fam_alloc(&a)))) {
		put_free(s);
		s = NULL;
	}
	if (s) {
		or_acqrel(&f->flags, fam_flags | (fd <= 2 ? FAM_OWN_PIN | FAM_PIN_RX | FAM_PIN_TX : 0)); /* stdio's numbers */
		if (fd <= 2) {
			store_relaxed(&f->tx_why, WHY_STDIO);
			store_relaxed(&f->rx_why, WHY_STDIO);
		}
		sock_fill(s, f, a, fd);
		fdtab_set(fd, entry(s));
	}
	guard_leave(&g);
	return s;
}

void sock_dup(struct sock *s, int fd)
{
	add_acqrel(&s->open, 1u);
	if (!fdtab_set(fd, entry(s)))
		sub_acqrel(&s->open, 1u);
}

/* s->fd must be one that still leads here: find another when that one is closed (rare: a socket with several numbers). */
static void other_fd(struct sock *s, int closed)
{
	for (int i = 0; i < (int)fdtab_len; i++) {
		if (i != closed && fd_any_sock(i) == s) {
			s->fd = i;
			return;
		}
	}
}

void sock_forget(struct sock *s, int fd)
{
	struct guard g;
	if (s && s->members)
		epset_before_close(s);
	guard_enter(&g);
	if (s && fd_any_sock(fd) == s) {
		if (load_acquire(&s->open) == 1)
			hold_reap(s, FAM_NOW);
		epset_number_closes(s, fd);
		fdtab_set(fd, 0);
		if (sub_acqrel(&s->open, 1u) != 1) {
			if (s->fd == fd) { /* what is registered under the old number has to go while that is open */
				svc_unwatch(s);
				other_fd(s, fd);
				if (load_acquire(&s->linked)) {
					svc_watch(s);
					add_acqrel(
						&s->chan.my->futex, 1u); /* who sleeps until there is input asks for it again */
					notify_futex(s->chan.my);
				}
			}
		} else {
			if (load_acquire(&s->f->passes) && epset_watches(s))
				or_acqrel(&s->f->flags, FAM_OWN_PIN); /* a set of ours goes on hearing of it */
			epset_forget_sock(s);
			stats_sock(s);
			adopt_forget(s);
			bool publishes = sock_flags(s) & (FAM_LISTEN | FAM_DGRAM), left = false;
			while (!left && !link_end(s))
				left = hold_leave(s); /* the record may be another socket's from here on */
			if (s->server && publishes)
				server_release(s->server, !left && hold_is_last(s));
			else if (s->server)
				server_unuse(s->server);
			if (!left)
				hold_release(s);
			put_free(s);
		}
	}
	guard_leave(&g);
}

bool sock_let_go(struct sock *s)
{
	s->exec_flags = sock_flags(s);
	return hold_let_go(s, &s->exec_gen);
}

bool sock_hold_again(struct sock *s)
{
	struct guard g;
	if (hold_again(s, s->exec_gen))
		return true;
	guard_enter(&g);
	adopt_again(s);
	guard_leave(&g);
	return false;
}

bool sock_renew(struct sock *s, uint32_t fam_flags)
{
	struct arena *a;
	struct fam_sock *f = fam_alloc(&a);
	if (!f)
		return false;
	or_acqrel(&f->flags, fam_flags);
	s->f = f;
	s->arena = a;
	s->hold = 0;
	return true;
}

void sock_reset(struct sock *s)
{
	struct guard g;
	struct fam_sock *f = s->f;
	guard_enter(&g);
	if (load_acquire(&f->passes) || s->arrived)
		mark_never(s->fd); /* the end of a connection, but not of our hold of the socket */
	link_end(s);
	store_release(&f->link, 0);
	and_acqrel(&f->flags, FAM_NONBLOCK | FAM_USED | FAM_PIN_RX | FAM_PIN_TX | FAM_OPTION | FAM_TIMED | FAM_INQ);
	store_relaxed(&f->tx_tail, 0);
	store_relaxed(&f->rx_head, 0);
	store_relaxed(&f->rx_epoch, 0);
	f->tx_head = f->tx_limit = f->tx_rewind = f->rx_tail = 0;
	f->tx_shift = f->tx_epoch = f->tx_leaves = 0;
	store_relaxed(&f->rx_shift, 0);
	store_relaxed(&f->rx_kepoch, 0);
	store_relaxed(&f->rx_kleft, 0);
	store_relaxed(&f->rx_dropped, 0);
	store_relaxed(&f->rx_over_kpos, 0);
	f->own.family = f->peer.family = 0;
	s->endpoint = NULL;
	s->foreign = s->arrived = false;
	s->n_ops = 0;
	store_relaxed(&s->hup, 0);
	store_relaxed(&s->look, 0);
	guard_leave(&g);
}

bool sock_ask_nonblock(const struct sock *s)
{
	long fl = sys3(SYS_fcntl, s->fd, F_GETFL, 0);
	return (fl < 0 ? sock_flags(s) & FAM_NONBLOCK : fl & O_NONBLOCK) != 0;
}

int sock_names(struct sock *s)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct fam_sock *f = s->f;
	if (f->own.family && f->peer.family)
		return 0;
	long r = sys3(SYS_getsockname, s->fd, &sa, &len);
	if (r == 0)
		r = diag_addr_from(&f->own, (struct sockaddr *)&sa, len);
	len = sizeof(sa);
	if (r == 0)
		r = sys3(SYS_getpeername, s->fd, &sa, &len);
	if (r == 0)
		r = diag_addr_from(&f->peer, (struct sockaddr *)&sa, len);
	if (r < 0)
		f->peer.family = 0;
	return (int)r;
}

void sock_inode(struct sock *s)
{
	struct stat st;
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	if (s->f->inode)
		return;
	if (sys4(SYS_newfstatat, s->fd, "", &st, AT_EMPTY_PATH) == 0)
		s->f->inode = (uint32_t)st.st_ino;
	if (sys5(SYS_getsockopt, s->fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0)
		s->f->cookie = cookie;
}

void sock_each(void (*fn)(struct sock *s, void *arg), void *arg)
{
	for (struct slab *b = slabs; b; b = b->next)
		for (size_t i = 0; i < SLAB_N; i++)
			if (load_acquire(&b->socks[i].open))
				fn(&b->socks[i], arg);
}

static void share(struct sock *s, void *arg)
{
	if (sock_is_dgram(s))
		dg_fork_prepare(s);
	if (s->exec_left > EXEC_CLOSED) /* another thread is about to exec, and has left it to the new program alone */
		mark_never(s->fd);
	if (link_ends() && hold_is_left(s)) /* another thread ends the process, and has given the channel back */
		store_release(&s->f->link, LINK_NEVER);
	hold_for_child(s);
	fence_storeload(); /* faces token_bias: word, fence, holders */
	*(bool *)arg |= token_unbias_begin(s);
}

static void unbias(struct sock *s, void *arg)
{
	*(bool *)arg |= token_unbias_end(s);
}

static void settle(struct sock *s, void *arg)
{
	(void)arg;
	token_unbias_settle(s);
}

/* With g_lock held by the caller: the child's hold exists before the child does. */
void sock_fork_prepare(void)
{
	bool marked = false, inside = false;
	sock_each(share, &marked);
	if (!marked)
		return;
	barrier_everywhere();
	sock_each(unbias, &inside);
	if (!inside)
		return;
	barrier_everywhere();
	sock_each(settle, NULL);
}

static void unshare(struct sock *s, void *arg)
{
	(void)arg;
	hold_fork_failed(s);
}

void sock_fork_failed(void)
{
	sock_each(unshare, NULL);
}

static void start_over(struct sock *s, void *arg)
{
	(void)arg;
	hold_as_child(s);
	if (sock_is_dgram(s))
		dg_fork_child(s);
	store_relaxed(&s->watched, 0);
	s->exec_left = EXEC_NOT;						    /* another thread's exec, in the parent */
	s->tx_shm = s->tx_kernel = s->rx_shm = s->rx_kernel = (struct count){0, 0}; /* the parent's doing */
}

void sock_fork_child(void)
{
	sock_each(start_over, NULL);
}
