/* SPDX-License-Identifier: BSD-2-Clause */
/* An association of the library: sending, receiving, and its end. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "api.h"
#include "atomic.h"
#include "sys.h"

int api_new(struct ncadg_sm **out, const struct seg *seg, uint32_t chan, int side, int life, const struct ucred *who)
{
	struct ncadg_sm *a = calloc(1, sizeof(*a));
	struct sm_chan *c = seg_chan(seg, chan);

	if (!a)
		return -ENOMEM;
	a->seg = *seg;
	a->own = &c->end[side];
	a->peer = &c->end[!side];
	a->tx.ring = seg_ring(seg, chan, side);
	a->rx.ring = seg_ring(seg, chan, !side);
	pthread_mutex_init(&a->tx.lock, NULL);
	pthread_mutex_init(&a->rx.lock, NULL);
	a->life = life;
	a->who = *who;
	a->pid = (uint32_t)sys0(SYS_getpid);
	or_acqrel(&a->own->armed, API_DATA); /* who polls at once, before any call, shall be woken */
	*out = a;
	return 0;
}

/* Once: -EAGAIN only if the other side still lives. Looked at again once its end is known: it may have sent just before. */
static ssize_t get_once(struct ncadg_sm *a, void *buf, size_t len, int only_len)
{
	int end = load_acquire(&a->end);
	ssize_t n;

	if (end == -EBADMSG)
		return end;
	n = only_len ? api_peek_len(a) : api_get(a, buf, len);
	return n == -EAGAIN && end ? end : n;
}

ssize_t ncadg_sm_recv(struct ncadg_sm *a, void *buf, size_t len, int timeout_ms)
{
	struct api_wait w = {.bit = API_DATA, .timeout_ms = timeout_ms};
	ssize_t n;
	int err = 0;

	while ((n = get_once(a, buf, len, 0)) == -EAGAIN && !err)
		err = api_sleep(a, &w);
	if (n == -EAGAIN)
		return err;
	if (n >= 0)
		api_wake(a, API_ROOM);
	return n;
}

ssize_t ncadg_sm_next_len(struct ncadg_sm *a)
{
	struct api_wait w = {.bit = API_DATA};
	ssize_t n;
	int err = 0;

	while ((n = get_once(a, NULL, 0, 1)) == -EAGAIN && !err)
		err = api_sleep(a, &w);
	return n;
}

static int put_once(struct ncadg_sm *a, const struct iovec *iov, size_t len)
{
	int end = load_acquire(&a->end);

	if (!end && load_relaxed(&a->peer->flags) & SM_END_CLOSED)
		end = -EPIPE;
	return end ? end : api_put(a, iov, len);
}

int ncadg_sm_sendv(struct ncadg_sm *a, const struct iovec *iov, int n, int timeout_ms)
{
	struct api_wait w = {.bit = API_ROOM, .timeout_ms = timeout_ms};
	int res, err = 0;

	if (n < 0)
		return -EINVAL;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > NCADG_SM_MAX_LEN - w.len)
			return -EMSGSIZE;
		w.len += iov[i].iov_len;
	}
	while ((res = put_once(a, iov, w.len)) == -EAGAIN && !err)
		err = api_sleep(a, &w);
	if (res == -EAGAIN)
		return err;
	if (!res)
		api_wake(a, API_DATA);
	return res;
}

int ncadg_sm_send(struct ncadg_sm *a, const void *buf, size_t len, int timeout_ms)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return ncadg_sm_sendv(a, &iov, 1, timeout_ms);
}

int ncadg_sm_fd(const struct ncadg_sm *a)
{
	return a->life;
}

int ncadg_sm_peer(const struct ncadg_sm *a, struct ncadg_sm_peer *peer)
{
	*peer = (struct ncadg_sm_peer){.uid = a->who.uid, .gid = a->who.gid, .pid = a->who.pid};
	return 0;
}

void ncadg_sm_close(struct ncadg_sm *a)
{
	if (!a)
		return;
	if (a->pid == (uint32_t)sys0(SYS_getpid))
		or_acqrel(&a->own->flags, SM_END_CLOSED); /* before the hang-up, which asks for it */
	sys_fd_close(a->life);
	seg_detach(&a->seg);
	pthread_mutex_destroy(&a->tx.lock);
	pthread_mutex_destroy(&a->rx.lock);
	free(a);
}
