/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * real.h - the functions that we replace, as the next object in the search order has them (libc, or another preloaded library).
 *
 * Before binding each pointer leads to a stub that binds them all and goes on: a wrapper works before any constructor has run.
 */
#ifndef SHUNT_REAL_H
#define SHUNT_REAL_H

#include <aio.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* clang-format off */
struct real {
#define X(ret, name, params, args) ret (*name) params;
#include "syscalls.def"
#undef X
};
/* clang-format on */
extern struct real real;

/* Bind all names. Idempotent, any thread, no malloc, no lock that fork could freeze. */
void real_bind(void);

#define EXPORT __attribute__((visibility("default")))

/* Names under which distribution binaries call libc, and which no header declares (or only when fortified). */
int __connect(int fd, const struct sockaddr *sa, socklen_t len);
int __close(int fd);
int __dup2(int fd, int to);
int __fcntl(int fd, int cmd, ...);
ssize_t __read(int fd, void *buf, size_t len);
ssize_t __write(int fd, const void *buf, size_t len);
ssize_t __send(int fd, const void *buf, size_t len, int flags);
int __poll(struct pollfd *p, nfds_t n, int ms);
int __select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t len, size_t room, int flags, struct sockaddr *sa, socklen_t *salen);
int __poll_chk(struct pollfd *p, nfds_t n, int ms, size_t room);
int __ppoll_chk(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t room);
int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap);
FILE *_IO_fdopen(int fd, const char *mode);
FILE *_IO_popen(const char *cmd, const char *mode);
int _IO_fclose(FILE *fp);
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int capset(void *hdr, const void *data);
int __dprintf_chk(int fd, int flag, const char *fmt, ...);
int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);
sighandler_t bsd_signal(int sig, sighandler_t handler);

#endif
