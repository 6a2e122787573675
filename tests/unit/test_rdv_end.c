/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

#include "bell.h"
#include "flight.h"
#include "rdv.h"
#include "rdv_world.h"
#include "scratch.h"
#include "sysv.h"

static int lock_and_die(void *arg)
{
	if (sysv_semop(*(int *)arg, SM_SEM_LOCK, -1, SEM_UNDO, 0))
		return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

static void a_dead_holder_of_the_lock_does_not_keep_it(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	world_open(&w);
	assert_int_equal(scratch_wait(scratch_fork(0, lock_and_die, &w.e.semid)), SIGKILL);
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), 0);
	seg_detach(&s);
	world_close(&w);
}

static void a_list_full_of_what_is_gone_takes_new_associations(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	world_open(&w);
	for (unsigned i = 0; i < SM_N_ASSOC; i++)
		atomic_store(&w.e.area->assoc[i], 0x7f000000u + i);
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), 0);
	assert_int_equal(atomic_load(&w.e.area->assoc[0]), (uint32_t)s.shmid + 1);
	seg_detach(&s);
	world_close(&w);
}

static void a_call_that_fails_anywhere_leaves_nothing(void **state)
{
	struct world w;
	struct seg s;
	int n;

	(void)state;
	world_open(&w);
	for (n = 0;; n++) {
		int err;

		scratch_fault_at(n, -ENOMEM);
		err = rdv_call(&s, &w.r, geteuid(), 30, world_serve, &w);
		if (scratch_fault_off() <= n) {
			assert_int_equal(err, 0);
			break;
		}
		seg_detach(&s);
		seg_detach(&w.served);
		assert_int_equal(scratch_n_sem(), 1);
		assert_int_equal(scratch_n_shm(), 1);
		assert_int_equal(semctl(w.e.semid, SM_SEM_LOCK, GETVAL), 1);
	}
	assert_true(n > 8);
	seg_detach(&s);
	world_close(&w);
}

struct killed {
	struct world *w;
	int n;
};

static int call_killed_at(void *arg)
{
	struct killed *k = arg;
	struct seg s;
	int err;

	scratch_kill_at(k->n);
	err = rdv_call(&s, &k->w->r, geteuid(), 300, world_serve, k->w);
	scratch_fault_off();
	return err ? 1 : 0;
}

static void either_side_killed_at_any_call_leaves_nothing_after_gc_and_the_endpoint_works(void **state)
{
	struct world w;
	struct killed k = {&w, 0};
	struct seg s;

	(void)state;
	world_open(&w);
	/* client and server code in one child: each call of both is a place to die */
	for (k.n = 0; k.n < 500; k.n++) {
		int status = scratch_wait(scratch_fork(0, call_killed_at, &k));

		/* one whose maker died before he gave it values is recognised by its age alone */
		for (uint64_t start = sys_now_ns(); ept_gc(geteuid()) >= 0 && scratch_n_sem() > 1 && ms_since(start) < 9000;)
			sched_yield();
		assert_int_equal(scratch_n_sem(), 1);
		assert_int_equal(scratch_n_shm(), 1);
		assert_int_equal(rdv_call(&s, &w.r, geteuid(), 5000, world_serve, &w), 0);
		seg_detach(&s);
		if (status != SIGKILL) {
			assert_int_equal(status, 0);
			break;
		}
	}
	assert_true(k.n > 30 && k.n < 500);
	world_close(&w);
}

static void end_then_serve(void *arg)
{
	if (!flight_is_closed())
		flight_close();
	world_serve(arg);
}

static int end_in_child(void *arg)
{
	(void)arg;
	flight_close();
	return 0;
}

static void fork_end_then_serve(void *arg)
{
	scratch_wait_ok(scratch_fork(0, end_in_child, NULL));
	world_serve(arg);
}

static void a_process_that_ends_in_the_middle_of_a_call_takes_its_own_semaphores_with_it(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	world_open(&w);
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, end_then_serve, &w), -EIDRM);
	assert_int_equal(scratch_n_sem(), 1);
	flight_reopen();
	/* a child that ends meanwhile takes nothing */
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, fork_end_then_serve, &w), 0);
	assert_int_equal(scratch_n_sem(), 1);
	seg_detach(&s);
	world_close(&w);
}

static _Atomic int slow_nr, inside, waited;

/* The thread that makes stands before its call until the one that ends the process waits for it. */
static long slow_maker(long nr)
{
	if (nr == SYS_nanosleep)
		atomic_store(&waited, 1);
	if (nr != atomic_load(&slow_nr))
		return 0;
	atomic_store(&inside, 1);
	while (!atomic_load(&waited))
		sched_yield();
	return 0;
}

static void *call_in_thread(void *arg)
{
	struct world *w = arg;
	struct seg s;
	intptr_t err = rdv_call(&s, &w->r, geteuid(), 2000, world_serve, w);

	if (!err)
		seg_detach(&s);
	return (void *)err;
}

static void a_process_that_ends_waits_for_what_another_thread_is_making(void **state)
{
	static const long calls[] = {SYS_shmget, SYS_shmat, SYS_shmctl, SYS_semget, SYS_semctl};
	struct world w;

	(void)state;
	world_open(&w);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		pthread_t t;
		void *err;

		atomic_store(&inside, 0);
		atomic_store(&waited, 0);
		atomic_store(&slow_nr, calls[i]);
		sys_fault = slow_maker;
		assert_int_equal(pthread_create(&t, NULL, call_in_thread, &w), 0);
		for (uint64_t start = sys_now_ns(); !atomic_load(&inside) && ms_since(start) < 5000;)
			sched_yield();
		assert_int_equal(atomic_load(&inside), 1);
		flight_close();
		/* the process could go now: no segment is left that somebody would have to remove, and no semaphores */
		assert_int_equal(scratch_n_sem(), 1);
		assert_int_equal(scratch_n_shm(), 1);
		pthread_join(t, &err);
		sys_fault = NULL;
		assert_true((intptr_t)err < 0);
		assert_int_equal(scratch_n_sem(), 1);
		flight_reopen();
	}
	world_close(&w);
}

static int call_then_end(void *arg)
{
	struct seg s;

	EXPECT(call_in_thread(arg) == NULL);
	flight_close();
	EXPECT(rdv_call(&s, &((struct world *)arg)->r, geteuid(), 2000, world_serve, arg) == -ECANCELED);
	return 0;
}

static void a_process_that_has_ended_makes_nothing_but_its_child_may_and_so_may_it_after_a_failed_exec(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	world_open(&w);
	flight_close();
	flight_close();
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), -ECANCELED);
	assert_null(s.hdr);
	assert_int_equal(scratch_n_sem(), 1);
	scratch_wait_ok(scratch_fork(0, call_then_end, &w));
	flight_reopen(); /* one exec has failed, the other has not yet */
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), -ECANCELED);
	flight_reopen();
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), 0);
	seg_detach(&s);
	world_close(&w);
}

static void more_calls_than_the_table_holds_leave_nothing_either(void **state)
{
	struct flight f[20];
	int n = sizeof(f) / sizeof(f[0]);

	(void)state;
	for (int i = 0; i < n; i++)
		assert_int_equal(flight_begin(&f[i]), 0);
	/* backwards: each puts the signals back that it found */
	for (int i = n - 1; i > 0; i--)
		assert_int_equal(flight_made(&f[i], semget(IPC_PRIVATE, SM_N_CSEM, SM_CSEM_MODE)), 0);
	assert_int_equal(scratch_n_sem(), n - 1);
	flight_close(); /* which waits in vain for the one that is not made yet */
	assert_int_equal(flight_made(&f[0], semget(IPC_PRIVATE, SM_N_CSEM, SM_CSEM_MODE)), -ECANCELED);
	flight_reopen();
	for (int i = 0; i < n; i++)
		flight_end(&f[i]);
	assert_int_equal(scratch_n_sem(), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_dead_holder_of_the_lock_does_not_keep_it),
		TEST(a_list_full_of_what_is_gone_takes_new_associations),
		TEST(a_call_that_fails_anywhere_leaves_nothing),
		TEST(either_side_killed_at_any_call_leaves_nothing_after_gc_and_the_endpoint_works),
		TEST(a_process_that_ends_in_the_middle_of_a_call_takes_its_own_semaphores_with_it),
		TEST(a_process_that_ends_waits_for_what_another_thread_is_making),
		TEST(a_process_that_has_ended_makes_nothing_but_its_child_may_and_so_may_it_after_a_failed_exec),
		TEST(more_calls_than_the_table_holds_leave_nothing_either),
	};

	return scratch_run("rdv_end", tests, sizeof(tests) / sizeof(tests[0]));
}
