/* SPDX-License-Identifier: BSD-2-Clause */
#include "fam.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Take a number in the arena, and hold its byte locked for as long as this process image lives. */
static void arena_enter(struct arena *a)
{
	uint32_t nr = add_acqrel(&a->hdr->next_proc, 1u) + 1;
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)nr, .l_len = 1};
	sys3(SYS_fcntl, a->fd, F_SETLK, &fl);
	a->proc_nr = nr;
	a->token_hi = (uint64_t)nr << 32;
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
	a->fd = fdtab_hide((int)fd);
	arena_enter(a);
	store_release(&n_arenas, n + 1);
	return a;
fail:
	sys1(SYS_close, fd);
	return NULL;
}

/* Or left by a process that may come back to it (fam_let_go)? A thread may also still be inside a kernel call that counts in it. */
static bool is_in_use(const struct fam_sock *f)
{
	if (load_acquire(&f->rx_inkernel) || load_acquire(&f->tx_inkernel))
		return true;
	if (fam_holders(f)) /* also of one that is just being released: its flags go first */
		return true;
	return load_acquire(&f->flags) & FAM_USED && fam_proc_alive(own, load_relaxed(&f->leaver));
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
		if (is_in_use(f))
			continue;
		uint32_t gen = load_relaxed(&f->holders) & ~FAM_HOLDERS;
		if (i < high && h->n_free)
			h->n_free--;
		memset((void *)f, 0, sizeof(*f));
		store_relaxed(&f->holders, (gen + FAM_HOLDERS + 1) | 1);
		store_release(&f->flags, FAM_USED);
		*out = own;
		return f;
	}
	return NULL;
}

bool fam_is_last(struct fam_sock *f)
{
	uint32_t h;
	do {
		h = load_acquire(&f->holders);
		if ((h & FAM_HOLDERS) != 1)
			return false;
	} while (!cas_acqrel(&f->holders, h, h + FAM_HOLDERS + 1));
	return true;
}

uint32_t fam_let_go(struct fam_sock *f, uint32_t nr, uint32_t *gen)
{
	store_relaxed(&f->leaver, nr); /* seen by who sees that nobody holds it (acquire in fam_holders) */
	uint32_t h = sub_acqrel(&f->holders, 1u);
	if ((h & FAM_HOLDERS) == 1) /* another one may have come between */
		store_relaxed(&f->leaver, nr);
	*gen = h & ~FAM_HOLDERS;
	return h & FAM_HOLDERS;
}

bool fam_hold_again(struct fam_sock *f, uint32_t gen)
{
	uint32_t h;
	do {
		h = load_acquire(&f->holders);
		if ((h & ~FAM_HOLDERS) != gen)
			return false;
	} while (!cas_acqrel(&f->holders, h, h + 1));
	return true;
}

bool fam_leave(struct fam_sock *f)
{
	uint32_t h;
	do {
		h = load_acquire(&f->holders);
		if ((h & FAM_HOLDERS) <= 1)
			return !(h & FAM_HOLDERS); /* it has been left, as the process ends */
	} while (!cas_acqrel(&f->holders, h, h - 1));
	return true;
}

bool fam_release(struct fam_sock *f)
{
	while (!fam_is_last(f)) /* who has let go for an exec meanwhile must see another generation */
		if (fam_leave(f))
			return false;
	store_relaxed(&f->flags, 0);
	sub_acqrel(&f->holders, 1u); /* from here on it is free: the flags are seen by who sees this */
	if (own)
		own->hdr->n_free++;
	return true;
}

bool fam_proc_alive(const struct arena *a, uint32_t nr)
{
	if (nr == a->proc_nr)
		return true; /* a process's own lock is not in its way */
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)nr, .l_len = 1};
	if (sys3(SYS_fcntl, a->fd, F_GETLK, &fl) < 0)
		return true; /* in doubt, wait */
	return fl.l_type != F_UNLCK;
}

void fam_fork_child(void)
{
	own = NULL;
	token_tid = 0;
	for (uint32_t i = 0; i < load_relaxed(&n_arenas); i++)
		arena_enter(&arenas[i]);
}
