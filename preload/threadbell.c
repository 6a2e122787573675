/* SPDX-License-Identifier: BSD-2-Clause */
#include "threadbell.h"

#include <pthread.h>
#include <string.h>

#include "assoc.h"
#include "bell.h"
#include "leave.h"

#define N_SLOT 64 /* associations in which one thread keeps its bell; beyond, it sleeps in naps of a millisecond */

struct thread_bell {
	int fd; /* hidden; 0: none */
	uint8_t name[BELL_NAME_LEN];
	uint32_t n_slot;
	struct slot {
		struct assoc *a;
		uint64_t nonce;
		uint32_t idx;
	} slots[N_SLOT];
};
static __thread struct thread_bell bell __attribute__((tls_model("initial-exec")));
static pthread_key_t bell_key;

/* An association's place may have been taken by another. */
static bool is_live(const struct slot *l)
{
	return load_acquire(&l->a->live) && l->a->seg.nonce == l->nonce;
}

static void bell_free(void *arg)
{
	struct guard g;
	struct thread_bell *b = arg;
	if (leave_sealed())
		return;
	guard_enter(&g);
	for (uint32_t i = 0; i < b->n_slot; i++)
		if (is_live(&b->slots[i]))
			seg_bell_free(&b->slots[i].a->seg, b->slots[i].a->side, b->slots[i].idx);
	fdtab_close_hidden(b->fd);
	memset(b, 0, sizeof(*b));
	guard_leave(&g);
}

void threadbell_init(void)
{
	pthread_key_create(&bell_key, bell_free);
}

/* The slots in shared memory are the parent's thread's. */
void threadbell_fork_child(void)
{
	if (bell.fd)
		fdtab_close_hidden(bell.fd);
	memset(&bell, 0, sizeof(bell));
}

int threadbell_fd(void)
{
	return bell.fd;
}

int threadbell_slot(struct assoc *a)
{
	struct guard g;
	int r = -1;
	for (uint32_t i = 0; i < bell.n_slot; i++)
		if (bell.slots[i].a == a && bell.slots[i].nonce == a->seg.nonce)
			return (int)bell.slots[i].idx;
	guard_enter(&g);
	if (!bell.fd) {
		int fd = bell_open(bell.name);
		if (fd >= 0) {
			bell.fd = fd;
			pthread_setspecific(bell_key, &bell);
		}
	}
	uint32_t n = bell.n_slot;
	for (uint32_t i = 0; i < bell.n_slot; i++)
		if (!is_live(&bell.slots[i]))
			n = i;
	/* A full table: none gives way, since this very call may have armed it. The caller naps then. */
	if (n < N_SLOT && bell.fd && (r = seg_bell_alloc(&a->seg, a->side, bell.name)) >= 0) {
		bell.slots[n] = (struct slot){a, a->seg.nonce, (uint32_t)r};
		if (n == bell.n_slot)
			bell.n_slot++;
	}
	guard_leave(&g);
	return r;
}

void threadbell_hush(void)
{
	for (uint32_t i = 0; i < bell.n_slot; i++) {
		const struct slot *l = &bell.slots[i];
		if (is_live(l))
			store_relaxed(&seg_bell(&l->a->seg, l->a->side, l->idx)->sleeping, 0);
	}
	if (bell.fd)
		bell_drain(bell.fd);
}
