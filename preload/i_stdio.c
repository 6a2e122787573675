/* SPDX-License-Identifier: BSD-2-Clause */
/* i_stdio.c - stdio reads, writes and closes inside libc, where no interposer sees it: its sockets are the kernel's. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "epset.h"
#include "move.h"
#include "wrap.h"

EXPORT FILE *fdopen(int fd, const char *mode)
{
	struct sock *s = fd_any_sock(fd);
	if (s) {
		int e = errno;
		move_pin(s, WHY_STDIO);
		errno = e;
	}
	return real.fdopen(fd, mode);
}

EXPORT FILE *_IO_fdopen(int fd, const char *mode)
{
	return fdopen(fd, mode);
}

/* 0, or the errno with which what was still in the buffer could not be written: nobody says that again. */
static int forget_stream(FILE *fp)
{
	int e = errno, fd = fileno(fp), failed = 0;
	struct sock *s = fd >= 0 ? fd_any_sock(fd) : NULL;
	if (s && wrap_own_process()) {
		if (fflush(fp))
			failed = errno;
		sock_forget(s, fd);
	} else if (fd >= 0 && fd_epset(fd) && wrap_own_process()) {
		epset_forget(fd);
	}
	errno = e;
	return failed;
}

EXPORT int fclose(FILE *fp)
{
	int failed = fdtab_len && fp ? forget_stream(fp) : 0;
	int r = real.fclose(fp);
	if (failed) {
		errno = failed;
		r = EOF;
	}
	return r;
}

EXPORT int _IO_fclose(FILE *fp)
{
	return fclose(fp);
}

EXPORT FILE *freopen(const char *path, const char *mode, FILE *fp)
{
	if (fdtab_len && fp)
		forget_stream(fp);
	return real.freopen(path, mode, fp);
}

EXPORT FILE *freopen64(const char *path, const char *mode, FILE *fp)
{
	if (fdtab_len && fp)
		forget_stream(fp);
	return real.freopen64(path, mode, fp);
}

/* dprintf writes at once, and is done: formatted here, and sent like any other octets. */
static int print(int fd, const char *fmt, va_list ap)
{
	char *text;
	int len = vasprintf(&text, fmt, ap), done = 0;
	while (done < len) {
		ssize_t n = write(fd, text + done, (size_t)(len - done));
		if (n < 0) {
			done = -1;
			break;
		}
		done += (int)n;
	}
	if (len >= 0)
		free(text);
	return len < 0 ? -1 : done;
}

EXPORT int vdprintf(int fd, const char *fmt, va_list ap)
{
	return fd_any_sock(fd) ? print(fd, fmt, ap) : real.vdprintf(fd, fmt, ap);
}

EXPORT int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap)
{
	return fd_any_sock(fd) ? print(fd, fmt, ap) : real.__vdprintf_chk(fd, flag, fmt, ap);
}

EXPORT int dprintf(int fd, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = vdprintf(fd, fmt, ap);
	va_end(ap);
	return r;
}

EXPORT int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = __vdprintf_chk(fd, flag, fmt, ap);
	va_end(ap);
	return r;
}
