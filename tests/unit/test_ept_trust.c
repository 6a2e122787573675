/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ept_map.h"
#include "scratch.h"
#include "sysv.h"

static int squat_keys(void *arg)
{
	const struct ept_file *f = arg;
	struct ept_file g = *f;

	/* this file system numbers its files one after the other: the next ones are easy to guess */
	for (int i = 0; i < 64; i++) {
		g.ino = f->ino + (uint64_t)i;
		g.proj = 1;
		EXPECT(semget(ept_file_key(&g), 2, IPC_CREAT | 0666) >= 0);
	}
	return 0;
}

static int unsquat(void *arg)
{
	struct semid_ds ds;
	int id;

	(void)arg;
	for (int i = 0; i < 4096; i++) {
		id = semctl(i, 0, SEM_STAT, &ds);
		if (id >= 0 && ds.sem_perm.cuid == geteuid())
			EXPECT(semctl(id, 0, IPC_RMID) == 0);
	}
	return 0;
}

static void keys_that_another_user_squats_do_not_stop_an_endpoint_nor_mislead_a_client(void **state)
{
	struct ept_key key;
	struct ept_file f;
	struct ept e;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_publish(&e, &key);
	assert_int_equal(ept_file_read(e.lock_fd, &f), 0);
	ept_retract(&e);
	scratch_wait_ok(scratch_fork(MALLORY, squat_keys, &f));
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	scratch_is_found(&e);
	ept_retract(&e);
	scratch_wait_ok(scratch_fork(MALLORY, unsquat, NULL));
	close(fd);
}

static int make_objects_under(void *arg)
{
	int32_t key = *(int32_t *)arg;

	EXPECT(semget(key, SM_N_SEM, IPC_CREAT | IPC_EXCL | 0666) >= 0);
	EXPECT(shmget(key, SM_AREA_LEN, IPC_CREAT | IPC_EXCL | 0666) >= 0);
	return 0;
}

/* Rewrites the endpoint's text with other ids, as only its owner can. */
static void rewrite(const struct ept *e, int semid, int shmid)
{
	struct ept_file f;

	assert_int_equal(ept_file_read(e->lock_fd, &f), 0);
	f.semid = semid;
	f.shmid = shmid;
	assert_int_equal(ept_file_write(e->lock_fd, &f), 0);
}

static void objects_of_another_creator_under_the_key_are_not_believed(void **state)
{
	struct ept_key key;
	struct ept_file f;
	struct ept_ref r;
	struct ept e;
	int32_t ipc_key;
	int fd, semid, shmid;

	(void)state;
	scratch_need_root();
	fd = scratch_publish(&e, &key);
	assert_int_equal(ept_file_read(e.lock_fd, &f), 0);
	ipc_key = ept_file_key(&f);
	semctl(e.semid, 0, IPC_RMID);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -ENXIO);
	shmctl(e.shmid, IPC_RMID, NULL);
	scratch_wait_ok(scratch_fork(MALLORY, make_objects_under, &ipc_key));
	semid = semget(ipc_key, 0, 0);
	shmid = shmget(ipc_key, 0, 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	/* even if the ids should be the same again */
	rewrite(&e, semid, shmid);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	/* and gc does not touch them */
	ept_drop(&e);
	assert_int_equal(ept_gc(geteuid()), 1);
	assert_int_equal(semctl(semid, 0, IPC_RMID), 0);
	assert_int_equal(shmctl(shmid, IPC_RMID, NULL), 0);
	close(fd);
}

static void an_area_with_another_nonce_or_size_is_not_believed(void **state)
{
	struct ept_key key;
	struct ept_file f;
	struct ept_ref r;
	struct ept e;
	int shmid, fd = scratch_publish(&e, &key);

	(void)state;
	e.area->nonce[3] ^= 1;
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	e.area->nonce[3] ^= 1;
	e.area->version++;
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	e.area->version--;
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	ept_ref_drop(&r);
	assert_int_equal(ept_file_read(e.lock_fd, &f), 0);
	shmctl(e.shmid, IPC_RMID, NULL);
	shmid = shmget(ept_file_key(&f), 4096, IPC_CREAT | 0666);
	rewrite(&e, e.semid, shmid);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	assert_int_equal(shmctl(shmid, IPC_RMID, NULL), 0);
	ept_retract(&e);
	close(fd);
}

static void an_area_of_huge_pages_is_not_believed(void **state)
{
	struct ept_key key;
	struct ept_file f;
	struct ept_ref r;
	struct ept e;
	int shmid, fd;

	(void)state;
	scratch_need_root();
	fd = scratch_publish(&e, &key);
	assert_int_equal(ept_file_read(e.lock_fd, &f), 0);
	shmctl(e.shmid, IPC_RMID, NULL);
	shmid = shmget(ept_file_key(&f), SM_AREA_LEN, IPC_CREAT | SHM_HUGETLB | SHM_NORESERVE | 0666);
	if (shmid < 0) { /* a kernel without them */
		ept_retract(&e);
		close(fd);
		skip();
	}
	rewrite(&e, e.semid, shmid);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM); /* and we are still alive */
	assert_int_equal(shmctl(shmid, IPC_RMID, NULL), 0);
	ept_retract(&e);
	close(fd);
}

static int publish_as_is(void *arg)
{
	int *p = ((int **)arg)[1];
	struct ept e;
	char c;

	EXPECT(ept_publish(&e, ((void **)arg)[0], geteuid()) == 0);
	EXPECT(write(p[1], "x", 1) == 1);
	EXPECT(read(p[0], &c, 1) == 1);
	ept_retract(&e);
	return 0;
}

static void a_file_of_a_user_who_does_not_own_the_socket_is_not_found(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	int sp[2], fd;
	void *arg[2] = {&key, NULL};
	pid_t pid;
	char c;

	(void)state;
	scratch_need_root();
	fd = scratch_listen("127.0.0.1", 0, &key); /* root's socket */
	scratch_pair(sp);
	arg[1] = (int[]){sp[1], sp[1]};
	pid = scratch_fork(MALLORY, publish_as_is, arg);
	assert_int_equal(read(sp[0], &c, 1), 1);
	assert_int_equal(scratch_n_files(), 1);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -ENOENT);
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
	close(fd);
}

static int squat_folder(void *arg)
{
	char path[128];

	(void)arg;
	snprintf(path, sizeof(path), "%s/%u", scratch_map, ALICE);
	EXPECT(mkdir(path, 0777) == 0);
	EXPECT(chmod(path, 0777) == 0);
	return 0;
}

static int alice_cannot_publish(void *arg)
{
	struct ept e;

	EXPECT(ept_publish(&e, arg, geteuid()) == -EPERM);
	return 0;
}

static void a_squatted_folder_costs_the_upgrade_and_nothing_else(void **state)
{
	struct ept_key key;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_listen("127.0.0.1", 0, &key);
	scratch_wait_ok(scratch_fork(MALLORY, squat_folder, NULL));
	scratch_wait_ok(scratch_fork(ALICE, alice_cannot_publish, &key));
	close(fd);
}

static int alice_serves(void *arg)
{
	int *sp = arg;
	struct ept_key key;
	struct ept e;
	char c;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	EXPECT(ept_publish(&e, &key, ALICE) == 0);
	EXPECT(write(sp[1], &key, sizeof(key)) == sizeof(key));
	EXPECT(read(sp[1], &c, 1) == 1);
	ept_retract(&e);
	close(fd);
	return 0;
}

static int bob_finds(void *arg)
{
	struct ept_key *key = arg;
	struct ept_ref r;

	EXPECT(ept_lookup(&r, &key->at, key->netns) == 0);
	EXPECT(r.owner == ALICE);
	EXPECT(ept_ref_is_current(&r) == 1);
	ept_ref_drop(&r);
	return 0;
}

static int mallory_meddles(void *arg)
{
	struct ept_key *key = arg;
	char dir[128], path[256], name[EPT_NAME_LEN];
	struct flock fl = {.l_type = F_RDLCK};
	int fd;

	ept_name(name, key);
	snprintf(dir, sizeof(dir), "%s/%u", scratch_map, ALICE);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	EXPECT(open(dir, O_RDONLY | O_DIRECTORY) == -1 && errno == EACCES); /* so nobody can hold its lock */
	EXPECT(open(path, O_RDWR) == -1 && errno == EACCES);
	EXPECT(unlink(path) == -1);
	EXPECT(rename(dir, "/tmp/shunt-unit-stolen") == -1);
	fd = open(path, O_RDONLY);
	EXPECT(fd >= 0);
	EXPECT(fcntl(fd, F_OFD_SETLK, &fl) == -1 && errno == EAGAIN);
	EXPECT(ept_file_alive(fd) == 1);
	EXPECT(ept_gc(ALICE) == -EACCES);
	EXPECT(ept_gc(UINT32_MAX) == -EPERM);
	return 0;
}

static void an_endpoint_is_found_by_another_user_and_cannot_be_harmed_by_a_third(void **state)
{
	struct ept_key key;
	int sp[2];
	pid_t pid;

	(void)state;
	scratch_need_root();
	scratch_pair(sp);
	pid = scratch_fork(ALICE, alice_serves, sp);
	assert_int_equal(read(sp[0], &key, sizeof(key)), sizeof(key));
	scratch_wait_ok(scratch_fork(MALLORY, mallory_meddles, &key));
	scratch_wait_ok(scratch_fork(BOB, bob_finds, &key));
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
}

static int hold_read_lock(void *arg)
{
	int *sp = ((int **)arg)[1], fd = open(((struct ept_ref **)arg)[0]->binding.path, O_RDONLY);
	struct flock fl = {.l_type = F_RDLCK};
	char c;

	ept_drop(((struct ept **)arg)[2]); /* a stranger has inherited nothing */
	EXPECT(fd >= 0);
	EXPECT(write(sp[1], "o", 1) == 1);
	EXPECT(read(sp[1], &c, 1) == 1); /* the server has gone */
	EXPECT(fcntl(fd, F_OFD_SETLK, &fl) == 0);
	EXPECT(write(sp[1], "l", 1) == 1);
	EXPECT(read(sp[1], &c, 1) == 1);
	return 0;
}

static void a_strangers_read_lock_keeps_no_dead_endpoint_alive(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int sp[2], fd;
	void *arg[3] = {&r, sp, &e};
	pid_t pid;
	char c;

	(void)state;
	scratch_need_root();
	fd = scratch_listen("127.0.0.1", 0, &key);
	scratch_pair(sp);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	ept_ref_drop(&r);
	pid = scratch_fork(MALLORY, hold_read_lock, arg);
	assert_int_equal(read(sp[0], &c, 1), 1);
	ept_drop(&e); /* as a killed server */
	assert_int_equal(write(sp[0], "d", 1), 1);
	assert_int_equal(read(sp[0], &c, 1), 1);
	assert_int_equal(ept_ref_is_current(&r), 0);
	assert_int_equal(ept_gc(geteuid()), 1);
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
	close(fd);
}

static void what_is_not_a_plain_file_of_its_owner_alone_is_not_believed(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	char other[300], dir[128];
	int fd = scratch_publish(&e, &key);

	(void)state;
	snprintf(dir, sizeof(dir), "%s/%u", scratch_map, geteuid());
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(link(e.binding.path, other), 0); /* two links */
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(chmod(e.binding.path, 0664), 0); /* its group may write */
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	assert_int_equal(chmod(e.binding.path, 0644), 0);
	assert_int_equal(chmod(dir, 0733), 0); /* anybody may put files there */
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	assert_int_equal(chmod(dir, 0711), 0);
	assert_int_equal(rename(e.binding.path, other), 0);
	assert_int_equal(symlink(other, e.binding.path), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	assert_int_equal(unlink(e.binding.path), 0);
	assert_int_equal(mkfifo(e.binding.path, 0644), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -EPERM);
	assert_int_equal(unlink(e.binding.path), 0);
	assert_int_equal(rename(other, e.binding.path), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	ept_ref_drop(&r);
	ept_retract(&e);
	close(fd);
}

static void retracting_leaves_a_file_alone_that_took_our_name(void **state)
{
	struct ept_key key;
	struct ept e;
	int other, fd = scratch_publish(&e, &key);

	(void)state;
	assert_int_equal(unlink(e.binding.path), 0);
	other = open(e.binding.path, O_CREAT | O_EXCL | O_WRONLY, 0644);
	assert_true(other >= 0);
	ept_retract(&e);
	assert_int_equal(scratch_n_files(), 1);
	close(other);
	assert_int_equal(ept_gc(geteuid()), 1);
	close(fd);
}

static int lookup_elsewhere(void *arg)
{
	struct ept_key *key = arg;
	struct ept_ref r;

	EXPECT(unshare(CLONE_NEWIPC) == 0);
	EXPECT(ept_lookup(&r, &key->at, key->netns) == -ENXIO);
	return 0;
}

static void from_another_ipc_namespace_an_endpoint_is_an_error_and_not_a_hang(void **state)
{
	struct ept_key key;
	struct ept e;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_publish(&e, &key);
	scratch_wait_ok(scratch_fork(0, lookup_elsewhere, &key));
	ept_retract(&e);
	close(fd);
}

static int gc_elsewhere(void *arg)
{
	(void)arg;
	EXPECT(unshare(CLONE_NEWIPC) == 0);
	EXPECT(ept_gc(geteuid()) == 0);
	return 0;
}

static void from_another_ipc_namespace_a_dead_endpoint_is_left_to_its_own(void **state)
{
	struct ept_key key;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(scratch_wait(scratch_fork(0, scratch_publish_and_die, &key)), SIGKILL);
	scratch_wait_ok(scratch_fork(0, gc_elsewhere, NULL));
	assert_int_equal(scratch_n_files(), 1);
	assert_int_equal(ept_gc(geteuid()), 1);
	close(fd);
}

static int publish_over_it(void *arg)
{
	struct ept e;

	EXPECT(unshare(CLONE_NEWIPC) == 0);
	EXPECT(ept_publish(&e, arg, geteuid()) == 0);
	ept_retract(&e);
	EXPECT(scratch_n_files() == 0);
	return 0;
}

static void a_dead_endpoint_of_another_ipc_namespace_does_not_keep_its_name(void **state)
{
	struct ept_key key;
	struct ept e;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_publish(&e, &key);
	close(e.lock_fd); /* as if killed */
	e.lock_fd = -1;
	scratch_wait_ok(scratch_fork(0, publish_over_it, &key));
	assert_int_equal(sysv_sem_rm(e.semid), 0);
	assert_int_equal(sysv_shm_rm(e.shmid), 0);
	ept_drop(&e);
	close(fd);
}

static int nobody_publishes(void *arg)
{
	struct ept e;

	EXPECT(ept_publish(&e, arg, geteuid()) == -EPERM);
	return 0;
}

static void the_user_that_may_be_anybody_is_never_believed(void **state)
{
	struct ept_key key;
	struct ept e;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(ept_publish(&e, &key, SYS_UID_UNKNOWN), -EPERM);
	scratch_wait_ok(scratch_fork(SYS_UID_UNKNOWN, nobody_publishes, &key));
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(keys_that_another_user_squats_do_not_stop_an_endpoint_nor_mislead_a_client),
		TEST(objects_of_another_creator_under_the_key_are_not_believed),
		TEST(an_area_with_another_nonce_or_size_is_not_believed),
		TEST(an_area_of_huge_pages_is_not_believed),
		TEST(a_file_of_a_user_who_does_not_own_the_socket_is_not_found),
		TEST(a_squatted_folder_costs_the_upgrade_and_nothing_else),
		TEST(an_endpoint_is_found_by_another_user_and_cannot_be_harmed_by_a_third),
		TEST(a_strangers_read_lock_keeps_no_dead_endpoint_alive),
		TEST(what_is_not_a_plain_file_of_its_owner_alone_is_not_believed),
		TEST(retracting_leaves_a_file_alone_that_took_our_name),
		TEST(from_another_ipc_namespace_an_endpoint_is_an_error_and_not_a_hang),
		TEST(from_another_ipc_namespace_a_dead_endpoint_is_left_to_its_own),
		TEST(a_dead_endpoint_of_another_ipc_namespace_does_not_keep_its_name),
		TEST(the_user_that_may_be_anybody_is_never_believed),
	};

	return scratch_run("ept_trust", tests, sizeof(tests) / sizeof(tests[0]));
}
