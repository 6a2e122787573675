/* SPDX-License-Identifier: BSD-2-Clause */
#include "bell.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

#include "sys.h"

#define BELL_PREFIX "shunt/"
#define BELL_PREFIX_LEN (sizeof(BELL_PREFIX) - 1)
#define BELL_ADDR_LEN (offsetof(struct sockaddr_un, sun_path) + 1 + BELL_PREFIX_LEN + 2 * BELL_NAME_LEN)

static void bell_addr(struct sockaddr_un *sa, const uint8_t name[BELL_NAME_LEN])
{
	char *p = sa->sun_path;

	sa->sun_family = AF_UNIX;
	*p++ = '\0';
	memcpy(p, BELL_PREFIX, BELL_PREFIX_LEN);
	p += BELL_PREFIX_LEN;
	for (int i = 0; i < BELL_NAME_LEN; i++) {
		*p++ = "0123456789abcdef"[name[i] >> 4];
		*p++ = "0123456789abcdef"[name[i] & 15];
	}
}

int bell_open(uint8_t name[BELL_NAME_LEN])
{
	static const uint8_t none[BELL_NAME_LEN];
	struct sockaddr_un sa;
	long fd, err = 0;

	if (!memcmp(name, none, BELL_NAME_LEN))
		err = sys_random(name, BELL_NAME_LEN);
	if (err)
		return (int)err;
	fd = sys3(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	bell_addr(&sa, name);
	err = sys3(SYS_bind, fd, &sa, BELL_ADDR_LEN);
	if (err) {
		sys1(SYS_close, fd);
		return (int)err;
	}
	return sys_fd_keep((int)fd);
}

int bell_ring(int from_fd, const uint8_t name[BELL_NAME_LEN])
{
	struct sockaddr_un sa;
	long n;

	bell_addr(&sa, name);
	do {
		n = sys6(SYS_sendto, from_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, &sa, BELL_ADDR_LEN);
	} while (n == -EINTR);
	/* A full queue (or one that there is no memory to lengthen) holds a wake-up already. */
	return n >= 0 || n == -EAGAIN || n == -ENOBUFS ? 0 : (int)n;
}

#define DRAIN_N 16 /* usually one is there: one call sees that there is no other */

int bell_drain(int fd)
{
	char c[DRAIN_N];
	struct iovec iov[DRAIN_N];
	struct mmsghdr m[DRAIN_N];
	int n = 0;

	for (int i = 0; i < DRAIN_N; i++) {
		iov[i] = (struct iovec){&c[i], 1};
		m[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
	}
	/* The bound: a stranger who rings faster than we drain must not keep us here. */
	while (n < 1024) {
		long r = sys5(SYS_recvmmsg, fd, m, DRAIN_N, MSG_DONTWAIT, 0);

		if (r == -EINTR)
			continue;
		if (r > 0)
			n += (int)r;
		if (r < DRAIN_N)
			break;
	}
	return n;
}

int futex_wait(_Atomic uint32_t *word, uint32_t val, int64_t rel_ns)
{
	struct timespec ts = {(time_t)(rel_ns / 1000000000), (long)(rel_ns % 1000000000)};
	long err = sys6(SYS_futex, word, FUTEX_WAIT, val, rel_ns < 0 ? NULL : &ts, 0, 0);

	return err == -EAGAIN ? 0 : (int)err;
}

int futex_wake(_Atomic uint32_t *word, int n)
{
	return (int)sys6(SYS_futex, word, FUTEX_WAKE, n, 0, 0, 0);
}
