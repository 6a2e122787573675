/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - one line at a time to the file that `shunt run --log` names. Silent unless log_open() was called; never the program's
 * own stdout or stderr. Async-signal-safe (formats on the stack, one write(2) with O_APPEND).
 */
#ifndef SHUNT_LOG_H
#define SHUNT_LOG_H

#include <stdarg.h>

/* -errno. The descriptor is close-on-exec; *fd is where log.c keeps it, for the caller who moves descriptors. */
int log_open(const char *path);
extern int log_fd;
/* printf-like for %s %d %u %x %lu %llu %ld %lld %c %% only; a line feed is added; cut at 512 octets. Prefixed with "shunt[PID]: ". */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The formatter itself. Returns the length that was written (< len), NUL-terminated. */
int fmt_buf(char *buf, unsigned long len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vfmt_buf(char *buf, unsigned long len, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

#endif
