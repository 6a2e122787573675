/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api.h - inside of the library (include/ncadg_sm.h): an association, and what api_*.c share. Not in libshunt.so.
 *
 * An association is a segment (seg.h) of which one channel is used, and a *lifeline*: a connected AF_UNIX socket between the two processes. The kernel closes
 * it with the process, so its hang-up is the truth about the other side's life; who is there, it says too (SO_PEERCRED); and it is the bell: one octet is sent
 * through it to a side that sleeps. So one descriptor is readable whenever there is news.
 *
 *   listener   publishes the endpoint (ept_publish_at), and listens on "\0shunt/<nonce>/d" for lifelines
 *   client     ept_lookup_at; connects the lifeline; rdv_call: the segment is given to the server; says on the lifeline which one (api_hello)
 *   listener   rdv_answer; takes the lifeline; attaches the segment that it names, if the segment's creator is the user at its other end; says so
 *
 * Datagrams lie in the channel's two rings (dring.h, api_ring.c). Sleeping and waking is docs/PROTOCOL.md's
 * section 6 with two bits of `armed` in the place of bells: API_DATA, the owner of the end sleeps until there is a datagram; API_ROOM, until there is room.
 */
#ifndef SHUNT_API_H
#define SHUNT_API_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ncadg_sm.h"
#include "seg.h"

#define API_DATA UINT64_C(1) /* bits of sm_end.armed in an association of the library */
#define API_ROOM UINT64_C(2)

/* What a client says on its lifeline, and the answer: the same with server = 1. */
struct api_hello {
	uint64_t magic;
	uint32_t version, server;
	int32_t shmid;
	uint32_t chan;
	uint64_t nonce; /* the segment's */
};
#define API_HELLO_MAGIC UINT64_C(0x6c6c65685f6d7361) /* "asm_hell", little endian */
#define API_HELLO_VERSION 1

/* One direction, seen from one side. Positions are ours: what we have published is never read back. */
struct api_dir {
	pthread_mutex_t lock; /* one copy at a time */
	uint8_t *ring;
	_Atomic uint64_t pos;	/* written or read, ever */
	uint64_t other;		/* under the lock: the other side's position as last seen */
	uint32_t spin_ns, dull; /* how long looking has paid lately; how often not, since it was given up */
};

struct ncadg_sm {
	struct seg seg;
	struct sm_end *own, *peer;
	struct api_dir tx, rx;
	_Atomic int end;	       /* 0, or the -errno that is told from now on */
	_Atomic uint32_t one;	       /* 1: a thread has the lifeline (api_wait.c) */
	_Atomic uint32_t news, behind; /* what the other waiting threads sleep on, and how many do */
	int life;
	uint32_t pid; /* of the process that made it */
	struct ucred who;
};

/* An association from its parts, which it owns then. 0, or -ENOMEM: nothing has been taken. `side`: SM_CLIENT, SM_SERVER. */
int api_new(struct ncadg_sm **out, const struct seg *seg, uint32_t chan, int side, int life, const struct ucred *who);

/* api_ring.c: one datagram, without waiting. 0 or a length, -EAGAIN, -EMSGSIZE, -EFAULT, -EBADMSG. */
int api_put(struct ncadg_sm *a, const struct iovec *iov, size_t len);
ssize_t api_get(struct ncadg_sm *a, void *buf, size_t len);
ssize_t api_peek_len(struct ncadg_sm *a);
/* A look without the lock: may the other side have published something since we last did? */
int api_has_data(struct ncadg_sm *a);
int api_has_room(struct ncadg_sm *a, size_t len);

/* api_wait.c */
struct api_wait {
	uint64_t bit; /* API_DATA, API_ROOM */
	size_t len;   /* of the datagram that wants room */
	int timeout_ms;
	uint64_t deadline_ns;
	int again; /* not the first time in this call */
};
/* There was nothing. 0: look again; -EAGAIN (not to wait: the announcement stands, and the lifeline will be readable), -ETIMEDOUT, -EINTR. */
int api_sleep(struct ncadg_sm *a, struct api_wait *w);
/* Behind something that was published: is the other side asleep for it? */
void api_wake(struct ncadg_sm *a, uint64_t bit);

/* api_life.c: lifelines. Descriptors or -errno; close-on-exec, non-blocking. */
int api_life_listen(const uint8_t nonce[16]);
int api_life_connect(const uint8_t nonce[16], uint64_t deadline_ns);
int api_life_who(int fd, struct ucred *who);
/* Wait for input. 0, -ETIMEDOUT, -EINTR. deadline_ns UINT64_MAX: no limit. */
int api_life_wait(int fd, uint64_t deadline_ns);
uint64_t api_deadline(int timeout_ms); /* 0: now; UINT64_MAX: none */

#endif
