/* SPDX-License-Identifier: BSD-2-Clause */
/* The conditions of a rule that have numbers in them: addresses, prefixes, ports. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "rule_int.h"

const char *rule_number(const char *p, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;
	const char *start = p;

	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > max)
			return NULL;
	}
	*out = (uint32_t)v;
	return p > start ? p : NULL;
}

/* PORT or PORT-PORT, `skip` letters into the word. */
int rule_get_ports(struct reader *rd, struct rule *r, size_t skip)
{
	const char *text = rd->word + skip, *p;
	uint32_t first = 0, last;

	if (r->port[0] != 0 || r->port[1] != 65535)
		return rule_bad(rd, skip, "the port is given twice");
	p = rule_number(text, 65535, &first);
	last = first;
	if (p && *p == '-')
		p = rule_number(p + 1, 65535, &last);
	if (!p || *p)
		return rule_bad(rd, skip, "`%s` is no port, nor a range of ports: 1 to 65535, or FIRST-LAST", text);
	if (first == 0 || first > last)
		return rule_bad(rd, skip, "a range of ports goes up, from 1 at least");
	r->port[0] = (uint16_t)first;
	r->port[1] = (uint16_t)last;
	return 0;
}

static int has_host_bits(const struct rule *r)
{
	unsigned len = r->family == AF_INET ? 4 : 16;

	for (unsigned i = 0; i < len; i++) {
		unsigned keep = r->bits > i * 8 ? r->bits - i * 8 : 0;

		if (keep < 8 && r->addr[i] & (0xffu >> keep))
			return 1;
	}
	return 0;
}

/* IPv6 addresses that mean IPv4 ones are written as those everywhere. */
static void unmap(struct rule *r)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (r->family != AF_INET6 || r->bits < 96 || memcmp(r->addr, mapped, sizeof(mapped)))
		return;
	memmove(r->addr, r->addr + 12, 4);
	memset(r->addr + 4, 0, 12);
	r->family = AF_INET;
	r->bits = (uint8_t)(r->bits - 96);
}

/* ADDRESS or ADDRESS/BITS: `len` letters of the word from `skip` on. */
static int get_prefix(struct reader *rd, struct rule *r, size_t skip, size_t len)
{
	char text[WORD_LEN], *slash;
	uint32_t bits, most;

	memcpy(text, rd->word + skip, len);
	text[len] = '\0';
	slash = strchr(text, '/');
	if (slash)
		*slash = '\0';
	r->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	most = r->family == AF_INET ? 32 : 128;
	if (inet_pton(r->family, text, r->addr) != 1)
		return rule_bad(rd, skip,
			"`%s` is no address: give IPv4 or IPv6 in numbers, or a word that rules know (see shunt.conf(5))",
			text);
	bits = most;
	if (slash) {
		const char *p = rule_number(slash + 1, most, &bits);

		if (!p || *p)
			return rule_bad(
				rd, skip + (size_t)(slash + 1 - text), "a prefix of such an address has 0 to %u bits", most);
	}
	r->bits = (uint8_t)bits;
	if (has_host_bits(r))
		return rule_bad(rd, skip, "%s has bits set beyond its prefix of %u", text, bits);
	unmap(r);
	return 0;
}

/* *:PORT, A.B.C.D[/BITS][:PORT], IPV6[/BITS], [IPV6[/BITS]][:PORT] */
int rule_get_address(struct reader *rd, struct rule *r)
{
	char *word = rd->word, *colon = strchr(word, ':');
	size_t len = strlen(word), addr = 0;
	int err = 0;

	if (r->family)
		return BAD(rd, "the address is given twice");
	if (word[0] == '[') {
		char *close = strchr(word, ']');

		if (!close)
			return BAD(rd, "`[` without `]`");
		if (close[1] && close[1] != ':')
			return rule_bad(rd, (size_t)(close + 1 - word), "only `:PORT` may follow `]`");
		if (!memchr(word, ':', (size_t)(close - word)))
			return rule_bad(rd, 1, "only an IPv6 address stands in brackets");
		err = get_prefix(rd, r, 1, (size_t)(close - word) - 1);
		colon = close[1] ? close + 1 : NULL;
	} else if (word[0] == '*' || word[0] == ':') {
		if (word[word[0] == '*'] != ':')
			return BAD(rd, "`*` means any address, and `:PORT` must follow it");
		colon = word + (word[0] == '*');
		if (word[0] == ':' && strchr(colon + 1, ':')) { /* ::1 */
			err = get_prefix(rd, r, 0, len);
			colon = NULL;
		}
	} else {
		int v6 = colon && strchr(colon + 1, ':');

		addr = colon && !v6 ? (size_t)(colon - word) : len;
		colon = v6 ? NULL : colon;
		err = get_prefix(rd, r, 0, addr);
	}
	return err || !colon ? err : rule_get_ports(rd, r, (size_t)(colon + 1 - word));
}
