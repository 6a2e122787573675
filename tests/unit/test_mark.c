/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mark.h"
#include "scratch.h"
#include "sys.h"

static int a_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static const struct mark some[] = {
	{.linked = false, .side = 0, .chan = 0, .shmid = 0},
	{.linked = false, .side = 1, .chan = 0, .shmid = 0},
	{.linked = true, .side = 0, .chan = 0, .shmid = 1},
	{.linked = true, .side = 1, .chan = 255, .shmid = INT32_MAX},
};

static void what_is_said_is_read_through_any_copy(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		int fd = a_socket(), copy = dup(fd);
		struct mark m = {.chan = 7};

		assert_false(mark_look(fd, &m));
		assert_true(mark_ready(fd, &some[i]));
		assert_true(mark_look(copy, &m));
		assert_int_equal(m.linked, some[i].linked);
		assert_int_equal(m.side, some[i].side);
		assert_int_equal(m.chan, some[i].chan);
		assert_int_equal(m.shmid, some[i].shmid);
		close(copy); /* takes no lock along */
		assert_true(mark_look(fd, &m));
		mark_unready(fd);
		assert_false(mark_look(fd, &m));
		close(fd);
	}
}

static void another_socket_has_no_mark(void **state)
{
	int fd = a_socket(), other = a_socket();
	struct mark m;

	(void)state;
	assert_true(mark_ready(fd, &some[3]));
	assert_false(mark_look(other, &m));
	close(fd);
	close(other);
}

static void never_is_for_ever(void **state)
{
	int fd = a_socket();
	struct mark m;

	(void)state;
	mark_never(fd);
	assert_true(mark_ready(fd, &some[2]));
	assert_false(mark_look(fd, &m));
	mark_unready(fd);
	assert_true(mark_ready(fd, &some[2]));
	assert_false(mark_look(fd, &m));
	close(fd);
}

static void what_is_left_to_a_program_is_that_process_s(void **state)
{
	int fd = a_socket();
	uint32_t pid = (uint32_t)getpid();
	struct mark m;

	(void)state;
	assert_false(mark_exec_end(fd, pid));
	assert_true(mark_exec(fd, pid));
	assert_true(mark_ready(fd, &some[1]));
	assert_false(mark_look(fd, &m));
	assert_false(mark_exec_end(fd, pid + 1));
	assert_true(mark_exec_end(fd, pid));
	assert_true(mark_look(fd, &m));
	close(fd);
}

static void another_process_sees_and_takes_it(void **state)
{
	int fd = a_socket(), status;
	struct mark m;

	(void)state;
	assert_true(mark_ready(fd, &some[3]));
	pid_t pid = fork();
	if (pid == 0) {
		bool seen = mark_look(fd, &m) && m.chan == 255;

		mark_unready(fd);
		_exit(seen ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_false(mark_look(fd, &m));
	close(fd);
}

/* Its child holds it until a program closes it, and lives on. */
static void what_is_about_to_be_closed_is_ready_once_it_is(void **state)
{
	int fd = a_socket(), said[2], end[2], status;
	struct mark m;
	char c;

	(void)state;
	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		bool ok = mark_closing(fd, true) && mark_ready(fd, &some[3]) && dup2(end[0], 0) == 0;

		if (write(said[1], ok ? "y" : "n", 1) != 1 || read(end[0], &c, 1) != 1)
			_exit(2);
		execlp("cat", "cat", (char *)NULL);
		_exit(3);
	}
	close(end[0]);
	assert_int_equal(read(said[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_false(mark_look(fd, &m));
	assert_int_equal(write(end[1], "x", 1), 1);
	for (int i = 0; i < 5000 && !mark_look(fd, &m); i++)
		usleep(1000);
	assert_true(mark_look(fd, &m));
	assert_int_equal(m.chan, 255);
	close(end[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(mark_closing(fd, true)); /* or not closed after all */
	assert_true(mark_closing(fd, false));
	assert_true(mark_look(fd, &m));
	close(said[0]);
	close(said[1]);
	close(fd);
}

static long no_locks(long nr)
{
	return nr == SYS_fcntl ? -EINVAL : 0;
}

static void a_kernel_without_such_locks_has_no_marks(void **state)
{
	int fd = a_socket();
	struct mark m;

	(void)state;
	sys_fault = no_locks;
	assert_false(mark_ready(fd, &some[0]));
	assert_false(mark_look(fd, &m));
	assert_false(mark_exec(fd, 1));
	assert_false(mark_exec_end(fd, 1));
	sys_fault = NULL;
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_said_is_read_through_any_copy),
		cmocka_unit_test(another_socket_has_no_mark),
		cmocka_unit_test(never_is_for_ever),
		cmocka_unit_test(what_is_left_to_a_program_is_that_process_s),
		cmocka_unit_test(another_process_sees_and_takes_it),
		cmocka_unit_test(what_is_about_to_be_closed_is_ready_once_it_is),
		cmocka_unit_test(a_kernel_without_such_locks_has_no_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
