/* SPDX-License-Identifier: BSD-2-Clause */
/* i_wait.c - the names that wait for several descriptors. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "assoc.h"
#include "epset.h"
#include "waitset.h"
#include "wrap.h"

#define NS_PER_S INT64_C(1000000000)
#define TS_MAX_S (INT64_C(1) << 33) /* 272 years: longer is for ever */

/* -1: no limit. */
static int64_t ns_of_ms(int ms)
{
	return ms < 0 ? -1 : ms * INT64_C(1000000);
}

static bool good_ts(const struct timespec *ts)
{
	return !ts || (ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < NS_PER_S);
}

static int64_t ns_of_ts(const struct timespec *ts)
{
	return !ts || ts->tv_sec > TS_MAX_S ? -1 : ts->tv_sec * NS_PER_S + ts->tv_nsec;
}

EXPORT int poll(struct pollfd *p, nfds_t n, int ms)
{
	if (!waitset_poll_concerns(p, n))
		return real.poll(p, n, ms);
	wrap_testcancel();
	return (int)wrap_result(waitset_poll(p, n, ns_of_ms(ms), NULL));
}

EXPORT int __poll(struct pollfd *p, nfds_t n, int ms)
{
	return poll(p, n, ms);
}

EXPORT int __poll_chk(struct pollfd *p, nfds_t n, int ms, size_t room)
{
	if (room / sizeof(*p) < n)
		return real.__poll_chk(p, n, ms, room);
	return poll(p, n, ms);
}

EXPORT int ppoll(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	if (!good_ts(ts) || !waitset_poll_concerns(p, n))
		return real.ppoll(p, n, ts, mask);
	wrap_testcancel();
	return (int)wrap_result(waitset_poll(p, n, ns_of_ts(ts), mask));
}

EXPORT int __ppoll_chk(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t room)
{
	if (room / sizeof(*p) < n)
		return real.__ppoll_chk(p, n, ts, mask, room);
	return ppoll(p, n, ts, mask);
}

static bool select_concerns(int n, const fd_set *r, const fd_set *w, const fd_set *x)
{
	return fdtab_len && n > 0 && n <= 65536 && waitset_select_concerns(n, r, w, x);
}

/* Linux leaves in *tv what has not been slept. */
EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv)
{
	if (!select_concerns(n, r, w, x) || (tv && (tv->tv_sec < 0 || tv->tv_usec < 0)))
		return real.select(n, r, w, x, tv);
	wrap_testcancel();
	int64_t ns = !tv || tv->tv_sec > TS_MAX_S ? -1 : tv->tv_sec * NS_PER_S + tv->tv_usec * INT64_C(1000);
	int64_t end = ns > 0 ? now_ns() + ns : 0;
	int res = waitset_select(n, r, w, x, ns, NULL);
	if (end) {
		int64_t left = end - now_ns();
		left = left < 0 ? 0 : left;
		tv->tv_sec = left / NS_PER_S;
		tv->tv_usec = left % NS_PER_S / 1000;
	}
	return (int)wrap_result(res);
}

EXPORT int __select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv)
{
	return select(n, r, w, x, tv);
}

EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *x, const struct timespec *ts, const sigset_t *mask)
{
	if (!select_concerns(n, r, w, x) || !good_ts(ts))
		return real.pselect(n, r, w, x, ts, mask);
	return (int)wrap_result(waitset_select(n, r, w, x, ns_of_ts(ts), mask));
}

static int made(int fd)
{
	int e = errno;
	if (fd >= 0)
		epset_new(fd);
	errno = e;
	return fd;
}

EXPORT int epoll_create(int size)
{
	return made(real.epoll_create(size));
}

EXPORT int epoll_create1(int flags)
{
	return made(real.epoll_create1(flags));
}

EXPORT int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	struct epset *e = fd_epset(ep);
	if (!e)
		return real.epoll_ctl(ep, op, fd, ev);
	if (fdtab_is_hidden(fd))
		return (int)wrap_result(-EBADF);
	return (int)wrap_result(epset_ctl(e, ep, op, fd, ev));
}

static struct epset *waitable(int ep, const struct epoll_event *ev, int max)
{
	struct epset *e = fd_epset(ep);
	return e && max > 0 && (uintptr_t)ev >= 4096 ? e : NULL;
}

EXPORT int epoll_wait(int ep, struct epoll_event *ev, int max, int ms)
{
	struct epset *e = waitable(ep, ev, max);
	if (!e)
		return real.epoll_wait(ep, ev, max, ms);
	return (int)wrap_result(epset_wait(e, ep, ev, max, ns_of_ms(ms), NULL));
}

EXPORT int epoll_pwait(int ep, struct epoll_event *ev, int max, int ms, const sigset_t *mask)
{
	struct epset *e = waitable(ep, ev, max);
	if (!e)
		return real.epoll_pwait(ep, ev, max, ms, mask);
	return (int)wrap_result(epset_wait(e, ep, ev, max, ns_of_ms(ms), mask));
}

EXPORT int epoll_pwait2(int ep, struct epoll_event *ev, int max, const struct timespec *ts, const sigset_t *mask)
{
	struct epset *e = waitable(ep, ev, max);
	if (!e || !good_ts(ts))
		return real.epoll_pwait2(ep, ev, max, ts, mask);
	return (int)wrap_result(epset_wait(e, ep, ev, max, ns_of_ts(ts), mask));
}
