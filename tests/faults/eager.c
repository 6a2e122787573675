/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * eager.c - shunt without its patience: linked into a library for tests alone (make progs: $(B)/eager/libshunt.so) in front of link_try(). A connection gets
 * its channel at its first call, however few octets it will carry, and a client waits a while for the rendezvous and for the server's consent: so
 * connections that carry one message each, as in most tests of other projects, go through memory too.
 */
#include "link.h"

#include <time.h>

#include "assoc.h"
#include "sys.h"

#define TURNS 50 /* 10 ms in all */
#define TURN_NS 200000

bool __real_link_try(struct sock *s, size_t bytes);
bool __wrap_link_try(struct sock *s, size_t bytes);

/* A client's, for which somebody else has something to do: to accept, to answer the rendezvous, to link the channel on offer. */
static bool others_are_due(struct sock *s, bool linked)
{
	if (!s->endpoint || !(sock_flags(s) & FAM_CONNECTED))
		return false;
	if (linked)
		return !load_acquire(&s->chan.peer->consent);
	uint32_t why = load_relaxed(&s->f->tx_why);
	return why == WHY_NEW || why == WHY_REFUSED;
}

bool __wrap_link_try(struct sock *s, size_t bytes)
{
	static const struct timespec turn = {.tv_nsec = TURN_NS};
	(void)bytes;
	bool linked = __real_link_try(s, SIZE_MAX);
	for (int i = 0; i < TURNS && others_are_due(s, linked); i++) {
		sys2(SYS_nanosleep, &turn, 0);
		linked = linked || __real_link_try(s, SIZE_MAX);
	}
	return linked;
}
