/* SPDX-License-Identifier: BSD-2-Clause */
/* i_send.c - the names that send. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "assoc.h"
#include "fast.h"
#include "i_dgram.h"
#include "i_iov.h"
#include "link.h"
#include "move.h"
#include "pass.h"
#include "rx.h"
#include "sig.h"
#include "sys.h"
#include "wrap.h"

/* An address that cannot be memory: the kernel shall say EFAULT. */
static bool bad_buf(const void *p, size_t len)
{
	return len && (uintptr_t)p < 4096;
}

static ssize_t send_buf(struct sock *s, int fd, const void *buf, size_t len, int flags)
{
	wrap_testcancel();
	long r = flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL) ? FAST_NO : fast_send(s, fd, buf, len);
	if (__builtin_expect(r != FAST_NO, 1))
		return r;
	struct iovec iov = {(void *)(uintptr_t)buf, len > MAX_RW ? MAX_RW : len};
	return wrap_result(tx_send(s, fd, &iov, 1, flags, sig_now()));
}

EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_sendto(fd_dgram(fd), fd, buf, len, flags, NULL, 0);
	if (!s || bad_buf(buf, len))
		return real.send(fd, buf, len, flags);
	return send_buf(s, fd, buf, len, flags);
}

EXPORT ssize_t __send(int fd, const void *buf, size_t len, int flags)
{
	return send(fd, buf, len, flags);
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_sendto(fd_dgram(fd), fd, buf, len, 0, NULL, 0);
	if (!s || bad_buf(buf, len))
		return real.write(fd, buf, len);
	return send_buf(s, fd, buf, len, 0);
}

EXPORT ssize_t __write(int fd, const void *buf, size_t len)
{
	return write(fd, buf, len);
}

/* A connected stream ignores the address, but the kernel copies it first. */
static bool good_address(const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage here;
	return len <= sizeof(here) && sys_copy_in(&here, sa, len) == 0;
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *sa, socklen_t salen)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_sendto(fd_dgram(fd), fd, buf, len, flags, sa, salen);
	if (!s || bad_buf(buf, len) || !(sock_flags(s) & FAM_CONNECTED) || (sa && !good_address(sa, salen)))
		return real.sendto(fd, buf, len, flags, sa, salen);
	return send_buf(s, fd, buf, len, flags);
}

/* A call of the kernel's own, for what it sends of an array that we cannot read to its end, or with flags that we do not know. */
static ssize_t writev_by_kernel(struct sock *s, int fd, const struct iovec *iov, int n, int flags)
{
	tx_kernel_enter(s);
	ssize_t r = real.pwritev2(fd, iov, n, -1, flags);
	tx_kernel_leave(s, r);
	return r;
}

static bool bad_vec(const struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bad_buf(iov[i].iov_base, iov[i].iov_len))
			return true;
	return false;
}

static __attribute__((noinline)) long send_cut(
	struct sock *s, int fd, const struct iovec *iov, size_t n, int flags, struct sig_mark since)
{
	struct iovec cut[n];
	return tx_send(s, fd, cut, iov_cut(cut, iov, n), flags, since);
}

/* len: what iov_look() said. */
static ssize_t send_vec(struct sock *s, int fd, const struct iovec *iov, size_t n, long len, int flags, struct sig_mark since)
{
	wrap_testcancel();
	return wrap_result(
		len > (long)MAX_RW ? send_cut(s, fd, iov, n, flags, since) : tx_send(s, fd, iov, (int)n, flags, since));
}

/* Writing nothing does not even look at the socket, whatever its state. */
EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_writev(fd_dgram(fd), fd, iov, n, 0);
	long len = !s || n < 0 ? -1 : iov_look(iov, (size_t)n);
	if (len <= 0)
		return real.writev(fd, iov, n);
	if (bad_vec(iov, (size_t)n))
		return writev_by_kernel(s, fd, iov, n, 0);
	return send_vec(s, fd, iov, (size_t)n, len, 0, sig_now());
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd) && off == -1 && !(flags & ~RWF_STREAM))
		return dgram_writev(fd_dgram(fd), fd, iov, n, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
	long len = !s || off != -1 || n < 0 ? -1 : iov_look(iov, (size_t)n);
	if (len <= 0)
		return real.pwritev2(fd, iov, n, off, flags);
	if (flags & ~RWF_STREAM || bad_vec(iov, (size_t)n))
		return writev_by_kernel(s, fd, iov, n, flags);
	return send_vec(s, fd, iov, (size_t)n, len, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0, sig_now());
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	return pwritev2(fd, iov, n, off, flags);
}

/* Descriptors that leave for another process: it may not be able to read rings, so their sockets are in the kernel before it can touch them. */
static void pass_all(const struct msghdr *msg, bool undo)
{
	int e = errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
			continue;
		int fds[(c->cmsg_len - CMSG_LEN(0)) / sizeof(int) + 1];
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			struct sock *s = fd_any_sock(fds[i]);
			if (!s && !undo && !fd_get(fds[i]))
				pass_unknown(fds[i]);
			else if (s && sock_flags(s) & (FAM_CONNECTED | FAM_DGRAM) && !undo)
				pass_begin(s, WHY_PASSED, true);
			else if (s && undo)
				pass_undo(s);
		}
	}
	errno = e;
}

/* The kernel copies the address first here too; of a long one, as much as an address can have. */
static bool good_name(const struct msghdr *m)
{
	socklen_t len = m->msg_namelen, max = sizeof(struct sockaddr_storage);
	return !m->msg_name || ((int)len >= 0 && good_address(m->msg_name, len < max ? len : max));
}

static bool passes(const struct msghdr *msg)
{
	return fdtab_len && (uintptr_t)msg >= 4096 && msg->msg_controllen && (uintptr_t)msg->msg_control >= 4096;
}

static ssize_t send_message(int fd, const struct msghdr *msg, int flags, struct sig_mark since)
{
	struct sock *s = fd_sock(fd);
	if (!s && fd_dgram(fd))
		return dgram_sendmsg(fd_dgram(fd), fd, msg, flags, since);
	if (!s && passes(msg)) {
		pass_all(msg, false);
		ssize_t r = real.sendmsg(fd, msg, flags);
		if (r < 0)
			pass_all(msg, true);
		return r;
	}
	long len = !s || (uintptr_t)msg < 4096 || !(sock_flags(s) & FAM_CONNECTED) || !good_name(msg)
			   ? -1
			   : iov_look(msg->msg_iov, msg->msg_iovlen);
	if (len < 0)
		return real.sendmsg(fd, msg, flags);
	if (msg->msg_controllen) { /* ancillary data: only the kernel can say what it means */
		move_pin_tx(s, WHY_OPTION);
		return real.sendmsg(fd, msg, flags);
	}
	if (bad_vec(msg->msg_iov, msg->msg_iovlen)) {
		tx_kernel_enter(s);
		ssize_t r = real.sendmsg(fd, msg, flags);
		tx_kernel_leave(s, r);
		return r;
	}
	return send_vec(s, fd, msg->msg_iov, msg->msg_iovlen, len, flags, since);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return send_message(fd, msg, flags, sig_now());
}

EXPORT int sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags)
{
	struct sock *s = fd_sock(fd);
	struct sig_mark since = sig_now();
	unsigned i;
	if ((!s && !fd_dgram(fd)) || (uintptr_t)msg < 4096) {
		bool any = !s && (uintptr_t)msg >= 4096;
		for (i = 0; any && i < n && i < UIO_MAXIOV; i++)
			if (passes(&msg[i].msg_hdr))
				pass_all(&msg[i].msg_hdr, false);
		int r = real.sendmmsg(fd, msg, n, flags);
		for (i = r < 0 ? 0 : (unsigned)r; any && i < n && i < UIO_MAXIOV; i++)
			if (passes(&msg[i].msg_hdr))
				pass_all(&msg[i].msg_hdr, true);
		return r;
	}
	if (n > UIO_MAXIOV)
		n = UIO_MAXIOV;
	for (i = 0; i < n; i++) {
		int e = errno;
		ssize_t r = send_message(fd, &msg[i].msg_hdr, flags, since);
		if (r < 0) {
			if (i)
				errno = e; /* the kernel keeps it for the next call */
			return i ? (int)i : -1;
		}
		msg[i].msg_len = (unsigned)r;
	}
	return (int)i;
}

/* A file's octets into a linked socket: read, then sent as any others, so that a full ring, time-outs and signals are those of send(). */
#define FILE_STEP 65536
#define PIPE_PAGE 4096

static ssize_t copy_file(struct sock *s, int out, int in, off_t *off, size_t len)
{
	char buf[FILE_STEP];
	struct sig_mark since = sig_now();
	size_t done = 0;
	off_t pos = off ? *off : -1;
	while (done < len) {
		size_t want = len - done < FILE_STEP ? len - done : FILE_STEP;
		ssize_t n = off ? pread(in, buf, want, pos) : real.read(in, buf, want);
		if (n <= 0) {
			if (n < 0 && !done)
				return -1;
			break;
		}
		struct iovec iov = {buf, (size_t)n};
		long r = tx_send(s, out, &iov, 1, 0, since);
		if (!off && r < n) /* what was not sent has not been read */
			lseek(in, (r < 0 ? 0 : r) - n, SEEK_CUR);
		if (r < 0) {
			if (!done)
				return wrap_result(r);
			break;
		}
		done += (size_t)r;
		pos += r;
		if (off)
			*off = pos;
		if (r < n)
			break;
	}
	return (ssize_t)done;
}

/*
 * The kernel takes sendfile's input from what can be sought and spliced. That is every ordinary file; of files that are made up as they are read (size 0), and of
 * devices, only it knows.
 */
static bool is_ordinary(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && ((S_ISREG(st.st_mode) && st.st_size) || S_ISBLK(st.st_mode));
}

EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t len)
{
	struct sock *s = fd_sock(out);
	if (!s && fd_dgram(out))
		move_pin(fd_dgram(out), WHY_SPLICE);
	if (!s || !(sock_flags(s) & FAM_CONNECTED) || (off && *off < 0))
		return real.sendfile(out, in, off, len);
	if (link_ready(s) && is_ordinary(in))
		return copy_file(s, out, in, off, len > MAX_RW ? MAX_RW : len);
	tx_kernel_enter(s);
	ssize_t r = real.sendfile(out, in, off, len);
	tx_kernel_leave(s, r);
	return r;
}

EXPORT ssize_t sendfile64(int out, int in, off_t *off, size_t len)
{
	return sendfile(out, in, off, len);
}

/*
 * What a pipe takes without blocking: all that it can hold if it is empty, else, if it is writable, a page. (Should another writer come in between, the write
 * below blocks, as splice would.)
 */
static size_t pipe_room(int fd)
{
	int in = 1;
	long room = real.ioctl(fd, FIONREAD, (long)(uintptr_t)&in) == 0 && !in ? real.fcntl(fd, F_GETPIPE_SZ, 0) : 0;
	return room > PIPE_PAGE ? (size_t)room : PIPE_PAGE;
}

/* From a linked socket into a pipe, by copying. (Into a socket, splice moves kernel pages: that direction stays in the kernel.) */
static ssize_t splice_from(struct sock *s, int in, int out, size_t len, unsigned flags)
{
	char buf[FILE_STEP];
	struct sig_mark since = sig_now();
	struct pollfd p = {.fd = out, .events = POLLOUT};
	bool now = flags & SPLICE_F_NONBLOCK || real.fcntl(out, F_GETFL, 0) & O_NONBLOCK;
	int n = real.poll(&p, 1, now ? 0 : -1);
	if (n < 0)
		return -1;
	if (!n)
		return wrap_result(-EAGAIN);
	if (p.revents &
		POLLERR) { /* nobody reads: the write below says so, and raises SIGPIPE; nothing has been taken from the socket */
		return real.write(out, "", 1);
	}
	wrap_testcancel();
	size_t room = pipe_room(out);
	if (len > room)
		len = room;
	struct iovec iov = {buf, len < sizeof(buf) ? len : sizeof(buf)};
	long r = rx_recv(s, in, &iov, 1, flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0, since, NULL);
	return r <= 0 ? wrap_result(r) : real.write(out, buf, (size_t)r);
}

static bool is_pipe(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

EXPORT ssize_t splice(int in, loff_t *inoff, int out, loff_t *outoff, size_t len, unsigned flags)
{
	struct sock *from = fd_sock(in), *to = fd_sock(out);
	if (fd_dgram(in) || fd_dgram(out))
		move_pin(fd_dgram(in) ? fd_dgram(in) : fd_dgram(out), WHY_SPLICE);
	if (to && sock_flags(to) & FAM_CONNECTED && !move_is_pinned(to, FAM_PIN_TX))
		move_pin_tx(to, WHY_SPLICE);
	if (!from || !(sock_flags(from) & FAM_CONNECTED) || !len || inoff || outoff || !is_pipe(out))
		return real.splice(in, inoff, out, outoff, len, flags);
	if (link_ready(from))
		return splice_from(from, in, out, len, flags);
	rx_kernel_enter(from); /* it may be linked while we wait */
	if (load_acquire(&from->f->link) == 2) {
		rx_kernel_leave(from);
		return link_ready(from) ? splice_from(from, in, out, len, flags) : real.splice(in, NULL, out, NULL, len, flags);
	}
	ssize_t r = real.splice(in, NULL, out, NULL, len, flags);
	rx_kernel_leave(from);
	if (r > 0)
		sock_count_kernel(&from->f->rx_kernel_bytes, &from->rx_kernel, (uint64_t)r);
	return r;
}
