/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"
#include "scratch.h"

static void both_spellings_are_read_and_the_first_is_written(void **state)
{
	struct binding b;
	char buf[BINDING_STR_LEN];

	(void)state;
	assert_int_equal(binding_parse(&b, "ncadg_sm:[ftok=/run/shunt/0/x,id=0]"), 0);
	assert_int_equal(b.id, 0);
	assert_string_equal(b.path, "/run/shunt/0/x");
	assert_int_equal(binding_compose(&b, buf, sizeof(buf)), (int)strlen("ncadg_sm[id=0,ftok=/run/shunt/0/x]"));
	assert_string_equal(buf, "ncadg_sm[id=0,ftok=/run/shunt/0/x]");
}

static void every_octet_of_a_path_survives(void **state)
{
	struct binding b = {.id = 4294967294u}, back;
	char buf[BINDING_STR_LEN];

	(void)state;
	b.path[0] = '/';
	for (int c = 1; c < 255; c++)
		b.path[c] = (char)c;
	b.path[255] = '\0';
	assert_true(binding_compose(&b, buf, sizeof(buf)) > 0);
	assert_int_equal(binding_parse(&back, buf), 0);
	assert_string_equal(back.path, b.path);
	assert_int_equal(back.id, b.id);
	b.path[1] = (char)255;
	assert_true(binding_compose(&b, buf, sizeof(buf)) > 0);
	assert_int_equal(binding_parse(&back, buf), 0);
	assert_string_equal(back.path, b.path);
}

static void the_longest_binding_fits_the_buffer(void **state)
{
	struct binding b = {.id = 4294967294u};
	char buf[BINDING_STR_LEN];

	(void)state;
	memset(b.path, ',', sizeof(b.path) - 1);
	b.path[0] = '/';
	assert_true(binding_compose(&b, buf, sizeof(buf)) > 0);
	assert_true(strlen(buf) < sizeof(buf));
}

static void what_is_not_a_binding_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"ncadg_sm",
		"ncadg_sm[]",
		"ncadg_sm[id=1]",
		"ncadg_sm[ftok=/x]",
		"ncadg_sm[id=1,ftok=/x",
		"ncadg_sm[id=1,ftok=/x]y",
		"ncadg_sm[id=1,ftok=/x],",
		"ncadg_sm[id=1,ftok=/x,]",
		"ncadg_sm[,id=1,ftok=/x]",
		"ncadg_sm[id=1,id=1,ftok=/x]",
		"ncadg_sm[id=1,ftok=/x,ftok=/x]",
		"ncadg_sm[id=1,ftok=/x,mode=2]",
		"ncadg_sm[id=,ftok=/x]",
		"ncadg_sm[id=-1,ftok=/x]",
		"ncadg_sm[id=+1,ftok=/x]",
		"ncadg_sm[id=01,ftok=/x]",
		"ncadg_sm[id=0x1,ftok=/x]",
		"ncadg_sm[id=4294967295,ftok=/x]",
		"ncadg_sm[id=99999999999999999999999,ftok=/x]",
		"ncadg_sm[id=1,ftok=x]",
		"ncadg_sm[id=1,ftok=]",
		"ncadg_sm[id=1,ftok=/a=b]",
		"ncadg_sm[id=1,ftok=/a\\",
		"ncadg_sm [id=1,ftok=/x]",
		"ncadg_sm::[id=1,ftok=/x]",
		"ncacn_ip_tcp:127.0.0.1[6379]",
		"NCADG_SM[id=1,ftok=/x]",
	};
	struct binding b;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (binding_parse(&b, bad[i]) != -EINVAL)
			fail_msg("taken for a binding: %s", bad[i]);
}

static void a_path_that_is_too_long_or_relative_is_refused(void **state)
{
	char str[BINDING_STR_LEN + 64];
	struct binding b;
	size_t n;

	(void)state;
	for (size_t len = BINDING_PATH_LEN - 2; len <= BINDING_PATH_LEN; len++) {
		n = (size_t)snprintf(str, sizeof(str), "ncadg_sm[id=1,ftok=");
		memset(str + n, '/', len);
		strcpy(str + n + len, "]");
		assert_int_equal(binding_parse(&b, str), len < BINDING_PATH_LEN ? 0 : -EINVAL);
	}
	strcpy(b.path, "relative");
	assert_int_equal(binding_compose(&b, str, sizeof(str)), -EINVAL);
	memset(b.path, '/', sizeof(b.path));
	assert_int_equal(binding_compose(&b, str, sizeof(str)), -EINVAL); /* no end */
}

static void a_buffer_that_is_too_short_is_not_written(void **state)
{
	struct binding b = {.id = 1, .path = "/x"};
	char buf[32], want[32];
	int len = binding_compose(&b, want, sizeof(want));

	(void)state;
	memset(buf, '#', sizeof(buf));
	assert_int_equal(binding_compose(&b, buf, (size_t)len), -ENOSPC);
	assert_int_equal(buf[0], '#');
	assert_int_equal(binding_compose(&b, buf, (size_t)len + 1), len);
	assert_string_equal(buf, want);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(both_spellings_are_read_and_the_first_is_written),
		TEST(every_octet_of_a_path_survives),
		TEST(the_longest_binding_fits_the_buffer),
		TEST(what_is_not_a_binding_is_refused),
		TEST(a_path_that_is_too_long_or_relative_is_refused),
		TEST(a_buffer_that_is_too_short_is_not_written),
	};

	return scratch_run("binding", tests, sizeof(tests) / sizeof(tests[0]));
}
