/* SPDX-License-Identifier: BSD-2-Clause */
/* helper.c - a process to which connections are passed; it was there before they were. One octet and a descriptor for each. */
#include "mortal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int helper_fd = -1;

static void helper_main(int from)
{
	for (;;) {
		char letter, control[CMSG_SPACE(sizeof(int))];
		struct iovec iov = {&letter, 1};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
		if (recvmsg(from, &m, 0) <= 0)
			exit(0);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		int fd;
		if (!c)
			exit(6);
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		resume(fd, letter);
		if (write(from, &letter, 1) != 1)
			exit(0);
	}
}

void helper_start(void)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		exit(7);
	if (fork() == 0) {
		close(pair[1]);
		helper_main(pair[0]);
	}
	close(pair[0]);
	helper_fd = pair[1];
}

void helper_give(int fd, char letter)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {&letter, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	sendmsg(helper_fd, &m, MSG_NOSIGNAL);
}
