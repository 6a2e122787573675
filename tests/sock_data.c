/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_data.c - every call that moves bytes, in pairs; each pair both ways over one connection. */
#include "oracle.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

typedef ssize_t mover(int fd, char *buf, size_t len);
struct pair {
	mover *out, *in;
};

/* Three pieces, the second one empty. */
static int in_pieces(struct iovec *iov, char *buf, size_t len)
{
	iov[0] = (struct iovec){buf, len / 3};
	iov[1] = (struct iovec){NULL, 0};
	iov[2] = (struct iovec){buf + len / 3, len - len / 3};
	return 3;
}

static ssize_t by_write(int fd, char *buf, size_t len)
{
	return write(fd, buf, len);
}
static ssize_t by_read(int fd, char *buf, size_t len)
{
	return read(fd, buf, len);
}
static ssize_t by_send(int fd, char *buf, size_t len)
{
	return send(fd, buf, len, 0);
}
static ssize_t by_recv(int fd, char *buf, size_t len)
{
	return recv(fd, buf, len, 0);
}

static ssize_t by_writev(int fd, char *buf, size_t len)
{
	struct iovec iov[3];

	return writev(fd, iov, in_pieces(iov, buf, len));
}

static ssize_t by_readv(int fd, char *buf, size_t len)
{
	struct iovec iov[3];

	return readv(fd, iov, in_pieces(iov, buf, len));
}

static ssize_t by_pwritev2(int fd, char *buf, size_t len)
{
	struct iovec iov[3];

	return pwritev2(fd, iov, in_pieces(iov, buf, len), -1, 0);
}

static ssize_t by_preadv2(int fd, char *buf, size_t len)
{
	struct iovec iov[3];

	return preadv2(fd, iov, in_pieces(iov, buf, len), -1, 0);
}

/* TCP ignores an address given to sendto. */
static ssize_t by_sendto(int fd, char *buf, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};

	return sendto(fd, buf, len, 0, len % 2 ? (struct sockaddr *)&to : NULL, len % 2 ? sizeof to : 0);
}

/* ... and fills in none. */
static ssize_t by_recvfrom(int fd, char *buf, size_t len)
{
	struct sockaddr_storage from;
	socklen_t from_len = sizeof from;
	ssize_t n = recvfrom(fd, buf, len, 0, (struct sockaddr *)&from, &from_len);

	if (n > 0 && from_len != 0)
		say("FALSE: an address of %u bytes", from_len);
	return n;
}

static ssize_t by_sendmsg(int fd, char *buf, size_t len)
{
	struct iovec iov[3];
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)in_pieces(iov, buf, len)};

	return sendmsg(fd, &msg, 0);
}

static ssize_t by_recvmsg(int fd, char *buf, size_t len)
{
	struct iovec iov[3];
	struct sockaddr_storage from;
	char control[64];
	struct msghdr msg = {.msg_name = &from,
		.msg_namelen = sizeof from,
		.msg_iov = iov,
		.msg_control = control,
		.msg_controllen = sizeof control,
		.msg_flags = 0x7fff};

	msg.msg_iovlen = (size_t)in_pieces(iov, buf, len);
	ssize_t n = recvmsg(fd, &msg, 0);
	if (n > 0 && (msg.msg_namelen || msg.msg_controllen || msg.msg_flags))
		say("FALSE: name %u, control %zu, flags %x", msg.msg_namelen, msg.msg_controllen, (unsigned)msg.msg_flags);
	return n;
}

static ssize_t by_sendmmsg(int fd, char *buf, size_t len)
{
	struct iovec iov[2] = {{buf, len / 2}, {buf + len / 2, len - len / 2}};
	struct mmsghdr m[2] = {
		{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};
	int n = sendmmsg(fd, m, 2, 0);

	return n <= 0 ? n : n == 1 ? (ssize_t)m[0].msg_len : (ssize_t)(m[0].msg_len + m[1].msg_len);
}

static ssize_t by_recvmmsg(int fd, char *buf, size_t len)
{
	struct iovec iov[2] = {{buf, len / 2}, {buf + len / 2, len - len / 2}};
	struct mmsghdr m[2] = {
		{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};
	int n, first = len < 2;

	/* A first piece that comes short would leave a hole before the second: ask for one then. */
	n = recvmmsg(fd, m + first, 1, 0, NULL);
	if (n != 1 || first || m[0].msg_len < len / 2)
		return n == 1 ? (ssize_t)m[first].msg_len : n;
	n = recvmmsg(fd, m + 1, 1, MSG_DONTWAIT, NULL);
	return (ssize_t)(m[0].msg_len + (n == 1 ? m[1].msg_len : 0));
}

static int file_with(const char *buf, size_t len)
{
	int file = (int)MUST(memfd_create("oracle", MFD_CLOEXEC));

	MUST(write(file, buf, len));
	return file;
}

static ssize_t by_sendfile(int fd, char *buf, size_t len)
{
	int file = file_with(buf, len);
	off_t at = 0;

	ssize_t n = sendfile(fd, file, &at, len);
	if (n != at)
		say("FALSE: sendfile sent %zd and moved its offset to %lld", n, (long long)at);
	close(file);
	return n;
}

static ssize_t by_sendfile_at(int fd, char *buf, size_t len) /* no offset: the file's own position */
{
	int file = file_with(buf, len);

	MUST(lseek(file, 0, SEEK_SET));
	ssize_t n = sendfile(fd, file, NULL, len);
	if (n != lseek(file, 0, SEEK_CUR))
		say("FALSE: sendfile moved the file's position wrongly");
	close(file);
	return n;
}

static ssize_t by_splice_out(int fd, char *buf, size_t len)
{
	int p[2];

	MUST(pipe(p));
	ssize_t n = MUST(write(p[1], buf, len < 60000 ? len : 60000));
	n = splice(p[0], NULL, fd, NULL, (size_t)n, 0);
	close(p[0]);
	close(p[1]);
	return n;
}

static ssize_t by_splice_in(int fd, char *buf, size_t len)
{
	int p[2];

	MUST(pipe(p));
	ssize_t n = splice(fd, NULL, p[1], NULL, len < 60000 ? len : 60000, 0);
	if (n > 0 && read(p[0], buf, (size_t)n) != n)
		say("FALSE: the pipe holds something else");
	close(p[0]);
	close(p[1]);
	return n;
}

/* ---- the case: messages of growing length, each answered by one of the same length ---- */

static const size_t lens[] = {1, 2, 3, 64, 1000, 1, 30000, 4096, 300000};
#define N_LENS (sizeof lens / sizeof lens[0])

static void send_by(mover *out, int fd, unsigned stream, size_t len)
{
	char *buf = malloc(len);
	size_t done = 0;

	fill(buf, len, stream, 0);
	while (done < len)
		done += (size_t)MUST(out(fd, buf + done, len - done));
	free(buf);
}

static void recv_by(mover *in, int fd, size_t len)
{
	char *buf = calloc(1, len);
	size_t done = 0;

	while (done < len) {
		ssize_t n = in(fd, buf + done, len - done);
		if (MUST(n) == 0)
			break;
		done += (size_t)n;
	}
	say("%zu of %zu bytes, sum %016llx", done, len, (unsigned long long)sum_bytes(0, buf, done));
	free(buf);
}

static void pair_server(void)
{
	const struct pair *p = the_case->arg;
	int fd = serve_warm();
	char buf[16];

	for (unsigned i = 0; i < N_LENS; i++) {
		recv_by(p->in, fd, lens[i]);
		send_by(p->out, fd, i + 100, lens[i]);
	}
	meet("answered");
	unread_is(fd, 6);
	say("in = %zd", p->in(fd, buf, sizeof buf)); /* more room than bytes */
	await("closed");
	say("in at the end = %zd", p->in(fd, buf, sizeof buf));
	TRY(close(fd));
}

static void pair_client(void)
{
	const struct pair *p = the_case->arg;
	int fd = connect_warm();

	for (unsigned i = 0; i < N_LENS; i++) {
		send_by(p->out, fd, i, lens[i]);
		recv_by(p->in, fd, lens[i]);
	}
	char six[] = "sixsix";
	say("out = %zd", p->out(fd, six, 6));
	meet("answered");
	TRY(close(fd));
	tell("closed");
}

/* ---- the same without warm-up, so that the call itself is there when the connection moves ---- */

static void moving_server(void)
{
	const struct pair *p = the_case->arg;
	int fd = serve_one();
	char buf[512];

	no_delay(fd); /* two small sends in a row would wait for a delayed acknowledgement in every turn */
	for (unsigned i = 0; i < 2000; i++) {
		size_t len = 1 + i % sizeof buf, done = 0;
		while (done < len)
			done += (size_t)MUST(p->in(fd, buf + done, len - done));
		MUST(p->out(fd, buf, len));
	}
	TRY(close(fd));
}

static void moving_client(void)
{
	const struct pair *p = the_case->arg;
	int fd = connect_one();
	char buf[512], back[512];

	no_delay(fd);
	for (unsigned i = 0; i < 2000; i++) {
		size_t len = 1 + i % sizeof buf, done = 0;
		fill(buf, len, 1, i);
		MUST(p->out(fd, buf, len));
		while (done < len)
			done += (size_t)MUST(p->in(fd, back + done, len - done));
		if (memcmp(buf, back, len))
			say("FALSE: answer %u differs", i);
	}
	TRY(close(fd));
}

static const struct pair rw = {by_write, by_read}, v = {by_writev, by_readv}, v2 = {by_pwritev2, by_preadv2},
			 sr = {by_send, by_recv}, tf = {by_sendto, by_recvfrom}, msg = {by_sendmsg, by_recvmsg},
			 mmsg = {by_sendmmsg, by_recvmmsg}, file = {by_sendfile, by_read}, fpos = {by_sendfile_at, by_readv},
			 sp = {by_splice_out, by_splice_in}, spr = {by_splice_out, by_read}, wsp = {by_write, by_splice_in};

#define BOTH(name, pair, flags)                                                                                                \
	{name, pair_server, pair_client, flags, pair},                                                                         \
	{                                                                                                                      \
		name "_moving", moving_server, moving_client, (flags) | CASE_NOWARM, pair                                      \
	}

const struct oracle_case oracle_cases[] = {
	BOTH("write_read", &rw, 0),
	BOTH("writev_readv", &v, 0),
	BOTH("pwritev2_preadv2", &v2, 0),
	BOTH("send_recv", &sr, 0),
	BOTH("sendto_recvfrom", &tf, 0),
	BOTH("sendmsg_recvmsg", &msg, 0),
	BOTH("sendmmsg_recvmmsg", &mmsg, 0),
	BOTH("sendfile_read", &file, 0),
	BOTH("sendfile_readv", &fpos, 0),
	BOTH("splice_splice", &sp, 0),
	BOTH("splice_read", &spr, 0),
	BOTH("write_splice", &wsp, 0),
	{NULL, NULL, NULL, 0, NULL},
};
