/* SPDX-License-Identifier: BSD-2-Clause */
/* act_data.c - octets: every call that moves them. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUF_LEN (64 << 10)
#define N_PIECE 3

/* In three uneven pieces. */
static struct msghdr in_pieces(struct iovec iov[N_PIECE], char *buf, size_t len)
{
	size_t first = len / 5, second = len / 3;

	iov[0] = (struct iovec){buf, first};
	iov[1] = (struct iovec){buf + first, second};
	iov[2] = (struct iovec){buf + first + second, len - first - second};
	return (struct msghdr){.msg_iov = iov, .msg_iovlen = N_PIECE};
}

/* One call, of the kind `how`; those that take no flags do without. */
static ssize_t send_by(long how, int fd, char *buf, size_t len, int flags, const struct sockaddr_storage *to, socklen_t to_len)
{
	struct iovec iov[N_PIECE];
	struct msghdr m = in_pieces(iov, buf, len);
	struct mmsghdr mm = {.msg_hdr = m};
	const struct sockaddr *at = to_len ? (const void *)to : NULL;
	int n;

	mm.msg_hdr.msg_name = m.msg_name = (void *)(uintptr_t)at;
	mm.msg_hdr.msg_namelen = m.msg_namelen = to_len;
	switch (how) {
	case 1:
		return write(fd, buf, len);
	case 2:
		return sendto(fd, buf, len, flags, at, to_len);
	case 3:
		return writev(fd, iov, N_PIECE);
	case 4:
		return sendmsg(fd, &m, flags);
	case 5:
		n = sendmmsg(fd, &mm, 1, flags);
		return n < 0 ? n : (ssize_t)mm.msg_len;
	case 6:
		return pwritev2(fd, iov, N_PIECE, -1, 0);
	case 7:
		return syscall(SYS_sendto, fd, buf, len, flags, at, to_len);
	case 8:
		return syscall(SYS_write, fd, buf, len);
	case 9:
		return syscall(SYS_sendmsg, fd, &m, flags);
	default:
		return send(fd, buf, len, flags);
	}
}

struct received {
	ssize_t len;
	struct sockaddr_storage from;
	socklen_t from_len;
	int flags, has_flags, has_from;
};

static struct received recv_by(long how, int fd, char *buf, size_t len, int flags)
{
	struct received r = {.from_len = sizeof(r.from)};
	struct iovec iov[N_PIECE];
	struct msghdr m = in_pieces(iov, buf, len);
	struct mmsghdr mm;
	int n;

	m.msg_name = &r.from;
	m.msg_namelen = r.from_len;
	mm = (struct mmsghdr){.msg_hdr = m};
	switch (how) {
	case 1:
		r.len = read(fd, buf, len);
		break;
	case 2:
		r.len = recvfrom(fd, buf, len, flags, (void *)&r.from, &r.from_len);
		r.has_from = 1;
		break;
	case 3:
		r.len = readv(fd, iov, N_PIECE);
		break;
	case 4:
	case 9:
		r.len = how == 4 ? recvmsg(fd, &m, flags) : syscall(SYS_recvmsg, fd, &m, flags);
		r.flags = m.msg_flags;
		r.from_len = m.msg_namelen;
		r.has_flags = r.has_from = 1;
		break;
	case 5:
		n = recvmmsg(fd, &mm, 1, flags, NULL);
		r.len = n < 0 ? n : (ssize_t)mm.msg_len;
		r.flags = mm.msg_hdr.msg_flags;
		r.from_len = mm.msg_hdr.msg_namelen;
		r.has_flags = r.has_from = 1;
		break;
	case 6:
		r.len = preadv2(fd, iov, N_PIECE, -1, 0);
		break;
	case 7:
		r.len = syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
		break;
	case 8:
		r.len = syscall(SYS_read, fd, buf, len);
		break;
	default:
		r.len = recv(fd, buf, len, flags);
	}
	return r;
}

static int flags_of(long bits)
{
	return (bits & 1 ? MSG_DONTWAIT : 0) | (bits & 2 ? MSG_PEEK : 0) | (bits & 4 ? MSG_WAITALL : 0) |
	       (bits & 8 ? MSG_TRUNC : 0) | (bits & 16 ? MSG_NOSIGNAL : 0) | (bits & 32 ? MSG_OOB : 0);
}

/* send SLOT LEN KEY HOW FLAGS [FAMILY PORT] */
static void act_send(const struct command *c)
{
	size_t len = (size_t)c->arg[1];
	struct sockaddr_storage to;
	socklen_t to_len = c->n > 5 ? make_address(&to, c->arg[5], c->arg[6], 0) : 0;
	char *buf = malloc(len + 1);

	fill(buf, len, (uint64_t)c->arg[2]);
	say_result(send_by(c->arg[3], slot(c->arg[0]), buf, len, flags_of(c->arg[4]), &to, to_len));
	free(buf);
}

static void say_received(const struct received *r, const char *buf, size_t len)
{
	int saved = errno;

	say_result(r->len);
	if (r->len > 0)
		say(" sum %016llx", (unsigned long long)sum_bytes(0, buf, (size_t)r->len < len ? (size_t)r->len : len));
	if (r->len >= 0 && r->has_flags)
		say(" flags %x", (unsigned)(r->flags & ~MSG_CMSG_CLOEXEC));
	if (r->len >= 0 && r->has_from && r->from_len)
		say_address(&r->from, r->from_len);
	errno = saved;
}

/* recv SLOT LEN HOW FLAGS */
static void act_recv(const struct command *c)
{
	size_t len = (size_t)c->arg[1];
	char *buf = calloc(1, len + 1);
	struct received r = recv_by(c->arg[2], slot(c->arg[0]), buf, len, flags_of(c->arg[3]));

	say_received(&r, buf, len);
	free(buf);
}

static int wait_for(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	return poll(&p, 1, -1);
}

/* All of it, in calls of changing kinds and lengths. -1: errno */
static ssize_t put(int fd, size_t len, uint64_t key, long how)
{
	static __thread char buf[BUF_LEN];
	size_t done = 0;

	while (done < len) {
		size_t some = 1 + (key * 7919 + done * 31) % BUF_LEN;
		ssize_t n;

		some = some < len - done ? some : len - done;
		fill(buf, some, key + done);
		n = send_by(how, fd, buf, some, MSG_NOSIGNAL, NULL, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (wait_for(fd, POLLOUT) < 0 && errno != EINTR)
				return -1;
			continue;
		}
		if (n < 0)
			return -1;
		/* The rest of a message that went in part has its own key then, whatever the part: only the octets count. */
		while (n < (ssize_t)some) {
			ssize_t more = send_by(how, fd, buf + n, some - (size_t)n, MSG_NOSIGNAL, NULL, 0);

			if (more < 0 && errno != EAGAIN && errno != EINTR)
				return -1;
			if (more < 0)
				wait_for(fd, POLLOUT);
			else
				n += more;
		}
		done += some;
	}
	return (ssize_t)done;
}

static ssize_t get(int fd, size_t len, uint64_t *sum, long how)
{
	static __thread char buf[BUF_LEN];
	size_t done = 0;

	while (done < len) {
		size_t some = 1 + (done * 131 + len) % BUF_LEN;
		struct received r;

		some = some < len - done ? some : len - done;
		r = recv_by(how, fd, buf, some, 0);
		if (r.len < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (wait_for(fd, POLLIN) < 0 && errno != EINTR)
				return -1;
			continue;
		}
		if (r.len < 0)
			return -1;
		if (!r.len)
			break;
		*sum = sum_bytes(*sum, buf, (size_t)r.len);
		done += (size_t)r.len;
	}
	return (ssize_t)done;
}

/* put SLOT LEN KEY HOW: all of it, whatever the single calls take */
static void act_put(const struct command *c)
{
	say_result(put(slot(c->arg[0]), (size_t)c->arg[1], (uint64_t)c->arg[2], c->arg[3]));
}

/* get SLOT LEN HOW: as much, or up to the end */
static void act_get(const struct command *c)
{
	uint64_t sum = 0;

	say_result(get(slot(c->arg[0]), (size_t)c->arg[1], &sum, c->arg[2]));
	say(" sum %016llx", (unsigned long long)sum);
}

/* chat SLOT TURNS LEN KEY HOW FIRST: a message each way, so many times */
static void act_chat(const struct command *c)
{
	size_t len = (size_t)c->arg[2];
	ssize_t n = (ssize_t)len;
	uint64_t sum = 0;
	int fd = slot(c->arg[0]);
	long turn;

	for (turn = 0; turn < c->arg[1] && n == (ssize_t)len; turn++) {
		if (c->arg[5])
			n = put(fd, len, (uint64_t)(c->arg[3] + turn), c->arg[4]);
		if (n == (ssize_t)len)
			n = get(fd, len, &sum, c->arg[4]);
		if (n == (ssize_t)len && !c->arg[5])
			n = put(fd, len, (uint64_t)(c->arg[3] + turn), c->arg[4]);
	}
	say_result(n);
	say(" turns %ld sum %016llx", turn, (unsigned long long)sum);
}

/* dgchat SLOT TURNS LEN KEY HOW FIRST [FAMILY PORT]: the same by datagrams */
static void act_dgchat(const struct command *c)
{
	size_t len = (size_t)c->arg[2];
	struct sockaddr_storage to;
	socklen_t to_len = c->n > 6 ? make_address(&to, c->arg[6], c->arg[7], 0) : 0;
	char *buf = malloc(len + 1);
	uint64_t sum = 0;
	ssize_t n = 0;
	long turn;

	for (turn = 0; turn < 2 * c->arg[1] && n >= 0; turn++)
		if ((turn + c->arg[5]) % 2) {
			fill(buf, len, (uint64_t)(c->arg[3] + turn));
			n = send_by(c->arg[4], slot(c->arg[0]), buf, len, 0, &to, to_len);
		} else {
			do
				n = recv_by(c->arg[4], slot(c->arg[0]), buf, len, 0).len;
			while (n < 0 && errno == EAGAIN && wait_for(slot(c->arg[0]), POLLIN) > 0);
			sum = n > 0 ? sum_bytes(sum, buf, (size_t)n) : sum;
		}
	say_result(n);
	say(" turns %ld sum %016llx", turn, (unsigned long long)sum);
	free(buf);
}

/* sendfile SLOT FILE LEN: from where the file stands */
static void act_sendfile(const struct command *c)
{
	say_result(sendfile(slot(c->arg[0]), slot(c->arg[1]), NULL, (size_t)c->arg[2]));
}

/* splice FROM TO LEN: one of them is a pipe */
static void act_splice(const struct command *c)
{
	say_result(splice(slot(c->arg[0]), NULL, slot(c->arg[1]), NULL, (size_t)c->arg[2], SPLICE_F_NONBLOCK));
}

/* stdio SLOT LEN KEY WRITE: a stream of its own on a duplicate */
static void act_stdio(const struct command *c)
{
	int fd = dup(slot(c->arg[0]));
	size_t len = (size_t)c->arg[1], n;
	FILE *f = fd < 0 ? NULL : fdopen(fd, c->arg[3] ? "w" : "r");
	char *buf = calloc(1, len + 1);

	say_descriptor(fd);
	if (f) {
		if (c->arg[3]) {
			fill(buf, len, (uint64_t)c->arg[2]);
			n = fwrite(buf, 1, len, f);
		} else {
			setvbuf(f, NULL, _IONBF, 0);
			n = fread(buf, 1, len, f);
		}
		say(" %zu sum %016llx", n, (unsigned long long)sum_bytes(0, buf, c->arg[3] ? 0 : n));
		say_result(fclose(f));
	}
	free(buf);
}

const struct word data_words[] = {
	{"send", act_send},
	{"recv", act_recv},
	{"put", act_put},
	{"get", act_get},
	{"chat", act_chat},
	{"dgchat", act_dgchat},
	{"sendfile", act_sendfile},
	{"splice", act_splice},
	{"stdio", act_stdio},
	{NULL, NULL},
};
