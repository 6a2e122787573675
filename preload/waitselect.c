/* SPDX-License-Identifier: BSD-2-Clause */
/* waitselect.c - select, as poll over the descriptors that are in a set. */
#include <errno.h>
#include <string.h>

#include "dg.h"
#include "epset.h"
#include "link.h"
#include "sig.h"
#include "waitset.h"

static bool has(int fd, const fd_set *set)
{
	return set && fd >= 0 &&
	       ((const unsigned long *)set)[fd / (8 * (int)sizeof(long))] >> (fd % (8 * (int)sizeof(long))) & 1;
}

static void put(int fd, fd_set *set)
{
	((unsigned long *)set)[fd / (8 * (int)sizeof(long))] |= 1ul << (fd % (8 * (int)sizeof(long)));
}

bool waitset_select_concerns(int n, const fd_set *r, const fd_set *w, const fd_set *x)
{
	for (int fd = 0; fd < n; fd++) {
		struct sock *s = fd_sock(fd);
		if (!s && !fd_epset(fd) && !fd_dgram(fd))
			continue;
		if (!has(fd, r) && !has(fd, w) && !has(fd, x))
			continue;
		if (!s || link_ready(s) || waitset_candidate(s))
			return true;
	}
	return false;
}

static int from_poll(const struct pollfd *p, nfds_t n, int nfds, fd_set *const set[3], const short *got)
{
	int count = 0;
	for (nfds_t i = 0; i < n; i++)
		if (p[i].revents & POLLNVAL)
			return -EBADF;
	size_t len = ((size_t)nfds + 8 * sizeof(long) - 1) / (8 * sizeof(long)) * sizeof(long);
	for (int k = 0; k < 3; k++) {
		if (!set[k])
			continue;
		unsigned long old[len / sizeof(long) + 1];
		memcpy(old, set[k], len);
		memset(set[k], 0, len);
		for (nfds_t i = 0; i < n; i++) {
			if (!has(p[i].fd, (const fd_set *)old) || !(p[i].revents & got[k]))
				continue;
			put(p[i].fd, set[k]);
			count++;
		}
	}
	return count;
}

#define NAP_NS INT64_C(10000000)

/*
 * A descriptor may be ready in a way that its sets do not ask for (HUP, when it is only in w): then select goes on waiting, but poll would not. So such descriptors
 * are left out (as negative numbers, which poll ignores) of a short wait, and then asked again. true: there are some.
 */
static bool quieten(struct pollfd *p, nfds_t n, bool quiet)
{
	bool any = false;
	for (nfds_t i = 0; i < n; i++) {
		if (quiet && p[i].fd < 0)
			p[i].fd = ~p[i].fd;
		else if (!quiet && p[i].revents) {
			p[i].fd = ~p[i].fd;
			any = true;
		}
	}
	return any;
}

static int select_as(int nfds, fd_set *r, fd_set *w, fd_set *x, int64_t timeout_ns, struct sig_wait *sw)
{
	static const short got[3] = {POLLIN | POLLHUP | POLLERR, POLLOUT | POLLERR, POLLPRI};
	struct pollfd p[nfds];
	fd_set *const set[3] = {r, w, x};
	nfds_t n = 0;
	for (int fd = 0; fd < nfds; fd++) {
		short ev = (short)((has(fd, r) ? POLLIN : 0) | (has(fd, w) ? POLLOUT : 0) | (has(fd, x) ? POLLPRI : 0));
		if (ev)
			p[n++] = (struct pollfd){.fd = fd, .events = ev};
	}
	int64_t end = timeout_ns > 0 ? now_ns() + timeout_ns : 0;
	bool quiet = false;
	for (;;) {
		int64_t left = end ? end - now_ns() : timeout_ns;
		if (end && left < 0)
			left = 0;
		int e = waitset_poll_as(p, n, quiet && (left < 0 || left > NAP_NS) ? NAP_NS : left, sw);
		if (e < 0)
			return e;
		int count = 0;
		for (nfds_t i = 0; i < n; i++)
			for (int k = 0; k < 3; k++)
				count += has(p[i].fd, set[k]) && p[i].revents & (got[k] | POLLNVAL);
		if (count || left == 0 || (e == 0 && !quiet))
			return from_poll(p, n, nfds, set, got);
		quiet = quieten(p, n, quiet);
	}
}

int waitset_select(int nfds, fd_set *r, fd_set *w, fd_set *x, int64_t timeout_ns, const sigset_t *mask)
{
	struct sig_wait sw = {.since = sig_now(), .mask = mask};
	int e = select_as(nfds, r, w, x, timeout_ns, &sw);
	sig_release(&sw);
	return e;
}
