/* SPDX-License-Identifier: BSD-2-Clause */
/* Lifelines: AF_UNIX sockets that keep boundaries, under a name that only who has read the endpoint's file knows. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/un.h>
#include <time.h>

#include "api.h"
#include "log.h"
#include "sys.h"

#define BACKLOG 128
#define TYPE (SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
#define RETRY_NS 1000000

uint64_t api_deadline(int timeout_ms)
{
	if (timeout_ms < 0)
		return UINT64_MAX;
	return timeout_ms ? sys_now_ns() + (uint64_t)timeout_ms * 1000000u : 0;
}

/* "\0shunt/" + the nonce in hexadecimal digits + "/d". The length of the address. */
static unsigned life_addr(struct sockaddr_un *sa, const uint8_t nonce[16])
{
	int n = 1;

	sa->sun_family = AF_UNIX;
	sa->sun_path[0] = '\0';
	n += fmt_buf(sa->sun_path + n, sizeof(sa->sun_path) - 1, "shunt/");
	for (int i = 0; i < 16; i++)
		n += fmt_buf(sa->sun_path + n, sizeof(sa->sun_path) - (unsigned)n, "%x%x", nonce[i] >> 4, nonce[i] & 15);
	n += fmt_buf(sa->sun_path + n, sizeof(sa->sun_path) - (unsigned)n, "/d");
	return (unsigned)offsetof(struct sockaddr_un, sun_path) + (unsigned)n;
}

int api_life_listen(const uint8_t nonce[16])
{
	struct sockaddr_un sa;
	unsigned len = life_addr(&sa, nonce);
	long err, fd = sys3(SYS_socket, AF_UNIX, TYPE, 0);

	if (fd < 0)
		return (int)fd;
	err = sys3(SYS_bind, fd, &sa, len);
	if (!err)
		err = sys2(SYS_listen, fd, BACKLOG);
	if (!err)
		return (int)fd;
	sys1(SYS_close, fd);
	return (int)err;
}

int api_life_connect(const uint8_t nonce[16], uint64_t deadline_ns)
{
	struct timespec ts = {0, RETRY_NS};
	struct sockaddr_un sa;
	unsigned len = life_addr(&sa, nonce);
	long err, fd = sys3(SYS_socket, AF_UNIX, TYPE, 0);

	if (fd < 0)
		return (int)fd;
	while ((err = sys3(SYS_connect, fd, &sa, len)) == -EAGAIN && sys_now_ns() < deadline_ns)
		sys2(SYS_nanosleep, &ts, NULL); /* the backlog is full; the kernel has no event for when it is not */
	if (!err)
		return (int)fd;
	sys1(SYS_close, fd);
	return err == -EAGAIN ? -ETIMEDOUT : (int)err;
}

int api_life_who(int fd, struct ucred *who)
{
	socklen_t len = sizeof(*who);

	return (int)sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, who, &len);
}

int api_life_wait(int fd, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = sys_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	struct timespec ts = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
	long n = sys5(SYS_ppoll, &p, 1, deadline_ns == UINT64_MAX ? NULL : &ts, NULL, 0);

	return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : (int)n;
}
