/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's server: an endpoint, and the associations that come in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "api.h"
#include "atomic.h"
#include "bell.h"
#include "ept.h"
#include "log.h"
#include "rdv.h"
#include "sys.h"

#define N_WAITING 32			 /* lifelines that have not said yet what they are for */
#define PATIENCE_NS UINT64_C(1000000000) /* when others want its place */
#define N_RENDEZVOUS 64			 /* answered in one go */

struct waiting {
	int fd;
	uint64_t since_ns;
};

struct ncadg_sm_listener {
	struct ept ept;
	int life; /* where lifelines come in */
	int ep;	  /* the bell, `life`, and the lifelines that wait */
	pthread_mutex_t lock;
	struct waiting waiting[N_WAITING];
	unsigned n;
};

static int watch(int ep, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	return (int)sys4(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &ev);
}

static int listen_at(struct ncadg_sm_listener *l, const struct binding *b)
{
	int err = ept_publish_at(&l->ept, b);

	if (err)
		return err;
	l->life = api_life_listen(l->ept.nonce);
	if (l->life < 0)
		return l->life;
	l->ep = (int)sys1(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (l->ep < 0)
		return l->ep;
	err = watch(l->ep, l->ept.bell_fd);
	return err ? err : watch(l->ep, l->life);
}

int ncadg_sm_listen(struct ncadg_sm_listener **out, const char *binding)
{
	struct ncadg_sm_listener *l;
	struct binding b;
	int err = binding_parse(&b, binding);

	*out = NULL;
	if (err)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->life = l->ep = l->ept.lock_fd = -1;
	pthread_mutex_init(&l->lock, NULL);
	err = listen_at(l, &b);
	if (err)
		ncadg_sm_listener_close(l);
	else
		*out = l;
	return err;
}

int ncadg_sm_listener_fd(const struct ncadg_sm_listener *l)
{
	return l->ep;
}

void ncadg_sm_listener_close(struct ncadg_sm_listener *l)
{
	if (!l)
		return;
	if (l->ept.lock_fd >= 0)
		ept_retract(&l->ept);
	for (unsigned i = 0; i < l->n; i++)
		sys_fd_close(l->waiting[i].fd);
	sys_fd_close(l->life);
	sys_fd_close(l->ep);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/*
 * Those who call are answered, and their segments let go again: which process of ours will take the lifeline, and so the association, is not known. The
 * client holds the segment meanwhile.
 */
static void answer_calls(struct ncadg_sm_listener *l)
{
	struct seg seg;

	bell_drain(l->ept.bell_fd);
	for (int i = 0; i < N_RENDEZVOUS; i++) {
		int n = rdv_answer(&l->ept, &seg);

		if (n == 1)
			seg_detach(&seg);
		else if (!n)
			return;
	}
	bell_ring(l->ept.bell_fd, l->ept.nonce); /* more of them: later */
}

static void drop(struct ncadg_sm_listener *l, unsigned i, int keep)
{
	struct epoll_event ev = {0};

	sys4(SYS_epoll_ctl, l->ep, EPOLL_CTL_DEL, l->waiting[i].fd, &ev);
	if (!keep)
		sys1(SYS_close, l->waiting[i].fd);
	memmove(&l->waiting[i], &l->waiting[i + 1], (l->n - i - 1) * sizeof(l->waiting[0]));
	l->n--;
}

/* Nobody shall keep others out by being silent. The oldest stands first. */
static int make_place(struct ncadg_sm_listener *l, uint64_t now)
{
	if (l->n < N_WAITING)
		return 1;
	if (now - l->waiting[0].since_ns < PATIENCE_NS)
		return 0;
	drop(l, 0, 0);
	return 1;
}

static int take_lifelines(struct ncadg_sm_listener *l)
{
	uint64_t now = sys_now_ns();

	while (make_place(l, now)) {
		long fd = sys4(SYS_accept4, l->life, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED ? 0 : (int)fd;
		if (watch(l->ep, (int)fd)) {
			sys1(SYS_close, fd);
			return -ENOSPC; /* fs.epoll.max_user_watches */
		}
		l->waiting[l->n++] = (struct waiting){(int)fd, now};
	}
	return 0;
}

/* The segment that a client has named, if it is one that the user at the other end of the lifeline has made. */
static int attach(struct ncadg_sm **out, int fd, const struct api_hello *h)
{
	struct api_hello answer = *h;
	struct ucred who;
	struct seg seg;
	int err = api_life_who(fd, &who);

	if (err)
		return err;
	if (h->magic != API_HELLO_MAGIC || h->version != API_HELLO_VERSION || h->server || h->chan >= SM_N_CHAN)
		return -EPROTO;
	err = seg_attach(&seg, h->shmid, h->nonce);
	if (err)
		return err;
	answer.server = 1;
	err = seg.cuid == who.uid ? api_new(out, &seg, h->chan, SM_SERVER, fd, &who) : -EPERM;
	if (err) {
		seg_detach(&seg);
		return err;
	}
	/* Armed, and all: now the client may go on. If it has gone, the first call on the association says so. */
	sys6(SYS_sendto, fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	return 0;
}

/* 1: an association. 0: none of them has said anything yet. */
static int hear_hellos(struct ncadg_sm_listener *l, struct ncadg_sm **out)
{
	for (unsigned i = 0; i < l->n;) {
		int err, fd = l->waiting[i].fd;
		struct api_hello h;
		long n = sys6(SYS_recvfrom, fd, &h, sizeof(h), MSG_DONTWAIT, 0, 0);

		if (n == -EAGAIN || n == -EINTR) {
			i++;
			continue;
		}
		err = n == sizeof(h) ? attach(out, fd, &h) : -EPROTO;
		drop(l, i, !err);
		if (!err)
			return 1;
		if (n)
			log_line("a client of %s was refused: error %d", l->ept.binding.path, -err);
	}
	return 0;
}

static int accept_once(struct ncadg_sm_listener *l, struct ncadg_sm **out)
{
	int err, n;

	pthread_mutex_lock(&l->lock);
	answer_calls(l);
	err = take_lifelines(l);
	n = hear_hellos(l, out);
	pthread_mutex_unlock(&l->lock);
	return n ? n : err;
}

int ncadg_sm_accept(struct ncadg_sm_listener *l, struct ncadg_sm **out, int timeout_ms)
{
	uint64_t deadline = api_deadline(timeout_ms);
	int n, err = 0;

	*out = NULL;
	while (!(n = accept_once(l, out)) && !err)
		err = timeout_ms ? api_life_wait(l->ep, deadline) : -EAGAIN;
	return n > 0 ? 0 : n ? n : err;
}
