/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules. Whatever the text is: nothing outside of it is read; what is refused is explained, with a place that lies in the text; what is taken is composed to
 * a text that is read the same, composes to itself, and says the same of every socket.
 */
#include <arpa/inet.h>
#include <string.h>

#include "fuzz.h"
#include "rule.h"

const char *const fuzz_seeds[] = {
	"6f6e6c79207463700a6e6f7420706f72742032322d3235", /* only tcp \n not port 22-25 */
	"6e6f74203132372e302e302e302f383a3830206279206e67696e783b206f6e6c792075736572203130303020636f6e6e65637"
	"4", /* not 127.0.0.0/8:80 by nginx; only user 1000 connect */
	"6f6e6c79205b666538303a3a2f31305d3a313b202d2d3b206e6f74203a3a3120756470206c697374656e", /* only [fe80::/10]:1; --; not ::1 udp listen */
	"73686172652067726f75703b206f6e6c792062792061623f642a3b206e6f7420616e79", /* share group; only by ab?d*; not any */
	"74637020636f6e6e656374203132372e302e302e313a353433322062792070",	  /* tcp connect 127.0.0.1:5432 by p */
	NULL,
};

static struct rules one, two;

static int number(const char *name, uint32_t *uid)
{
	*uid = (uint32_t)strlen(name);
	return name[0] == 'a' ? 0 : -1;
}

static void in_text(const struct rule_error *e, const char *text, size_t len)
{
	size_t lines = 1;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	MUST(e->why[0] && memchr(e->why, 0, sizeof(e->why)));
	MUST(e->line >= 1 && e->line <= lines && e->col >= 1 && e->col <= len + 1);
}

static void ask_both(uint32_t seed)
{
	static const char *const name[] = {"", "/usr/sbin/nginx", "abbd", "/a"};
	struct rule_answer a, b;
	struct rule_sock s = {
		.proto = seed & 1 ? RULE_TCP : RULE_UDP,
		.side = seed & 2 ? RULE_LISTEN : RULE_CONNECT,
		.at = {.family = seed & 4 ? AF_INET : AF_INET6, .port = (uint16_t)(seed >> 8)},
		.exe = name[seed >> 3 & 3],
		.comm = name[seed >> 5 & 3],
		.uid = seed >> 16 & 3,
	};

	s.at.addr[0] = (uint8_t)(seed & 128 ? 127 : seed >> 24);
	rules_ask(&one, &s, &a);
	rules_ask(&two, &s, &b);
	MUST(a.may == b.may && a.depends == b.depends);
	MUST(!a.rule || (!a.may && !a.rule->only));
}

static void as_rules(const char *text, size_t len)
{
	static char again[RULE_TEXT_LEN], third[RULE_TEXT_LEN];
	struct rule_error err;
	int n;

	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
	if (rules_parse(&one, text, len, number, &err)) {
		in_text(&err, text, len);
		return;
	}
	n = rules_compose(&one, again, sizeof(again));
	MUST(n >= 0 && (size_t)n == strlen(again));
	MUST(rules_parse(&two, again, (size_t)n, NULL, &err) == 0); /* users are numbers by now */
	MUST(rules_compose(&two, third, sizeof(third)) == n && !strcmp(again, third));
	MUST(one.share == two.share && two.n <= one.n);
	for (uint32_t i = 0, seed = 1; i < 64; i++)
		ask_both(seed = seed * 1664525u + 1013904223u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len ? len : 1), *str = malloc(len + 1), name[RULE_BY_LEN];
	struct rule_sock s = {.exe = "", .comm = ""};
	struct rule_error err;

	if (text && str) {
		memcpy(text, data, len);
		memcpy(str, data, len);
		str[len] = '\0';
		as_rules(text, len);
		if (rule_sock_parse(&s, name, str, number, &err))
			in_text(&err, str, strlen(str));
	}
	free(text);
	free(str);
	return 0;
}
