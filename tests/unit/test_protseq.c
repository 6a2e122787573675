/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "protseq.h"
#include "scratch.h"

static void string_bindings_are_read_and_written_in_one_form(void **state)
{
	static const char *const form[][2] = {
		{"ncadg_ip_udp:10.1.2.3[135]", "ncadg_ip_udp:10.1.2.3[135]"},
		{"ncadg_ip_udp:10.1.2.3[endpoint=135]", "ncadg_ip_udp:10.1.2.3[135]"},
		{"ncacn_ip_tcp:some.host[0065535]", "ncacn_ip_tcp:some.host[65535]"},
		{"ncacn_ip_tcp:0.0.0.0[1]", "ncacn_ip_tcp:[1]"},
		{"ncacn_ip_tcp:1.2.3.4[0]", "ncacn_ip_tcp:1.2.3.4"},
		{"ncacn_ip_tcp:1.2.3.4[]", "ncacn_ip_tcp:1.2.3.4"},
		{"ncacn_ip_tcp:", "ncacn_ip_tcp:"},
		{"ncalrpc:[EPMAPPER]", "ncalrpc:[EPMAPPER]"},
		{"ncalrpc:[\\a\\,\\]\\=\\[\\\\]", "ncalrpc:[a\\,\\]\\=\\[\\\\]"},
		{"ncalrpc:", "ncalrpc:"},
		{"ncacn_np:PC[\\PIPE\\srvsvc]", "ncacn_np:PC[\\PIPE\\srvsvc]"},
		{"ncacn_np:\\\\PC[\\pipe\\a b]", "ncacn_np:\\\\PC[\\pipe\\a b]"},
		{"ncacn_np:", "ncacn_np:"},
		{"ncadg_sm:[ftok=/a,id=7]", "ncadg_sm[id=7,ftok=/a]"},
		{"ncadg_sm[id=7,ftok=/a@b:c]", "ncadg_sm[id=7,ftok=/a@b:c]"},
	};
	char why[STRBND_WHY_LEN], str[STRBND_LEN];
	struct strbnd b;

	(void)state;
	for (size_t i = 0; i < sizeof(form) / sizeof(form[0]); i++) {
		assert_int_equal(strbnd_parse(&b, form[i][0], why), 0);
		assert_string_equal(why, "");
		assert_int_equal(strbnd_compose(&b, str, sizeof(str)), (int)strlen(form[i][1]));
		assert_string_equal(str, form[i][1]);
	}
}

static void what_a_tower_cannot_hold_is_refused_and_said(void **state)
{
	static const char *const bad[][2] = {
		{"", "no protocol sequence"},
		{"ncacn_ip_tcp", "no protocol sequence"},
		{"ncacn_ip_tcp[135]", "no protocol sequence"},
		{"ncacn_http:h[80]", "no protocol sequence"},
		{"NCACN_IP_TCP:h[80]", "no protocol sequence"},
		{"e1af8308-5d1f-11c9-91a4-08002b14a0fa@ncacn_ip_tcp:1.2.3.4[135]", "an object UUID"},
		{"ncacn_ip_tcp:1.2.3.4[135,security=none]", "an option"},
		{"ncacn_ip_tcp:1.2.3.4[security=none]", "an option"},
		{"ncacn_ip_tcp:1.2.3.4[135", "must end with"},
		{"ncacn_ip_tcp:1.2.3.4[135]x", "must end with"},
		{"ncacn_ip_tcp:1.2.3.4[65536]", "endpoint 65536: a port"},
		{"ncacn_ip_tcp:1.2.3.4[99999999999999]", "a port"},
		{"ncacn_ip_tcp:1.2.3.4[-1]", "a port"},
		{"ncacn_ip_tcp:1.2.3.4[epmap]", "a port"},
		{"ncacn_ip_tcp:1.2.3.4[135\\", "middle of an escape"},
		{"ncalrpc:this[x]", "has none"},
		{"ncalrpc:[x\\]", "must end with"},
		{"ncacn_np:PC[srvsvc]", "\\pipe\\"},
		{"ncacn_np:PC[\\pipe\\]", "\\pipe\\"},
		{"ncadg_sm[id=1]", "not of the form"},
		{"ncadg_sm:", "not of the form"},
		{"ncadg_sm:[id=4294967295,ftok=/x]", "not of the form"},
	};
	char why[STRBND_WHY_LEN];
	struct strbnd b;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(strbnd_parse(&b, bad[i][0], why), -EINVAL);
		if (!strstr(why, bad[i][1]))
			print_error("%s: %s\n", bad[i][0], why);
		assert_non_null(strstr(why, bad[i][1]));
	}
}

static void parts_end_where_their_room_ends(void **state)
{
	char str[1200], why[STRBND_WHY_LEN], back[STRBND_LEN];
	struct strbnd b;
	int n;

	(void)state;
	n = snprintf(str, sizeof(str), "ncalrpc:[");
	for (int i = 0; i < STRBND_PART_LEN - 1; i++)
		n += snprintf(str + n, sizeof(str) - (size_t)n, "\\,");
	snprintf(str + n, sizeof(str) - (size_t)n, "]");
	assert_int_equal(strbnd_parse(&b, str, why), 0);
	assert_int_equal(strlen(b.name), STRBND_PART_LEN - 1);
	assert_int_equal(strbnd_compose(&b, back, sizeof(back)), (int)strlen(str));
	assert_string_equal(back, str);
	assert_int_equal(strbnd_compose(&b, back, strlen(str)), -ENOSPC);
	snprintf(str + n, sizeof(str) - (size_t)n, "x]");
	assert_int_equal(strbnd_parse(&b, str, why), -EINVAL);
	assert_non_null(strstr(why, "255"));
	memset(str, 'h', sizeof(str) - 1);
	memcpy(str, "ncacn_np:", 9);
	str[9 + STRBND_PART_LEN] = '\0';
	assert_int_equal(strbnd_parse(&b, str, why), -EINVAL);
	str[9 + STRBND_PART_LEN - 1] = '\0';
	assert_int_equal(strbnd_parse(&b, str, why), 0);
}

static void what_would_be_read_otherwise_is_not_written(void **state)
{
	struct strbnd b = {.protseq = PROTSEQ_NCACN_NP, .host = "a[b"};
	char str[STRBND_LEN];

	(void)state;
	assert_int_equal(strbnd_compose(&b, str, sizeof(str)), -EINVAL);
	strcpy(b.host, "a");
	strcpy(b.name, "\\pipe\\a,b");
	assert_int_equal(strbnd_compose(&b, str, sizeof(str)), -EINVAL);
	b.protseq = PROTSEQ_NCALRPC;
	assert_int_equal(strbnd_compose(&b, str, sizeof(str)), -EINVAL); /* a host */
	b.protseq = PROTSEQ_N;
	assert_int_equal(strbnd_compose(&b, str, sizeof(str)), -EINVAL);
	b.protseq = PROTSEQ_NCACN_IP_TCP;
	memset(b.host, '1', sizeof(b.host)); /* no end */
	assert_int_equal(strbnd_compose(&b, str, sizeof(str)), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(string_bindings_are_read_and_written_in_one_form),
		TEST(what_a_tower_cannot_hold_is_refused_and_said),
		TEST(parts_end_where_their_room_ends),
		TEST(what_would_be_read_otherwise_is_not_written),
	};

	return scratch_run("protseq", tests, sizeof(tests) / sizeof(tests[0]));
}
