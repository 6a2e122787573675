/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uring.c - a server that echoes messages of 64 octets: the first BEFORE of a connection by recv and send, all others by a ring of liburing, which it makes then; or,
 * with "refused", tries to make in vain, and goes on. One connection; "done" when it has ended.
 *
 *   uring ring|refused PORT BEFORE
 *   uring probe                        status 1: there is no io_uring here
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN 64

static void fail(const char *what)
{
	fprintf(stderr, "uring: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connection(const char *port)
{
	struct sockaddr_in me = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, fd, lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (lfd < 0 || bind(lfd, (struct sockaddr *)&me, sizeof(me)) || listen(lfd, 1))
		fail("listen");
	if ((fd = accept(lfd, NULL, NULL)) < 0)
		fail("accept");
	return fd;
}

static int by_ring(struct io_uring *ring, int op, int fd, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	io_uring_prep_rw(op, sqe, fd, buf, len, 0);
	sqe->msg_flags = op == IORING_OP_RECV ? MSG_WAITALL : 0;
	io_uring_submit(ring);
	if (io_uring_wait_cqe(ring, &cqe))
		return -1;
	int res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static void echo_by_ring(int fd, char *buf)
{
	struct io_uring ring;

	errno = -io_uring_queue_init(4, &ring, 0);
	if (errno)
		fail("io_uring_queue_init");
	while (by_ring(&ring, IORING_OP_RECV, fd, buf, LEN) == LEN)
		if (by_ring(&ring, IORING_OP_SEND, fd, buf, LEN) != LEN)
			fail("send by the ring");
	io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
	struct io_uring none;
	char buf[LEN];

	if (argc == 2 && !strcmp(argv[1], "probe"))
		return io_uring_queue_init(4, &none, 0) < 0;
	if (argc != 4) {
		fputs("usage: uring ring|refused PORT BEFORE | probe\n", stderr);
		return 2;
	}
	int fd = connection(argv[2]);
	for (long i = atol(argv[3]); i > 0; i--)
		if (recv(fd, buf, LEN, MSG_WAITALL) != LEN || send(fd, buf, LEN, 0) != LEN)
			fail("echo");
	if (!strcmp(argv[1], "ring")) {
		echo_by_ring(fd, buf);
	} else {
		if (io_uring_queue_init(4, &none, ~0u) >= 0)
			fail("a ring with flags that nobody knows");
		while (recv(fd, buf, LEN, MSG_WAITALL) == LEN && send(fd, buf, LEN, 0) == LEN)
			;
	}
	puts("done");
	return 0;
}
