/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_inq.c - TCP_INQ: with each recvmsg the kernel says how much is left, and gRPC does not ask again when it says that nothing is. */
#include "oracle.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

static void set_inq(int fd, int on)
{
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_INQ, &on, sizeof on));
}

static void say_control(struct msghdr *m)
{
	say("flags %#x, %zu octets of control", (unsigned)m->msg_flags, (size_t)m->msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int left = 0;
		size_t n = c->cmsg_len - CMSG_LEN(0);
		memcpy(&left, CMSG_DATA(c), n < sizeof left ? n : sizeof left);
		say("level %d type %d length %zu: %d left", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len, left);
	}
}

/* One recvmsg of up to len octets, with room for so much control. */
static void receive(int fd, size_t len, int flags, size_t room)
{
	static char buf[1 << 20];
	char control[64];
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room ? control : NULL, .msg_controllen = room};

	memset(control, 0x55, sizeof control);
	if (TRY(recvmsg(fd, &m, flags)) >= 0)
		say_control(&m);
}

static void values_server(void)
{
	int fd = serve_warm();

	set_inq(fd, 1);
	send_me(10);
	receive(fd, 4, 0, 64);
	receive(fd, 3, MSG_PEEK, 64);
	receive(fd, 2, MSG_TRUNC, 64);
	receive(fd, 0, 0, 64);
	receive(fd, 4, 0, 64);
	receive(fd, 1, MSG_DONTWAIT, 64);
	set_inq(fd, 0);
	send_me(10);
	receive(fd, 4, 0, 64);
	set_inq(fd, 1);
	receive(fd, 100, 0, 64);
	close_yours();
	TRY(close(fd));
}

/* The control area is too small, or not there. */
static void room_server(void)
{
	static const size_t rooms[] = {0, 1, 15, 16, 17, 19, 20, 23, 24, 25};
	int fd = serve_warm();

	set_inq(fd, 1);
	send_me(20);
	for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
		receive(fd, 1, 0, rooms[i]);
	char *no = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), octet;
	struct iovec iov = {&octet, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = no, .msg_controllen = 64};
	TRY(recvmsg(fd, &m, 0));
	say("flags %#x, %zu octets of control", (unsigned)m.msg_flags, (size_t)m.msg_controllen);
	struct mmsghdr two[2];
	char control[2][64], octets[2];
	struct iovec iovs[2] = {{octets, 1}, {octets + 1, 1}};
	memset(two, 0, sizeof two);
	for (int i = 0; i < 2; i++)
		two[i].msg_hdr = (struct msghdr){
			.msg_iov = &iovs[i], .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = sizeof control[i]};
	TRY(recvmmsg(fd, two, 2, 0, NULL));
	for (int i = 0; i < 2; i++)
		say_control(&two[i].msg_hdr);
	close_yours();
	TRY(close(fd));
}

/* The end counts as one more, as long as it has not been read, and for ever. */
static void end_server(void)
{
	int fd = serve_warm();

	set_inq(fd, 1);
	send_me(10);
	receive(fd, 1, 0, 64);
	close_yours();
	poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	receive(fd, 4, 0, 64);
	receive(fd, 5, MSG_PEEK, 64);
	receive(fd, 5, 0, 64);
	receive(fd, 5, 0, 64);
	receive(fd, 5, 0, 64);
	TRY(close(fd));
}

/* The sender's buffer changes while there are octets unread: what memory holds then need not be all. */
static void resizer_client(void)
{
	int fd = connect_warm(), len = 200000;
	uint64_t pos = 0;

	no_delay(fd);
	for (long n; (n = await_number()) > 0; pos += (uint64_t)n) {
		put(fd, (size_t)n, 1, pos);
		MUST(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &len, sizeof len));
		tell("sent");
	}
	TRY(close(fd));
	tell("closed");
}

static void both_server(void)
{
	int fd = serve_warm();

	set_inq(fd, 1);
	send_me(10);
	receive(fd, 4, 0, 64);
	send_me(20000);
	unread_is(fd, 20006);
	receive(fd, 2, 0, 64);
	receive(fd, 100, MSG_PEEK, 64);
	receive(fd, 10000, MSG_WAITALL, 64);
	send_me(100);
	unread_is(fd, 10104);
	receive(fd, 10054, MSG_WAITALL, 64);
	close_yours();
	poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	receive(fd, 40, 0, 64);
	receive(fd, 40, 0, 64);
	receive(fd, 40, 0, 64);
	TRY(close(fd));
}

/* FIONREAD, asked once, right behind the last octet that came before the end. */
static void asked_server(void)
{
	int fd = serve_warm(), in = -1;

	send_me(10);
	get(fd, 4, 1, 0);
	close_yours();
	poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	get(fd, 6, 1, 4);
	TRY(ioctl(fd, FIONREAD, &in));
	HOLDS(in == 0);
	TRY(close(fd));
}

static void listener_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);

	set_inq(lfd, 1);
	tell_number(port);
	int fd = (int)MUST(accept(lfd, NULL, NULL));
	warm_up(fd);
	send_me(10);
	receive(fd, 4, 0, 64);
	receive(fd, 6, 0, 64);
	close_yours();
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"values", values_server, sender_client, 0, NULL},
	{"room", room_server, sender_client, 0, NULL},
	{"end", end_server, sender_client, 0, NULL},
	{"both", both_server, resizer_client, 0, NULL},
	{"asked", asked_server, sender_client, 0, NULL},
	{"listener", listener_server, sender_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
