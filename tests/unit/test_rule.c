/* SPDX-License-Identifier: BSD-2-Clause */
/* rule.h: the language, what is wrong and where, what lists say of a socket, and that what is composed is read the same. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rule.h"
#include "scratch.h"

static struct rules rules;

static int known(const char *name, uint32_t *uid)
{
	if (strcmp(name, "alice"))
		return -ENOENT;
	*uid = 1001;
	return 0;
}

static void parse(const char *text)
{
	struct rule_error err;

	memset(&rules, 0, sizeof(rules));
	if (rules_parse(&rules, text, strlen(text), known, &err))
		fail_msg("%s: %u:%u: %s", text, err.line, err.col, err.why);
}

static void more(const char *text)
{
	struct rule_error err;

	assert_int_equal(rules_parse(&rules, text, strlen(text), known, &err), 0);
}

/* `sock` as --explain has it, by /usr/bin/psql of uid 0 unless it says otherwise. */
static struct rule_answer ask(const char *sock)
{
	static char name[RULE_BY_LEN];
	struct rule_sock s = {.exe = "/usr/bin/psql", .comm = "psql"};
	struct rule_answer a;
	struct rule_error err;

	assert_int_equal(rule_sock_parse(&s, name, sock, known, &err), 0);
	if (name[0])
		s.exe = s.comm = name;
	rules_ask(&rules, &s, &a);
	return a;
}

static int may(const char *sock)
{
	return ask(sock).may;
}

static void without_rules_everything_may(void **state)
{
	(void)state;
	parse("");
	assert_int_equal(rules.n_lists, 0);
	parse(" \n\t;;\n# only tcp\n");
	assert_int_equal(rules.n_lists, 0);
	assert_true(may("tcp connect 127.0.0.1:5432"));
}

static void every_condition_counts(void **state)
{
	static const struct {
		const char *rule, *yes, *no;
	} t[] = {
		{"tcp", "tcp connect 1.2.3.4:5", "udp connect 1.2.3.4:5"},
		{"udp", "udp listen 1.2.3.4:5", "tcp listen 1.2.3.4:5"},
		{"listen", "tcp listen 1.2.3.4:5", "tcp connect 1.2.3.4:5"},
		{"connect", "tcp connect 1.2.3.4:5", "tcp listen 1.2.3.4:5"},
		{"1.2.3.4", "tcp listen 1.2.3.4:5", "tcp listen 1.2.3.5:5"},
		{"1.2.3.4:5", "tcp listen 1.2.3.4:5", "tcp listen 1.2.3.4:6"},
		{"127.0.0.0/8", "tcp connect 127.255.0.1:5", "tcp connect 128.0.0.1:5"},
		{"10.128.0.0/9", "tcp connect 10.128.0.1:5", "tcp connect 10.127.0.1:5"},
		{"0.0.0.0/0", "tcp connect 10.128.0.1:5", "tcp connect [::1]:5"},
		{"::1", "tcp connect [::1]:5", "tcp connect [::2]:5"},
		{"[::1]:5", "tcp connect [::1]:5", "tcp connect [::1]:6"},
		{"fe80::/10", "tcp connect [febf::1]:5", "tcp connect [fec0::1]:5"},
		{"[fd00::/8]:1-5", "tcp connect [fd12::1]:5", "tcp connect [fd12::1]:6"},
		{"::ffff:1.2.3.0/120", "tcp connect 1.2.3.4:5", "tcp connect 1.2.4.4:5"},
		{"*:10-20", "tcp connect 1.2.3.4:20", "tcp connect 1.2.3.4:21"},
		{":10-20", "tcp connect 1.2.3.4:10", "tcp connect 1.2.3.4:9"},
		{"port 10-20", "tcp connect [::1]:15", "tcp connect [::1]:9"},
		{"port 65535", "tcp connect [::1]:65535", "tcp connect [::1]:65534"},
		{"by psql", "tcp connect 1.2.3.4:5", "tcp connect 1.2.3.4:5 by psqlx"},
		{"by /usr/bin/*", "tcp connect 1.2.3.4:5", "tcp connect 1.2.3.4:5 by /usr/sbin/psql"},
		{"by p*l", "tcp connect 1.2.3.4:5", "tcp connect 1.2.3.4:5 by psqlx"},
		{"by *b?d*", "tcp connect 1.2.3.4:5 by abbbxdy", "tcp connect 1.2.3.4:5 by abbbxxd"},
		{"user 0", "tcp connect 1.2.3.4:5", "tcp connect 1.2.3.4:5 user 1"},
		{"user alice", "tcp connect 1.2.3.4:5 user 1001", "tcp connect 1.2.3.4:5"},
		{"by psql user alice port 5 1.2.3.4 connect tcp", "tcp connect 1.2.3.4:5 user alice", "tcp connect 1.2.3.4:5"},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		snprintf(text, sizeof(text), "only %s", t[i].rule);
		parse(text);
		if (!may(t[i].yes) || may(t[i].no))
			fail_msg("%s", text);
		snprintf(text, sizeof(text), "not %s", t[i].rule);
		parse(text);
		if (may(t[i].yes) || !may(t[i].no))
			fail_msg("%s", text);
	}
}

static void the_first_rule_that_is_true_decides(void **state)
{
	struct rule_answer a;

	(void)state;
	parse("not port 22\nonly port 1-1000 # but 22\nnot port 2000; only port 1500-2500");
	assert_true(may("tcp connect 127.0.0.1:80"));
	assert_true(may("tcp connect 127.0.0.1:1999"));
	assert_false(may("tcp connect 127.0.0.1:3000"));
	a = ask("tcp connect 127.0.0.1:22");
	assert_false(a.may);
	assert_int_equal(a.rule->line, 1);
	a = ask("tcp connect 127.0.0.1:2000");
	assert_int_equal(a.rule->line, 3);
	assert_int_equal(a.rule->col, 1);
	assert_null(ask("tcp connect 127.0.0.1:3000").rule); /* no `only` is true */
}

static void every_list_must_let_it(void **state)
{
	(void)state;
	parse("only port 1-100");
	more("not by nginx; --; only port 50-200");
	assert_int_equal(rules.n_lists, 3);
	assert_true(may("tcp connect 127.0.0.1:80"));
	assert_int_equal(ask("tcp connect 127.0.0.1:80 by nginx").list, 1);
	assert_int_equal(ask("tcp connect 127.0.0.1:20").list, 2);
	assert_int_equal(ask("tcp connect 127.0.0.1:150").list, 0);
	more("not any");
	assert_false(may("tcp connect 127.0.0.1:80"));
}

static void a_wildcard_listener_depends_on_the_address_of_each_connection(void **state)
{
	struct rule_answer a;

	(void)state;
	parse("not 127.0.0.0/8");
	a = ask("tcp listen 0.0.0.0:80");
	assert_true(a.may && a.depends);
	a = ask("tcp listen [::]:80");
	assert_true(a.may && a.depends);
	parse("only ::1");
	a = ask("tcp listen [::]:80");
	assert_true(a.may && a.depends);
	assert_false(may("tcp listen 0.0.0.0:80"));
	parse("only 10.0.0.0/8 port 80");
	assert_true(may("tcp listen 0.0.0.0:80"));
	assert_false(may("tcp listen 0.0.0.0:81"));
	parse("not port 80");
	a = ask("tcp listen 0.0.0.0:80");
	assert_false(a.may || a.depends);
}

static void the_narrowest_share_counts(void **state)
{
	(void)state;
	parse("only tcp");
	assert_int_equal(rules.share, SHARE_ALL);
	more("share user");
	more("share all\nshare group");
	assert_int_equal(rules.share, SHARE_USER);
	assert_int_equal(rules.n_lists, 1);
}

static void what_is_wrong_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text;
		unsigned line, col;
		const char *why;
	} t[] = {
		{"only", 1, 5, "a condition must follow `only`"},
		{"tcp", 1, 1, "a rule begins with `only` or `not`"},
		{"only tcp\n  not ftp", 2, 7, "`ftp`: a condition is"},
		{"only tcp\n\n# x\n only  tcp udp", 4, 12, "the protocol is given twice"},
		{"only listen connect", 1, 13, "the side is given twice"},
		{"only port", 1, 10, "must follow `port`"},
		{"only port 0", 1, 11, "from 1 at least"},
		{"only port 9-8", 1, 11, "goes up"},
		{"only port 65536", 1, 11, "`65536` is no port"},
		{"only port 1-", 1, 11, "`1-` is no port"},
		{"only port 1 port 2", 1, 18, "the port is given twice"},
		{"only 1.2.3.4:5 port 2", 1, 21, "the port is given twice"},
		{"only 1.2.3.4:x", 1, 14, "`x` is no port"},
		{"only 1.2.3", 1, 6, "`1.2.3` is no address"},
		{"only 1.2.3.4/33", 1, 14, "0 to 32 bits"},
		{"only 1.2.3.4/", 1, 14, "0 to 32 bits"},
		{"only 1.2.3.4/8", 1, 6, "bits set beyond its prefix of 8"},
		{"only ::1/64", 1, 6, "bits set beyond its prefix of 64"},
		{"only [::1", 1, 6, "`[` without `]`"},
		{"only [::1]x", 1, 11, "only `:PORT` may follow"},
		{"only [1.2.3.4]:5", 1, 7, "only an IPv6 address"},
		{"only [::1]:", 1, 12, "`` is no port"},
		{"only *", 1, 6, "`:PORT` must follow"},
		{"only 1.1.1.1 2.2.2.2", 1, 14, "the address is given twice"},
		{"only by", 1, 8, "must follow `by`"},
		{"only by a by b", 1, 14, "the program is given twice"},
		{"only user bob", 1, 11, "there is no user `bob`"},
		{"only user 4294967295", 1, 11, "there is no user"},
		{"only any tcp", 1, 10, "`any` stands alone"},
		{"only tcp any", 1, 10, "`any` stands alone"},
		{"only unix", 1, 6, "Unix sockets stay in the kernel"},
		{"only tcp; share", 1, 16, "must follow `share`"},
		{"share some", 1, 7, "user, group or all"},
		{"share all x", 1, 11, "`x` is too much here"},
		{"only tcp; -- x", 1, 14, "`x` is too much here"},
		{"only t\001p", 1, 7, "a control character"},
	};
	char again[RULE_WHY_LEN + 32];
	struct rule_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		memset(&rules, 0, sizeof(rules));
		assert_int_equal(rules_parse(&rules, t[i].text, strlen(t[i].text), known, &err), -EINVAL);
		snprintf(again, sizeof(again), "%u:%u: %s", err.line, err.col, err.why);
		if (err.line != t[i].line || err.col != t[i].col || !strstr(err.why, t[i].why))
			fail_msg("%s: %s, but should be %u:%u: %s", t[i].text, again, t[i].line, t[i].col, t[i].why);
	}
}

static void what_is_too_much_is_refused(void **state)
{
	static char text[RULE_TEXT_LEN + 2];
	struct rule_error err;
	size_t n = 0;

	(void)state;
	for (int i = 0; i <= RULE_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "not port %d\n", i + 1);
	memset(&rules, 0, sizeof(rules));
	assert_int_equal(rules_parse(&rules, text, n, known, &err), -EINVAL);
	assert_int_equal(err.line, RULE_MAX + 1);
	memset(&rules, 0, sizeof(rules));
	for (int i = 0; i < RULE_LISTS; i++) {
		snprintf(text, sizeof(text), "not port %d", i + 1);
		more(text);
	}
	assert_int_equal(rules_parse(&rules, "not tcp", 7, known, &err), -EINVAL);
	memset(text, ' ', sizeof(text));
	assert_int_equal(rules_parse(&rules, text, RULE_TEXT_LEN + 1, known, &err), -EINVAL);
	memset(text, 'a', sizeof(text));
	memcpy(text, "only by ", 8);
	memset(&rules, 0, sizeof(rules));
	assert_int_equal(rules_parse(&rules, text, 8 + RULE_BY_LEN, known, &err), -EINVAL);
	assert_string_equal(err.why, "this word has more than 127 letters");
}

static void what_is_composed_is_read_the_same(void **state)
{
	static const char all[] =
		"share group; only tcp listen 127.0.0.0/8:80-90 by ngin? user 1001; not [fe80::/10]:22; not udp connect "
		"*:53; only any; --; not 10.0.0.1 user 0; not ::1; only port 1-1024; not by /usr/bin/*";
	static const char want[] =
		"share group; only tcp listen 127.0.0.0/8:80-90 by ngin? user 1001; not [fe80::/10]:22; not udp connect *:53; "
		"only any; --; not 10.0.0.1 user 0; not [::1]; only *:1-1024; not by /usr/bin/*";
	char text[1024], again[1024];

	(void)state;
	parse(all);
	assert_int_equal(rules_compose(&rules, text, sizeof(text)), (int)strlen(want));
	assert_string_equal(text, want);
	parse(text);
	assert_true(rules_compose(&rules, again, sizeof(again)) > 0);
	assert_string_equal(text, again);
	assert_int_equal(rules_compose(&rules, again, sizeof(want)), -ENOSPC);
	assert_int_equal(rules_compose(&rules, again, 20), -ENOSPC);
	/* the same list again is not written again */
	more(text);
	assert_int_equal(rules.n_lists, 2);
	assert_true(rules_compose(&rules, again, sizeof(again)) > 0);
	assert_string_equal(text, again);
}

static void a_socket_that_is_asked_about_must_be_whole(void **state)
{
	static const char *const bad[] = {"", "tcp", "tcp connect", "tcp connect 127.0.0.1", "tcp connect *:80",
		"connect 127.0.0.1:80", "tcp 127.0.0.1:80", "tcp connect 127.0.0.0/8:80", "tcp connect 127.0.0.1:80-81",
		"tcp connect 127.0.0.1:80; udp", "any", "tcp connect 127.0.0.1:80 user bob"};
	char name[RULE_BY_LEN];
	struct rule_sock s = {.exe = "", .comm = "", .uid = 7};
	struct rule_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(rule_sock_parse(&s, name, bad[i], known, &err), -EINVAL);
		assert_true(err.why[0] && err.line == 1 && err.col >= 1);
	}
	assert_int_equal(rule_sock_parse(&s, name, "udp listen [::1]:53 by named", known, &err), 0);
	assert_int_equal(s.uid, 7);
	assert_string_equal(name, "named");
	assert_int_equal(s.at.family, AF_INET6);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(without_rules_everything_may),
		TEST(every_condition_counts),
		TEST(the_first_rule_that_is_true_decides),
		TEST(every_list_must_let_it),
		TEST(a_wildcard_listener_depends_on_the_address_of_each_connection),
		TEST(the_narrowest_share_counts),
		TEST(what_is_wrong_is_told_with_its_place),
		TEST(what_is_too_much_is_refused),
		TEST(what_is_composed_is_read_the_same),
		TEST(a_socket_that_is_asked_about_must_be_whole),
	};

	return scratch_run("rule", tests, sizeof(tests) / sizeof(tests[0]));
}
