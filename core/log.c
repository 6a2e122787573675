/* SPDX-License-Identifier: BSD-2-Clause */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>

#include "sys.h"

int log_fd = -1;

struct out {
	char *p, *end; /* end: where the NUL goes at the latest */
};

static void put_char(struct out *o, char c)
{
	if (o->p < o->end)
		*o->p++ = c;
}

static void put_str(struct out *o, const char *s)
{
	for (s = s ? s : "(null)"; *s; s++)
		put_char(o, *s);
}

static void put_num(struct out *o, unsigned long long v, unsigned base)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		put_char(o, digits[--n]);
}

static void put_signed(struct out *o, long long v)
{
	if (v < 0)
		put_char(o, '-');
	put_num(o, v < 0 ? 0ull - (unsigned long long)v : (unsigned long long)v, 10);
}

/* One conversion; fmt is behind the `%`. Returns the place behind it. */
static const char *put_conv(struct out *o, const char *fmt, va_list *ap)
{
	int longs = 0;

	for (; *fmt == 'l'; fmt++)
		longs++;
	switch (*fmt) {
	case 's':
		put_str(o, va_arg(*ap, const char *));
		break;
	case 'c':
		put_char(o, (char)va_arg(*ap, int));
		break;
	case 'd':
		put_signed(o, longs > 1 ? va_arg(*ap, long long) : longs ? va_arg(*ap, long) : va_arg(*ap, int));
		break;
	case 'u':
	case 'x':
		put_num(o,
			longs > 1 ? va_arg(*ap, unsigned long long)
			: longs	  ? va_arg(*ap, unsigned long)
				  : va_arg(*ap, unsigned),
			*fmt == 'x' ? 16 : 10);
		break;
	case '\0':
		return fmt;
	default:
		put_char(o, *fmt);
	}
	return fmt + 1;
}

static void put_fmt(struct out *o, const char *fmt, va_list *ap)
{
	while (*fmt) {
		char c = *fmt++;

		if (c == '%')
			fmt = put_conv(o, fmt, ap);
		else
			put_char(o, c);
	}
}

int vfmt_buf(char *buf, unsigned long len, const char *fmt, va_list ap)
{
	struct out o = {buf, buf + len - 1};
	va_list own;

	if (len == 0)
		return 0;
	va_copy(own, ap);
	put_fmt(&o, fmt, &own);
	va_end(own);
	*o.p = '\0';
	return (int)(o.p - buf);
}

int fmt_buf(char *buf, unsigned long len, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vfmt_buf(buf, len, fmt, ap);
	va_end(ap);
	return n;
}

int log_open(const char *path)
{
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);

	fd = sys_fd_keep((int)fd);
	if (fd < 0)
		return (int)fd;
	log_fd = (int)fd;
	return 0;
}

void log_line(const char *fmt, ...)
{
	char line[512];
	struct out o = {line, line + sizeof(line) - 1};
	va_list ap;

	if (log_fd < 0)
		return;
	put_str(&o, "shunt[");
	put_num(&o, (unsigned long long)sys0(SYS_getpid), 10);
	put_str(&o, "]: ");
	va_start(ap, fmt);
	put_fmt(&o, fmt, &ap);
	va_end(ap);
	*o.p++ = '\n';
	/* One write, so that lines of several processes do not mix. A log that cannot be written is not the program's trouble. */
	(void)sys_grow(SYS_write, log_fd, SYS_ARG(line), o.p - line, 0);
}
