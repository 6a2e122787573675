/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "sys.h"

static void errors_come_as_negative_numbers_and_errno_is_untouched(void **state)
{
	(void)state;
	errno = 4711;
	assert_int_equal(sys1(SYS_close, -1), -EBADF);
	assert_int_equal(sys4(SYS_openat, AT_FDCWD, "/no/such/file", O_RDONLY, 0), -ENOENT);
	assert_int_equal(errno, 4711);
}

static void all_six_arguments_arrive(void **state)
{
	char page[1] = {0};
	long p = sys6(SYS_mmap, 0, 4096, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);

	(void)state;
	assert_false(sys_is_err(p));
	*(char *)(uintptr_t)p = 'x';
	page[0] = *(char *)(uintptr_t)p;
	assert_int_equal(page[0], 'x');
	assert_int_equal(sys2(SYS_munmap, p, 4096), 0);
	assert_int_equal(sys6(SYS_mmap, 0, 4096, 3, 0x22, -1, 1), -EINVAL); /* the sixth: an offset within a page */
}

static void memory_that_is_not_there_is_efault(void **state)
{
	long p = sys6(SYS_mmap, 0, 8192, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);
	char *page = (char *)(uintptr_t)p, buf[8] = "1234567";

	(void)state;
	assert_false(sys_is_err(p));
	assert_int_equal(sys3(SYS_mprotect, page + 4096, 4096, 0), 0);
	assert_int_equal(sys_copy_out(page + 4088, buf, 8), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(sys_copy_in(buf, page + 4088, 8), 0);
	assert_string_equal(buf, "1234567");
	assert_int_equal(sys_copy_in(buf, page + 4089, 8), -EFAULT);
	assert_int_equal(sys_copy_in(buf, page + 4096, 8), -EFAULT);
	assert_int_equal(sys_copy_out(page + 4089, buf, 8), -EFAULT);
	assert_int_equal(sys_copy_in(buf, NULL, 0), 0);
	/* A sandbox that forbids it. */
	scratch_fault_nr(SYS_process_vm_readv, 1, -EPERM);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(sys_copy_in(buf, page + 4088, 8), 0);
	assert_string_equal(buf, "1234567");
	scratch_fault_off();
	assert_int_equal(sys2(SYS_munmap, p, 8192), 0);
}

static void an_injected_failure_replaces_the_call(void **state)
{
	(void)state;
	scratch_fault_nr(SYS_getpid, 1, -EPERM);
	assert_int_equal(sys0(SYS_getpid), -EPERM);
	assert_int_equal(sys0(SYS_getpid), getpid());
	assert_int_equal(scratch_fault_off(), 2);
}

static void random_octets_fill_the_whole_buffer(void **state)
{
	static const uint8_t none[64];
	uint8_t a[64] = {0}, b[64] = {0};

	(void)state;
	assert_int_equal(sys_random(a, sizeof(a)), 0);
	assert_int_equal(sys_random(b, sizeof(b)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a + 48, none, 16);
	scratch_fault_nr(SYS_getrandom, 1, -EINTR);
	assert_int_equal(sys_random(a, sizeof(a)), 0);
	scratch_fault_nr(SYS_getrandom, 1, -ENOSYS);
	assert_int_equal(sys_random(a, sizeof(a)), -ENOSYS);
}

static void time_does_not_go_back(void **state)
{
	uint64_t last = sys_now_ns();

	(void)state;
	assert_true(last > 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = sys_now_ns();

		assert_true(now >= last);
		last = now;
	}
}

static int kept_at, dropped;

static int keep_high(int fd)
{
	kept_at = fcntl(fd, F_DUPFD_CLOEXEC, 300);
	close(fd);
	return kept_at;
}

static void note_drop(int fd)
{
	dropped = fd;
}

static void descriptors_that_stay_are_shown_when_made_and_when_closed(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(sys_fd_keep(fd), fd);
	sys_keep_fd = keep_high;
	sys_drop_fd = note_drop;
	assert_int_equal(sys_fd_keep(-EMFILE), -EMFILE);
	fd = sys_fd_keep(fd);
	assert_true(fd >= 300 && fd == kept_at);
	sys_fd_close(fd);
	assert_int_equal(dropped, fd);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	dropped = 0;
	sys_fd_close(-1);
	assert_int_equal(dropped, 0);
	sys_keep_fd = NULL;
	sys_drop_fd = NULL;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(errors_come_as_negative_numbers_and_errno_is_untouched),
		TEST(all_six_arguments_arrive),
		TEST(memory_that_is_not_there_is_efault),
		TEST(an_injected_failure_replaces_the_call),
		TEST(random_octets_fill_the_whole_buffer),
		TEST(time_does_not_go_back),
		TEST(descriptors_that_stay_are_shown_when_made_and_when_closed),
	};

	return scratch_run("sys", tests, sizeof(tests) / sizeof(tests[0]));
}
