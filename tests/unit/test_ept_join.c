/* SPDX-License-Identifier: BSD-2-Clause */
/* Several processes hold one endpoint, each on its own: who publishes it, and those who got the listener otherwise than by fork. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "bell.h"
#include "ept.h"
#include "rdv.h"
#include "scratch.h"
#include "sys.h"

/* As a process sees it that is about to join. */
static void find(struct ept *e, const struct ept_key *key)
{
	struct ept_ref r;

	assert_int_equal(ept_lookup(&r, &key->at, key->netns), 0);
	memset(e, 0, sizeof(*e));
	e->key = r.key;
	e->lock_fd = e->bell_fd = -1;
	e->semid = r.semid;
	e->shmid = r.shmid;
	e->area = r.area;
	memcpy(e->nonce, r.nonce, sizeof(e->nonce));
}

static void nothing_is_there(const struct ept_key *key)
{
	struct ept_ref r;

	assert_int_equal(ept_lookup(&r, &key->at, key->netns), -ENOENT);
	assert_int_equal(scratch_n_files(), 0);
	assert_int_equal(scratch_n_sem(), 0);
	assert_int_equal(scratch_n_shm(), 0);
}

static void an_endpoint_is_there_until_the_last_has_left_whoever_that_is(void **state)
{
	struct ept_key key;
	struct ept_ref r;

	(void)state;
	for (int order = 0; order < 6; order++) {
		struct ept e[3];
		int fd = scratch_publish(&e[0], &key), first = order / 2, second = (first + 1 + order % 2) % 3;

		find(&e[1], &key);
		find(&e[2], &key);
		assert_int_equal(ept_join(&e[1]), 0);
		assert_int_equal(ept_join(&e[2]), 0);
		assert_string_equal(e[1].binding.path, e[0].binding.path);
		assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
		ept_retract(&e[first]);
		assert_int_equal(ept_ref_is_current(&r), 1);
		ept_retract(&e[second]);
		assert_int_equal(ept_ref_is_current(&r), 1);
		assert_int_equal(ept_gc(geteuid()), 0);
		ept_ref_drop(&r);
		ept_retract(&e[3 - first - second]);
		nothing_is_there(&key);
		close(fd);
	}
}

static void each_holder_is_rung(void **state)
{
	struct ept_key key;
	struct ept a, b;
	struct ept_ref r;
	int fd = scratch_publish(&a, &key);

	(void)state;
	find(&b, &key);
	assert_int_equal(ept_join(&b), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	rdv_offer(&r, 1);
	assert_int_equal(bell_drain(a.bell_fd), 1);
	assert_int_equal(bell_drain(b.bell_fd), 1);
	ept_retract(&a);
	rdv_offer(&r, 1);
	assert_int_equal(bell_drain(b.bell_fd), 1);
	ept_ref_drop(&r);
	ept_retract(&b);
	close(fd);
}

static void serve(void *arg)
{
	struct seg s;

	if (rdv_answer(arg, &s) == 1)
		seg_detach(&s);
}

static void a_call_is_answered_by_who_is_left(void **state)
{
	struct ept_key key;
	struct ept a, b;
	struct ept_ref r;
	struct seg s;
	int fd = scratch_publish(&a, &key);

	(void)state;
	find(&b, &key);
	assert_int_equal(ept_join(&b), 0);
	ept_retract(&a);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	assert_int_equal(rdv_call(&s, &r, geteuid(), 10000, serve, &b), 0);
	seg_detach(&s);
	ept_retract(&b);
	assert_int_equal(rdv_call(&s, &r, geteuid(), 10000, NULL, NULL), -EIDRM);
	ept_ref_drop(&r);
	close(fd);
}

static void so_many_can_hold_it_and_one_who_leaves_makes_room(void **state)
{
	struct ept e[EPT_N_HOLDER + 1];
	struct ept_key key;
	int fd = scratch_publish(&e[0], &key);

	(void)state;
	for (int i = 1; i < EPT_N_HOLDER; i++) {
		find(&e[i], &key);
		assert_int_equal(ept_join(&e[i]), 0);
	}
	find(&e[EPT_N_HOLDER], &key);
	assert_int_equal(ept_join(&e[EPT_N_HOLDER]), -EBUSY);
	assert_int_equal(e[EPT_N_HOLDER].lock_fd, -1);
	ept_retract(&e[3]);
	assert_int_equal(ept_join(&e[EPT_N_HOLDER]), 0);
	for (int i = 0; i <= EPT_N_HOLDER; i++)
		ept_retract(&e[i]); /* the fourth for the second time, which does nothing */
	nothing_is_there(&key);
	close(fd);
}

/* As a stranger may who has read the nonce. */
static int bind_bell(const struct ept *e, int slot)
{
	uint8_t name[BELL_NAME_LEN];
	int fd;

	ept_bell_name(name, e->nonce, slot);
	fd = bell_open(name);
	assert_true(fd >= 0);
	return fd;
}

static void a_bell_that_somebody_has_is_left_to_him(void **state)
{
	struct ept_key key;
	struct ept a, b, c;
	struct ept_ref r;
	int bell[EPT_N_HOLDER], fd = scratch_publish(&a, &key);

	(void)state;
	for (int i = 1; i < 4; i++)
		bell[i] = bind_bell(&a, i);
	find(&b, &key);
	find(&c, &key);
	assert_int_equal(ept_join(&b), 0);
	assert_int_equal(b.slot, 4);
	close(bell[1]);
	assert_int_equal(ept_join(&c), 0); /* whose octet is free again, too */
	assert_int_equal(c.slot, 1);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	rdv_offer(&r, 1);
	assert_int_equal(bell_drain(b.bell_fd), 1);
	assert_int_equal(bell_drain(c.bell_fd), 1);
	ept_ref_drop(&r);
	ept_retract(&a);
	ept_retract(&c);
	assert_int_equal(ept_gc(geteuid()), 0);
	ept_retract(&b);
	nothing_is_there(&key);
	close(bell[2]);
	close(bell[3]);
	close(fd);
}

static void who_has_all_bells_keeps_others_out_and_nothing_there(void **state)
{
	struct ept_key key;
	struct ept a, b;
	int bell[EPT_N_HOLDER], fd = scratch_publish(&a, &key);

	(void)state;
	for (int i = 1; i < EPT_N_HOLDER; i++)
		bell[i] = bind_bell(&a, i);
	find(&b, &key);
	assert_int_equal(ept_join(&b), -EBUSY);
	assert_int_equal(b.lock_fd, -1);
	assert_int_equal(b.bell_fd, -1);
	ept_drop(&b);
	ept_retract(&a);
	nothing_is_there(&key);
	for (int i = 1; i < EPT_N_HOLDER; i++)
		close(bell[i]);
	close(fd);
}

static void what_is_gone_cannot_be_joined(void **state)
{
	struct ept_key key;
	struct ept a, b, c;
	int fd = scratch_publish(&a, &key);

	(void)state;
	find(&b, &key);
	find(&c, &key);
	ept_retract(&a);
	assert_int_equal(ept_join(&b), -ENOENT);
	assert_int_equal(ept_publish(&a, &key, geteuid()), 0); /* another one, of the same name */
	assert_int_equal(ept_join(&b), -ENOENT);
	ept_retract(&a);
	assert_int_equal(scratch_wait(scratch_fork(0, scratch_publish_and_die, &key)), SIGKILL);
	assert_int_equal(ept_join(&c), -ENOENT);
	assert_int_equal(ept_gc(geteuid()), 1);
	ept_drop(&b);
	ept_drop(&c);
	close(fd);
}

static int join_another_users(void *arg)
{
	struct ept e;

	find(&e, arg);
	EXPECT(ept_join(&e) == -ENOENT);
	ept_drop(&e);
	return 0;
}

static int hold_read_lock(void *arg)
{
	const struct ept *e = ((void **)arg)[0];
	int *sp = ((void **)arg)[1], fd = open(e->binding.path, O_RDONLY);
	struct flock fl = {.l_type = F_RDLCK, .l_start = 1};
	char c;

	EXPECT(fd >= 0);
	EXPECT(fcntl(fd, F_OFD_SETLK, &fl) == 0);
	EXPECT(write(sp[1], "l", 1) == 1);
	EXPECT(read(sp[1], &c, 1) == 1);
	return 0;
}

static void strangers_cannot_join_and_keep_nothing_there(void **state)
{
	struct ept_key key;
	struct ept a, b;
	int sp[2], fd;
	void *arg[2] = {&a, sp};
	char c;
	pid_t pid;

	(void)state;
	scratch_need_root();
	fd = scratch_publish(&a, &key);
	scratch_wait_ok(scratch_fork(MALLORY, join_another_users, &key));
	scratch_pair(sp);
	pid = scratch_fork(MALLORY, hold_read_lock, arg);
	assert_int_equal(read(sp[0], &c, 1), 1);
	find(&b, &key);
	assert_int_equal(ept_join(&b), -EBUSY); /* that much he can do */
	ept_drop(&b);
	ept_retract(&a);
	nothing_is_there(&key);
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
	close(fd);
}

static int join_killed_at(void *arg)
{
	const int *n = ((void **)arg)[1];
	struct ept e;
	int err;

	find(&e, ((void **)arg)[0]);
	scratch_kill_at(*n);
	err = ept_join(&e);
	ept_retract(&e);
	scratch_fault_off();
	return err ? 1 : 0;
}

static void who_is_killed_while_he_joins_or_leaves_changes_nothing_for_the_others(void **state)
{
	struct ept_key key;
	struct ept e;
	int n, status = SIGKILL, fd = scratch_publish(&e, &key);
	void *arg[2] = {&key, &n};

	(void)state;
	for (n = 0; status == SIGKILL; n++) {
		status = scratch_wait(scratch_fork(0, join_killed_at, arg));
		assert_int_equal(ept_gc(geteuid()), 0);
		scratch_is_found(&e);
	}
	assert_int_equal(status, 0);
	assert_true(n > 15);
	ept_retract(&e);
	nothing_is_there(&key);
	close(fd);
}

static void who_cannot_join_has_nothing_of_it(void **state)
{
	struct ept_key key;
	struct ept a, b;
	int n, fd = scratch_publish(&a, &key);

	(void)state;
	for (n = 0;; n++) {
		int err;

		find(&b, &key);
		scratch_fault_at(n, -ENOMEM);
		err = ept_join(&b);
		if (scratch_fault_off() <= n) {
			assert_int_equal(err, 0);
			break;
		}
		assert_true(err < 0);
		assert_int_equal(b.lock_fd, -1);
		assert_int_equal(b.bell_fd, -1);
		ept_drop(&b);
		scratch_is_found(&a);
	}
	assert_true(n > 5);
	ept_retract(&a);
	ept_retract(&b);
	nothing_is_there(&key);
	close(fd);
}

/* Publishes, or joins who has; and leaves again. */
static int come_and_go(void *arg)
{
	struct ept_key *key = arg;

	for (int i = 0; i < 60; i++) {
		struct ept_ref r;
		struct ept e;
		int err = ept_publish(&e, key, geteuid());

		if (err == -EEXIST && ept_lookup(&r, &key->at, key->netns) == 0) {
			e.semid = r.semid;
			e.shmid = r.shmid;
			e.area = r.area;
			memcpy(e.nonce, r.nonce, sizeof(e.nonce));
			err = ept_join(&e);
		}
		if (!err) { /* what we hold is there */
			EXPECT(ept_lookup(&r, &key->at, key->netns) == 0);
			EXPECT(memcmp(r.nonce, e.nonce, sizeof(r.nonce)) == 0);
			ept_ref_drop(&r);
		}
		ept_retract(&e);
	}
	return 0;
}

static void processes_that_come_and_go_at_once_never_lose_what_they_hold_and_leave_nothing(void **state)
{
	struct ept_key key;
	pid_t pid[4];
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	for (int i = 0; i < 4; i++)
		pid[i] = scratch_fork(0, come_and_go, &key);
	for (int i = 0; i < 4; i++)
		scratch_wait_ok(pid[i]);
	nothing_is_there(&key);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_endpoint_is_there_until_the_last_has_left_whoever_that_is),
		TEST(each_holder_is_rung),
		TEST(a_call_is_answered_by_who_is_left),
		TEST(so_many_can_hold_it_and_one_who_leaves_makes_room),
		TEST(a_bell_that_somebody_has_is_left_to_him),
		TEST(who_has_all_bells_keeps_others_out_and_nothing_there),
		TEST(what_is_gone_cannot_be_joined),
		TEST(strangers_cannot_join_and_keep_nothing_there),
		TEST(who_is_killed_while_he_joins_or_leaves_changes_nothing_for_the_others),
		TEST(who_cannot_join_has_nothing_of_it),
		TEST(processes_that_come_and_go_at_once_never_lose_what_they_hold_and_leave_nothing),
	};

	return scratch_run("ept_join", tests, sizeof(tests) / sizeof(tests[0]));
}
