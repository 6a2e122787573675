/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_raw.c - what syscall() does with the numbers of calls on sockets and descriptors: libc's name is replaced, and is called where it concerns us.
 *
 * What the kernel's call has and libc's name has not is made up for: no cancellation; a signal mask of 8 octets that says its size; time that is left is written back.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "assoc.h"
#include "i_raw.h"
#include "spin.h"
#include "sys.h"
#include "waitset.h"
#include "wrap.h"

#define PTR(i) ((void *)(uintptr_t)a[i])
#define INT(i) ((int)a[i])
#define LEN(i) ((size_t)a[i])
#define KERNEL_SIGSET 8 /* octets */

/* ---- a call that libc's name can make ---- */

/* Whoever is cancelled does not end in here, be it for the first time in this process. No system call. */
static int no_cancel(void)
{
	int state;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static bool made(int cancel_state)
{
	pthread_setcancelstate(cancel_state, NULL);
	return true;
}

/* In the table; a socket, an epoll set, or one of our own. */
static bool ours(long fd)
{
	return fd_get((int)fd) != 0;
}

#define CALL(name, concerns, call)                                                                                             \
	bool raw_##name(const long *a, long *r, long nr)                                                                       \
	{                                                                                                                      \
		(void)nr;                                                                                                      \
		if (!(concerns))                                                                                               \
			return false;                                                                                          \
		int cancel_state = no_cancel();                                                                                \
		*r = (call);                                                                                                   \
		return made(cancel_state);                                                                                     \
	}

/* Sockets and descriptors. */
CALL(socket, true, socket(INT(0), INT(1), INT(2)))
CALL(bind, ours(a[0]), bind(INT(0), PTR(1), (socklen_t)a[2]))
CALL(listen, true, listen(INT(0), INT(1)))
CALL(accept, true, accept(INT(0), PTR(1), PTR(2)))
CALL(accept4, true, accept4(INT(0), PTR(1), PTR(2), INT(3)))
CALL(connect, ours(a[0]), connect(INT(0), PTR(1), (socklen_t)a[2]))
CALL(shutdown, ours(a[0]), shutdown(INT(0), INT(1)))
CALL(getsockopt, ours(a[0]), getsockopt(INT(0), INT(1), INT(2), PTR(3), PTR(4)))
CALL(setsockopt, ours(a[0]), setsockopt(INT(0), INT(1), INT(2), PTR(3), (socklen_t)a[4]))
CALL(close, ours(a[0]), close(INT(0)))
CALL(dup, ours(a[0]), dup(INT(0)))
#ifdef SYS_dup2 /* machines that are younger have only the longer ones */
CALL(dup2, ours(a[0]) || ours(a[1]), dup2(INT(0), INT(1)))
#endif
CALL(dup3, ours(a[0]) || ours(a[1]), dup3(INT(0), INT(1), INT(2)))
CALL(ioctl, ours(a[0]), ioctl(INT(0), (unsigned long)a[1], a[2]))
CALL(close_range, fdtab_len > 0, close_range((unsigned)a[0], (unsigned)a[1], INT(2)))
CALL(fcntl, ours(a[0]) && (fdtab_is_hidden(INT(0)) || INT(1) == F_DUPFD || INT(1) == F_DUPFD_CLOEXEC || INT(1) == F_SETFL),
	fcntl(INT(0), INT(1), a[2]))

/* Payload. The kernel's count of pieces is longer than libc's. */
CALL(read, ours(a[0]), read(INT(0), PTR(1), LEN(2)))
CALL(write, ours(a[0]), write(INT(0), PTR(1), LEN(2)))
CALL(readv, ours(a[0]) && LEN(2) <= IOV_MAX, readv(INT(0), PTR(1), INT(2)))
CALL(writev, ours(a[0]) && LEN(2) <= IOV_MAX, writev(INT(0), PTR(1), INT(2)))
CALL(preadv2, ours(a[0]) && LEN(2) <= IOV_MAX,
	preadv2(INT(0), PTR(1), INT(2), a[3], INT(5))) /* a[4]: the offset's upper half, */
CALL(pwritev2, ours(a[0]) && LEN(2) <= IOV_MAX,
	pwritev2(INT(0), PTR(1), INT(2), a[3], INT(5))) /* where a long has but 32 bits */
CALL(recvfrom, ours(a[0]), recvfrom(INT(0), PTR(1), LEN(2), INT(3), PTR(4), PTR(5)))
CALL(sendto, ours(a[0]), sendto(INT(0), PTR(1), LEN(2), INT(3), PTR(4), (socklen_t)a[5]))
CALL(recvmsg, true, recvmsg(INT(0), PTR(1), INT(2)))
CALL(sendmsg, fdtab_len > 0, sendmsg(INT(0), PTR(1), INT(2))) /* over any socket a descriptor may be passed */
CALL(recvmmsg, true, recvmmsg(INT(0), PTR(1), (unsigned)a[2], INT(3), PTR(4)))
CALL(sendmmsg, fdtab_len > 0, sendmmsg(INT(0), PTR(1), (unsigned)a[2], INT(3)))
CALL(sendfile, ours(a[0]) || ours(a[1]), sendfile64(INT(0), INT(1), PTR(2), LEN(3)))
CALL(splice, ours(a[0]) || ours(a[2]), splice(INT(0), PTR(1), INT(2), PTR(3), LEN(4), (unsigned)a[5]))

/* ---- waiting ---- */

/* What these numbers get beside buffers is copied, as the kernel copies it: what is not there is the kernel's to answer. */

/* The kernel's mask as libc has it. false: not there, or not of the size that the kernel takes: it shall say so. */
static bool mask_from(sigset_t *mask, const void *theirs, long size)
{
	sigemptyset(mask);
	return !theirs || (size == KERNEL_SIGSET && sys_copy_in(mask, theirs, KERNEL_SIGSET) == 0);
}

/* A time limit, of theirs; ppoll and pselect6 leave there what has not been slept, and where that cannot be written, nothing happens. */
struct left {
	struct timespec *theirs, ts;
	int64_t end;
};

static bool left_begin(struct left *l, struct timespec *theirs)
{
	*l = (struct left){.theirs = theirs};
	if (!theirs)
		return true;
	const struct timespec *ts = &l->ts;
	if (sys_copy_in(&l->ts, theirs, sizeof(*ts)) < 0 || ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000)
		return false;
	if (ts->tv_sec || ts->tv_nsec)
		l->end = ts->tv_sec > INT64_C(1) << 32 ? INT64_MAX : now_ns() + ts->tv_sec * 1000000000 + ts->tv_nsec;
	return true;
}

/* For libc's name. */
static const struct timespec *left_limit(const struct left *l)
{
	return l->theirs ? &l->ts : NULL;
}

static void left_end(struct left *l)
{
	if (!l->end || l->end == INT64_MAX)
		return;
	int64_t ns = l->end - now_ns();
	struct timespec left = {0, 0};
	if (ns > 0)
		left = (struct timespec){ns / 1000000000, ns % 1000000000};
	sys_copy_out(l->theirs, &left, sizeof(left));
}

static bool select_concerns(const long *a)
{
	return fdtab_len && INT(0) > 0 && INT(0) <= 65536 && waitset_select_concerns(INT(0), PTR(1), PTR(2), PTR(3));
}

#ifdef SYS_dup2
CALL(poll, waitset_poll_concerns(PTR(0), LEN(1)), poll(PTR(0), LEN(1), INT(2)))
CALL(select, select_concerns(a) && (!a[4] || sys_copy_in(&(struct timeval){0}, PTR(4), sizeof(struct timeval)) == 0),
	select(INT(0), PTR(1), PTR(2), PTR(3), PTR(4)))

CALL(epoll_create, true, epoll_create(INT(0)))
CALL(epoll_wait, ours(a[0]), epoll_wait(INT(0), PTR(1), INT(2), INT(3)))
#endif

bool raw_ppoll(const long *a, long *r, long nr)
{
	(void)nr;
	sigset_t mask;
	struct left l;
	if (!waitset_poll_concerns(PTR(0), LEN(1)) || !mask_from(&mask, PTR(3), a[4]) || !left_begin(&l, PTR(2)))
		return false;
	int cancel_state = no_cancel();
	*r = ppoll(PTR(0), LEN(1), left_limit(&l), a[3] ? &mask : NULL);
	left_end(&l);
	return made(cancel_state);
}

bool raw_pselect6(const long *a, long *r, long nr)
{
	(void)nr;
	struct {
		const void *mask;
		size_t size;
	} m = {0};
	sigset_t mask;
	struct left l;
	if (!select_concerns(a) || (a[5] && sys_copy_in(&m, PTR(5), sizeof(m)) < 0))
		return false;
	if (!mask_from(&mask, m.mask, (long)m.size) || !left_begin(&l, PTR(4)))
		return false;
	int cancel_state = no_cancel();
	*r = pselect(INT(0), PTR(1), PTR(2), PTR(3), left_limit(&l), m.mask ? &mask : NULL);
	left_end(&l);
	return made(cancel_state);
}

CALL(epoll_create1, true, epoll_create1(INT(0)))
CALL(epoll_ctl, ours(a[0]), epoll_ctl(INT(0), INT(1), INT(2), PTR(3)))

/* The two differ in how they take their time limit. */
bool raw_epoll_pwait(const long *a, long *r, long nr)
{
	sigset_t mask;
	struct timespec ts;
	bool by_ms = nr == SYS_epoll_pwait;
	if (!ours(a[0]) || !mask_from(&mask, PTR(4), a[5]))
		return false;
	if (!by_ms && a[3] && sys_copy_in(&ts, PTR(3), sizeof(ts)) < 0)
		return false;
	const sigset_t *m = a[4] ? &mask : NULL;
	int cancel_state = no_cancel();
	*r = by_ms ? epoll_pwait(INT(0), PTR(1), INT(2), INT(3), m)
		   : epoll_pwait2(INT(0), PTR(1), INT(2), a[3] ? &ts : NULL, m);
	return made(cancel_state);
}

bool raw_epoll_pwait2(const long *a, long *r, long nr)
{
	return raw_epoll_pwait(a, r, nr);
}
