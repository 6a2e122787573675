/* SPDX-License-Identifier: BSD-2-Clause */
/* svcrun.c - when the service thread is there: it starts with the first need, stands aside while the program does what a second thread would change, and is another one in a child of fork. */
#include "svc_int.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "assoc.h"
#include "fault.h"
#include "leave.h"
#include "log.h"
#include "sig.h"
#include "switch.h"
#include "sys.h"
#include "token.h"

#define STACK_LEN (128 * 1024)	     /* small: it runs only our own code */
#define AGAIN_NS INT64_C(1000000000) /* between two attempts to start it */
#define AWAIT_NS INT64_C(1000000)    /* how often to look whether it could not be started */
#define PARK_NS INT64_C(2000000000)  /* how long to wait until it comes or leaves: a rendezvous takes half a second at most */

struct svc svc = {.ep = -1, .bell_fd = -1, .ring_fd = -1};

int svc_ring_fd(void)
{
	return svc.ring_fd;
}

bool svc_open(void)
{
	if (svc.ep >= 0)
		return true;
	if (!fdtab_init())
		return false;
	long ep = sys1(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (ep < 0)
		return false;
	memset(svc.bell_name, 0, sizeof(svc.bell_name));
	int fd = bell_open(svc.bell_name);
	if (fd < 0) {
		sys1(SYS_close, ep);
		return false;
	}
	if (svc.ring_fd < 0)
		svc.ring_fd = fdtab_hide((int)sys3(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	svc.ep = fdtab_hide((int)ep);
	svc.bell_fd = fd;
	svc_watch_raw(EPOLL_CTL_ADD, svc.bell_fd, EPOLLIN, DATA_BELL);
	return true;
}

static bool may_start(void)
{
	if (leave_done() || load_acquire(&svc.running) != NONE || !svc_open())
		return false;
	int64_t failed = load_relaxed(&svc.failed_ns);
	return !failed || now_ns() >= failed + AGAIN_NS;
}

static bool due; /* svc_int.h; under g_lock */

/* Under g_lock, which nobody else has taken meanwhile when svc_begins() is called. */
static void reserve(void)
{
	store_relaxed(&svc.tid, 0u);
	store_release(&svc.running, STARTS);
	due = true;
	switch_has_bell(svc.ring_fd, svc.bell_name);
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++)
		if (load_acquire(&assoc_tab[i]->live) && !assoc_tab[i]->svc_bell)
			svc_add_assoc(assoc_tab[i]);
}

/* A handler of the program's would wait for what it has interrupted. The thread inherits the mask: all signals but the C library's own two. */
void svc_begins(uint64_t *mask)
{
	uint64_t all = SIG_HOLDABLE;
	due = false;
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, mask, 8);
}

/* The end of STARTS. */
static void started(uint32_t state)
{
	store_release(&svc.running, state);
	futex_wake(&svc.running, INT_MAX);
}

void svc_create(uint64_t mask)
{
	pthread_attr_t at;
	pthread_t t;
	FAULT_POINT("svc: lock let go, before thread");
	pthread_attr_init(&at);
	pthread_attr_setstacksize(&at, STACK_LEN);
	int e = pthread_create(&t, &at, svc_main, NULL);
	pthread_attr_destroy(&at);
	if (e) /* a program with much thread-local storage needs more */
		e = pthread_create(&t, NULL, svc_main, NULL);
	if (e) {
		log_line("no service thread: error %d", e);
		switch_has_none();
		store_relaxed(&token_keeps, false); /* there may have been one, until it was parked */
		store_relaxed(&svc.failed_ns, now_ns());
		started(NONE);
	} else {
		pthread_detach(t);
		store_relaxed(&token_keeps, true);
		store_relaxed(&svc.failed_ns, 0);
		started(RUNS);
	}
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
}

void svc_start(void)
{
	if (!may_start())
		return;
	if (load_acquire(&svc.parker))
		svc.wanted = true;
	else
		reserve();
}

bool svc_runs(void)
{
	return load_acquire(&svc.running) == RUNS;
}

bool svc_starts(void)
{
	return load_acquire(&svc.running) == STARTS;
}

bool svc_may_run(void)
{
	return load_acquire(&svc.running) != NONE;
}

bool svc_can(enum why *why)
{
	svc_start();
	*why = WHY_NONE;
	uint32_t now = load_acquire(&svc.running);
	if (svc.ring_fd < 0) /* without descriptors of our own we could neither ring nor hear of the end */
		*why = WHY_FDS;
	else if (now == NONE && load_relaxed(&svc.failed_ns))
		*why = WHY_THREAD;
	return *why == WHY_NONE && now != STARTS;
}

bool svc_comes(const struct guard *g)
{
	return g->outer && due;
}

void svc_ensure(void)
{
	struct guard g;
	store_relaxed(&token_refused, false);
	if (svc_may_run())
		return;
	guard_enter(&g);
	svc_start();
	guard_leave(&g);
}

void svc_await(void)
{
	int64_t end = now_ns() + PARK_NS, left;
	while (svc_may_run() && !load_acquire(&svc.tid) && (left = end - now_ns()) > 0)
		futex_wait(&svc.tid, 0, left < AWAIT_NS ? left : AWAIT_NS); /* nobody wakes us if it could not be started */
}

void svc_nudge(void)
{
	if (svc_may_run())
		bell_ring(svc.ring_fd, svc.bell_name);
}

void svc_kick(void)
{
	svc_ensure();
	bell_ring(svc.ring_fd, svc.bell_name);
}

/* ---- what other threads have it do: go, or make a system call */

#define PARK_WAIT 0x80000000u
enum { NOTHING, GO_ASKED, GO_DONE, CALL_ASKED, CALL_BEGUN, CALL_DONE };

static struct {
	long nr, arg[5], result;
} call;

static void make_call(void)
{
	if (!cas_acqrel(&svc.told, (uint32_t)CALL_ASKED, (uint32_t)CALL_BEGUN))
		return;
	call.result = sys5(call.nr, call.arg[0], call.arg[1], call.arg[2], call.arg[3], call.arg[4]);
	store_release(&svc.told, CALL_DONE);
	futex_wake(&svc.told, 1);
}

bool svc_is_told(void)
{
	if (load_relaxed(&svc.told) == CALL_ASKED)
		make_call();
	return load_relaxed(&svc.told) == GO_ASKED;
}

bool svc_goes(void)
{
	if (!svc_is_told() || !cas_acqrel(&svc.told, (uint32_t)GO_ASKED, (uint32_t)GO_DONE))
		return false;
	futex_wake(&svc.told, 1);
	return true;
}

static void park_lock(void)
{
	uint32_t me = token_tid ? token_tid : token_ask_tid(), cur;
	while (!cas_acquire(&svc.parker, 0u, me)) {
		cur = load_relaxed(&svc.parker);
		if (cur && (cur & PARK_WAIT || cas_acquire(&svc.parker, cur, cur | PARK_WAIT)))
			futex_wait(&svc.parker, cur | PARK_WAIT, -1);
	}
}

/* false: whoever starts it has not come to an end with that. */
static bool await_started(void)
{
	int64_t end = now_ns() + PARK_NS, left;
	while (svc_starts()) {
		if ((left = end - now_ns()) <= 0)
			return false;
		futex_wait(&svc.running, STARTS, left);
	}
	return true;
}

/* Nobody else tells it anything, or starts it. false: it is just being started, and has been for so long that it must be taken for busy. */
static bool hold(struct park *p)
{
	uint64_t all = SIG_HOLDABLE; /* a thread that is started before svc_unpark() has ended inherits it */
	struct guard g;
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &p->mask, 8);
	park_lock();
	guard_enter(&g); /* who comes to svc_start() from here on sees the parker */
	svc.wanted = false;
	guard_leave(&g);
	bool ok = await_started();
	p->restart = svc_runs();
	return ok;
}

/* false: it is busy, perhaps for what this very thread was doing when a signal took it here, and has been told nothing. */
static bool tell(uint32_t what, uint32_t done)
{
	int64_t end = now_ns() + PARK_NS, left;
	uint32_t now;
	store_release(&svc.told, what);
	bell_ring(svc.ring_fd, svc.bell_name);
	while ((now = load_acquire(&svc.told)) != done) {
		if (now != what) /* it is at it */
			futex_wait(&svc.told, now, AWAIT_NS);
		else if ((left = end - now_ns()) > 0)
			futex_wait(&svc.told, what, left);
		else if (cas_acqrel(&svc.told, what, (uint32_t)NOTHING))
			return false;
	}
	return true;
}

/* Having said that it goes, it is gone once the kernel does not know its number any more: only then does the kernel count one thread less. */
static void await_end(void)
{
	struct timespec nap = {0, 20000};
	while (sys3(SYS_tgkill, sys0(SYS_getpid), load_relaxed(&svc.tid), 0) == 0)
		sys2(SYS_nanosleep, &nap, 0);
	store_release(&svc.told, NOTHING);
	store_release(&svc.running, NONE);
}

void svc_park(struct park *p)
{
	if (hold(p) && p->restart && tell(GO_ASKED, GO_DONE))
		await_end();
}

void svc_unpark(struct park *p)
{
	struct guard g;
	guard_enter(&g);
	if ((p->restart || svc.wanted) && may_start())
		reserve();
	if (xchg_acqrel(&svc.parker, 0u) &
		PARK_WAIT) /* now, not before: the next one must find that it starts, and wait for it */
		futex_wake(&svc.parker, 1);
	guard_leave(&g);
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &p->mask, 0, 8);
}

void svc_bring_up(void)
{
	struct park p;
	hold(&p);
	p.restart = true;
	svc_unpark(&p);
	svc_await(); /* in the middle of its start the limit would hit it */
}

bool svc_makes(long nr, const long arg[5])
{
	struct park p;
	bool ok = hold(&p);
	if (p.restart) {
		call.nr = nr;
		memcpy(call.arg, arg, sizeof(call.arg));
		ok = tell(CALL_ASKED, CALL_DONE) && call.result >= 0;
		store_release(&svc.told, NOTHING);
	}
	p.restart = false;
	svc_unpark(&p);
	return ok;
}

/* ---- fork */

void svc_fork_child(void)
{
	int ep = svc.ep, bell = svc.bell_fd;
	store_release(&svc.running, NONE);
	due = false;
	store_relaxed(&token_keeps, false); /* nor is there a bias: fork has ended them */
	store_relaxed(&svc.failed_ns, 0);
	switch_fork_child();
	store_release(&svc.parker, 0);
	store_release(&svc.told, NOTHING);
	store_release(&svc_stirred, 0);
	svc.ep = svc.bell_fd = -1;
	fdtab_close_hidden(ep);
	fdtab_close_hidden(bell);
	for (uint32_t i = 0; i < load_acquire(&n_assoc); i++) {
		assoc_tab[i]->svc_bell = 0;
		if (assoc_tab[i]->life_fd > 0)
			fdtab_close_hidden(assoc_tab[i]->life_fd);
		assoc_tab[i]->life_fd = 0;
	}
	for (uint32_t i = 0;; i++) {
		struct server *v = server_at(i);
		if (!v)
			break;
		v->watched = false;
	}
}
