/* SPDX-License-Identifier: BSD-2-Clause */
#include "binding.h"

#include <errno.h>
#include <string.h>

#include "log.h"

#define PREFIX "ncadg_sm"

static int must_escape(char c)
{
	return c == ',' || c == ']' || c == '=' || c == '\\';
}

/* Decimal, no sign, no leading zeros but "0" itself, below 2^32 - 1 (which means "no uid" to the kernel). */
static const char *parse_id(uint32_t *id, const char *p)
{
	uint64_t v = 0;
	const char *start = p;

	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v >= UINT32_MAX)
			return NULL;
	}
	if (p == start || (*start == '0' && p > start + 1))
		return NULL;
	*id = (uint32_t)v;
	return p;
}

static const char *parse_path(char path[BINDING_PATH_LEN], const char *p)
{
	size_t n = 0;

	for (; *p && !(must_escape(*p) && *p != '\\'); p++) {
		if (*p == '\\' && *++p == '\0')
			return NULL;
		if (n + 1 >= BINDING_PATH_LEN)
			return NULL;
		path[n++] = *p;
	}
	path[n] = '\0';
	return path[0] == '/' ? p : NULL;
}

int binding_parse(struct binding *b, const char *str)
{
	int have_id = 0, have_path = 0;
	const char *p = str;

	if (strncmp(p, PREFIX, sizeof(PREFIX) - 1))
		return -EINVAL;
	p += sizeof(PREFIX) - 1;
	if (*p == ':')
		p++;
	if (*p++ != '[')
		return -EINVAL;
	for (;;) {
		if (!have_id && !strncmp(p, "id=", 3)) {
			have_id = 1;
			p = parse_id(&b->id, p + 3);
		} else if (!have_path && !strncmp(p, "ftok=", 5)) {
			have_path = 1;
			p = parse_path(b->path, p + 5);
		} else {
			return -EINVAL;
		}
		if (!p)
			return -EINVAL;
		if (*p != ',')
			break;
		p++;
	}
	return have_id && have_path && p[0] == ']' && p[1] == '\0' ? 0 : -EINVAL;
}

int binding_compose(const struct binding *b, char *buf, size_t len)
{
	char str[BINDING_STR_LEN];
	size_t n;

	if (b->path[0] != '/' || !memchr(b->path, 0, sizeof(b->path)))
		return -EINVAL;
	n = (size_t)fmt_buf(str, sizeof(str), PREFIX "[id=%u,ftok=", b->id);
	for (const char *p = b->path; *p; p++) {
		if (must_escape(*p))
			str[n++] = '\\';
		str[n++] = *p;
	}
	str[n++] = ']';
	if (n + 1 > len)
		return -ENOSPC;
	memcpy(buf, str, n);
	buf[n] = '\0';
	return (int)n;
}
