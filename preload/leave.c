/* SPDX-License-Identifier: BSD-2-Clause */
#include "leave.h"

#include <limits.h>

#include "assoc.h"
#include "bell.h"
#include "epset.h"
#include "handler.h"
#include "link.h"
#include "log.h"
#include "move.h"
#include "sig.h"
#include "startup.h"
#include "switch.h"

#define NAP_NS INT64_C(20000000)

_Atomic uint32_t leave_state;
static _Atomic uint32_t has_leaver; /* some thread does it */

static void go_down(struct sock *s, void *arg)
{
	uint32_t pinned = sock_flags(s) & (FAM_PIN_RX | FAM_PIN_TX);
	(void)arg;
	if (sock_flags(s) & (FAM_CONNECTED | FAM_DGRAM) && pinned != (FAM_PIN_RX | FAM_PIN_TX))
		move_pin(s, WHY_PROCESS);
}

static void unlink_sock(struct sock *s, void *arg)
{
	(void)arg;
	link_leave(s);
}

/* Who is in the middle of a call finds that the number is not the sock's any more, and makes the kernel's call (turn, send_linked). */
static void forget_all(void)
{
	struct guard g;
	guard_enter(&g);
	server_end_all();
	epset_leave();
	for (int fd = 0; fd < (int)fdtab_len; fd++)
		if (fd_any_sock(fd))
			fdtab_set(fd, 0);
	sock_each(unlink_sock, NULL);
	guard_leave(&g);
}

static void leave_all(const char *cause)
{
	switch_has_none();
	if (fdtab_len) {
		sock_each(go_down, NULL);
		forget_all();
	}
	log_line("this process stays in the kernel from now on, because %s", cause);
	store_release(&leave_state, LEFT);
	futex_wake(&leave_state, INT_MAX);
}

/*
 * What this thread is about to do must not meet a socket that is still in memory. Signals wait, as they do while the kernel itself makes such a change: a handler that came back here would wait for
 * its own thread, and one that leaves by siglongjmp would have all others wait for ever.
 */
static void leave_or_await(const char *cause)
{
	struct sig_wait held = {0};
	sig_hold(&held);
	cas_acqrel(&leave_state, 0u, (uint32_t)LEAVING);
	while (!leave_over())
		if (!xchg_acqrel(&has_leaver, 1u))
			leave_all(cause);
		else
			futex_wait(&leave_state, LEAVING, NAP_NS);
	sig_release(&held);
}

void leave_fork_child(void)
{
	store_relaxed(&has_leaver, 0u);
}

void leave(bool seal, const char *cause)
{
	if (!leave_over())
		leave_or_await(cause);
	if (seal && !leave_sealed()) {
		handler_unguard();
		startup_end(true);
		store_release(&leave_state, LEFT_SEALED);
	}
}
