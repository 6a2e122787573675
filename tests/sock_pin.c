/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_pin.c - what only the kernel can do for a socket (filters, zero copy, SIGIO, its own options), asked for in the middle of a connection, while octets wait to be
 * read: it does it, and no octet is lost, twice or in another place.
 */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAITING 1000
#define ROUNDS 100

static void filter_all(int fd)
{
	struct sock_filter all = {BPF_RET | BPF_K, 0, 0, 0xffffffff};
	struct sock_fprog prog = {1, &all};

	TRY(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog));
}

static void unfilter(int fd)
{
	filter_all(fd);
	TRY(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)));
}

static void set_option(int fd, int level, int name, const char *what)
{
	int on = 1;

	say("%s: %s", what, setsockopt(fd, level, name, &on, sizeof on) ? strerrorname_np(errno) : "set");
}

static void stamp(int fd)
{
	set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS");
}

static void ulp(int fd)
{
	TRY(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "no such thing", 13));
}

/* Into repair and out of it again, where we may. */
static void repair(int fd)
{
	int off = 0;

	set_option(fd, IPPROTO_TCP, TCP_REPAIR, "TCP_REPAIR");
	say("off: %s", setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off) ? strerrorname_np(errno) : "set");
}

/* Less than a page waits: nothing can be mapped, and it says how much there is to be read instead. */
static void zero_receive(int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *at = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	struct tcp_zerocopy_receive z = {.address = (uint64_t)(uintptr_t)at, .length = (uint32_t)page};
	socklen_t len = sizeof z;

	HOLDS(at != MAP_FAILED);
	TRY(getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &z, &len));
	say("length %u, skip %u", z.length, z.recv_skip_hint);
	munmap(at, page);
}

static void pinned_server(void)
{
	void (*const *pin)(int) = the_case->arg;
	int fd = serve_warm();

	await("sent");
	unread_is(fd, WAITING);
	(*pin)(fd);
	unread_is(fd, WAITING);
	poll_is(fd, POLLIN | POLLOUT, POLLIN | POLLOUT);
	get(fd, WAITING, 1, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put(fd, 20, 2, i);
		get(fd, 30, 1, i);
	}
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static void pinned_client(void)
{
	int fd = connect_warm();

	put(fd, WAITING, 1, 0);
	tell("sent");
	for (unsigned i = 0; i < ROUNDS; i++) {
		get(fd, 20, 2, i);
		put(fd, 30, 1, i);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- MSG_ZEROCOPY: what has been sent so is reported, on the queue of errors ---- */

static void completion(int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + 16)];
	} control = {0};
	struct msghdr msg = {.msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct sock_extended_err e;

	poll_is(fd, 0, POLLERR);
	TRY(recvmsg(fd, &msg, MSG_ERRQUEUE));
	if (!CMSG_FIRSTHDR(&msg))
		return;
	memcpy(&e, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof e);
	say("origin %u, from %u to %u", e.ee_origin, e.ee_info, e.ee_data);
}

static void zero_send_server(void)
{
	static char buf[20000]; /* lies still until the kernel says that it is done */
	int fd = serve_warm();

	put(fd, 100, 2, 0);
	set_option(fd, SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY");
	for (unsigned i = 0; i < 3; i++) {
		fill(buf, sizeof buf, 3, 0);
		TRY(send(fd, buf, sizeof buf, MSG_ZEROCOPY));
		await("read");
		completion(fd);
		put(fd, 10, 2, 100 + 10 * i);
		get(fd, 10, 1, i);
	}
	TRY(close(fd));
}

static void zero_send_client(void)
{
	int fd = connect_warm();

	get(fd, 100, 2, 0);
	for (unsigned i = 0; i < 3; i++) {
		get(fd, 20000, 3, 0);
		tell("read");
		get(fd, 10, 2, 100 + 10 * i);
		put(fd, 10, 1, i);
	}
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* The flag alone, without the option, is ignored. */
static void zero_flag_server(void)
{
	static char buf[20000];
	int fd = serve_warm();

	fill(buf, sizeof buf, 3, 0);
	put(fd, 100, 2, 0);
	TRY(send(fd, buf, sizeof buf, MSG_ZEROCOPY));
	put(fd, 100, 2, 100);
	await("read");
	poll_is(fd, POLLOUT, POLLOUT);
	TRY(close(fd));
}

static void zero_flag_client(void)
{
	int fd = connect_warm();

	get(fd, 100, 2, 0);
	get(fd, 20000, 3, 0);
	get(fd, 100, 2, 100);
	tell("read");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- SIGIO: the kernel tells of input ---- */

static volatile sig_atomic_t told;

static void on_io(int sig)
{
	told = sig;
}

static int was_told(void *arg)
{
	(void)arg;
	return told != 0;
}

static void sigio_server(void)
{
	int by_ioctl = *(const int *)the_case->arg, on = 1, fd = serve_warm();
	struct sigaction act = {.sa_handler = on_io, .sa_flags = SA_RESTART};

	MUST(sigaction(SIGIO, &act, NULL));
	TRY(fcntl(fd, F_SETOWN, getpid()));
	send_me(100);
	unread_is(fd, 100);
	if (by_ioctl)
		TRY(ioctl(fd, FIOASYNC, &on));
	else
		TRY(fcntl(fd, F_SETFL, O_ASYNC));
	get(fd, 100, 1, 0);
	for (int i = 0; i < 3; i++) {
		told = 0;
		send_me(10);
		HOLDS(wait_until(was_told, NULL));
		get(fd, 10, 1, 100 + 10u * (unsigned)i);
	}
	TRY((fcntl(fd, F_GETFL) & O_ASYNC) != 0);
	told = 0;
	close_yours();
	HOLDS(wait_until(was_told, NULL));
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

static const int no = 0, yes = 1;

#define BY(fn)                                                                                                                 \
	(void (*const[])(int))                                                                                                 \
	{                                                                                                                      \
		fn                                                                                                             \
	}

const struct oracle_case oracle_cases[] = {
	{"filter", pinned_server, pinned_client, 0, BY(filter_all)},
	{"filter_and_back", pinned_server, pinned_client, 0, BY(unfilter)},
	{"stamp", pinned_server, pinned_client, 0, BY(stamp)},
	{"ulp", pinned_server, pinned_client, 0, BY(ulp)},
	{"repair", pinned_server, pinned_client, 0, BY(repair)},
	{"zero_receive", pinned_server, pinned_client, 0, BY(zero_receive)},
	{"zero_send", zero_send_server, zero_send_client, 0, NULL},
	{"zero_flag", zero_flag_server, zero_flag_client, 0, NULL},
	{"sigio_fcntl", sigio_server, sender_client, 0, &no},
	{"sigio_ioctl", sigio_server, sender_client, 0, &yes},
	{NULL, NULL, NULL, 0, NULL},
};
