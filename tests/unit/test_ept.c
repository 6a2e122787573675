/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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
#include <sys/stat.h>
#include <unistd.h>

#include "ept_map.h"
#include "scratch.h"
#include "sysv.h"
#include "twr.h"

static void assert_same_endpoint(const struct ept *e, const struct ept_ref *r)
{
	assert_memory_equal(e->nonce, r->nonce, 16);
	assert_int_equal(e->semid, r->semid);
	assert_int_equal(e->shmid, r->shmid);
	assert_string_equal(e->binding.path, r->binding.path);
	assert_int_equal(e->binding.id, r->binding.id);
	assert_true(diag_addr_eq(&e->key.at, &r->key.at));
	assert_int_equal(e->key.dual, r->key.dual);
	assert_non_null(r->area);
}

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
	assert_same_endpoint(&e, &r);
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
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	line = tower_line(&e, text);
	end = strchr(line, '\n');
	strcpy(other, text);
	memmove(other + (line - text), end + 1, strlen(end + 1) + 1); /* as a build without towers writes it */
	rewrite_text(&e, other);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	assert_same_endpoint(&e, &r);
	ept_ref_drop(&r);
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
		assert_int_equal(ept_lookup(&r, &to, key.netns), t[i].found ? 0 : -ENOENT);
		if (t[i].found)
			assert_same_endpoint(&e, &r);
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
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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

static int publish_and_die(void *arg)
{
	struct ept e;

	EXPECT(ept_publish(&e, arg, geteuid()) == 0);
	kill(getpid(), SIGKILL);
	return 1;
}

static void a_killed_servers_endpoint_is_not_found_and_the_next_one_replaces_it(void **state)
{
	struct ept_key key;
	struct ept_ref r;
	struct ept e;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(scratch_wait(scratch_fork(0, publish_and_die, &key)), SIGKILL);
	assert_int_equal(scratch_n_files(), 1);
	assert_int_equal(scratch_n_sem(), 1);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), -ENOENT);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	assert_int_equal(scratch_n_sem(), 1);
	assert_int_equal(scratch_n_shm(), 1);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	assert_same_endpoint(&e, &r);
	ept_ref_drop(&r);
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
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	struct ept_ref r;
	struct ept e;
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	scratch_fault_nr(SYS_semget, 2, -EEXIST);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	scratch_fault_off();
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	assert_same_endpoint(&e, &r);
	ept_ref_drop(&r);
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
	struct ept_ref r;
	struct ept e;
	int fd;

	(void)state;
	scratch_need_root();
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	assert_int_equal(ept_file_read(e.lock_fd, &f), 0);
	ept_retract(&e);
	scratch_wait_ok(scratch_fork(MALLORY, squat_keys, &f));
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
	assert_int_equal(ept_lookup(&r, &key.at, key.netns), 0);
	assert_same_endpoint(&e, &r);
	ept_ref_drop(&r);
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
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	int shmid, fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	int fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	int other, fd = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
	assert_int_equal(scratch_wait(scratch_fork(0, publish_and_die, &key)), SIGKILL);
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
	fd = scratch_listen("127.0.0.1", 0, &key);
	assert_int_equal(ept_publish(&e, &key, geteuid()), 0);
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
		assert_true(err == 0 || err == -ENOENT || err == -ENXIO);
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
		TEST(processes_that_publish_one_key_at_once_never_both_have_it_and_leave_nothing),
		TEST(an_endpoint_retracted_in_the_middle_of_a_lookup_is_gone_and_not_suspect),
		TEST(the_map_can_be_listed),
		TEST(names_of_endpoints_can_be_read_back),
		TEST(a_map_in_an_impossible_place_is_an_error),
	};

	return scratch_run("ept", tests, sizeof(tests) / sizeof(tests[0]));
}
