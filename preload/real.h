/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * real.h - the functions that we replace, as the next object in the search order has them (libc, or another preloaded library).
 *
 * Before binding each pointer leads to a stub that binds them all and goes on: a wrapper works before any constructor has run.
 */
#ifndef SHUNT_REAL_H
#define SHUNT_REAL_H

#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
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

#endif
