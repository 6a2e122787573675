/* SPDX-License-Identifier: BSD-2-Clause */
/* i_fd.c - the names that close, copy and configure descriptors: the table stays true. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "assoc.h"
#include "dg.h"
#include "epset.h"
#include "link.h"
#include "move.h"
#include "ns.h"
#include "pass.h"
#include "ready.h"
#include "startup.h"
#include "sys.h"
#include "wrap.h"

bool wrap_own_process(void)
{
	return (uint32_t)sys0(SYS_getpid) == startup_pid;
}

/* Before the kernel's close: what is in rings has to be dealt with while the socket lives. */
void fd_forget(int fd)
{
	struct sock *s = fd_any_sock(fd);
	if (s && wrap_own_process())
		sock_forget(s, fd);
	else if (fd_epset(fd) && wrap_own_process())
		epset_forget(fd);
}

EXPORT int close(int fd)
{
	if (__builtin_expect(fd_get(fd) != 0, 0)) {
		if (fdtab_is_hidden(fd)) { /* ours: for the program there is nothing */
			errno = EBADF;
			return -1;
		}
		fd_forget(fd);
	}
	return real.close(fd);
}

EXPORT int __close(int fd)
{
	return close(fd);
}

/* stdio reads and writes 0, 1 and 2 behind our back. */
static void settle(struct sock *s, int fd)
{
	if (fd <= 2)
		move_pin(s, WHY_STDIO);
}

static int duplicated(int r, int fd)
{
	int e = errno;
	struct sock *s = fd_any_sock(fd);
	if (r >= 0 && s && !wrap_own_process())
		pass_begin(s, WHY_EXEC, false); /* a child of vfork prepares what another program will hold */
	else if (r >= 0 && r != fd) {
		if (s) {
			sock_dup(s, r);
			settle(s, r);
		} else if (fd_epset(fd)) {
			epset_dup(fd_epset(fd), r);
		}
	}
	errno = e;
	return r;
}

EXPORT int dup(int fd)
{
	if (fdtab_is_hidden(fd)) {
		errno = EBADF;
		return -1;
	}
	return duplicated(real.dup(fd), fd);
}

/* Will the kernel take the copy? What it refuses closes nothing. */
static bool can_dup(int fd, int to)
{
	struct rlimit rl;
	return real.fcntl(fd, F_GETFD, 0) >= 0 && sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &rl) == 0 &&
	       (rlim_t)to < rl.rlim_cur;
}

/* `to` is about to be replaced: ours moves out of the way, the program's is forgotten as by close. */
static int make_way(int fd, int to)
{
	if (fdtab_is_hidden(fd)) {
		errno = EBADF;
		return -1;
	}
	if (fd == to || !fd_get(to))
		return 0;
	if (fdtab_is_hidden(to)) { /* a program that names a number of ours: refuse, as for one beyond the limit */
		errno = EBADF;
		return -1;
	}
	int e = errno;
	if (can_dup(fd, to))
		fd_forget(to);
	errno = e;
	return 0;
}

EXPORT int dup2(int fd, int to)
{
	return make_way(fd, to) < 0 ? -1 : duplicated(real.dup2(fd, to), fd);
}

EXPORT int __dup2(int fd, int to)
{
	return dup2(fd, to);
}

EXPORT int dup3(int fd, int to, int flags)
{
	if (fd != to && !(flags & ~O_CLOEXEC) && make_way(fd, to) < 0)
		return -1;
	return duplicated(real.dup3(fd, to, flags), fd);
}

static void note_nonblock(struct sock *s, bool on)
{
	if (on)
		or_acqrel(&s->f->flags, FAM_NONBLOCK);
	else
		and_acqrel(&s->f->flags, ~FAM_NONBLOCK);
}

static int fcntl_common(int (*call)(int, int, long), int fd, int cmd, long arg)
{
	if (__builtin_expect(!fd_get(fd), 1))
		return call(fd, cmd, arg);
	if (fdtab_is_hidden(fd)) {
		errno = EBADF;
		return -1;
	}
	struct sock *s = fd_any_sock(fd);
	if (s && cmd == F_SETFL && arg & O_ASYNC)
		move_pin(s, WHY_OPTION);
	int r = call(fd, cmd, arg);
	if (r >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC))
		return duplicated(r, fd);
	if (r >= 0 && s && cmd == F_SETFL)
		note_nonblock(s, arg & O_NONBLOCK);
	return r;
}

#define FCNTL(name)                                                                                                            \
	EXPORT int name(int fd, int cmd, ...)                                                                                  \
	{                                                                                                                      \
		va_list ap;                                                                                                    \
		va_start(ap, cmd);                                                                                             \
		long arg = va_arg(ap, long);                                                                                   \
		va_end(ap);                                                                                                    \
		return fcntl_common(real.name, fd, cmd, arg);                                                                  \
	}
FCNTL(fcntl)
FCNTL(fcntl64)
FCNTL(__fcntl)

/* The mark lies in the kernel's octets, behind the ring's; a duplicate of those that have been read is not between. */
static int at_mark(struct sock *s, int fd, int *v)
{
	ready_follow(s);
	ready_drop(s);
	int r = real.ioctl(fd, SIOCATMARK, (long)(uintptr_t)v);
	if (r == 0 && ring_unread_by_us(s))
		*v = 0;
	return r;
}

static int ioctl_sock(struct sock *s, int fd, unsigned long req, long arg)
{
	int r = real.ioctl(fd, req, arg);
	int *v = (int *)(uintptr_t)arg;
	if (r < 0)
		return r;
	if (req == FIONBIO)
		note_nonblock(s, *v != 0);
	else if (req == FIONREAD && link_ready(s))
		*v = (int)ready_unread(s, *v);
	else if (req == SIOCOUTQ && link_ready(s))
		*v += (int)ready_unsent(s);
	else if (req == SIOCATMARK && link_ready(s))
		return at_mark(s, fd, v);
	else if (req == FIOASYNC && *v)
		move_pin(s, WHY_OPTION);
	return r;
}

static int ioctl_dgram(struct sock *s, int fd, unsigned long req, long arg)
{
	int r = real.ioctl(fd, req, arg);
	int *v = (int *)(uintptr_t)arg;
	if (r < 0)
		return r;
	long next = req == FIONREAD ? dg_next_len(s) : -1;
	if (req == FIONBIO)
		note_nonblock(s, *v != 0);
	else if (next >= 0)
		*v = (int)next;
	else if ((req == FIOASYNC && *v) || req == SIOCGSTAMP_OLD || req == SIOCGSTAMPNS_OLD)
		move_pin(s, WHY_OPTION);
	return r;
}

EXPORT int ioctl(int fd, unsigned long req, ...)
{
	va_list ap;
	va_start(ap, req);
	long arg = va_arg(ap, long);
	va_end(ap);
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return ioctl_dgram(fd_dgram(fd), fd, req, arg);
	if (!s)
		return real.ioctl(fd, req, arg);
	return ioctl_sock(s, fd, req, arg);
}

/* Everything in [first, last] but ours. The highest entry in use bounds the walk: numbers beyond the table are never ours. */
int fd_close_range(unsigned first, unsigned last, int flags)
{
	unsigned from = first;
	unsigned end = last < fdtab_len ? last : fdtab_len - 1;
	for (unsigned fd = first; fdtab_len && fd <= end; fd++) {
		if (!fd_get((int)fd))
			continue;
		if (!fdtab_is_hidden((int)fd)) {
			if (!(flags & CLOSE_RANGE_CLOEXEC))
				fd_forget((int)fd);
			continue;
		}
		if (fd > from && real.close_range(from, fd - 1, flags) < 0)
			return -1;
		from = fd + 1;
	}
	return from <= last ? real.close_range(from, last, flags) : 0;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	if (!fdtab_len || first > last || flags & ~(int)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC))
		return real.close_range(first, last, flags);
	if (flags & CLOSE_RANGE_UNSHARE)
		return ns_close_range(first, last, flags);
	return fd_close_range(first, last, flags);
}

EXPORT void closefrom(int first)
{
	if (!fdtab_len) {
		real.closefrom(first);
		return;
	}
	fd_close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

/* libc asks the kernel itself. */
EXPORT int sockatmark(int fd)
{
	int at;
	return ioctl(fd, SIOCATMARK, &at) < 0 ? -1 : at;
}
