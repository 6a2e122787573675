/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "api_pair.h"
#include "atomic.h"
#include "dring.h"
#include "ncadg_sm.h"
#include "scratch.h"
#include "sysv.h"

/* A child that connects, sends `n` datagrams and waits for its death. */
static int child_sends(void *arg)
{
	struct ncadg_sm *c;

	EXPECT(ncadg_sm_connect(&c, api_binding, LIMIT) == 0);
	for (int i = 0; i < *(int *)arg; i++)
		EXPECT(ncadg_sm_send(c, &i, sizeof(i), LIMIT) == 0);
	for (;;)
		pause();
}

static void a_peer_that_is_killed_is_told_after_what_it_sent_whether_we_wait_or_come_later(void **state)
{
	struct ncadg_sm_listener *l = api_listen("test");
	int n = 3, got;

	(void)state;
	for (int way = 0; way < 3; way++) {
		struct ncadg_sm *s;
		struct ncadg_sm_peer who;
		pid_t pid = scratch_fork(0, child_sends, &n);

		assert_int_equal(ncadg_sm_accept(l, &s, LIMIT), 0);
		assert_int_equal(ncadg_sm_peer(s, &who), 0);
		assert_int_equal(who.pid, pid);
		assert_int_equal(who.uid, geteuid());
		for (int i = 0; way != 2 && i < n; i++)
			assert_int_equal(ncadg_sm_recv(s, &got, sizeof(got), LIMIT), sizeof(got));
		while (way == 2 && load_relaxed(&s->peer->tx_tail) < 3 * dring_size(sizeof(n)))
			sched_yield();
		kill(pid, SIGKILL);
		if (way)
			assert_int_equal(scratch_wait(pid), SIGKILL);
		for (int i = 0; way == 2 && i < n; i++)
			assert_int_equal(ncadg_sm_recv(s, &got, sizeof(got), LIMIT), sizeof(got));
		assert_int_equal(ncadg_sm_recv(s, &got, sizeof(got), LIMIT), -ECONNRESET);
		assert_int_equal(ncadg_sm_send(s, &got, sizeof(got), LIMIT), -ECONNRESET);
		ncadg_sm_close(s);
		if (!way)
			assert_int_equal(scratch_wait(pid), SIGKILL);
	}
	ncadg_sm_listener_close(l);
}

static void nonsense_ends_the_association_and_touches_nothing_else(void **state)
{
	static const uint64_t tails[] = {1, 8, 15, SM_RING_LEN + 8, UINT64_MAX, UINT64_C(1) << 63};
	static const uint64_t words[] = {0, DRING_MARK, UINT64_MAX, (DRING_MAX + 1) | (uint64_t)DRING_MARK << 32,
		100 | (uint64_t)DRING_MARK << 32, UINT32_MAX | (uint64_t)DRING_MARK << 32, (uint64_t)(DRING_MARK + 1) << 32};
	char buf[64];
	struct pair p;

	(void)state;
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]) + sizeof(words) / sizeof(words[0]); i++) {
		pair_open(&p);
		if (i < sizeof(tails) / sizeof(tails[0])) {
			store_release(&p.c->own->tx_tail, tails[i]);
		} else {
			memcpy(p.c->tx.ring, &words[i - sizeof(tails) / sizeof(tails[0])], 8);
			store_release(&p.c->own->tx_tail, UINT64_C(64));
		}
		assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), -EBADMSG);
		assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), -1), -EBADMSG);
		assert_int_equal(ncadg_sm_send(p.s, buf, sizeof(buf), -1), -EBADMSG);
		pair_close(&p);
	}
	pair_open(&p);
	for (int i = 0; i < 5000 && ncadg_sm_send(p.c, buf, sizeof(buf), 0) == 0; i++)
		;
	store_release(&p.s->own->rx_head, load_relaxed(&p.c->own->tx_tail) + 16); /* has read what was never written */
	assert_int_equal(ncadg_sm_send(p.c, buf, sizeof(buf), 0), -EBADMSG);
	pair_close(&p);
}

static void *flip(void *arg)
{
	struct ncadg_sm *s = arg;

	while (load_relaxed(&s->news) != 77) {
		store_release(&s->own->rx_head, load_relaxed(&s->peer->tx_tail));
		store_release(&s->own->rx_head, 0);
	}
	return NULL;
}

static void a_peer_that_plays_with_us_keeps_us_no_longer_than_we_wanted(void **state)
{
	static uint8_t big[NCADG_SM_MAX_LEN];
	struct pair p;
	pthread_t t;
	uint64_t begin;

	(void)state;
	pair_open(&p);
	while (ncadg_sm_send(p.c, big, sizeof(big), 0) == 0)
		;
	assert_int_equal(pthread_create(&t, NULL, flip, p.s), 0);
	begin = sys_now_ns();
	for (int i = 0; i < 50; i++)
		ncadg_sm_send(p.c, big, sizeof(big), i % 2 ? 10 : 0);
	assert_true(sys_now_ns() - begin < UINT64_C(5000000000));
	store_relaxed(&p.s->news, 77);
	pthread_join(t, NULL);
	pair_close(&p);
}

static int listen_and_die(void *arg)
{
	struct ncadg_sm_listener *l;

	EXPECT(ncadg_sm_listen(&l, arg) == 0);
	kill(getpid(), SIGKILL);
	return 1;
}

static void a_killed_listener_is_replaced_and_leaves_nothing(void **state)
{
	struct ncadg_sm_listener *l;
	struct ncadg_sm *c;
	char other[NCADG_SM_BINDING_LEN];

	(void)state;
	assert_true(ncadg_sm_compose(api_binding, sizeof(api_binding), geteuid(), "dead") > 0);
	snprintf(other, sizeof(other), "ncadg_sm[id=%u,ftok=%s/dead]", geteuid(), scratch_map);
	for (int in_map = 0; in_map < 2; in_map++) {
		char *which = in_map ? api_binding : other;

		assert_int_equal(scratch_wait(scratch_fork(0, listen_and_die, which)), SIGKILL);
		assert_int_equal(ncadg_sm_connect(&c, which, 1000), -ECONNREFUSED);
		assert_int_equal(ncadg_sm_listen(&l, which), 0);
		ncadg_sm_listener_close(l);
	}
	assert_int_equal(scratch_wait(scratch_fork(0, listen_and_die, api_binding)), SIGKILL);
	assert_int_equal(ept_gc(geteuid()), 1);
}

static int listens_often(void *arg)
{
	_Atomic int *holders = arg;

	for (int i = 0; i < 30; i++) {
		struct ncadg_sm_listener *l;
		int err = ncadg_sm_listen(&l, api_binding);

		EXPECT(err == 0 || err == -EADDRINUSE || err == -EBUSY);
		if (err)
			continue;
		EXPECT(atomic_fetch_add(holders, 1) == 0);
		sched_yield();
		atomic_fetch_sub(holders, 1);
		ncadg_sm_listener_close(l);
	}
	return 0;
}

static void of_processes_that_listen_at_once_one_has_the_name(void **state)
{
	_Atomic int *holders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[4];

	(void)state;
	assert_ptr_not_equal(holders, MAP_FAILED);
	for (int in_map = 0; in_map < 2; in_map++) {
		if (in_map)
			assert_true(ncadg_sm_compose(api_binding, sizeof(api_binding), geteuid(), "race") > 0);
		else
			snprintf(api_binding, sizeof(api_binding), "ncadg_sm[id=%u,ftok=%s/race]", geteuid(), scratch_map);
		assert_int_equal(scratch_wait(scratch_fork(0, listen_and_die, api_binding)), SIGKILL);
		for (int i = 0; i < 4; i++)
			pid[i] = scratch_fork(0, listens_often, holders);
		for (int i = 0; i < 4; i++)
			scratch_wait_ok(pid[i]);
	}
	munmap(holders, 4096);
	assert_int_equal(scratch_n_files(), 0);
}

static int another_user(void *arg)
{
	struct ncadg_sm *c;
	char buf[8];

	(void)arg;
	EXPECT(ncadg_sm_connect(&c, api_binding, LIMIT) == 0);
	EXPECT(ncadg_sm_send(c, "hi", 2, LIMIT) == 0);
	EXPECT(ncadg_sm_recv(c, buf, sizeof(buf), LIMIT) == 3);
	ncadg_sm_close(c);
	return 0;
}

static void users_may_differ_and_the_kernel_says_who_it_is(void **state)
{
	struct ncadg_sm_peer who;
	struct ncadg_sm_listener *l;
	struct ncadg_sm *s;
	char buf[8];
	pid_t pid;

	(void)state;
	scratch_need_root();
	l = api_listen("test");
	pid = scratch_fork(ALICE, another_user, NULL);
	assert_int_equal(ncadg_sm_accept(l, &s, LIMIT), 0);
	ncadg_sm_peer(s, &who);
	assert_int_equal(who.uid, ALICE);
	assert_int_equal(ncadg_sm_recv(s, buf, sizeof(buf), LIMIT), 2);
	assert_int_equal(ncadg_sm_send(s, "yes", 3, LIMIT), 0);
	assert_int_equal(ncadg_sm_recv(s, buf, sizeof(buf), LIMIT), -EPIPE);
	scratch_wait_ok(pid);
	ncadg_sm_close(s);
	ncadg_sm_listener_close(l);
}

/* Mallory's file stands where the server's should be; or he sends a segment that is another's. */
static int mallory(void *arg)
{
	struct api_hello h = {.magic = API_HELLO_MAGIC, .version = API_HELLO_VERSION};
	struct ept_ref r;
	struct binding b;
	int life;
	char c;

	EXPECT(binding_parse(&b, api_binding) == 0);
	EXPECT(ept_lookup_at(&r, &b) == 0);
	life = api_life_connect(r.nonce, sys_now_ns() + 1000000000u);
	EXPECT(life >= 0);
	h.shmid = ((int *)arg)[0];
	memcpy(&h.nonce, (int *)arg + 2, sizeof(h.nonce));
	EXPECT(send(life, &h, sizeof(h), MSG_NOSIGNAL) == sizeof(h));
	EXPECT(api_life_wait(life, sys_now_ns() + UINT64_C(5000000000)) == 0);
	EXPECT(recv(life, &c, 1, 0) == 0); /* hung up */
	close(life);
	ept_ref_drop(&r);
	return 0;
}

static void a_stranger_gets_into_no_association(void **state)
{
	struct ncadg_sm *x = NULL;
	struct pair p;
	int arg[4] = {0};
	pid_t pid;

	(void)state;
	scratch_need_root();
	pair_open(&p);
	arg[0] = p.c->seg.shmid;
	memcpy(&arg[2], &p.c->seg.nonce, sizeof(p.c->seg.nonce));
	pid = scratch_fork(MALLORY, mallory, arg);
	assert_int_equal(ncadg_sm_accept(p.l, &x, 1000), -ETIMEDOUT);
	scratch_wait_ok(pid);
	pair_close(&p);
}

static int plant(void *arg)
{
	struct ncadg_sm_listener *l;
	char text[NCADG_SM_BINDING_LEN], c;

	snprintf(text, sizeof(text), "ncadg_sm[id=%u,ftok=%s/planted]", MALLORY, scratch_map);
	EXPECT(ncadg_sm_listen(&l, text) == 0);
	EXPECT(write(*(int *)arg, "x", 1) == 1);
	EXPECT(read(*(int *)arg, &c, 1) == 1);
	ncadg_sm_listener_close(l);
	return 0;
}

static void a_server_of_another_user_than_the_binding_names_is_not_believed(void **state)
{
	struct ncadg_sm *c;
	char text[NCADG_SM_BINDING_LEN], x;
	int sp[2];
	pid_t pid;

	(void)state;
	scratch_need_root();
	scratch_pair(sp);
	pid = scratch_fork(MALLORY, plant, &sp[1]);
	assert_int_equal(read(sp[0], &x, 1), 1);
	snprintf(text, sizeof(text), "ncadg_sm[id=%u,ftok=%s/planted]", geteuid(), scratch_map);
	assert_int_equal(ncadg_sm_connect(&c, text, 1000), -EPERM);
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
}

static void an_endpoint_that_is_not_the_librarys_is_not_waited_for(void **state)
{
	struct ncadg_sm *c;
	struct binding b;
	struct ept e;

	(void)state;
	b.id = geteuid();
	snprintf(b.path, sizeof(b.path), "%s/other", scratch_map);
	assert_int_equal(ept_publish_at(&e, &b), 0);
	assert_true(binding_compose(&b, api_binding, sizeof(api_binding)) > 0);
	assert_int_equal(ncadg_sm_connect(&c, api_binding, LIMIT), -EPROTO);
	ept_retract(&e);
}

static void whatever_fails_in_a_connect_or_a_listen_leaves_nothing(void **state)
{
	struct ncadg_sm_listener *l;
	struct ncadg_sm *c;
	int err, n;

	(void)state;
	assert_true(ncadg_sm_compose(api_binding, sizeof(api_binding), geteuid(), "test") > 0);
	for (n = 0;; n++) {
		scratch_fault_at(n, -EMFILE);
		err = ncadg_sm_listen(&l, api_binding);
		if (scratch_fault_off() <= n)
			break;
		if (!err)
			ncadg_sm_listener_close(l);
		assert_int_equal(scratch_n_files(), 0);
		assert_int_equal(scratch_n_shm(), 0);
	}
	assert_int_equal(err, 0);
	assert_true(n > 10);
	for (n = 0; n < 40; n++) { /* nobody accepts: it fails anyway, in the middle or at the end */
		scratch_fault_at(n, -EMFILE);
		assert_true(ncadg_sm_connect(&c, api_binding, 3) < 0);
		scratch_fault_off();
		assert_int_equal(scratch_n_shm(), 1); /* the listener's */
		assert_int_equal(scratch_n_sem(), 1);
	}
	ncadg_sm_listener_close(l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_peer_that_is_killed_is_told_after_what_it_sent_whether_we_wait_or_come_later),
		TEST(nonsense_ends_the_association_and_touches_nothing_else),
		TEST(a_peer_that_plays_with_us_keeps_us_no_longer_than_we_wanted),
		TEST(a_killed_listener_is_replaced_and_leaves_nothing),
		TEST(of_processes_that_listen_at_once_one_has_the_name),
		TEST(users_may_differ_and_the_kernel_says_who_it_is),
		TEST(a_stranger_gets_into_no_association),
		TEST(a_server_of_another_user_than_the_binding_names_is_not_believed),
		TEST(an_endpoint_that_is_not_the_librarys_is_not_waited_for),
		TEST(whatever_fails_in_a_connect_or_a_listen_leaves_nothing),
	};

	return scratch_run("api_trust", tests, sizeof(tests) / sizeof(tests[0]));
}
