/* SPDX-License-Identifier: BSD-2-Clause */
/* i_dgram.h - what the replaced names do with a UDP socket (fd_dgram): results and errno are the program's. */
#ifndef SHUNT_I_DGRAM_H
#define SHUNT_I_DGRAM_H

#include <sys/socket.h>

#include "dg.h"

ssize_t dgram_sendto(
	struct sock *s, int fd, const void *buf, size_t len, int flags, const struct sockaddr *sa, socklen_t salen);
ssize_t dgram_sendmsg(struct sock *s, int fd, const struct msghdr *msg, int flags, struct sig_mark since);
ssize_t dgram_writev(struct sock *s, int fd, const struct iovec *iov, int n, int flags);
ssize_t dgram_recvfrom(struct sock *s, int fd, void *buf, size_t len, int flags, struct sockaddr *sa, socklen_t *salen);
ssize_t dgram_recvmsg(struct sock *s, int fd, struct msghdr *msg, int flags, struct sig_mark since);
ssize_t dgram_readv(struct sock *s, int fd, const struct iovec *iov, int n, int flags);
int dgram_connect(struct sock *s, int fd, const struct sockaddr *sa, socklen_t len);
int dgram_setsockopt(struct sock *s, int fd, int level, int name, const void *val, socklen_t len);

#endif
