/* SPDX-License-Identifier: BSD-2-Clause */
#include "leave.h"

#include "assoc.h"
#include "epset.h"
#include "handler.h"
#include "link.h"
#include "log.h"
#include "move.h"
#include "startup.h"
#include "switch.h"

_Atomic uint32_t leave_state;

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

void leave(bool seal, const char *cause)
{
	if (!leave_done()) {
		store_release(&leave_state, LEFT);
		switch_has_none();
		if (fdtab_len) {
			sock_each(go_down, NULL);
			forget_all();
		}
		log_line("this process stays in the kernel from now on, because %s", cause);
	}
	if (seal && !leave_sealed()) {
		handler_unguard();
		startup_end(true);
		store_release(&leave_state, LEFT_SEALED);
	}
}
