/* SPDX-License-Identifier: BSD-2-Clause */
/* i_send.c - the names that send. */
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "assoc.h"
#include "fast.h"
#include "link.h"
#include "move.h"
#include "sig.h"
#include "wrap.h"

/* An address that cannot be memory: the kernel shall say EFAULT. */
static bool bad_buf(const void *p, size_t len)
{
	return len && (uintptr_t)p < 4096;
}

static ssize_t send_buf(struct sock *s, int fd, const void *buf, size_t len, int flags)
{
	long r = flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL) ? FAST_NO : fast_send(s, fd, buf, len);
	if (__builtin_expect(r != FAST_NO, 1))
		return r;
	struct iovec iov = {(void *)(uintptr_t)buf, len > SSIZE_MAX ? SSIZE_MAX : len};
	return wrap_result(tx_send(s, fd, &iov, 1, flags, sig_now()));
}

EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	struct sock *s = fd_sock(fd);
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
	struct iovec to = {&here, len}, from = {(void *)(uintptr_t)sa, len};
	if (len > sizeof(here))
		return false;
	return !len || process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)len;
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *sa, socklen_t salen)
{
	struct sock *s = fd_sock(fd);
	if (!s || bad_buf(buf, len) || !(sock_flags(s) & FAM_CONNECTED) || (sa && !good_address(sa, salen)))
		return real.sendto(fd, buf, len, flags, sa, salen);
	return send_buf(s, fd, buf, len, flags);
}

/* The kernel checks an array before it moves anything; one that it would refuse, it shall refuse. */
static bool good_iov(const struct iovec *iov, size_t n)
{
	size_t len = 0;
	if (n > IOV_MAX || (n && (uintptr_t)iov < 4096))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (iov[i].iov_len > SSIZE_MAX)
			return false;
		len += iov[i].iov_len;
	}
	return len <= INT_MAX;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct sock *s = fd_sock(fd);
	if (!s || n < 0 || !good_iov(iov, (size_t)n))
		return real.writev(fd, iov, n);
	return wrap_result(tx_send(s, fd, iov, n, 0, sig_now()));
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct sock *s = fd_sock(fd);
	if (!s || off != -1 || flags || n < 0 || !good_iov(iov, (size_t)n))
		return real.pwritev2(fd, iov, n, off, flags);
	return wrap_result(tx_send(s, fd, iov, n, 0, sig_now()));
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	return pwritev2(fd, iov, n, off, flags);
}

/* Descriptors that leave for another process: it may not be able to read rings, so their sockets are in the kernel before it can touch them. */
static void pin_passed(const struct msghdr *msg)
{
	int e = errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
			continue;
		int fds[(c->cmsg_len - CMSG_LEN(0)) / sizeof(int) + 1];
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			struct sock *s = fd_sock(fds[i]);
			if (s && sock_flags(s) & FAM_CONNECTED)
				move_pin(s, WHY_PASSED);
		}
	}
	errno = e;
}

static ssize_t send_message(int fd, const struct msghdr *msg, int flags, struct sig_mark since)
{
	struct sock *s = fd_sock(fd);
	if (!s && fdtab_len && (uintptr_t)msg >= 4096 && msg->msg_controllen && (uintptr_t)msg->msg_control >= 4096)
		pin_passed(msg);
	if (!s || (uintptr_t)msg < 4096 || !(sock_flags(s) & FAM_CONNECTED) || !good_iov(msg->msg_iov, msg->msg_iovlen))
		return real.sendmsg(fd, msg, flags);
	if (msg->msg_controllen) { /* ancillary data: only the kernel can say what it means */
		move_pin_tx(s, WHY_OPTION);
		return real.sendmsg(fd, msg, flags);
	}
	return wrap_result(tx_send(s, fd, msg->msg_iov, (int)msg->msg_iovlen, flags, since));
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
	if (!s || (uintptr_t)msg < 4096) {
		for (i = 0; !s && fdtab_len && (uintptr_t)msg >= 4096 && i < n && i < UIO_MAXIOV; i++)
			if (msg[i].msg_hdr.msg_controllen)
				pin_passed(&msg[i].msg_hdr);
		return real.sendmmsg(fd, msg, n, flags);
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

/* The kernel takes sendfile's input from what can be mapped: regular files and block devices; it refuses others, and shall. */
static bool is_regular(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t len)
{
	struct sock *s = fd_sock(out);
	if (!s || !(sock_flags(s) & FAM_CONNECTED) || !link_ready(s) || !is_regular(in))
		return real.sendfile(out, in, off, len);
	if (off && *off < 0)
		return real.sendfile(out, in, off, len);
	return copy_file(s, out, in, off, len > 0x7ffff000 ? 0x7ffff000 : len);
}

EXPORT ssize_t sendfile64(int out, int in, off_t *off, size_t len)
{
	return sendfile(out, in, off, len);
}

/*
 * From a linked socket into a pipe, by copying: one page at most, which a pipe that is writable takes without blocking. (Into a socket, splice moves kernel pages:
 * that direction stays in the kernel.)
 */
static ssize_t splice_from(struct sock *s, int in, int out, size_t len, unsigned flags)
{
	char page[4096];
	struct sig_mark since = sig_now();
	struct pollfd p = {.fd = out, .events = POLLOUT};
	struct iovec iov = {page, len < sizeof(page) ? len : sizeof(page)};
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
	long r = rx_recv(s, in, &iov, 1, flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0, since);
	return r <= 0 ? wrap_result(r) : real.write(out, page, (size_t)r);
}

static bool is_pipe(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

EXPORT ssize_t splice(int in, loff_t *inoff, int out, loff_t *outoff, size_t len, unsigned flags)
{
	struct sock *from = fd_sock(in), *to = fd_sock(out);
	if (to && sock_flags(to) & FAM_CONNECTED && !(sock_flags(to) & FAM_PIN_TX))
		move_pin_tx(to, WHY_SPLICE);
	if (from && sock_flags(from) & FAM_CONNECTED && link_ready(from) && len && !inoff && !outoff && is_pipe(out))
		return splice_from(from, in, out, len, flags);
	return real.splice(in, inoff, out, outoff, len, flags);
}
