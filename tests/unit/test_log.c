/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "scratch.h"
#include "sys.h"

static char log_path[128];

static void log_begin(void)
{
	snprintf(log_path, sizeof(log_path), "%s/log", scratch_map);
	assert_int_equal(log_open(log_path), 0);
}

static void log_end(void)
{
	close(log_fd);
	log_fd = -1;
	assert_int_equal(unlink(log_path), 0);
}

static size_t log_read(char *buf, size_t len)
{
	int fd = open(log_path, O_RDONLY);
	ssize_t n = read(fd, buf, len - 1);

	assert_true(n >= 0);
	close(fd);
	buf[n] = '\0';
	return (size_t)n;
}

static void every_conversion_prints_as_printf_does(void **state)
{
	char ours[256], theirs[256];
	const char *fmt = "%s|%d|%d|%u|%x|%lu|%ld|%llu|%lld|%lld|%c|%%|%lx|%d";

	(void)state;
	snprintf(theirs, sizeof(theirs), fmt, "text", 0, INT_MIN, UINT_MAX, 0xdeadbeefu, ULONG_MAX, LONG_MIN, ULLONG_MAX,
		LLONG_MIN, 42ll, 'c', 0xfeedul, INT_MAX);
	fmt_buf(ours, sizeof(ours), fmt, "text", 0, INT_MIN, UINT_MAX, 0xdeadbeefu, ULONG_MAX, LONG_MIN, ULLONG_MAX, LLONG_MIN,
		42ll, 'c', 0xfeedul, INT_MAX);
	assert_string_equal(ours, theirs);
}

static void a_text_that_does_not_fit_is_cut_and_ends(void **state)
{
	char buf[8];

	(void)state;
	memset(buf, '#', sizeof(buf));
	assert_int_equal(fmt_buf(buf, 6, "%s", "0123456789"), 5);
	assert_string_equal(buf, "01234");
	assert_int_equal(buf[6], '#');
	assert_int_equal(fmt_buf(buf, 1, "%d", 12), 0);
	assert_string_equal(buf, "");
	assert_int_equal(fmt_buf(buf, 0, "%d", 12), 0);
}

static void nothing_is_written_before_a_log_is_opened(void **state)
{
	(void)state;
	scratch_count();
	log_line("nobody hears %s", "this");
	assert_int_equal(scratch_fault_off(), 0);
}

static void a_line_carries_its_process_and_ends_with_a_line_feed(void **state)
{
	char want[128], got[128];

	(void)state;
	log_begin();
	log_line("port %u", 6379u);
	snprintf(want, sizeof(want), "shunt[%d]: port 6379\n", getpid());
	log_read(got, sizeof(got));
	assert_string_equal(got, want);
	log_end();
}

static void a_long_line_is_cut_at_512_octets(void **state)
{
	char text[1000], got[2000];
	size_t n;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[999] = '\0';
	log_begin();
	log_line("%s", text);
	n = log_read(got, sizeof(got));
	assert_int_equal(n, 512);
	assert_int_equal(got[511], '\n');
	log_end();
}

static int write_lines(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++)
		log_line("%s", "0123456789012345678901234567890123456789");
	return 0;
}

static void lines_of_several_processes_do_not_mix(void **state)
{
	static char got[1 << 17];
	pid_t pid[4];
	size_t n, lines = 0;

	(void)state;
	log_begin();
	for (int i = 0; i < 4; i++)
		pid[i] = scratch_fork(0, write_lines, NULL);
	for (int i = 0; i < 4; i++)
		scratch_wait_ok(pid[i]);
	n = log_read(got, sizeof(got));
	assert_true(n < sizeof(got) - 1);
	for (char *p = got, *e; (e = strchr(p, '\n')); p = e + 1, lines++) {
		assert_memory_equal(p, "shunt[", 6);
		assert_memory_equal(e - 43, "]: 0123456789012345678901234567890123456789", 43);
	}
	assert_int_equal(lines, 800);
	log_end();
}

static void a_log_that_cannot_be_opened_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(log_open("/no/such/folder/log"), -ENOENT);
	assert_int_equal(log_fd, -1);
}

static void the_log_is_closed_on_exec(void **state)
{
	(void)state;
	log_begin();
	assert_true(fcntl(log_fd, F_GETFD) & FD_CLOEXEC);
	log_end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_conversion_prints_as_printf_does),
		TEST(a_text_that_does_not_fit_is_cut_and_ends),
		TEST(nothing_is_written_before_a_log_is_opened),
		TEST(a_line_carries_its_process_and_ends_with_a_line_feed),
		TEST(a_long_line_is_cut_at_512_octets),
		TEST(lines_of_several_processes_do_not_mix),
		TEST(a_log_that_cannot_be_opened_is_an_error),
		TEST(the_log_is_closed_on_exec),
	};

	return scratch_run("log", tests, sizeof(tests) / sizeof(tests[0]));
}
