/* SPDX-License-Identifier: BSD-2-Clause */
/* i_recv.c - the names that receive. */
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "adopt.h"
#include "assoc.h"
#include "fast.h"
#include "i_dgram.h"
#include "i_iov.h"
#include "inq.h"
#include "leave.h"
#include "move.h"
#include "sig.h"
#include "sys.h"
#include "wrap.h"

static bool served(const struct sock *s)
{
	return s && sock_flags(s) & FAM_CONNECTED;
}

static ssize_t recv_buf(struct sock *s, int fd, void *buf, size_t len, int flags)
{
	wrap_testcancel();
	long r = flags & ~MSG_DONTWAIT || (uintptr_t)buf < 4096 ? FAST_NO : fast_recv(s, fd, buf, len);
	if (__builtin_expect(r != FAST_NO, 1))
		return r;
	struct iovec iov = {buf, len > MAX_RW ? MAX_RW : len};
	return wrap_result(rx_recv(s, fd, &iov, 1, flags, sig_now(), NULL));
}

EXPORT ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_recvfrom(fd_dgram(fd), fd, buf, len, flags, NULL, NULL);
	if (!served(s))
		return real.recv(fd, buf, len, flags);
	return recv_buf(s, fd, buf, len, flags);
}

/* read() of nothing returns at once; recv() of nothing waits for something. */
EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	struct sock *s = fd_sock(fd);
	if (!s && len && fd_dgram(fd))
		return dgram_recvfrom(fd_dgram(fd), fd, buf, len, 0, NULL, NULL);
	if (!served(s) || !len)
		return real.read(fd, buf, len);
	return recv_buf(s, fd, buf, len, 0);
}

EXPORT ssize_t __read(int fd, void *buf, size_t len)
{
	return read(fd, buf, len);
}

/* The checked names abort when the buffer is too small: libc's own do that. */
EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	if (!fd_any_sock(fd) || len > room)
		return real.__read_chk(fd, buf, len, room);
	return read(fd, buf, len);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags)
{
	if (!fd_any_sock(fd) || len > room)
		return real.__recv_chk(fd, buf, len, room, flags);
	return recv(fd, buf, len, flags);
}

/* A stream reports no source address: the kernel leaves the buffer alone and its length at 0 for a connected TCP socket. */
EXPORT ssize_t recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *sa, socklen_t *salen)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_recvfrom(fd_dgram(fd), fd, buf, len, flags, sa, salen);
	if (!served(s))
		return real.recvfrom(fd, buf, len, flags, sa, salen);
	if (sa && ((uintptr_t)salen < 4096 || (int)*salen < 0))
		return real.recvfrom(fd, buf, len, flags, sa, salen);
	ssize_t r = recv_buf(s, fd, buf, len, flags);
	if (r >= 0 && sa)
		*salen = 0;
	return r;
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t len, size_t room, int flags, struct sockaddr *sa, socklen_t *salen)
{
	if (!fd_any_sock(fd) || len > room)
		return real.__recvfrom_chk(fd, buf, len, room, flags, sa, salen);
	return recvfrom(fd, buf, len, flags, sa, salen);
}

static __attribute__((noinline)) long recv_cut(
	struct sock *s, int fd, const struct iovec *iov, size_t n, int flags, struct sig_mark since, struct rx_control *control)
{
	struct iovec cut[n];
	return rx_recv(s, fd, cut, iov_cut(cut, iov, n), flags, since, control);
}

/* len: what iov_look() said. */
static ssize_t recv_vec(struct sock *s, int fd, const struct iovec *iov, size_t n, long len, int flags, struct sig_mark since,
	struct rx_control *control)
{
	wrap_testcancel();
	return wrap_result(len > (long)MAX_RW ? recv_cut(s, fd, iov, n, flags, since, control)
					      : rx_recv(s, fd, iov, (int)n, flags, since, control));
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_readv(fd_dgram(fd), fd, iov, n, 0);
	long len = !served(s) || n < 0 ? -1 : iov_look(iov, (size_t)n);
	if (len <= 0)
		return real.readv(fd, iov, n);
	return recv_vec(s, fd, iov, (size_t)n, len, 0, sig_now(), NULL);
}

EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd) && off == -1 && !(flags & ~RWF_STREAM))
		return dgram_readv(fd_dgram(fd), fd, iov, n, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
	long len = !served(s) || off != -1 || n < 0 ? -1 : iov_look(iov, (size_t)n);
	if (len <= 0)
		return real.preadv2(fd, iov, n, off, flags);
	if (flags & ~RWF_STREAM) { /* whatever the kernel makes of them */
		move_withdraw(s, WHY_OPTION);
		return real.preadv2(fd, iov, n, off, flags);
	}
	return recv_vec(s, fd, iov, (size_t)n, len, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0, sig_now(), NULL);
}

EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	return preadv2(fd, iov, n, off, flags);
}

/* An option is set of which only the kernel has the data; octets of that direction are in the kernel as well. */
static ssize_t recv_ancillary(struct sock *s, int fd, struct msghdr *msg, int flags)
{
	ssize_t r = real.recvmsg(fd, msg, flags);
	if (r > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)))
		sock_count_kernel(&s->f->rx_kernel_bytes, &s->rx_kernel, (uint64_t)r);
	return r;
}

/* Descriptors have come with a message. */
static void brought(const struct msghdr *msg, int flags)
{
	int e = errno;
	if (msg->msg_control && msg->msg_controllen >= CMSG_LEN(sizeof(int)) && !leave_sealed())
		adopt_message(msg, flags & MSG_PEEK);
	errno = e;
}

static ssize_t recv_message(int fd, struct msghdr *msg, int flags, struct sig_mark since)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_recvmsg(fd_dgram(fd), fd, msg, flags, since);
	if (served(s) && sock_flags(s) & FAM_OPTION && (uintptr_t)msg >= 4096 && msg->msg_controllen)
		return recv_ancillary(s, fd, msg, flags);
	long len = !served(s) || (uintptr_t)msg < 4096 || (msg->msg_name && (int)msg->msg_namelen < 0)
			   ? -1
			   : iov_look(msg->msg_iov, msg->msg_iovlen);
	if (len < 0 || flags & (MSG_OOB | MSG_ERRQUEUE)) {
		ssize_t r = real.recvmsg(fd, msg, flags);
		if (r >= 0 && !s)
			brought(msg, flags);
		return r;
	}
	struct rx_control control = {.buf = msg->msg_control, .len = msg->msg_controllen};
	bool inq = sock_flags(s) & FAM_INQ;
	ssize_t r = recv_vec(s, fd, msg->msg_iov, msg->msg_iovlen, len, flags, since, inq ? &control : NULL);
	if (r >= 0) { /* what the kernel reports of a stream: no address, and no ancillary data but this */
		msg->msg_namelen = 0;
		msg->msg_flags = flags & MSG_CMSG_CLOEXEC;
		if (inq && !control.said)
			inq_put(&control, inq_left(s));
		msg->msg_controllen = inq ? control.len : 0;
		msg->msg_flags |= control.flags & MSG_CTRUNC;
	}
	return r;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	return recv_message(fd, msg, flags, sig_now());
}

static bool is_past(const struct timespec *end)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec);
}

/* recvmmsg looks for it before anything else, and so it comes before octets that are there. */
static int pending_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);
	return sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? 0 : err;
}

/* As the kernel does it: the time-out is looked at after each message, and waiting for the first is not bounded by it. */
EXPORT int recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags, struct timespec *ts)
{
	struct sock *s = fd_sock(fd);
	struct sig_mark since = sig_now();
	struct timespec end;
	unsigned i = 0;
	if ((!served(s) && !fd_dgram(fd)) || (uintptr_t)msg < 4096) {
		int r = real.recvmmsg(fd, msg, n, flags, ts);
		for (int k = 0; !s && k < r; k++)
			brought(&msg[k].msg_hdr, flags);
		return r;
	}
	if (ts && (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec > 999999999))
		return (int)wrap_result(-EINVAL);
	if (ts) {
		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_sec += ts->tv_sec + (end.tv_nsec + ts->tv_nsec) / 1000000000;
		end.tv_nsec = (end.tv_nsec + ts->tv_nsec) % 1000000000;
	}
	int err = flags & MSG_ERRQUEUE ? 0 : pending_error(fd);
	if (err)
		return (int)wrap_result(-err);
	while (i < n && i < UIO_MAXIOV) {
		int e = errno;
		ssize_t r = recv_message(fd, &msg[i].msg_hdr, flags & ~MSG_WAITFORONE, since);
		if (r < 0) {
			if (i)
				errno = e;
			return i ? (int)i : -1;
		}
		msg[i++].msg_len = (unsigned)r;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (ts && is_past(&end))
			break;
	}
	return (int)i;
}
