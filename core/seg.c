/* SPDX-License-Identifier: BSD-2-Clause */
#include "seg.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "atomic.h"
#include "diag.h"
#include "fault.h"
#include "sysv.h"

/*
 * Ranges that no segment uses now. Each holds private zero pages, so it stays readable and writable for whoever still has a
 * stale pointer, and nobody else's mapping can come to lie there. A slot is taken and given with one atomic operation: no lock
 * that a fork could freeze. Untouched pages of the table cost nothing.
 */
#define N_KEPT 4096
static _Atomic uintptr_t kept[N_KEPT];
static _Atomic uint32_t n_kept; /* a hint: 0 saves the scan; may lag, never loses a range */
#define SEG_MAP_LEN ((SM_SEG_LEN + 4095) & ~UINT64_C(4095))

static void *range_take(void)
{
	if (load_relaxed(&n_kept) == 0)
		return NULL;
	for (unsigned i = 0; i < N_KEPT; i++) {
		uintptr_t r;

		if (load_relaxed(&kept[i]) == 0)
			continue;
		r = xchg_acqrel(&kept[i], 0);
		if (r) {
			add_relaxed(&n_kept, (uint32_t)-1);
			return (void *)r;
		}
	}
	return NULL;
}

/* More than N_KEPT at once: the range is then never used again, but it stays mapped, which is what safety needs. */
static void range_keep(void *base)
{
	for (unsigned i = 0; i < N_KEPT; i++)
		if (load_relaxed(&kept[i]) == 0 && cas_acqrel(&kept[i], (uintptr_t)0, (uintptr_t)base)) {
			add_relaxed(&n_kept, 1);
			return;
		}
}

/* Shared memory out, zero pages in, in one step of the kernel: at no moment is there a hole. */
static int range_blank(void *base)
{
	long p = sys6(SYS_mmap, base, SEG_MAP_LEN, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);

	if (sys_is_err(p))
		return (int)p;
	sys3(SYS_madvise, base, SEG_MAP_LEN, MADV_DONTDUMP);
	return 0;
}

static void range_release(void *base)
{
	/* Without memory for the exchange (strict overcommit) the segment stays attached: a leak is better than a fault. */
	if (range_blank(base) == 0)
		range_keep(base);
}

/*
 * A kept range that a failed call may have turned into a hole, where somebody else may map at any moment: fill it only if it is
 * free (or whole), and forget it if not.
 */
static void range_mend(void *range)
{
	long p = sys6(SYS_mmap, range, SEG_MAP_LEN, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);

	if (p == SYS_ARG(range))
		range_keep(range);
	else if (!sys_is_err(p)) /* a kernel before 4.17 takes the address for a hint */
		sys2(SYS_munmap, p, SEG_MAP_LEN);
}

/* Attach a segment of our own making, whose length we know, straight at a kept range. */
static int map_own(int shmid, struct sm_hdr **out)
{
	void *range = range_take();
	long base = sys3(SYS_shmat, shmid, range, range ? SHM_REMAP : 0);

	if (sys_is_err(base)) {
		if (range)
			range_mend(range);
		return (int)base;
	}
	*out = (struct sm_hdr *)base;
	return 0;
}

/* Move a segment that is attached and verified to a kept range, if there is one; where it is will do otherwise. */
static struct sm_hdr *map_settle(struct sm_hdr *base)
{
	void *range = range_take();
	long p;

	if (!range)
		return base;
	p = sys5(SYS_mremap, base, SEG_MAP_LEN, SEG_MAP_LEN, MREMAP_MAYMOVE | MREMAP_FIXED, range);
	if (p == SYS_ARG(range))
		return range;
	range_mend(range);
	return base;
}

static void seg_protect(struct sm_hdr *base)
{
	sys3(SYS_madvise, base, SEG_MAP_LEN, MADV_DONTDUMP); /* 128 MiB in every core file would help nobody */
}

static int seg_give(int shmid, uint32_t server_uid)
{
	struct shmid_ds ds;
	int err = sysv_shm_stat(shmid, &ds);

	if (err)
		return err;
	ds.shm_perm.uid = server_uid;
	ds.shm_perm.mode = 0600;
	return (int)sys3(SYS_shmctl, shmid, IPC_SET, &ds);
}

static void seg_init(struct seg *s)
{
	struct sm_hdr *h = s->hdr;

	h->version = SM_VERSION;
	h->hdr_len = sizeof(*h);
	h->seg_len = SM_SEG_LEN;
	h->n_chan = SM_N_CHAN;
	h->ring_len = SM_RING_LEN;
	h->n_bell = SM_N_BELL;
	h->chan_len = sizeof(struct sm_chan);
	h->nonce = s->nonce;
	h->client_uid = s->cuid;
	h->client_pid = (uint32_t)sys0(SYS_getpid);
	FAULT_POINT("seg: header, before magic");
	h->magic = SM_MAGIC;
}

int seg_create(struct seg *s, uint32_t server_uid)
{
	uint64_t nonce;
	long id;
	int err = sys_random(&nonce, sizeof(nonce));

	s->hdr = NULL;
	if (err)
		return err;
	id = sys3(SYS_shmget, IPC_PRIVATE, SM_SEG_LEN, IPC_CREAT | IPC_EXCL | 0600 | SHM_NORESERVE);
	if (id < 0)
		return (int)id;
	FAULT_POINT("seg: made, before attached");
	err = map_own((int)id, &s->hdr);
	FAULT_POINT("seg: attached, before marked for removal");
	sysv_shm_rm((int)id);
	if (err)
		return err;
	s->shmid = (int)id;
	s->nonce = nonce | 1; /* 0 means "any" to seg_attach */
	s->cuid = (uint32_t)sys0(SYS_geteuid);
	s->cgid = (uint32_t)sys0(SYS_getegid);
	s->peer = 0;
	seg_protect(s->hdr);
	FAULT_POINT("seg: marked for removal, before header");
	seg_init(s);
	FAULT_POINT("seg: header, before given");
	err = seg_give(s->shmid, server_uid);
	if (err)
		seg_detach(s);
	return err;
}

/* What the kernel says about the segment. 0, -EPERM, -EACCES (root may attach what is not meant for it), or the error of IPC_STAT. */
static int seg_check_stat(struct seg *s, int shmid)
{
	uint32_t euid = (uint32_t)sys0(SYS_geteuid);
	struct shmid_ds ds;
	int err = sysv_shm_stat(shmid, &ds);

	if (err)
		return err;
	if (ds.shm_segsz != SM_SEG_LEN || (ds.shm_perm.mode & 0177))
		return -EPERM;
	if (ds.shm_perm.uid != euid && ds.shm_perm.cuid != euid)
		return -EACCES;
	if (ds.shm_perm.cuid == SYS_UID_UNKNOWN)
		return -EPERM;
	s->cuid = ds.shm_perm.cuid;
	s->cgid = ds.shm_perm.cgid;
	s->peer = (uint32_t)ds.shm_cpid;
	return 0;
}

/* The header is the peer's: each field is read once. It decides only whether we go on; nothing is used from it but the nonce. */
static int seg_check_hdr(const struct sm_hdr *hdr, uint64_t want, uint64_t *nonce)
{
	const volatile struct sm_hdr *h = hdr;

	if (h->magic != SM_MAGIC || h->version != SM_VERSION || h->hdr_len != sizeof(*hdr) || h->seg_len != SM_SEG_LEN)
		return -EPERM;
	if (h->n_chan != SM_N_CHAN || h->ring_len != SM_RING_LEN || h->n_bell != SM_N_BELL ||
		h->chan_len != sizeof(struct sm_chan))
		return -EPERM;
	*nonce = h->nonce;
	return *nonce && (!want || *nonce == want) ? 0 : -EPERM;
}

int seg_attach(struct seg *s, int shmid, uint64_t nonce)
{
	long base = sys3(SYS_shmat, shmid, 0, 0);
	int err;

	s->hdr = NULL;
	if (sys_is_err(base))
		return (int)base;
	/* Nothing was known of it before it was attached: it may have any length, so it gets to a kept range only after the checks. */
	FAULT_POINT("seg: attached, before checked");
	err = seg_check_stat(s, shmid);
	if (!err)
		err = sysv_shm_is_huge((void *)base) ? -EPERM : 0;
	if (!err)
		err = seg_check_hdr((struct sm_hdr *)base, nonce, &s->nonce);
	if (err) {
		sys1(SYS_shmdt, base);
		return err;
	}
	FAULT_POINT("seg: checked, before moved");
	s->shmid = shmid;
	s->hdr = map_settle((struct sm_hdr *)base);
	seg_protect(s->hdr);
	return 0;
}

void seg_detach(struct seg *s)
{
	if (s->hdr)
		range_release(s->hdr);
	s->hdr = NULL;
}

void seg_note_peer(struct seg *s)
{
	struct shmid_ds ds;

	s->peer = sysv_shm_stat(s->shmid, &ds) ? 0 : (uint32_t)ds.shm_lpid;
}

int seg_peers(const struct seg *s)
{
	struct shmid_ds ds;
	int err = sysv_shm_stat(s->shmid, &ds);

	return err ? err : (int)ds.shm_nattch;
}

/*
 * Bitmaps. The peer can write them too; then two of its own connections share a channel and break each other, no more: an index
 * that comes from here is always in range.
 */
static int bit_take(_Atomic uint64_t *word, uint64_t usable)
{
	uint64_t free_bits;

	while ((free_bits = ~load_relaxed(word) & usable) != 0) {
		uint64_t bit = free_bits & -free_bits;

		if (!(or_acqrel(word, bit) & bit))
			return __builtin_ctzll(bit);
	}
	return -1;
}

int seg_chan_alloc(const struct seg *s)
{
	for (int w = 0; w < (int)(SM_N_CHAN / 64); w++) {
		int bit = bit_take(&s->hdr->used[w], UINT64_MAX);

		if (bit >= 0) {
			FAULT_POINT("chan: taken, before zeroed");
			memset(seg_chan(s, (uint32_t)(w * 64 + bit)), 0, sizeof(struct sm_chan));
			return w * 64 + bit;
		}
	}
	return -ENOSPC;
}

void seg_chan_offer(const struct seg *s, uint32_t i, uint16_t proto, const struct diag_addr *client,
	const struct diag_addr *server, uint64_t cookie)
{
	struct sm_chan *c = seg_chan(s, i);

	FAULT_POINT("chan: zeroed, before identity");
	c->client_cookie = cookie;
	c->family = client->family;
	c->proto = proto;
	memcpy(c->client_addr, client->addr, sizeof(c->client_addr));
	memcpy(c->server_addr, server->addr, sizeof(c->server_addr));
	c->client_port = client->port;
	c->server_port = server->port;
	FAULT_POINT("chan: identity, before state");
	store_release(&c->state, SM_CHAN_OFFERED);
	FAULT_POINT("chan: state, before offered");
	or_acqrel(&s->hdr->offered[i / 64], UINT64_C(1) << (i % 64));
	FAULT_POINT("chan: offered, before counted");
	add_acqrel(&s->hdr->offer_seq, 1u);
}

void seg_chan_leave(const struct seg *s, uint32_t i, int side)
{
	struct sm_chan *c = seg_chan(s, i);
	uint32_t mine = 1u << side, gone = or_acqrel(&c->gone, mine);

	FAULT_POINT("chan: gone, before given back");
	if ((side == SM_CLIENT && cas_acqrel(&c->state, (uint32_t)SM_CHAN_OFFERED, (uint32_t)SM_CHAN_FREE)) ||
		(gone | mine) == 3)
		seg_chan_free(s, i);
}

void seg_chan_free(const struct seg *s, uint32_t i)
{
	uint64_t bit = UINT64_C(1) << (i % 64);

	and_acqrel(&s->hdr->offered[i / 64], ~bit);
	FAULT_POINT("chan: off offer, before free");
	store_release(&seg_chan(s, i)->state, SM_CHAN_FREE);
	FAULT_POINT("chan: free, before unused");
	and_acqrel(&s->hdr->used[i / 64], ~bit);
}

int seg_bell_alloc(const struct seg *s, int side, const uint8_t name[16])
{
	int i = bit_take(&s->hdr->bell_used[side], (UINT64_C(1) << SM_N_BELL) - 1);
	struct sm_bell *b;

	if (i < 0)
		return -ENOSPC;
	b = seg_bell(s, side, (uint32_t)i);
	store_relaxed(&b->sleeping, 0);
	store_relaxed(&b->any, 0);
	for (unsigned w = 0; w < SM_N_CHAN / 64; w++)
		store_relaxed(&b->ready[w], 0);
	FAULT_POINT("bell: slot taken, before name");
	memcpy(b->name, name, sizeof(b->name));
	return i;
}

void seg_bell_free(const struct seg *s, int side, uint32_t i)
{
	store_release(&seg_bell(s, side, i)->sleeping, 0);
	FAULT_POINT("bell: silent, before slot given back");
	and_acqrel(&s->hdr->bell_used[side], ~(UINT64_C(1) << i));
}
