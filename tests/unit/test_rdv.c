/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bell.h"
#include "flight.h"
#include "rdv.h"
#include "rdv_world.h"
#include "scratch.h"
#include "sysv.h"

static void a_thread_can_be_its_own_server(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	world_open(&w);
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), 0);
	assert_int_equal(w.n_served, 1);
	assert_int_equal(s.nonce, w.served.nonce);
	assert_int_equal(s.shmid, w.served.shmid);
	assert_int_equal(w.served.cuid, geteuid());
	assert_ptr_not_equal(s.hdr, w.served.hdr);
	seg_ring(&s, 3, SM_CLIENT)[17] = 'x';
	assert_int_equal(seg_ring(&w.served, 3, SM_CLIENT)[17], 'x');
	assert_int_equal(atomic_load(&w.served.hdr->server_attached), 1);
	assert_int_equal(scratch_n_sem(), 1); /* the endpoint's: the client's is gone */
	assert_int_equal(scratch_n_shm(), 1);
	assert_int_equal(bell_drain(w.e.bell_fd), 1);
	seg_detach(&s);
	world_close(&w);
}

static void each_call_makes_an_association_of_its_own(void **state)
{
	struct world w;
	struct seg s[3];

	(void)state;
	world_open(&w);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rdv_call(&s[i], &w.r, geteuid(), 2000, world_serve, &w), 0);
	assert_int_equal(w.n_served, 3);
	assert_int_not_equal(s[0].shmid, s[1].shmid);
	assert_int_not_equal(s[1].nonce, s[2].nonce);
	for (int i = 0; i < 3; i++)
		seg_detach(&s[i]);
	world_close(&w);
}

static void nobody_answers_and_the_call_ends_in_time_with_nothing_left(void **state)
{
	struct world w;
	struct seg s;
	uint64_t start;

	(void)state;
	world_open(&w);
	start = sys_now_ns();
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 60, NULL, NULL), -ETIMEDOUT);
	assert_true(ms_since(start) >= 59 && ms_since(start) < 5000);
	assert_null(s.hdr);
	assert_int_equal(scratch_n_sem(), 1);
	/* the message was taken back, and the lock given back */
	assert_int_equal(semctl(w.e.semid, SM_SEM_MSG, GETVAL), 0);
	assert_int_equal(semctl(w.e.semid, SM_SEM_LOCK, GETVAL), 1);
	assert_int_equal(rdv_answer(&w.e, &s), 0);
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), 0);
	seg_detach(&s);
	world_close(&w);
}

static void an_endpoint_that_is_gone_is_said_to_be_gone(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	world_open(&w);
	ept_retract(&w.e);
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, NULL, NULL), -EIDRM);
	assert_null(s.hdr);
	world_close(&w);
}

static void retract_now(void *arg)
{
	ept_retract(&((struct world *)arg)->e);
}

/* A call that has 9 s and is over long before. */
static int call_and_be_told(struct world *w, void (*meanwhile)(void *))
{
	struct seg s;
	uint64_t start = sys_now_ns();
	int err = rdv_call(&s, &w->r, geteuid(), 9000, meanwhile, w);

	assert_true(ms_since(start) < 5000);
	return err;
}

static void an_endpoint_that_goes_while_we_wait_ends_the_wait(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	assert_int_equal(call_and_be_told(&w, retract_now), -EIDRM);
	world_close(&w);
}

struct two {
	struct world *w;
	int *sp;
};

static int answer_until_told(void *arg)
{
	struct two *t = arg;
	struct seg s;
	char c;

	while (recv(t->sp[1], &c, 1, MSG_DONTWAIT) != 1) {
		int n = rdv_answer(&t->w->e, &s);

		EXPECT(n == 0 || n == 1);
		if (n == 1)
			seg_detach(&s);
		else
			sched_yield();
	}
	ept_drop(&t->w->e);
	return 0;
}

struct caller {
	struct world *w;
	int err;
};

static void *call_and_end(void *arg)
{
	struct caller *c = arg;
	struct seg s;

	c->err = rdv_call(&s, &c->w->r, geteuid(), 8000, NULL, NULL);
	seg_detach(&s);
	return NULL;
}

static void many_clients_at_once_are_all_served_by_several_servers(void **state)
{
	struct world w;
	struct two t = {&w, NULL};
	int sp[2][2];
	struct caller c[8];
	pthread_t th[8];
	pid_t pid[2];

	(void)state;
	world_open(&w);
	for (int i = 0; i < 2; i++) {
		scratch_pair(sp[i]);
		t.sp = sp[i];
		pid[i] = scratch_fork(0, answer_until_told, &t);
	}
	for (int i = 0; i < 8; i++) {
		c[i] = (struct caller){&w, -1};
		assert_int_equal(pthread_create(&th[i], NULL, call_and_end, &c[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(th[i], NULL);
		assert_int_equal(c[i].err, 0);
	}
	for (int round = 0; round < 20; round++) {
		call_and_end(&c[0]);
		assert_int_equal(c[0].err, 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(write(sp[i][0], "x", 1), 1);
		scratch_wait_ok(pid[i]);
		close(sp[i][0]);
		close(sp[i][1]);
	}
	world_close(&w);
}

static int alice_answers(void *arg)
{
	int *sp = arg;
	struct ept_key key;
	struct ept e;
	struct seg s;
	char c;
	int fd = scratch_listen("127.0.0.1", 0, &key), got = 0;

	EXPECT(ept_publish(&e, &key, ALICE) == 0);
	EXPECT(write(sp[1], &key, sizeof(key)) == sizeof(key));
	while (recv(sp[1], &c, 1, MSG_DONTWAIT) != 1) {
		int n = rdv_answer(&e, &s);

		if (n == 1 && s.cuid == BOB) {
			seg_ring(&s, 0, SM_SERVER)[0] = 'A';
			got++;
		}
		if (n == 1)
			seg_detach(&s);
		sched_yield();
	}
	ept_retract(&e);
	close(fd);
	EXPECT(got == 1);
	return 0;
}

struct bob {
	struct ept_key *key;
	int *sp; /* to the test: says which segment, waits for its word */
};

static int bob_calls(void *arg)
{
	struct bob *b = arg;
	struct ept_ref r;
	struct seg s;
	char c;

	EXPECT(ept_lookup(&r, &b->key->at, b->key->netns) == 0);
	EXPECT(rdv_call(&s, &r, r.binding.id, 8000, NULL, NULL) == 0);
	for (int i = 0; ((volatile uint8_t *)seg_ring(&s, 0, SM_SERVER))[0] != 'A' && i < 1000000; i++)
		sched_yield();
	EXPECT(((volatile uint8_t *)seg_ring(&s, 0, SM_SERVER))[0] == 'A');
	EXPECT(write(b->sp[1], &s.shmid, sizeof(s.shmid)) == sizeof(s.shmid));
	EXPECT(read(b->sp[1], &c, 1) == 1);
	seg_detach(&s);
	ept_ref_drop(&r);
	return 0;
}

static int mallory_attaches(void *arg)
{
	int shmid = *(int *)arg;
	struct shmid_ds ds;
	struct seg s;

	EXPECT(seg_attach(&s, shmid, 0) == -EACCES);
	EXPECT(shmat(shmid, NULL, SHM_RDONLY) == (void *)-1 && errno == EACCES);
	EXPECT(shmctl(shmid, IPC_STAT, &ds) == -1 && errno == EACCES);
	return 0;
}

static void two_users_meet_and_a_third_cannot_attach(void **state)
{
	struct ept_key key;
	int a[2], b[2], shmid;
	struct bob bob = {&key, b};
	pid_t server, client;

	(void)state;
	scratch_need_root();
	scratch_pair(a);
	scratch_pair(b);
	server = scratch_fork(ALICE, alice_answers, a);
	assert_int_equal(read(a[0], &key, sizeof(key)), sizeof(key));
	client = scratch_fork(BOB, bob_calls, &bob);
	assert_int_equal(read(b[0], &shmid, sizeof(shmid)), sizeof(shmid));
	scratch_wait_ok(scratch_fork(MALLORY, mallory_attaches, &shmid));
	assert_int_equal(write(b[0], "x", 1), 1);
	scratch_wait_ok(client);
	assert_int_equal(write(a[0], "x", 1), 1);
	scratch_wait_ok(server);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

/* Root has published; the worker, who has given that up, has the endpoint by fork. */
struct master {
	struct world w;
	int sp[2];
};

static int worker_answers(void *arg)
{
	struct master *m = arg;
	struct seg got;
	char c;

	EXPECT(read(m->sp[1], &c, 1) == 1);
	EXPECT(rdv_answer(&m->w.e, &got) == 1);
	EXPECT(got.cuid == BOB);
	seg_detach(&got);
	return 0;
}

static int bob_calls_worker(void *arg)
{
	struct master *m = arg;
	struct seg s;

	EXPECT(rdv_call(&s, &m->w.r, ALICE, 8000, NULL, NULL) == 0);
	seg_detach(&s);
	return 0;
}

static void what_is_for_a_worker_is_left_to_it(void **state)
{
	struct master m;
	struct seg got;
	pid_t worker, client;

	(void)state;
	scratch_need_root();
	world_open(&m.w);
	scratch_pair(m.sp);
	worker = scratch_fork(ALICE, worker_answers, &m);
	client = scratch_fork(BOB, bob_calls_worker, &m);
	while (!m.w.e.left_nonce) { /* it has come, and has been looked at */
		assert_int_equal(rdv_answer(&m.w.e, &got), 0);
		sched_yield();
	}
	assert_int_equal(sysv_sem_get(m.w.e.semid, SM_SEM_MSG, GETVAL), 1);
	assert_int_equal(rdv_answer(&m.w.e, &got), 0); /* not again */
	assert_int_equal(sysv_sem_get(m.w.e.semid, SM_SEM_MSG, GETVAL), 1);
	assert_int_equal(write(m.sp[0], "x", 1), 1);
	scratch_wait_ok(client);
	scratch_wait_ok(worker);
	close(m.sp[0]);
	close(m.sp[1]);
	world_close(&m.w);
}

static int jam(void *arg)
{
	int semid = *(int *)arg;

	EXPECT(semctl(semid, SM_SEM_LOCK, SETVAL, 0) == 0);
	return 0;
}

static void a_jammed_lock_costs_the_upgrade_in_bounded_time(void **state)
{
	struct world w;
	struct seg s;
	uint64_t start;

	(void)state;
	scratch_need_root();
	world_open(&w);
	scratch_wait_ok(scratch_fork(MALLORY, jam, &w.e.semid));
	start = sys_now_ns();
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 50, world_serve, &w), -ETIMEDOUT);
	assert_true(ms_since(start) < 5000);
	assert_int_equal(w.n_served, 0);
	assert_int_equal(scratch_n_sem(), 1);
	assert_int_equal(scratch_n_shm(), 1);
	world_close(&w);
}

static int flood(void *arg)
{
	struct ept_ref *r = arg;

	/* a stranger's set value at its maximum, and a lock that is given too often */
	EXPECT(semctl(r->semid, SM_SEM_MSG, SETVAL, 32767) == 0);
	EXPECT(semctl(r->semid, SM_SEM_LOCK, SETVAL, 32767) == 0);
	return 0;
}

static void a_flooded_semaphore_does_no_harm(void **state)
{
	struct world w;
	struct seg s;

	(void)state;
	scratch_need_root();
	world_open(&w);
	scratch_wait_ok(scratch_fork(MALLORY, flood, &w.r));
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 2000, world_serve, &w), 0);
	assert_int_equal(w.n_served, 1);
	seg_detach(&s);
	world_close(&w);
}

/* Writes a message as a client would, without the lock. */
static void forge(struct world *w, int shmid, int semid, uint64_t nonce)
{
	atomic_store(&w->r.area->msg_shmid, (uint32_t)shmid);
	atomic_store(&w->r.area->msg_semid, (uint32_t)semid);
	atomic_store(&w->r.area->msg_nonce, nonce);
	assert_int_equal(sysv_sem_setval(w->e.semid, SM_SEM_MSG, 1), 0);
}

static void forged_messages_are_refused(void **state)
{
	struct world w;
	struct seg s, got;
	int small, open_to_all;

	(void)state;
	world_open(&w);
	assert_int_equal(seg_create(&s, geteuid()), 0);
	forge(&w, s.shmid, -1, s.nonce + 2); /* another nonce */
	assert_int_equal(rdv_answer(&w.e, &got), -EPERM);
	forge(&w, s.shmid, -1, 0); /* "any" is not for messages */
	assert_int_equal(rdv_answer(&w.e, &got), 0);
	forge(&w, 0x7fffffff, -1, 1); /* no such segment */
	assert_int_equal(rdv_answer(&w.e, &got), -EINVAL);
	forge(&w, -1, -1, 1);
	assert_int_equal(rdv_answer(&w.e, &got), -EINVAL);
	small = shmget(IPC_PRIVATE, 4096, 0600 | IPC_CREAT);
	forge(&w, small, -1, 1);
	assert_int_equal(rdv_answer(&w.e, &got), -EPERM);
	assert_int_equal(shmctl(small, IPC_RMID, NULL), 0);
	open_to_all = shmget(IPC_PRIVATE, SM_SEG_LEN, 0666 | IPC_CREAT | SHM_NORESERVE);
	forge(&w, open_to_all, -1, 1);
	assert_int_equal(rdv_answer(&w.e, &got), -EPERM);
	assert_int_equal(shmctl(open_to_all, IPC_RMID, NULL), 0);
	assert_null(got.hdr);
	seg_detach(&s);
	world_close(&w);
}

static void a_message_cannot_make_the_server_post_on_a_strangers_semaphore(void **state)
{
	struct world w;
	struct seg s, got;
	int semid;

	(void)state;
	world_open(&w);
	assert_int_equal(seg_create(&s, geteuid()), 0);
	semid = semget(IPC_PRIVATE, SM_N_CSEM, IPC_CREAT | 0600); /* the server's user's own, without our marks */
	forge(&w, s.shmid, semid, s.nonce);
	assert_int_equal(rdv_answer(&w.e, &got), 1);
	assert_int_equal(semctl(semid, 0, GETVAL), 0);
	seg_detach(&got);
	forge(&w, 0x7fffffff, semid, 1); /* a refusal is not posted there either */
	assert_int_equal(rdv_answer(&w.e, &got), -EINVAL);
	assert_int_equal(semctl(semid, 0, GETVAL), 0);
	assert_int_equal(semctl(semid, 0, IPC_RMID), 0);
	seg_detach(&s);
	world_close(&w);
}

static void answer_with_lost_magic(void *arg)
{
	struct world *w = arg;
	struct seg s;
	int shmid = (int)atomic_load(&w->r.area->msg_shmid);

	/* the client's segment turns bad between the message and the answer */
	if (sysv_sem_get(w->e.semid, SM_SEM_MSG, GETVAL) == 1 && seg_attach(&s, shmid, 0) == 0) {
		s.hdr->version++;
		seg_detach(&s);
		w->last = rdv_answer(&w->e, &s);
	}
}

static void a_refusal_is_told_at_once(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	assert_int_equal(call_and_be_told(&w, answer_with_lost_magic), -EPERM);
	assert_int_equal(w.last, -EPERM);
	world_close(&w);
}

struct known {
	int n, shmid[8];
};

static int known(int shmid, void *arg)
{
	struct known *k = arg;

	for (int i = 0; i < k->n; i++)
		if (k->shmid[i] == shmid)
			return 1;
	return 0;
}

static void other_acceptors_find_every_association_once_and_none_that_is_gone(void **state)
{
	struct known k = {0};
	struct world w;
	struct seg s[2], got;

	(void)state;
	world_open(&w);
	for (int i = 0; i < 2; i++)
		assert_int_equal(rdv_call(&s[i], &w.r, geteuid(), 2000, world_serve, &w), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rdv_adopt(&w.e, &got, known, &k), 1);
		k.shmid[k.n++] = got.shmid;
		seg_detach(&got);
	}
	assert_int_equal(rdv_adopt(&w.e, &got, known, &k), 0);
	seg_detach(&s[0]);
	seg_detach(&s[1]);
	seg_detach(&w.served);
	k.n = 0;
	assert_int_equal(rdv_adopt(&w.e, &got, known, &k), 0);
	for (unsigned i = 0; i < SM_N_ASSOC; i++)
		assert_int_equal(atomic_load(&w.e.area->assoc[i]), 0);
	world_close(&w);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void signals_do_not_end_a_wait_early(void **state)
{
	struct sigaction sa = {.sa_handler = on_alarm}, old;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec its = {{0, 500000}, {0, 500000}};
	struct world w;
	struct seg s;
	uint64_t start;
	timer_t t;

	(void)state;
	world_open(&w);
	sigaction(SIGUSR1, &sa, &old);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &ev, &t), 0);
	assert_int_equal(timer_settime(t, 0, &its, NULL), 0);
	start = sys_now_ns();
	assert_int_equal(rdv_call(&s, &w.r, geteuid(), 50, NULL, NULL), -ETIMEDOUT);
	timer_delete(t);
	assert_true(ms_since(start) >= 49 && ms_since(start) < 5000);
	sigaction(SIGUSR1, &old, NULL);
	world_close(&w);
}

static void an_offer_is_counted_and_rings_if_asked(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	rdv_offer(&w.r, 0);
	assert_int_equal(bell_drain(w.e.bell_fd), 0);
	rdv_offer(&w.r, 1);
	assert_int_equal(bell_drain(w.e.bell_fd), 1);
	assert_int_equal(atomic_load(&w.e.area->offer_seq), 2);
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_thread_can_be_its_own_server),
		TEST(each_call_makes_an_association_of_its_own),
		TEST(nobody_answers_and_the_call_ends_in_time_with_nothing_left),
		TEST(an_endpoint_that_is_gone_is_said_to_be_gone),
		TEST(an_endpoint_that_goes_while_we_wait_ends_the_wait),
		TEST(many_clients_at_once_are_all_served_by_several_servers),
		TEST(two_users_meet_and_a_third_cannot_attach),
		TEST(what_is_for_a_worker_is_left_to_it),
		TEST(a_jammed_lock_costs_the_upgrade_in_bounded_time),
		TEST(a_flooded_semaphore_does_no_harm),
		TEST(forged_messages_are_refused),
		TEST(a_message_cannot_make_the_server_post_on_a_strangers_semaphore),
		TEST(a_refusal_is_told_at_once),
		TEST(other_acceptors_find_every_association_once_and_none_that_is_gone),
		TEST(signals_do_not_end_a_wait_early),
		TEST(an_offer_is_counted_and_rings_if_asked),
	};

	return scratch_run("rdv", tests, sizeof(tests) / sizeof(tests[0]));
}
