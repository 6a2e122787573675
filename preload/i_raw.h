/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_raw.h - the numbers that syscall() does not pass on unseen (i_syscall.c), and what is done with each.
 *
 * a: six arguments, whatever was given. true: it is done, *r is the result, errno is set if that is -1. false: the kernel shall do it.
 */
#ifndef SHUNT_I_RAW_H
#define SHUNT_I_RAW_H

#include <stdbool.h>
#include <sys/syscall.h>

typedef bool raw_call(const long *a, long *r, long nr);

/* i_raw.c: libc's name, where it concerns us. */
#define RAW_NAMES(X)                                                                                                           \
	X(socket)                                                                                                              \
	X(bind)                                                                                                                \
	X(listen)                                                                                                              \
	X(accept)                                                                                                              \
	X(accept4)                                                                                                             \
	X(connect)                                                                                                             \
	X(shutdown)                                                                                                            \
	X(getsockopt)                                                                                                          \
	X(setsockopt)                                                                                                          \
	X(close)                                                                                                               \
	X(dup)                                                                                                                 \
	X(dup3)                                                                                                                \
	X(fcntl)                                                                                                               \
	X(ioctl)                                                                                                               \
	X(close_range)                                                                                                         \
	X(read)                                                                                                                \
	X(write)                                                                                                               \
	X(readv)                                                                                                               \
	X(writev)                                                                                                              \
	X(preadv2)                                                                                                             \
	X(pwritev2)                                                                                                            \
	X(recvfrom)                                                                                                            \
	X(sendto)                                                                                                              \
	X(recvmsg)                                                                                                             \
	X(sendmsg)                                                                                                             \
	X(recvmmsg)                                                                                                            \
	X(sendmmsg)                                                                                                            \
	X(sendfile)                                                                                                            \
	X(splice)                                                                                                              \
	X(ppoll)                                                                                                               \
	X(pselect6)                                                                                                            \
	X(epoll_create1)                                                                                                       \
	X(epoll_ctl)                                                                                                           \
	X(epoll_pwait)                                                                                                         \
	X(epoll_pwait2)
#ifdef SYS_dup2
/* Machines that are younger have only the longer ones. */
#define RAW_OLD_NAMES(X)                                                                                                       \
	X(dup2)                                                                                                                \
	X(poll)                                                                                                                \
	X(select)                                                                                                              \
	X(epoll_create)                                                                                                        \
	X(epoll_wait)                                                                                                          \
	X(fork)
#else
#define RAW_OLD_NAMES(X)
#endif
/* i_clone.c, i_rawproc.c, i_ns.c, i_limit.c, i_uring.c */
#define RAW_PROCESS(X)                                                                                                         \
	X(clone)                                                                                                               \
	X(clone3)                                                                                                              \
	X(execve)                                                                                                              \
	X(execveat)                                                                                                            \
	X(exit)                                                                                                                \
	X(exit_group)                                                                                                          \
	X(rt_sigaction)                                                                                                        \
	X(chroot)                                                                                                              \
	X(setrlimit)                                                                                                           \
	X(prlimit64)                                                                                                           \
	X(unshare)                                                                                                             \
	X(setns)                                                                                                               \
	X(capset)                                                                                                              \
	X(prctl)                                                                                                               \
	X(seccomp)                                                                                                             \
	X(io_submit)                                                                                                           \
	X(io_uring_setup)                                                                                                      \
	X(io_uring_enter)                                                                                                      \
	X(io_uring_register)

#define RAW_DECLARE(name) raw_call raw_##name;
RAW_NAMES(RAW_DECLARE)
RAW_OLD_NAMES(RAW_DECLARE)
RAW_PROCESS(RAW_DECLARE)
#undef RAW_DECLARE

#endif
