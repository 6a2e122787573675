/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_err.c - calls that fail, calls that move nothing: EFAULT, EINVAL, ESPIPE, EBADF, zero lengths; the stream is whole after each. */
#include "oracle.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* What the compiler must not know, or it would not let us ask the kernel. */
static void *volatile NOWHERE = (void *)8;
static volatile int minus_one = -1;

/* Sends 20 bytes, then waits until the other part is done. */
static void twenty_client(void)
{
	int fd = connect_warm();

	put(fd, 20, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

/* Takes what twenty_client sent: nothing of it may have been lost on the way. */
static void take_twenty(int fd)
{
	unread_is(fd, 20);
	get(fd, 20, 1, 0);
	unread_is(fd, 0);
	tell("done");
	char c;
	TRY(read(fd, &c, 1));
	TRY(close(fd));
}

static void efault_server(void)
{
	struct iovec iov = {NOWHERE, 10};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1}, nowhere = {.msg_iov = NOWHERE, .msg_iovlen = 1};
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 20);
	TRY(read(fd, NOWHERE, 10));
	TRY(recv(fd, NOWHERE, 10, 0));
	TRY(recv(fd, NULL, 10, MSG_PEEK));
	TRY(recvfrom(fd, NOWHERE, 10, 0, NULL, NULL));
	TRY(readv(fd, &iov, 1));
	TRY(readv(fd, NOWHERE, 1));
	TRY(recvmsg(fd, &msg, 0));
	TRY(recvmsg(fd, &nowhere, 0));
	TRY(recvmsg(fd, NOWHERE, 0));
	TRY(ioctl(fd, FIONREAD, NOWHERE));
	take_twenty(fd);
}

static void efault_client(void)
{
	struct iovec iov = {NOWHERE, 10};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = connect_warm();

	TRY(write(fd, NOWHERE, 10));
	TRY(send(fd, NOWHERE, 10, 0));
	TRY(send(fd, NULL, 10, MSG_DONTWAIT));
	TRY(sendto(fd, NOWHERE, 10, 0, NULL, 0));
	TRY(sendto(fd, "x", 1, 0, NOWHERE, 16));
	TRY(writev(fd, &iov, 1));
	TRY(writev(fd, NOWHERE, 1));
	TRY(sendmsg(fd, &msg, 0));
	TRY(sendmsg(fd, NOWHERE, 0));
	put(fd, 20, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

/* The last good byte of a page, and beyond it nothing. */
static char *edge_of_memory(size_t good)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(page == MAP_FAILED ? -1 : 0);
	MUST(mprotect(page + 4096, 4096, PROT_NONE));
	return page + 4096 - good;
}

static void edge_server(void)
{
	char *buf = edge_of_memory(8);
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 20);
	TRY(recv(fd, buf, 20, MSG_PEEK));
	TRY(recv(fd, buf, 20, 0));
	TRY(read(fd, buf, 20));
	unread_is(fd, 20);
	TRY(recv(fd, buf, 8, MSG_PEEK));
	take_twenty(fd);
}

static void edge_client(void)
{
	char *buf = edge_of_memory(8);
	int fd = connect_warm();

	TRY(send(fd, buf, 20, 0));
	TRY(write(fd, buf, 20));
	put(fd, 20, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

static void zero_server(void)
{
	char buf[8];
	struct iovec none[2] = {{NULL, 0}, {NULL, 0}};
	struct msghdr msg = {.msg_iov = NULL, .msg_iovlen = 0};
	int fd = serve_warm();

	TRY(read(fd, buf, 0)); /* at once, though nothing has come */
	TRY(read(fd, NULL, 0));
	TRY(readv(fd, none, 2));
	TRY(readv(fd, none, 0));
	TRY(recv(fd, buf, 0, MSG_DONTWAIT));
	TRY(recvmsg(fd, &msg, MSG_DONTWAIT));
	TRY(send(fd, buf, 0, 0));
	TRY(write(fd, NULL, 0));
	TRY(writev(fd, none, 2));
	TRY(writev(fd, none, 0));
	TRY(sendmsg(fd, &msg, 0));
	tell("go");
	await("sent");
	unread_is(fd, 20);
	TRY(recv(fd, buf, 0, 0)); /* at once, since something has come */
	TRY(recvmsg(fd, &msg, 0));
	TRY(recv(fd, buf, 0, MSG_PEEK));
	TRY(recvmmsg(fd, NULL, 0, 0, NULL));
	TRY(sendmmsg(fd, NULL, 0, 0));
	take_twenty(fd);
}

static void zero_client(void)
{
	char buf[8];
	int fd = connect_warm();

	await("go");
	TRY(recv(fd, buf, 8, MSG_DONTWAIT)); /* empty sends sent nothing */
	put(fd, 20, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

static void einval_server(void)
{
	static struct iovec many[UIO_MAXIOV + 1];
	char buf[32];
	struct iovec negative[2] = {{buf, 4}, {buf, (size_t)SSIZE_MAX + 1}};
	struct msghdr msg = {.msg_iov = many, .msg_iovlen = UIO_MAXIOV + 1}, neg = {.msg_iov = negative, .msg_iovlen = 2};
	int fd = serve_warm();

	for (int i = 0; i <= UIO_MAXIOV; i++)
		many[i] = (struct iovec){buf + i % 20, 1};
	await("sent");
	unread_is(fd, 20);
	TRY(readv(fd, many, UIO_MAXIOV + 1));
	TRY(readv(fd, many, minus_one));
	TRY(readv(fd, negative, 2));
	TRY(recvmsg(fd, &msg, 0));
	TRY(recvmsg(fd, &neg, 0));
	TRY(writev(fd, many, UIO_MAXIOV + 1));
	TRY(writev(fd, many, minus_one));
	TRY(writev(fd, negative, 2));
	TRY(sendmsg(fd, &msg, 0));
	TRY(preadv2(fd, many, 1, 0, 0));
	TRY(pwritev2(fd, many, 1, 0, 0));
	TRY(preadv2(fd, many, 1, -1, 0x4000));
	TRY(pread(fd, buf, 1, 0));
	TRY(pwrite(fd, buf, 1, 0));
	TRY(preadv(fd, many, 1, 0));
	TRY(pwritev(fd, many, 1, 0));
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(ftruncate(fd, 0));
	TRY(fsync(fd));
	TRY(shutdown(fd, 77));
	TRY(ioctl(fd, 0x7777, buf));
	TRY(fcntl(fd, 0x7777, 0));
	TRY(fcntl(fd, F_DUPFD, -1));
	TRY(sendfile(fd, fd, NULL, 10));
	TRY(splice(fd, NULL, fd, NULL, 10, 0));
	TRY(readv(fd, many, UIO_MAXIOV)); /* as many as allowed; and the stream is still whole */
	HOLDS(sum_bytes(0, buf, 20) != 0);
	tell("done");
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

static void ebadf_server(void)
{
	char buf[8];
	struct iovec iov = {buf, 8};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct stat st;
	int fd = serve_warm();

	await("sent");
	int other = (int)MUST(dup(fd));
	TRY(close(other));
	TRY(close(other));
	TRY(read(other, buf, 8));
	TRY(write(other, buf, 8));
	TRY(recv(other, buf, 8, 0));
	TRY(send(other, buf, 8, 0));
	TRY(recvmsg(other, &msg, 0));
	TRY(sendmsg(other, &msg, 0));
	TRY(readv(other, &iov, 1));
	TRY(writev(other, &iov, 1));
	TRY(shutdown(other, SHUT_WR));
	TRY(fcntl(other, F_GETFL));
	TRY(ioctl(other, FIONREAD, buf));
	TRY(fstat(other, &st));
	TRY(dup(other));
	TRY(dup2(other, other));
	TRY(dup2(fd, fd) == fd);
	TRY(dup3(fd, fd, 0));
	TRY(dup2(fd, 1 << 30));
	TRY(read(-1, buf, 8));
	TRY(send(-1, buf, 8, 0));
	TRY(recv(1 << 30, buf, 8, 0));
	TRY(read(INT_MAX, buf, 8));
	TRY(close(-1));
	TRY(close(INT_MAX));
	int file = (int)MUST(open("/dev/null", O_RDWR | O_CLOEXEC));
	TRY(file == other);
	TRY(read(file, buf, 8));
	TRY(write(file, buf, 8));
	TRY(recv(file, buf, 8, 0));
	TRY(send(file, buf, 8, 0));
	TRY(recvmsg(file, &msg, 0));
	TRY(shutdown(file, SHUT_WR));
	TRY(close(file));
	take_twenty(fd);
}

/* ---- sockets that are not connected, or listen ---- */

static void unconnected_part(void)
{
	char buf[8];
	int port, n, fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), lfd = listen_on("127.0.0.1", 4, &port);

	TRY(recv(fd, buf, 8, 0));
	TRY(send(fd, buf, 8, MSG_NOSIGNAL));
	TRY(read(fd, buf, 8));
	TRY(shutdown(fd, SHUT_RDWR));
	poll_is(fd, POLLIN | POLLOUT, POLLIN | POLLOUT | POLLHUP);
	TRY(getpeername(fd, (struct sockaddr *)buf, &(socklen_t){8}));
	TRY(ioctl(fd, FIONREAD, &n));
	TRY(recv(lfd, buf, 8, 0));
	TRY(send(lfd, buf, 8, MSG_NOSIGNAL));
	TRY(ioctl(lfd, FIONREAD, &n));
	poll_is(lfd, POLLIN | POLLOUT, 0);
	set_nonblock(lfd, 1);
	TRY(accept(lfd, NULL, NULL));
	TRY(accept4(lfd, NULL, NULL, 0x7777));
	TRY(accept(fd, NULL, NULL));
	TRY(close(fd));
	TRY(close(lfd));
	TRY(socket(AF_INET, 99, 0));
	TRY(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	TRY(socket(9999, SOCK_STREAM, 0));
}

const struct oracle_case oracle_cases[] = {
	{"efault", efault_server, efault_client, 0, NULL},
	{"efault_at_page_edge", edge_server, edge_client, 0, NULL},
	{"zero_length", zero_server, zero_client, 0, NULL},
	{"einval", einval_server, twenty_client, 0, NULL},
	{"ebadf", ebadf_server, twenty_client, 0, NULL},
	{"unconnected", unconnected_part, unconnected_part, CASE_KERNEL, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
