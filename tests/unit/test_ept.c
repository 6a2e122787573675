/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ept_map.h"
#include "scratch.h"
#include "sysv.h"
#include "twr.h"

static void what_is_published_is_found_and_what_is_retracted_is_not(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -ENOENT);
	assert_int_equal(ept_publish(&e, &key, 4711), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	scratch_same_endpoint(&e, &r);
	assert_int_equal(r.binding.id, 4711);
	assert_int_equal(ept_ref_is_current(&r), 1);
	ept_retract(&e);
	assert_int_equal(ept_ref_is_current(&r), 0);
	ept_ref_drop(&r);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -ENOENT);
	close(fd);
}

/* The line "tower=..." of the endpoint's file; `text` is the whole. */
static char *tower_line(const struct ept *e, char text[EPT_TEXT_LEN])
{
	ssize_t n = pread(e->lock_fd, text, EPT_TEXT_LEN - 1, 0);
	char *line;

	assert_true(n > 0);
	text[n] = '\0';
	line = strstr(text, "\ntower=");
	assert_non_null(line);
	return line + 1;
}

static void rewrite_text(const struct ept *e, const char *text)
{
	assert_int_equal(ftruncate(e->lock_fd, 0), 0);
	assert_int_equal(pwrite(e->lock_fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void an_endpoint_tells_its_binding_as_a_tower_too(void **state)
{
	char text[EPT_TEXT_LEN], why[TWR_WHY_LEN], *hex;
	uint8_t oct[TWR_LEN];
	struct ept_key key;
	struct twr t;
	struct ept e;
	size_t n = 0;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, 4711), 0);
	for (hex = tower_line(&e, text) + 6; *hex != '\n'; hex += 2, n++)
		assert_int_equal(sscanf(hex, "%2hhx", &oct[n]), 1);
	assert_int_equal(twr_parse(&t, oct, n, why), 0);
	assert_int_equal(t.bnd.protseq, PROTSEQ_NCADG_SM);
	assert_int_equal(t.bnd.sm.id, 4711);
	assert_string_equal(t.bnd.sm.path, e.binding.path);
	assert_memory_equal(&t.xfer, &twr_ndr, sizeof(twr_ndr));
	ept_retract(&e);
	close(fd);
}

static void a_tower_that_is_missing_is_from_before_and_one_that_says_otherwise_is_not_believed(void **state)
{
	char text[EPT_TEXT_LEN], other[EPT_TEXT_LEN], *line, *end;
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_publish(&e, &key);

	(void)state;
	line = tower_line(&e, text);
	end = strchr(line, '\n');
	strcpy(other, text);
	memmove(other + (line - text), end + 1, strlen(end + 1) + 1); /* as a build without towers writes it */
	rewrite_text(&e, other);
	scratch_is_found(&e);
	for (int way = 0; way < 4; way++) {
		strcpy(other, text);
		if (way == 0) /* another path, another uid, no digit, cut off */
			other[end - 1 - text] ^= 1;
		else if (way == 1)
			other[line - text + 6 + 2 * 89 + 1] ^= 1;
		else if (way == 2)
			other[end - 1 - text] = 'x';
		else
			memmove(other + (end - 2 - text), end, strlen(end) + 1);
		rewrite_text(&e, other);
		assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	}
	rewrite_text(&e, text);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	ept_ref_drop(&r);
	ept_retract(&e);
	close(fd);
}

static void a_lookup_without_a_map_makes_two_system_calls_at_most(void **state)
{
	struct diag_addr to = scratch_addr("127.0.0.1", 1);
	struct ept_ref r;
	int n;

	(void)state;
	assert_int_equal(ept_map_set("/tmp/shunt-unit-no-such-folder"), 0);
	scratch_count();
	assert_int_equal(ept_lookup(&r, &to, 1), -ENOENT);
	n = scratch_fault_off();
	assert_int_equal(ept_map_set(scratch_map), 0);
	assert_true(n <= 2);
}

static void wildcard_and_dual_stack_listeners_are_found_as_the_kernel_would_choose(void **state)
{
	static const struct {
		const char *at;
		int v6only;
		const char *to;
		int found;
	} t[] = {
		{"0.0.0.0", 0, "127.0.0.1", 1},
		{"0.0.0.0", 0, "127.9.8.7", 1},
		{"0.0.0.0", 0, "::1", 0},
		{"::", 0, "127.0.0.1", 1},
		{"::", 0, "::1", 1},
		{"::", 0, "::ffff:127.0.0.1", 1},
		{"::", 1, "127.0.0.1", 0},
		{"::", 1, "::1", 1},
		{"::1", 0, "::1", 1},
		{"127.0.0.1", 0, "127.0.0.2", 0},
		{"::ffff:127.0.0.1", 0, "127.0.0.1", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct ept_key key;
		struct ept_ref r;
		struct ept e;
		int fd = scratch_listen(t[i].at, t[i].v6only, &key);
		struct diag_addr to = scratch_addr(t[i].to, key.at.port);

		assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
		assert_int_equal(ept_lookup(&r, &to, key.netns), t[i].found ? 0 : -ECONNREFUSED);
		if (t[i].found)
			scratch_same_endpoint(&e, &r);
		ept_ref_drop(&r);
		ept_retract(&e);
		close(fd);
	}
}

static void the_same_port_in_another_network_namespace_is_another_endpoint(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_publish(&e, &key);

	(void)state;
	assert_int_equal(ept_lookup(&r, &key.at, key.netns + 1), -ENOENT);
	ept_retract(&e);
	close(fd);
}

static void a_second_publication_of_a_live_key_is_refused(void **state)
{
	struct ept_key key;
	struct ept a, b;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&a, &key, geteuid()), 0);
	assert_int_equal(ept_publish(&b, &key, geteuid()), -EEXIST);
	assert_null(b.area);
	ept_retract(&b);
	assert_int_equal(scratch_n_files(), 1);
	ept_retract(&a);
	assert_int_equal(ept_publish(&b, &key, geteuid()), 0);
	ept_retract(&b);
	close(fd);
}

static void a_killed_servers_endpoint_is_not_found_and_the_next_one_replaces_it(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(scratch_wait(scratch_fork(0, scratch_publish_and_die, &key)), SIGKILL);
	assert_int_equal(scratch_n_files(), 1);
	assert_int_equal(scratch_n_sem(), 1);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -ECONNREFUSED);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	assert_int_equal(scratch_n_sem(), 1);
	assert_int_equal(scratch_n_shm(), 1);
	scratch_is_found(&e);
	ept_retract(&e);
	close(fd);
}

static int publish_fork_and_die(void *arg)
{
	int *p = ((int **)arg)[1], byte;
	struct ept e;

	EXPECT(ept_publish(&e, ((void **)arg)[0], geteuid()) == 0);
	if (fork() == 0) {
		/* the worker: lives until the test closes the pipe */
		close(p[1]);
		EXPECT(read(p[0], &byte, 1) == 0);
		return 0;
	}
	kill(getpid(), SIGKILL);
	return 1;
}

static void an_endpoint_lives_as_long_as_the_last_process_that_inherited_it(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	int p[2], fd = scratch_listen("127.0.0.1", 0, &key);
	void *arg[2] = {&key, p};

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(scratch_wait(scratch_fork(0, publish_fork_and_die, arg)), SIGKILL);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	assert_int_equal(ept_gc(geteuid()), 0);
	assert_int_equal(ept_ref_is_current(&r), 1);
	close(p[1]);
	for (int i = 0; ept_ref_is_current(&r) && i < 10000; i++)
		sched_yield();
	assert_int_equal(ept_ref_is_current(&r), 0);
	ept_ref_drop(&r);
	assert_int_equal(ept_gc(geteuid()), 1);
	close(p[0]);
	close(fd);
}

static int drop_then_retract(void *arg)
{
	struct ept *e = arg;

	ept_retract(e); /* not the publisher: only lets go */
	return 0;
}

static void a_child_that_retracts_removes_nothing(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_publish(&e, &key);

	(void)state;
	scratch_wait_ok(scratch_fork(0, drop_then_retract, &e));
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	ept_ref_drop(&r);
	ept_retract(&e);
	close(fd);
}

static void a_publication_that_fails_anywhere_leaves_nothing(void **state)
{
	struct ept_key key;
	struct ept e;
	int n, fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	for (n = 0;; n++) {
		int err;

		scratch_fault_at(n, -ENOMEM);
		err = ept_publish(&e, &key, geteuid());
		if (scratch_fault_off() <= n) { /* there was no n-th call */
			assert_int_equal(err, 0);
			break;
		}
		ept_retract(&e);
		assert_int_equal(scratch_n_files(), 0);
		assert_int_equal(scratch_n_sem(), 0);
		assert_int_equal(scratch_n_shm(), 0);
	}
	assert_true(n > 12);
	ept_retract(&e);
	close(fd);
}

static int publish_killed_at(void *arg)
{
	struct ept e;
	int err;

	scratch_kill_at(((int *)((void **)arg)[1])[0]);
	err = ept_publish(&e, ((void **)arg)[0], geteuid());
	if (!err)
		ept_retract(&e);
	scratch_fault_off();
	return err ? 1 : 0;
}

static void a_server_killed_at_any_call_leaves_what_gc_can_remove(void **state)
{
	struct ept_key key;
	int n, fd = scratch_listen("127.0.0.1", 0, &key);
	void *arg[2] = {&key, &n};

	(void)state;
	for (n = 0; n < 500; n++) {
		int status = scratch_wait(scratch_fork(0, publish_killed_at, arg));

		assert_true(ept_gc(geteuid()) >= 0);
		assert_int_equal(scratch_n_files(), 0);
		assert_int_equal(scratch_n_sem(), 0);
		assert_int_equal(scratch_n_shm(), 0);
		if (status != SIGKILL) {
			assert_int_equal(status, 0);
			break;
		}
	}
	assert_true(n > 20 && n < 500);
	close(fd);
}

static void a_taken_key_is_passed_over(void **state)
{
	struct ept_key key;
	struct ept e;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	scratch_fault_nr(SYS_semget, 2, -EEXIST);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	scratch_fault_off();
	scratch_is_found(&e);
	ept_retract(&e);
	scratch_fault_nr(SYS_shmget, 1, -EEXIST);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	scratch_fault_off();
	assert_int_equal(scratch_n_sem(), 1);
	ept_retract(&e);
	scratch_fault_nr(SYS_semget, 1000, -EEXIST);
	assert_int_equal(ept_publish(&e, &key, geteuid()), -EBUSY);
	close(fd);
}

struct race {
	struct ept_key key;
	_Atomic int *holders, *published; /* shared by the processes */
};

static int publishers(void *arg)
{
	struct race *race = arg;

	for (int i = 0; i < 40; i++) {
		struct ept e;
		int err = ept_publish(&e, &race->key, geteuid());

		if (err && err != -EEXIST && err != -EBUSY) {
			print_error("publish: error %d\n", -err);
			return 1;
		}
		if (!err) {
			atomic_fetch_add(race->published, 1);
			EXPECT(atomic_fetch_add(race->holders, 1) == 0);
			sched_yield();
			atomic_fetch_sub(race->holders, 1);
		}
		ept_retract(&e);
	}
	return 0;
}

static void processes_that_publish_one_key_at_once_never_both_have_it_and_leave_nothing(void **state)
{
	struct race race;
	pid_t pid[4];
	int fd = scratch_listen("127.0.0.1", 0, &race.key);

	(void)state;
	race.holders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(race.holders, MAP_FAILED);
	race.published = race.holders + 16;
	for (int i = 0; i < 4; i++)
		pid[i] = scratch_fork(0, publishers, &race);
	for (int i = 0; i < 4; i++)
		scratch_wait_ok(pid[i]);
	assert_true(atomic_load(race.published) > 0);
	assert_int_equal(scratch_n_files(), 0);
	munmap(race.holders, 4096);
	close(fd);
}

static struct ept *to_retract;
static int retract_at, calls_seen;

static long retract_meanwhile(long nr)
{
	(void)nr;
	if (calls_seen++ == retract_at) {
		sys_fault = NULL;
		ept_retract(to_retract);
	}
	return 0;
}

static void an_endpoint_retracted_in_the_middle_of_a_lookup_is_gone_and_not_suspect(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int err, fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	to_retract = &e;
	for (retract_at = 0;; retract_at++) {
		assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
		calls_seen = 0;
		sys_fault = retract_meanwhile;
		err = ept_lookup(&r, &key.at, key.netns);
		sys_fault = NULL;
		if (calls_seen <= retract_at)
			break;
		assert_true(err == 0 || err == -ENOENT || err == -ECONNREFUSED || err == -ENXIO);
		if (!err)
			assert_int_equal(ept_ref_is_current(&r), 0);
		ept_ref_drop(&r);
	}
	assert_int_equal(err, 0);
	assert_true(retract_at > 15);
	ept_ref_drop(&r);
	ept_retract(&e);
	close(fd);
}

static int see(const struct ept_ref *r, uint32_t owner, int alive, void *arg)
{
	struct ept_ref *out = arg;

	assert_int_equal(owner, geteuid());
	assert_int_equal(alive, 1);
	assert_null(r->area);
	*out = *r;
	return 7;
}

static void the_map_can_be_listed(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_listen("::", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	assert_int_equal(ept_each(see, &r), 7);
	assert_memory_equal(&r.key, &e.key, sizeof(r.key));
	assert_memory_equal(r.nonce, e.nonce, 16);
	ept_retract(&e);
	assert_int_equal(ept_each(see, &r), 0);
	close(fd);
}

static void names_of_endpoints_can_be_read_back(void **state)
{
	static const char *const addr[] = {
		"0.0.0.0", "127.0.0.1", "255.254.253.252", "::", "::1", "2001:db8:0:ff00::1234:abcd"};
	static const char *const bad[] = {"", "tcp-", "tcp-1-127.0.0.1", "tcp-1-127.0.0.1-", "tcp-1-127.0.0.1-65536",
		"tcp-1-127.0.0.256-1", "tcp-1-127.0.0-1", "tcp--127.0.0.1-1", "tcp-18446744073709551616-127.0.0.1-1",
		"tcp-1-0:0:0:0:0:0:0-1", "tcp-1-0:0:0:0:0:0:0:10000-1", "tcp-1-127.0.0.1-1x", "sctp-1-127.0.0.1-1",
		"udp-1-127.0.0.1-1x"};
	char name[EPT_NAME_LEN];
	struct ept_key key, back;

	(void)state;
	for (size_t i = 0; i < sizeof(addr) / sizeof(addr[0]); i++) {
		memset(&key, 0, sizeof(key));
		key.at = scratch_addr(addr[i], (uint16_t)(65535 - i));
		key.netns = i ? UINT64_MAX : 0;
		key.udp = i % 2;
		ept_name(name, &key);
		assert_int_equal(ept_name_parse(&back, name), 0);
		assert_memory_equal(&key, &back, sizeof(key));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ept_name_parse(&back, bad[i]), -EINVAL);
}

static void a_map_in_an_impossible_place_is_an_error(void **state)
{
	char path[400];
	struct ept_key key;
	struct ept e;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[399] = '\0';
	assert_int_equal(ept_map_set(path), -ENAMETOOLONG);
	assert_int_equal(ept_map_set("relative"), -EINVAL);
	assert_int_equal(ept_map_set("/proc/no/such"), 0);
	assert_int_equal(ept_publish(&e, &key, geteuid()), -ENOENT);
	assert_int_equal(ept_map_set("/dev/null"), 0);
	assert_int_equal(ept_publish(&e, &key, geteuid()), -ENOTDIR);
	assert_int_equal(ept_map_set(scratch_map), 0);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_is_published_is_found_and_what_is_retracted_is_not),
		TEST(an_endpoint_tells_its_binding_as_a_tower_too),
		TEST(a_tower_that_is_missing_is_from_before_and_one_that_says_otherwise_is_not_believed),
		TEST(a_lookup_without_a_map_makes_two_system_calls_at_most),
		TEST(wildcard_and_dual_stack_listeners_are_found_as_the_kernel_would_choose),
		TEST(the_same_port_in_another_network_namespace_is_another_endpoint),
		TEST(a_second_publication_of_a_live_key_is_refused),
		TEST(a_killed_servers_endpoint_is_not_found_and_the_next_one_replaces_it),
		TEST(an_endpoint_lives_as_long_as_the_last_process_that_inherited_it),
		TEST(a_child_that_retracts_removes_nothing),
		TEST(a_publication_that_fails_anywhere_leaves_nothing),
		TEST(a_server_killed_at_any_call_leaves_what_gc_can_remove),
		TEST(a_taken_key_is_passed_over),
		TEST(processes_that_publish_one_key_at_once_never_both_have_it_and_leave_nothing),
		TEST(an_endpoint_retracted_in_the_middle_of_a_lookup_is_gone_and_not_suspect),
		TEST(the_map_can_be_listed),
		TEST(names_of_endpoints_can_be_read_back),
		TEST(a_map_in_an_impossible_place_is_an_error),
	};

	return scratch_run("ept", tests, sizeof(tests) / sizeof(tests[0]));
}
