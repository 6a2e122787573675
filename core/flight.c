/* SPDX-License-Identifier: BSD-2-Clause */
#include "flight.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "atomic.h"
#include "sysv.h"

#define N_FLIGHT 16
#define MAKING UINT64_C(0x80000000)	   /* in place of the id: being made */
#define MADE_LIMIT_NS UINT64_C(1000000000) /* some system calls, on a busy machine; one that is later removes its own */
#define NAP_NS 50000

/* Words of both kinds: pid << 32 | low. A word of another pid was inherited, and means the same as 0. */
static _Atomic uint64_t
	flights[N_FLIGHT];	/* low: MAKING, or id + 1 of the semaphores; whoever takes those out removes the set */
static _Atomic uint64_t closed; /* low: how often */

static uint64_t pid_word(void)
{
	return (uint64_t)sys0(SYS_getpid) << 32;
}

static bool of_pid(uint64_t word, uint64_t pid)
{
	return (word ^ pid) >> 32 == 0;
}

bool flight_is_closed(void)
{
	uint64_t word = load_acquire(&closed);

	return (uint32_t)word && of_pid(word, pid_word());
}

static int slot_take(uint64_t pid)
{
	for (int i = 0; i < N_FLIGHT; i++) {
		uint64_t old = load_relaxed(&flights[i]);

		if ((old == 0 || !of_pid(old, pid)) && cas_acqrel(&flights[i], old, pid | MAKING))
			return i;
	}
	return -1;
}

/* All but those that a fault of our own raises, and the C library's own two. */
static void block_signals(uint64_t *old)
{
	static const int not [] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, 32, 33};
	uint64_t all = UINT64_MAX;

	for (unsigned i = 0; i < sizeof(not ) / sizeof(not [0]); i++)
		all &= ~(UINT64_C(1) << (not [i] - 1));
	*old = UINT64_MAX;
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &all, old, sizeof(all));
}

static void restore_signals(uint64_t old)
{
	if (old != UINT64_MAX)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
}

int flight_begin(struct flight *f)
{
	f->semid = -1;
	block_signals(&f->mask);
	f->slot = slot_take(pid_word());
	fence_storeload(); /* faces flight_close: either it sees our entry, or we see that it is closed */
	if (!flight_is_closed())
		return 0;
	flight_made(f, -1);
	return -ECANCELED;
}

int flight_made(struct flight *f, int semid)
{
	uint64_t pid = pid_word();

	f->semid = semid;
	if (f->slot >= 0)
		store_release(&flights[f->slot], semid < 0 ? 0 : pid | (uint32_t)(semid + 1));
	if (semid < 0)
		f->slot = -1;
	restore_signals(f->mask);
	fence_storeload();
	if (semid < 0 || !flight_is_closed())
		return 0;
	flight_end(f); /* who closed has given us up, or (a full table) never saw us */
	return -ECANCELED;
}

void flight_end(struct flight *f)
{
	if (f->semid >= 0 && (f->slot < 0 || cas_acqrel(&flights[f->slot], pid_word() | (uint32_t)(f->semid + 1), UINT64_C(0))))
		sysv_sem_rm(f->semid);
	f->semid = f->slot = -1;
}

static void close_one(_Atomic uint64_t *flight, uint64_t pid, uint64_t until_ns)
{
	static const struct timespec nap = {.tv_nsec = NAP_NS};

	for (;;) {
		uint64_t word = load_acquire(flight);

		if (word == 0 || !of_pid(word, pid))
			return;
		if ((uint32_t)word != MAKING) {
			if (cas_acqrel(flight, word, UINT64_C(0)))
				sysv_sem_rm((int)((uint32_t)word - 1));
			return;
		}
		if (sys_now_ns() >= until_ns)
			return;
		sys2(SYS_nanosleep, &nap, 0);
	}
}

void flight_close(void)
{
	uint64_t pid = pid_word(), old, until_ns;

	do
		old = load_relaxed(&closed);
	while (!cas_acqrel(&closed, old, of_pid(old, pid) ? old + 1 : pid | 1));
	fence_storeload(); /* faces flight_begin */
	until_ns = sys_now_ns() + MADE_LIMIT_NS;
	for (int i = 0; i < N_FLIGHT; i++)
		close_one(&flights[i], pid, until_ns);
}

void flight_reopen(void)
{
	uint64_t pid = pid_word(), old;

	do {
		old = load_relaxed(&closed);
		if (!of_pid(old, pid) || !(uint32_t)old)
			return;
	} while (!cas_acqrel(&closed, old, old - 1));
}

void flight_fork_child(void)
{
	store_relaxed(&closed, 0);
	for (int i = 0; i < N_FLIGHT; i++)
		store_relaxed(&flights[i], 0);
}
