/* SPDX-License-Identifier: BSD-2-Clause */
/* What towers are made of: UUIDs with versions, and the floors of each protocol sequence. */
#include "twr.h"

#include <errno.h>
#include <string.h>

#include "log.h"
#include "twr_int.h"

const struct twr_syntax twr_ndr = {
	.uuid = {0x8a, 0x88, 0x5d, 0x04, 0x1c, 0xeb, 0x11, 0xc9, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60}, .major = 2};
const struct twr_syntax twr_sm = {
	.uuid = {0x46, 0x21, 0x3d, 0xe2, 0xd9, 0x3b, 0x4b, 0x84, 0x95, 0xee, 0xf5, 0xa8, 0x02, 0x11, 0x2a, 0x83},
	.major = TWR_SM_MAJOR};

const struct twr_shape twr_shapes[PROTSEQ_N] = {
	[PROTSEQ_NCADG_IP_UDP] = {5, TWR_RPC_CL, TWR_UDP, TWR_IP},
	[PROTSEQ_NCACN_IP_TCP] = {5, TWR_RPC_CO, TWR_TCP, TWR_IP},
	[PROTSEQ_NCALRPC] = {4, TWR_RPC_LOCAL, TWR_PIPE, 0},
	[PROTSEQ_NCACN_NP] = {5, TWR_RPC_CO, TWR_SMB, TWR_NETBIOS},
	[PROTSEQ_NCADG_SM] = {4, TWR_RPC_CL, TWR_UUID, 0},
};

void twr_swap_uuid(uint8_t to[16], const uint8_t from[16])
{
	static const uint8_t place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (int i = 0; i < 16; i++)
		to[i] = from[place[i]];
}

void twr_syntax_get(struct twr_syntax *s, const uint8_t lhs[TWR_UUID_LHS])
{
	twr_swap_uuid(s->uuid, lhs + 1);
	s->major = (uint16_t)(lhs[17] | lhs[18] << 8);
	s->minor = 0;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static const char *parse_uuid(uint8_t uuid[16], const char *p)
{
	for (int i = 0; i < 16; i++, p += 2) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return NULL;
		if (hex(p[0]) < 0 || hex(p[1]) < 0)
			return NULL;
		uuid[i] = (uint8_t)(hex(p[0]) << 4 | hex(p[1]));
	}
	return p;
}

static const char *parse_version(uint16_t *v, const char *p)
{
	const char *start = p;
	unsigned n = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if ((n = n * 10 + (unsigned)(*p - '0')) > UINT16_MAX)
			return NULL;
	*v = (uint16_t)n;
	return p > start ? p : NULL;
}

int twr_syntax_parse(struct twr_syntax *s, const char *str)
{
	const char *p;

	memset(s, 0, sizeof(*s));
	p = parse_uuid(s->uuid, str);
	if (p && *p == ':')
		p = parse_version(&s->major, p + 1);
	if (p && *p == '.' && strchr(str, ':'))
		p = parse_version(&s->minor, p + 1);
	return p && !*p ? 0 : -EINVAL;
}

void twr_syntax_compose(const struct twr_syntax *s, char buf[TWR_SYNTAX_STR_LEN])
{
	int n = 0;

	for (int i = 0; i < 16; i++)
		n += fmt_buf(buf + n, (unsigned long)(TWR_SYNTAX_STR_LEN - n),
			i == 4 || i == 6 || i == 8 || i == 10 ? "-%x%x" : "%x%x", s->uuid[i] >> 4, s->uuid[i] & 15);
	fmt_buf(buf + n, (unsigned long)(TWR_SYNTAX_STR_LEN - n), ":%u.%u", s->major, s->minor);
}
