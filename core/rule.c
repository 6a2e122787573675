/* SPDX-License-Identifier: BSD-2-Clause */
/* Rules that have been read: what they say of a socket, and how they are written. */
#include "rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "log.h"

static const char *const share_words[] = {[SHARE_ALL] = "all", [SHARE_GROUP] = "group", [SHARE_USER] = "user"};

const char *rule_share_word(unsigned share)
{
	return share < sizeof(share_words) / sizeof(*share_words) ? share_words[share] : "?";
}

int rule_share_parse(const char *word)
{
	for (unsigned i = 0; i < sizeof(share_words) / sizeof(*share_words); i++)
		if (!strcmp(word, share_words[i]))
			return (int)i;
	return -EINVAL;
}

/* `*` and `?`; the last star is gone back to, so the time is bounded by the product of the lengths. */
static int matches(const char *pattern, const char *text)
{
	const char *star = NULL, *from = NULL;

	for (; *text; text++, pattern++) {
		while (*pattern == '*') {
			star = ++pattern;
			from = text;
		}
		if (*pattern == '?' || *pattern == *text)
			continue;
		if (!star)
			return 0;
		pattern = star - 1;
		text = from++;
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static int is_program(const char *by, const struct rule_sock *s)
{
	const char *slash = strrchr(s->exe, '/');

	if (!by[0])
		return 1;
	if (strchr(by, '/'))
		return matches(by, s->exe);
	return matches(by, slash ? slash + 1 : s->exe) || matches(by, s->comm);
}

static int in_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	uint8_t mask = (uint8_t)(0xff00u >> bits % 8);

	return !memcmp(a, b, bits / 8) && (bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) & mask) == 0);
}

enum { NO, MAYBE, YES };

static int is_address(const struct rule *r, const struct rule_sock *s)
{
	if (!r->family)
		return YES;
	/* One of IPv6 may take IPv4 too. */
	if (s->side == RULE_LISTEN && diag_addr_is_any(&s->at))
		return r->family == s->at.family || s->at.family == AF_INET6 ? MAYBE : NO;
	return r->family == s->at.family && in_prefix(r->addr, s->at.addr, r->bits) ? YES : NO;
}

static int applies(const struct rule *r, const struct rule_sock *s)
{
	if ((r->proto && !(r->proto & s->proto)) || (r->side && !(r->side & s->side)))
		return NO;
	if (s->at.port < r->port[0] || s->at.port > r->port[1] || (r->has_user && r->uid != s->uid) || !is_program(r->by, s))
		return NO;
	return is_address(r, s);
}

/* One list. What may be true lets pass, and does not forbid: each connection is asked about again. */
static int list_lets(const struct rules *r, unsigned list, const struct rule_sock *s, struct rule_answer *a)
{
	for (unsigned i = 0; i < r->n; i++) {
		int yes = r->rule[i].list == list ? applies(&r->rule[i], s) : NO;

		if (yes == MAYBE)
			a->depends = 1;
		if (yes == YES || (yes == MAYBE && r->rule[i].only)) {
			a->rule = r->rule[i].only ? NULL : &r->rule[i];
			return r->rule[i].only;
		}
	}
	return !r->has_only[list];
}

void rules_ask(const struct rules *r, const struct rule_sock *s, struct rule_answer *a)
{
	*a = (struct rule_answer){.may = 1};
	for (unsigned list = 0; list < r->n_lists; list++) {
		if (list_lets(r, list, s, a))
			continue;
		a->may = a->depends = 0;
		a->list = list;
		return;
	}
}

/* ---- as a text ---- */

struct out {
	char *buf;
	size_t len, n;
};

#define PUT(o, ...) ((o)->n += (size_t)fmt_buf((o)->buf + (o)->n, (o)->len - (o)->n, __VA_ARGS__))

static void put_address(struct out *o, const struct rule *r)
{
	int ports = r->port[0] != 0 || r->port[1] != 65535;
	char ip[INET6_ADDRSTRLEN] = "*";

	if (!r->family && !ports)
		return;
	if (r->family)
		inet_ntop(r->family, r->addr, ip, sizeof(ip));
	PUT(o, r->family == AF_INET6 ? " [%s" : " %s", ip);
	if (r->family && r->bits != (r->family == AF_INET ? 32 : 128))
		PUT(o, "/%u", r->bits);
	PUT(o, r->family == AF_INET6 ? "]" : "");
	if (ports)
		PUT(o, ":%u", r->port[0]);
	if (ports && r->port[0] != r->port[1])
		PUT(o, "-%u", r->port[1]);
}

int rule_compose(const struct rule *r, char *buf, size_t len)
{
	struct out o = {buf, len, 0};
	size_t bare;

	PUT(&o, "%s", r->only ? "only" : "not");
	bare = o.n;
	if (r->proto)
		PUT(&o, r->proto == RULE_TCP ? " tcp" : " udp");
	if (r->side)
		PUT(&o, r->side == RULE_LISTEN ? " listen" : " connect");
	put_address(&o, r);
	if (r->by[0])
		PUT(&o, " by %s", r->by);
	if (r->has_user)
		PUT(&o, " user %u", r->uid);
	if (o.n == bare)
		PUT(&o, " any");
	return o.n + 1 < len ? (int)o.n : -ENOSPC;
}

static int same_rule(const struct rule *a, const struct rule *b)
{
	return a->only == b->only && a->proto == b->proto && a->side == b->side && a->has_user == b->has_user &&
	       a->uid == b->uid && a->bits == b->bits && a->family == b->family && !memcmp(a->addr, b->addr, sizeof(a->addr)) &&
	       a->port[0] == b->port[0] && a->port[1] == b->port[1] && !strcmp(a->by, b->by);
}

/* The rules of a list stand together. */
static unsigned list_begin(const struct rules *r, unsigned list)
{
	unsigned i = 0;

	while (i < r->n && r->rule[i].list < list)
		i++;
	return i;
}

static int said_before(const struct rules *r, unsigned list)
{
	unsigned from = list_begin(r, list), n = list_begin(r, list + 1) - from;

	for (unsigned other = 0; other < list; other++) {
		unsigned at = list_begin(r, other), i = 0;

		if (list_begin(r, other + 1) - at != n)
			continue;
		while (i < n && same_rule(&r->rule[at + i], &r->rule[from + i]))
			i++;
		if (i == n)
			return 1;
	}
	return 0;
}

void rules_drop_repeats(struct rules *r, unsigned first)
{
	for (unsigned list = first; list < r->n_lists;) {
		unsigned at = list_begin(r, list), end = list_begin(r, list + 1);

		if (!said_before(r, list)) {
			list++;
			continue;
		}
		memmove(&r->rule[at], &r->rule[end], (r->n - end) * sizeof(r->rule[0]));
		memmove(&r->has_only[list], &r->has_only[list + 1], r->n_lists - list - 1u);
		r->n = (uint16_t)(r->n - (end - at));
		r->n_lists--;
		for (unsigned i = at; i < r->n; i++)
			r->rule[i].list--;
	}
}

int rules_compose(const struct rules *r, char *buf, size_t len)
{
	struct out o = {buf, len, 0};
	char text[RULE_STR_LEN];

	buf[0] = '\0';
	if (r->share != SHARE_ALL)
		PUT(&o, "share %s", rule_share_word(r->share));
	for (unsigned list = 0; list < r->n_lists; list++) {
		unsigned end = list_begin(r, list + 1);

		if (list)
			PUT(&o, "; --");
		for (unsigned i = list_begin(r, list); i < end; i++) {
			if (rule_compose(&r->rule[i], text, sizeof(text)) < 0)
				return -ENOSPC;
			PUT(&o, "%s%s", o.n ? "; " : "", text);
		}
	}
	return o.n + 1 < len ? (int)o.n : -ENOSPC;
}
