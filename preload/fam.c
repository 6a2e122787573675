/* SPDX-License-Identifier: BSD-2-Clause */
#include "fam.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hold.h"
#include "log.h"
#include "sock.h"
#include "sys.h"
#include "token.h"

#define N_ARENA 32 /* generations of fork whose sockets one process can hold */

static struct arena arenas[N_ARENA]; /* only grows, under g_lock's callers (fam_alloc is called from slow paths) */
static _Atomic uint32_t n_arenas;
static struct arena *own; /* where our new sockets' records go */

static struct fam_sock *socks_of(const struct arena *a)
{
	return (struct fam_sock *)((char *)a->hdr + FAM_SOCKS_OFF);
}

#define IMMORTAL 0x40000000u /* in a number: it has no lifeline, since it could not be locked, and counts as alive for ever */

/* A new number, which lives as long as somebody has the description of `fd` (F_OFD_SETLK), or this process does (F_SETLK). */
static uint32_t new_number(struct arena *a, int fd, int op)
{
	uint32_t nr = add_acqrel(&a->hdr->next_proc, 1u) + 1;
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)nr, .l_len = 1};
	return sys3(SYS_fcntl, fd, op, &fl) < 0 ? nr | IMMORTAL : nr;
}

/* The memfd's, once more: another description, hidden, and not in the place of a number that the program may want. -1: it cannot be had. */
static int open_again(int memfd)
{
	char path[32];
	fmt_buf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	int hidden = fd < 0 ? -1 : fdtab_hide((int)fd);
	if (hidden != fd || fd < 0)
		return hidden;
	fdtab_close_hidden(hidden);
	return -1;
}

static void take_number(struct arena *a, uint32_t nr)
{
	a->proc_nr = nr;
	a->token_hi = (uint64_t)nr << 32;
}

/* There is no description that is this process's alone. */
static void take_number_by_process(struct arena *a)
{
	a->by_process = true;
	take_number(a, new_number(a, a->fd, F_SETLK));
}

static struct arena *arena_make(void)
{
	uint32_t n = load_relaxed(&n_arenas);
	if (n == N_ARENA)
		return NULL;
	long fd = sys2(SYS_memfd_create, FAM_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return NULL;
	if (sys_grow(SYS_ftruncate, (int)fd, FAM_LEN, 0, 0) < 0)
		goto fail;
	sys3(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	long p = sys6(SYS_mmap, 0, FAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p < 0 && p > -4096)
		goto fail;
	struct arena *a = &arenas[n];
	a->hdr = (struct fam_hdr *)(uintptr_t)p;
	a->hdr->version = FAM_VERSION;
	a->hdr->sock_len = sizeof(struct fam_sock);
	a->hdr->n_sock = FAM_N_SOCK;
	a->hdr->pid = (uint32_t)sys0(SYS_getpid);
	a->hdr->magic = FAM_MAGIC;
	a->fd = open_again(
		(int)fd); /* a child of fork inherits the mapping, and with it the description that it was made from */
	if (a->fd < 0) {
		a->fd = fdtab_hide((int)fd);
		take_number_by_process(a);
	} else {
		sys1(SYS_close, fd);
		take_number(a, new_number(a, a->fd, F_OFD_SETLK));
	}
	store_release(&n_arenas, n + 1);
	return a;
fail:
	sys1(SYS_close, fd);
	return NULL;
}

struct fam_sock *fam_alloc(struct arena **out)
{
	if (!own && !(own = arena_make()))
		return NULL;
	struct fam_hdr *h = own->hdr;
	struct fam_sock *all = socks_of(own);
	/* Oldest first: a record is used again as late as possible. */
	for (uint32_t tries = 0; tries < FAM_N_SOCK; tries++) {
		uint32_t i = add_relaxed(&h->free_head, 1u) % FAM_N_SOCK;
		struct fam_sock *f = &all[i];
		uint32_t high = load_relaxed(&h->high_water);
		if (i >= high) {
			if (high >= 256 && i == high && tries == 0 && h->n_free) {
				store_relaxed(&h->free_head, 0); /* rather an old record than a fresh page */
				continue;
			}
			store_relaxed(&h->high_water, i + 1);
		}
		if (hold_is_in_use(f, own))
			continue;
		uint64_t before = load_relaxed(&f->holders);
		if (i < high && h->n_free)
			h->n_free--;
		memset((void *)f, 0, sizeof(*f));
		hold_first(f, own, before);
		store_release(&f->flags, FAM_USED);
		*out = own;
		return f;
	}
	return NULL;
}

void fam_count_free(void)
{
	if (own)
		own->hdr->n_free++;
}

/* Its lifeline is ours too, and tells nothing; but it is, or was, our parent. When it is dead the others shall know. */
static bool parent_lives(const struct arena *a)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)a->parent_nr, .l_len = 1};
	if (!a->parent_pid || sys0(SYS_getppid) == a->parent_pid)
		return true;
	sys3(SYS_fcntl, a->fd, F_OFD_SETLK, &fl);
	return false;
}

bool fam_proc_alive(const struct arena *a, uint32_t nr)
{
	if (nr == a->proc_nr || nr & IMMORTAL)
		return true;
	if (nr == a->parent_nr)
		return parent_lives(a);
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)nr, .l_len = 1};
	if (sys3(SYS_fcntl, a->fd, F_GETLK, &fl) < 0) /* not F_OFD_GETLK: who shares our description is alive, too */
		return true;			      /* in doubt, wait */
	return fl.l_type != F_UNLCK;
}

static uint32_t ms_of(int64_t ns)
{
	return (uint32_t)(ns / 1000000);
}

bool fam_proc_alive_since(struct arena *a, uint32_t nr, int64_t since)
{
	_Atomic uint64_t *seen = &a->seen[nr % ARENA_N_SEEN];
	uint64_t was = load_relaxed(seen); /* one word: no other thread's half of it */
	uint32_t now = ms_of(now_ns());
	if (since != FAM_NOW && was >> 32 == nr &&
		now - (uint32_t)was < now - ms_of(since)) /* ages: milliseconds wrap around */
		return true;
	if (!fam_proc_alive(a, nr))
		return false;
	store_relaxed(seen, (uint64_t)nr << 32 | now);
	return true;
}

void fam_fork_prepare(void)
{
	for (uint32_t i = 0; i < load_relaxed(&n_arenas); i++) {
		struct arena *a = &arenas[i];
		a->child_fd = a->by_process ? -1 : open_again(a->fd);
		a->child_ppid = a->child_fd < 0 ? (int)sys0(SYS_getpid) : 0;
		a->child_nr = new_number(a, a->child_fd < 0 ? a->fd : a->child_fd, F_OFD_SETLK);
	}
}

void fam_fork_done(void)
{
	for (uint32_t i = 0; i < load_relaxed(&n_arenas); i++)
		fdtab_close_hidden(arenas[i].child_fd);
}

void fam_fork_failed(bool known)
{
	for (uint32_t i = 0; i < load_relaxed(&n_arenas); i++) {
		struct arena *a = &arenas[i];
		struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)a->child_nr, .l_len = 1};
		if (known && a->child_fd < 0)
			sys3(SYS_fcntl, a->fd, F_OFD_SETLK, &fl);
		a->child_dead = known || !fam_proc_alive(a, a->child_nr);
	}
}

/* fork has made the child a lifeline; it is this process now, and the parent's goes. */
static void take_lifeline(struct arena *a)
{
	fdtab_close_hidden(a->fd);
	a->fd = a->child_fd;
	a->child_fd = -1;
	take_number(a, a->child_nr);
}

/*
 * fork could make none. The child may have room for one, which its parent had not, and has another number then: until its holds bear that (hold_as_child), the parent's lifeline, which is that of the first number, stays.
 * Else it shares that one for good. (In another namespace than who has made it, or as the child of another (CLONE_PARENT), it cannot tell when he dies.)
 */
static void make_lifeline(struct arena *a)
{
	int fd = open_again(a->fd);
	if (fd >= 0) {
		a->child_fd = a->fd;
		a->fd = fd;
		a->by_process = false;
		a->parent_nr = 0;
		take_number(a, new_number(a, fd, F_OFD_SETLK));
		return;
	}
	/* By process: the lifeline is our parent's parent's. */
	a->parent_pid = !a->by_process && sys0(SYS_getppid) == a->child_ppid ? a->child_ppid : 0;
	a->parent_nr = a->by_process ? a->parent_nr : a->proc_nr;
	take_number_by_process(a);
}

void fam_fork_child(void)
{
	own = NULL;
	token_tid = 0;
	for (uint32_t i = 0; i < load_relaxed(&n_arenas); i++)
		(arenas[i].child_fd < 0 ? make_lifeline : take_lifeline)(&arenas[i]);
}
