/* SPDX-License-Identifier: BSD-2-Clause */
#include "sigmain.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "assoc.h"
#include "atomic.h"
#include "filter.h"
#include "leave.h"
#include "log.h"
#include "sig.h"
#include "spin.h"
#include "sys.h"

#define N_SIG 65
#define LOOK_NS INT64_C(5000000)
#define WAIT_NS INT64_C(100000000)
#define STEP_NS 50000

/*
 * kill() says that we have sent it. What the first sender wrote is kept here; one signal of a kind at a time. Whoever moves `state` away from FREE or KEPT owns `info` until he moves it
 * again: acquire and release.
 */
enum { FREE, BUSY, KEPT };
static struct {
	_Atomic uint32_t state;
	siginfo_t info;
} kept[N_SIG];

/* The main thread does not want it: the next one on another thread is that one's; or each, until the main thread takes one. Relaxed: hints. */
enum { WANTED, NOT_NOW, UNWANTED };
static _Atomic uint8_t unwanted[N_SIG];
static _Atomic uint32_t reads;	      /* main_blocks() is at work */
static _Atomic uint32_t n_run[N_SIG]; /* handlers that have begun, on whatever thread */

static bool sent_to_process(int sig, const siginfo_t *info)
{
	if (info->si_code == SI_KERNEL)
		return sig == SIGALRM || sig == SIGHUP || sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGCONT ||
		       sig == SIGWINCH;
	return (info->si_code == SI_USER || info->si_code == SI_QUEUE) && sig != SIGPIPE && sig != SIGXFSZ && sig != SIGXCPU &&
	       sig != SIGCHLD;
}

static bool is_pending(int sig)
{
	uint64_t set = 0;
	sys2(SYS_rt_sigpending, &set, sizeof(set));
	return set >> (sig - 1) & 1;
}

/* By kill(): then there is nothing to keep. */
static bool is_from(long self, const siginfo_t *info)
{
	return info->si_code == SI_USER && info->si_pid == self;
}

/* The handler begins. Signals of a kind that are pending together become one: so what is kept is given up, whosever this is. */
static void as_sent(int sig, siginfo_t *info, long self)
{
	add_relaxed(&n_run[sig], 1u);
	if (load_relaxed(&kept[sig].state) != KEPT || !cas_acquire(&kept[sig].state, (uint32_t)KEPT, (uint32_t)BUSY))
		return;
	if (is_from(self, info))
		memcpy(info, &kept[sig].info, sizeof(*info));
	store_release(&kept[sig].state, (uint32_t)FREE);
}

static bool send_again(int sig, const siginfo_t *info, long self)
{
	if (!is_from(self, info)) {
		if (!cas_acquire(&kept[sig].state, (uint32_t)FREE, (uint32_t)BUSY))
			return false;
		memcpy(&kept[sig].info, info, sizeof(*info));
		store_release(&kept[sig].state, (uint32_t)KEPT);
	}
	return sys2(SYS_kill, self, sig) == 0; /* to ourselves: nothing forbids it */
}

/* The main thread's mask, and is it there? By a descriptor that lives for this call only; the text is not on the stack, which may be a handler's own. */
static bool main_blocks(int sig, long self)
{
	static char text[4096];
	char path[64];
	if (xchg_acqrel(&reads, 1u))
		return false; /* another thread does: the next time */
	fmt_buf(path, sizeof(path), "/proc/self/task/%d/status", (int)self);
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? 0 : sys3(SYS_read, fd, text, sizeof(text) - 1);
	if (fd >= 0)
		sys1(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	const char *state = strstr(text, "\nState:\t"), *mask = strstr(text, "\nSigBlk:\t");
	bool is = !state || !mask || state[8] == 'Z' || state[8] == 'X' || strtoull(mask + 9, NULL, 16) >> (sig - 1) & 1;
	store_release(&reads, 0);
	return is;
}

/* Also if we have blocked it there meanwhile. */
static bool main_wants(int sig, long self)
{
	uint32_t ours = guard_of_main();
	return ours & 1 || !main_blocks(sig, self) || guard_of_main() != ours;
}

/* Sent once more, to whoever takes it. If nobody does it comes to us when we return, and is ours. `run`: n_run before it was sent. */
static void leave_to_others(int sig, void *context, long self, uint32_t run)
{
	struct timespec step = {0, STEP_NS};
	int64_t begin = now_ns(), looked = begin;
	sig_passed(context);
	for (; is_pending(sig) && load_relaxed(&n_run[sig]) == run; sys2(SYS_nanosleep, &step, NULL)) {
		int64_t now = now_ns();
		if (now - looked < LOOK_NS)
			continue;
		looked = now;
		if (!main_wants(sig, self)) {
			store_relaxed(&unwanted[sig], UNWANTED);
			return;
		}
		if (now - begin > WAIT_NS) {
			store_relaxed(&unwanted[sig], NOT_NOW);
			return;
		}
	}
}

bool sigmain_passes(int sig, siginfo_t *info, void *context, int flags)
{
	if (!sent_to_process(sig, info) || leave_done())
		return false;
	long self = sys0(SYS_getpid);
	bool is_main = self == sys0(SYS_gettid);
	uint32_t run = load_relaxed(&n_run[sig]);
	/* Not with SA_NODEFER: it would come to us at once. Nor with SA_RESETHAND: the handler is gone. */
	if (!is_main && load_relaxed(&unwanted[sig]) == WANTED && !(flags & (SA_NODEFER | (int)SA_RESETHAND)) &&
		!filter_may_forbid() && send_again(sig, info, self)) {
		leave_to_others(sig, context, self, run);
		return true;
	}
	if (load_relaxed(&unwanted[sig]) == (is_main ? UNWANTED : NOT_NOW))
		store_relaxed(&unwanted[sig], WANTED);
	as_sent(sig, info, self);
	return false;
}

void sigmain_fork_child(void)
{
	memset(kept, 0, sizeof(kept));
	memset(unwanted, 0, sizeof(unwanted));
	store_relaxed(&reads, 0);
}
