/* SPDX-License-Identifier: BSD-2-Clause */
#include "protseq.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "log.h"

static const char *const names[PROTSEQ_N] = {
	[PROTSEQ_NCADG_IP_UDP] = "ncadg_ip_udp",
	[PROTSEQ_NCACN_IP_TCP] = "ncacn_ip_tcp",
	[PROTSEQ_NCALRPC] = "ncalrpc",
	[PROTSEQ_NCACN_NP] = "ncacn_np",
	[PROTSEQ_NCADG_SM] = "ncadg_sm",
};

#define PIPE "\\pipe\\"
#define SM_FORM                                                                                                                \
	"ncadg_sm[id=UID,ftok=PATH]: UID is decimal and below 4294967295, PATH absolute and shorter than 256 octets, with "    \
	"`\\` "                                                                                                                \
	"before , ] = \\"

const char *protseq_name(enum protseq protseq)
{
	return (unsigned)protseq < PROTSEQ_N ? names[protseq] : "?";
}

static int has_port(const struct strbnd *b)
{
	return b->protseq == PROTSEQ_NCADG_IP_UDP || b->protseq == PROTSEQ_NCACN_IP_TCP;
}

#define BAD(...) (fmt_buf(why, STRBND_WHY_LEN, __VA_ARGS__), -EINVAL)

/* Behind the name of the protocol sequence, or NULL. */
static const char *parse_protseq(struct strbnd *b, const char *str, char *why)
{
	size_t len = strcspn(str, "@:["), n;

	if (str[len] == '@') {
		(void)BAD("an object UUID: a tower has no place for it (an entry of an endpoint map has, beside the tower)");
		return NULL;
	}
	for (unsigned i = 0; i < PROTSEQ_N; i++) {
		n = strlen(names[i]);
		if (n == len && !memcmp(names[i], str, n) && (str[n] == ':' || (i == PROTSEQ_NCADG_SM && str[n] == '['))) {
			b->protseq = (enum protseq)i;
			return str + n + (str[n] == ':');
		}
	}
	(void)BAD(
		"no protocol sequence that is known: ncadg_sm[...], or ncadg_ip_udp, ncacn_ip_tcp, ncalrpc, ncacn_np and `:`");
	return NULL;
}

/* Up to one of `end` or the string's end. Behind it, or NULL if it is too long or ends in the middle of an escape. */
static const char *parse_part(char part[STRBND_PART_LEN], const char *p, const char *end, int escapes)
{
	size_t n = 0;

	for (; *p && !strchr(end, *p); p++) {
		if (escapes && *p == '\\' && *++p == '\0')
			return NULL;
		if (n + 1 >= STRBND_PART_LEN)
			return NULL;
		part[n++] = *p;
	}
	part[n] = '\0';
	return p;
}

static int parse_port(struct strbnd *b, const char *text, char *why)
{
	unsigned v = 0;

	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9' || (v = v * 10 + (unsigned)(*p - '0')) > UINT16_MAX)
			return BAD("endpoint %s: a port is a number from 0 to 65535", text);
	}
	b->port = (uint16_t)v;
	return 0;
}

static int parse_endpoint(struct strbnd *b, const char *p, char *why)
{
	char text[STRBND_PART_LEN];

	if (!strncmp(p, "endpoint=", 9))
		p += 9;
	p = parse_part(text, p, b->protseq == PROTSEQ_NCACN_NP ? "[],=" : "],=", b->protseq != PROTSEQ_NCACN_NP);
	if (!p)
		return BAD("the endpoint has more than 255 octets, or ends in the middle of an escape");
	if (*p == ',' || *p == '=')
		return BAD("an option: a tower has no place for it; only [endpoint] or [endpoint=...] can be told");
	if (p[0] != ']' || p[1])
		return BAD("the endpoint must end with `]`, and nothing may follow");
	if (has_port(b))
		return parse_port(b, text, why);
	if (b->protseq == PROTSEQ_NCACN_NP && text[0] && !strbnd_is_pipe(text))
		return BAD("endpoint %s: a pipe's name begins with \\pipe\\", text);
	memcpy(b->name, text, strlen(text) + 1);
	return 0;
}

int strbnd_parse(struct strbnd *b, const char *str, char why[STRBND_WHY_LEN])
{
	const char *p;

	memset(b, 0, sizeof(*b));
	why[0] = '\0';
	p = parse_protseq(b, str, why);
	if (!p)
		return -EINVAL;
	if (b->protseq == PROTSEQ_NCADG_SM)
		return binding_parse(&b->sm, str) ? BAD("not of the form " SM_FORM) : 0;
	p = parse_part(b->host, p, "[", b->protseq != PROTSEQ_NCACN_NP);
	if (!p)
		return BAD("the host has more than 255 octets, or ends in the middle of an escape");
	if (b->protseq == PROTSEQ_NCALRPC && b->host[0])
		return BAD("host %s: ncalrpc is this machine's and has none", b->host);
	if (has_port(b) && !strcmp(b->host, "0.0.0.0"))
		b->host[0] = '\0';
	return *p ? parse_endpoint(b, p + 1, why) : 0;
}

int strbnd_is_pipe(const char *name)
{
	return !strncasecmp(name, PIPE, sizeof(PIPE) - 1) && name[sizeof(PIPE) - 1] && !strpbrk(name, "[],=");
}

/* What is written without escapes must not hold anything that would be taken for the end. */
static int is_plain(const struct strbnd *b)
{
	if (b->protseq == PROTSEQ_NCACN_NP)
		return !strpbrk(b->host, "[],=") && (!b->name[0] || strbnd_is_pipe(b->name));
	return !strpbrk(b->host, "[],=\\");
}

static size_t put_name(char *out, const struct strbnd *b)
{
	size_t n = 0;

	for (const char *p = b->name; *p; p++) {
		if (b->protseq == PROTSEQ_NCALRPC && strchr("[],=\\", *p))
			out[n++] = '\\';
		out[n++] = *p;
	}
	return n;
}

int strbnd_compose(const struct strbnd *b, char *buf, size_t len)
{
	char str[STRBND_PART_LEN * 3 + 32];
	size_t n;

	if (b->protseq == PROTSEQ_NCADG_SM)
		return binding_compose(&b->sm, buf, len);
	if ((unsigned)b->protseq >= PROTSEQ_N || !memchr(b->host, 0, sizeof(b->host)) || !memchr(b->name, 0, sizeof(b->name)))
		return -EINVAL;
	if (!is_plain(b) || (b->protseq == PROTSEQ_NCALRPC && b->host[0]))
		return -EINVAL;
	n = (size_t)fmt_buf(str, sizeof(str), "%s:%s", names[b->protseq], b->host);
	if (has_port(b) && b->port)
		n += (size_t)fmt_buf(str + n, sizeof(str) - n, "[%u]", b->port);
	if (!has_port(b) && b->name[0]) {
		str[n++] = '[';
		n += put_name(str + n, b);
		str[n++] = ']';
	}
	if (n + 1 > len)
		return -ENOSPC;
	memcpy(buf, str, n);
	buf[n] = '\0';
	return (int)n;
}
