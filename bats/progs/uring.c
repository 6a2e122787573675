/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uring.c - a server that echoes messages of 64 octets. One connection; "done" when it has ended. Behind a message that begins with "over" the first BEFORE ones are echoed by recv and send,
 * all others by a ring of liburing.
 *
 *   uring MODE PORT BEFORE
 *          ring     makes the ring when it is needed
 *          refused  tries to make one in vain, and goes on as before
 *          files    makes it first, and has each message written to a file and read from it by the ring, and none sent or received
 *          mixed    so the first ones
 *          kept     as mixed, but the ring gets the connection as a descriptor of its own
 *   uring probe                        status 1: there is no io_uring here
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

static struct io_uring ring;

static void make_ring(void)
{
	errno = -io_uring_queue_init(4, &ring, 0);
	if (errno)
		fail("io_uring_queue_init");
}

static int by_ring(int op, int fd, unsigned flags, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;

	io_uring_prep_rw(op, sqe, fd, buf, len, 0);
	sqe->flags = (unsigned char)flags;
	sqe->msg_flags = op == IORING_OP_RECV ? MSG_WAITALL : 0;
	io_uring_submit_and_wait(&ring, 1);
	if (io_uring_wait_cqe(&ring, &cqe))
		return -1;
	int res = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return res;
}

/* Until the client has told that this is over. */
static void warm(int fd)
{
	char buf[LEN] = "";

	while (memcmp(buf, "over", 4)) {
		if (recv(fd, buf, LEN, MSG_WAITALL) != LEN || send(fd, buf, LEN, 0) != LEN)
			fail("a message before the first");
	}
}

/* n messages, or all of them. */
static void echo(int fd, long n)
{
	char buf[LEN];

	while (n-- && recv(fd, buf, LEN, MSG_WAITALL) == LEN)
		if (send(fd, buf, LEN, 0) != LEN)
			fail("send");
}

/* Each goes through a file first, which the ring writes and reads. */
static void echo_by_file(int fd, int file, long n)
{
	char buf[LEN];

	while (n-- && recv(fd, buf, LEN, MSG_WAITALL) == LEN) {
		if (by_ring(IORING_OP_WRITE, file, 0, buf, LEN) != LEN)
			fail("write by the ring");
		memset(buf, 0, LEN);
		if (by_ring(IORING_OP_READ, file, 0, buf, LEN) != LEN)
			fail("read by the ring");
		if (send(fd, buf, LEN, 0) != LEN)
			fail("send");
	}
}

/* flags: IOSQE_FIXED_FILE: fd is a number of the ring's own. */
static void echo_by_ring(int fd, unsigned flags)
{
	char buf[LEN];

	while (by_ring(IORING_OP_RECV, fd, flags, buf, LEN) == LEN)
		if (by_ring(IORING_OP_SEND, fd, flags, buf, LEN) != LEN)
			fail("send by the ring");
}

static void entry(int op, int fd, unsigned flags, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_rw(op, sqe, fd, buf, len, 0);
	sqe->flags = (unsigned char)flags;
}

/* One message is answered by an entry whose number is no socket's when it is handed over, and the connection's when the entry before it in the chain is done. */
static void echo_by_chain(int fd)
{
	char buf[LEN], go;
	struct io_uring_cqe *cqe;
	int p[2], later = open("/dev/null", O_WRONLY | O_CLOEXEC), i;

	if (later < 0 || pipe(p) || io_uring_register_files(&ring, p, 1) || recv(fd, buf, LEN, MSG_WAITALL) != LEN)
		fail("a chain");
	entry(IORING_OP_READ, 0, IOSQE_FIXED_FILE | IOSQE_IO_LINK, &go, 1);
	entry(IORING_OP_WRITE, later, 0, buf, LEN);
	if (io_uring_submit(&ring) != 2 || dup2(fd, later) != later || write(p[1], "", 1) != 1)
		fail("io_uring_submit");
	for (i = 0; i < 2; i++) {
		if (io_uring_wait_cqe(&ring, &cqe) || cqe->res < 1)
			fail("the chain");
		io_uring_cqe_seen(&ring, cqe);
	}
}

static int temporary(void)
{
	FILE *f = tmpfile();

	if (!f)
		fail("tmpfile");
	return fileno(f);
}

static void go_on(const char *mode, int fd, long before)
{
	if (!strcmp(mode, "ring")) {
		echo(fd, before);
		make_ring();
		echo_by_ring(fd, 0);
	} else if (!strcmp(mode, "refused")) {
		echo(fd, before);
		if (io_uring_queue_init(4, &ring, ~0u) >= 0)
			fail("a ring with flags that nobody knows");
		echo(fd, -1);
	} else if (!strcmp(mode, "files")) {
		echo_by_file(fd, temporary(), -1);
	} else if (!strcmp(mode, "mixed")) {
		echo_by_file(fd, temporary(), before);
		echo_by_ring(fd, 0);
	} else if (!strcmp(mode, "chained")) {
		echo_by_file(fd, temporary(), before);
		echo_by_chain(fd);
		echo(fd, -1);
	} else {
		echo_by_file(fd, temporary(), before);
		if (io_uring_register_files(&ring, &fd, 1))
			fail("io_uring_register_files");
		echo_by_ring(0, IOSQE_FIXED_FILE);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "probe"))
		return io_uring_queue_init(4, &ring, 0) < 0;
	if (argc != 4) {
		fputs("usage: uring ring|refused|files|mixed|chained|kept PORT BEFORE | probe\n", stderr);
		return 2;
	}
	int fd = connection(argv[2]);
	if (strcmp(argv[1], "ring") && strcmp(argv[1], "refused"))
		make_ring();
	warm(fd);
	go_on(argv[1], fd, atol(argv[3]));
	puts("done");
	return 0;
}
