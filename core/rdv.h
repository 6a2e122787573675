/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdv.h - the rendezvous: how a client's segment becomes an association with a published endpoint.
 *
 * Client: seg_create, a semaphore of its own given to the server (IPC_SET), the endpoint's lock semaphore (SEM_UNDO), the message, the
 * endpoint's message semaphore and bell; then it waits on its own semaphore. Server: claims the message semaphore (IPC_NOWAIT: one
 * process gets it), attaches and checks, lists the segment in the area, sets hdr.server_attached, answers on the client's semaphore.
 * The client removes its semaphore itself. Every wait is bounded: a jammed or dead party costs the upgrade, never more.
 */
#ifndef SHUNT_RDV_H
#define SHUNT_RDV_H

#include <stdbool.h>
#include <stdint.h>

#include "ept.h"
#include "seg.h"

/*
 * Make an association with endpoint `r`, whose acceptor runs as `server_uid` (the kernel's word on the accepted socket: diag_conn).
 * `serve` (may be NULL) is called at least every 2 ms while waiting: client and server may be the same process, even the same
 * thread. 0 and *out attached; -ETIMEDOUT (nobody answered within timeout_ms), -EIDRM (endpoint gone), -EPERM (refused), -ECANCELED (the
 * process is ending, see flight.h), -errno.
 */
int rdv_call(
	struct seg *out, const struct ept_ref *r, uint32_t server_uid, uint32_t timeout_ms, void (*serve)(void *), void *arg);

/* If not NULL, asked of each client before it is answered: whose segment it is, by the kernel's word. 0: he is refused. Set once, before the rest. */
extern bool (*rdv_accepts)(uint32_t uid, uint32_t gid);

/*
 * Take one message, if there is one, and answer it. 1: *out is a new association's segment; 0: none waits; -errno: refused or bad. Never waits.
 * One whose segment was given to another user is left to the others who hold the endpoint (a master of root's, and its workers who have given that up).
 */
int rdv_answer(struct ept *e, struct seg *out);

/*
 * The other processes that accept on this endpoint: attach what the area lists and `known(shmid, arg)` does not know yet; prunes what
 * is gone. 1: *out attached (call again), 0: no more. Never waits.
 */
int rdv_adopt(struct ept *e, struct seg *out, int (*known)(int shmid, void *arg), void *arg);

/* Tell the acceptors that something is on offer (area->offer_seq); ring the endpoint's bell too if `ring`. */
void rdv_offer(const struct ept_ref *r, int ring);

#endif
