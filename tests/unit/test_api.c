/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "atomic.h"
#include "dring.h"
#include "ept_map.h"
#include "ncadg_sm.h"
#include "scratch.h"
#include "sysv.h"

#define LIMIT 10000 /* of every wait that should not need one */

static char bnd[NCADG_SM_BINDING_LEN];

static struct ncadg_sm_listener *listen_here(const char *name)
{
	struct ncadg_sm_listener *l;

	assert_true(ncadg_sm_compose(bnd, sizeof(bnd), geteuid(), name) > 0);
	assert_int_equal(ncadg_sm_listen(&l, bnd), 0);
	return l;
}

static void *connect_there(void *arg)
{
	struct ncadg_sm *c;

	*(int *)arg = ncadg_sm_connect(&c, bnd, LIMIT);
	return c;
}

/* Both ends in one process; its two threads as server and client. */
struct pair {
	struct ncadg_sm_listener *l;
	struct ncadg_sm *s, *c;
};

static void pair_open(struct pair *p)
{
	pthread_t t;
	void *c;
	int err;

	p->l = listen_here("test");
	assert_int_equal(pthread_create(&t, NULL, connect_there, &err), 0);
	assert_int_equal(ncadg_sm_accept(p->l, &p->s, LIMIT), 0);
	pthread_join(t, &c);
	assert_int_equal(err, 0);
	p->c = c;
}

static void pair_close(struct pair *p)
{
	ncadg_sm_close(p->c);
	ncadg_sm_close(p->s);
	ncadg_sm_listener_close(p->l);
}

static int readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0);
}

static void datagrams_keep_their_boundaries_their_order_and_every_octet(void **state)
{
	static const size_t len[] = {0, 1, 7, 8, 9, 63, 64, 4095, 4096, 65506, 65507};
	static uint8_t out[NCADG_SM_MAX_LEN], in[NCADG_SM_MAX_LEN];
	struct pair p;

	(void)state;
	pair_open(&p);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 2654435761u >> 13);
	for (int round = 0; round < 20; round++) /* around the ring more than once */
		for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
			struct ncadg_sm *from = (round + i) % 2 ? p.s : p.c, *to = from == p.s ? p.c : p.s;
			struct iovec iov[3] = {{out, len[i] / 3}, {NULL, 0}, {out + len[i] / 3, len[i] - len[i] / 3}};

			out[0] = (uint8_t)round;
			if (round % 2)
				assert_int_equal(ncadg_sm_send(from, out, len[i], 0), 0);
			else
				assert_int_equal(ncadg_sm_sendv(from, iov, 3, 0), 0);
			assert_int_equal(ncadg_sm_next_len(to), (int)len[i]);
			memset(in, 0, sizeof(in));
			assert_int_equal(ncadg_sm_recv(to, in, len[i], 0), (int)len[i]);
			assert_memory_equal(in, out, len[i]);
		}
	for (int i = 0; i < 100; i++)
		assert_int_equal(ncadg_sm_send(p.c, &i, sizeof(i), 0), 0);
	for (int i = 0, got; i < 100; i++) {
		assert_int_equal(ncadg_sm_recv(p.s, &got, sizeof(got), 0), sizeof(got));
		assert_int_equal(got, i);
	}
	assert_int_equal(ncadg_sm_recv(p.s, in, sizeof(in), 0), -EAGAIN);
	pair_close(&p);
}

static void lengths_that_do_not_fit_are_refused_and_the_datagram_stays(void **state)
{
	static uint8_t big[NCADG_SM_MAX_LEN + 1];
	struct iovec iov[2] = {{big, SIZE_MAX}, {big, 2}};
	struct pair p;

	(void)state;
	pair_open(&p);
	assert_int_equal(ncadg_sm_send(p.c, big, sizeof(big), -1), -EMSGSIZE);
	assert_int_equal(ncadg_sm_sendv(p.c, iov, 2, -1), -EMSGSIZE);
	iov[0].iov_len = NCADG_SM_MAX_LEN - 1;
	assert_int_equal(ncadg_sm_sendv(p.c, iov, 2, -1), -EMSGSIZE);
	assert_int_equal(ncadg_sm_sendv(p.c, iov, -1, -1), -EINVAL);
	assert_int_equal(ncadg_sm_send(p.c, NULL, 5, 0), -EFAULT);
	assert_int_equal(ncadg_sm_send(p.c, "12345", 5, 0), 0);
	assert_int_equal(ncadg_sm_recv(p.s, big, 4, -1), -EMSGSIZE);
	assert_int_equal(ncadg_sm_recv(p.s, NULL, 5, -1), -EFAULT);
	assert_int_equal(ncadg_sm_recv(p.s, big, 5, -1), 5);
	assert_memory_equal(big, "12345", 5);
	pair_close(&p);
}

static void a_full_ring_waits_and_loses_nothing(void **state)
{
	static uint8_t buf[1000];
	struct pair p;
	int n = 0, err;

	(void)state;
	pair_open(&p);
	while ((err = ncadg_sm_send(p.c, buf, sizeof(buf), 0)) == 0)
		n++;
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(n, (int)(SM_RING_LEN / dring_size(sizeof(buf))));
	assert_int_equal(ncadg_sm_send(p.c, buf, sizeof(buf), 20), -ETIMEDOUT);
	assert_int_equal(ncadg_sm_send(p.c, buf, sizeof(buf), 0), -EAGAIN);
	assert_int_equal(readable(ncadg_sm_fd(p.c)), 0);
	assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(readable(ncadg_sm_fd(p.c)), 1);
	assert_int_equal(ncadg_sm_send(p.c, buf, sizeof(buf), 0), 0);
	for (int i = 0; i < n; i++)
		assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 20), -ETIMEDOUT);
	pair_close(&p);
}

static void the_descriptor_is_readable_when_there_is_news_and_not_before(void **state)
{
	char buf[8];
	struct pair p;

	(void)state;
	pair_open(&p);
	assert_int_equal(readable(ncadg_sm_fd(p.s)), 0);
	assert_int_equal(readable(ncadg_sm_fd(p.c)), 0);
	assert_int_equal(ncadg_sm_send(p.c, "a", 1, 0), 0); /* before the first call */
	assert_int_equal(ncadg_sm_send(p.s, "a", 1, 0), 0);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(readable(ncadg_sm_fd(p.s)), 1);
		assert_int_equal(readable(ncadg_sm_fd(p.c)), 1);
		assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), 1);
		assert_int_equal(ncadg_sm_recv(p.c, buf, sizeof(buf), 0), 1);
		assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), -EAGAIN);
		assert_int_equal(ncadg_sm_next_len(p.c), -EAGAIN);
		assert_int_equal(readable(ncadg_sm_fd(p.s)), 0);
		assert_int_equal(readable(ncadg_sm_fd(p.c)), 0);
		assert_int_equal(ncadg_sm_send(p.c, "a", 1, 0), 0);
		assert_int_equal(ncadg_sm_send(p.s, "a", 1, 0), 0);
	}
	ncadg_sm_close(p.c);
	assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), 1);
	assert_int_equal(readable(ncadg_sm_fd(p.s)), 1);
	assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), 0), -EPIPE);
	p.c = NULL;
	pair_close(&p);
}

static void what_was_sent_before_a_close_is_received_and_then_the_close_is_told(void **state)
{
	char buf[8];
	struct pair p;

	(void)state;
	pair_open(&p);
	assert_int_equal(ncadg_sm_send(p.c, "1", 1, 0), 0);
	assert_int_equal(ncadg_sm_send(p.c, "22", 2, 0), 0);
	ncadg_sm_close(p.c);
	p.c = NULL;
	assert_int_equal(ncadg_sm_send(p.s, "x", 1, -1), -EPIPE);
	assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), -1), 1);
	assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), -1), 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(ncadg_sm_recv(p.s, buf, sizeof(buf), -1), -EPIPE);
	assert_int_equal(ncadg_sm_next_len(p.s), -EPIPE);
	pair_close(&p);
}

/* A child that connects, sends `n` datagrams and waits for its death. */
static int child_sends(void *arg)
{
	struct ncadg_sm *c;

	EXPECT(ncadg_sm_connect(&c, bnd, LIMIT) == 0);
	for (int i = 0; i < *(int *)arg; i++)
		EXPECT(ncadg_sm_send(c, &i, sizeof(i), LIMIT) == 0);
	for (;;)
		pause();
}

static void a_peer_that_is_killed_is_told_after_what_it_sent_whether_we_wait_or_come_later(void **state)
{
	struct ncadg_sm_listener *l = listen_here("test");
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

static void *send_all(void *arg)
{
	static uint8_t buf[3000];
	struct ncadg_sm *a = arg;

	for (uint32_t i = 0; i < 20000; i++) {
		size_t len = 4 + i * 7919 % (i % 64 ? 200 : sizeof(buf) - 4);
		uint8_t own[sizeof(buf)];

		memset(own, (int)i, len);
		memcpy(own, &i, sizeof(i));
		if (ncadg_sm_send(a, own, len, LIMIT))
			return (void *)1;
	}
	return NULL;
}

static void *receive_all(void *arg)
{
	struct ncadg_sm *a = arg;
	uint8_t buf[3000];
	uint32_t n;

	for (uint32_t i = 0; i < 20000; i++) {
		size_t len = 4 + i * 7919 % (i % 64 ? 200 : sizeof(buf) - 4);

		if (ncadg_sm_recv(a, buf, sizeof(buf), LIMIT) != (ssize_t)len)
			return (void *)1;
		memcpy(&n, buf, sizeof(n));
		if (n != i || (len > 4 && (buf[4] != (uint8_t)i || buf[len - 1] != (uint8_t)i)))
			return (void *)2;
	}
	return NULL;
}

static void two_threads_on_each_side_stream_both_ways_at_once(void **state)
{
	void *(*const what[4])(void *) = {send_all, receive_all, send_all, receive_all};
	pthread_t t[4];
	struct pair p;
	void *err;

	(void)state;
	pair_open(&p);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, what[i], i < 2 ? p.c : p.s), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &err);
		assert_null(err);
	}
	pair_close(&p);
}

static _Atomic int n_got;

static void *receive_some(void *arg)
{
	char buf[16];

	while (ncadg_sm_recv(arg, buf, sizeof(buf), LIMIT) > 0)
		atomic_fetch_add(&n_got, 1);
	return NULL;
}

static void of_many_threads_that_wait_each_datagram_goes_to_one(void **state)
{
	pthread_t t[4];
	struct pair p;

	(void)state;
	pair_open(&p);
	n_got = 0;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, receive_some, p.s), 0);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(ncadg_sm_send(p.c, "x", 1, LIMIT), 0);
		if (i % 100 == 0)
			while (atomic_load(&n_got) <= i) /* so that they sleep now and then */
				usleep(100);
	}
	for (int i = 0; i < 4; i++) /* one empty datagram each: the end */
		assert_int_equal(ncadg_sm_send(p.c, "", 0, LIMIT), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(n_got, 2000);
	pair_close(&p);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void a_signal_ends_a_wait_and_nothing_is_lost(void **state)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval tv = {.it_value = {0, 20000}, .it_interval = {0, 20000}}, off = {0};
	struct pair p;
	char c;

	(void)state;
	pair_open(&p);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &tv, NULL);
	assert_int_equal(ncadg_sm_recv(p.s, &c, 1, -1), -EINTR);
	setitimer(ITIMER_REAL, &off, NULL);
	assert_int_equal(ncadg_sm_send(p.c, "x", 1, 0), 0);
	assert_int_equal(ncadg_sm_recv(p.s, &c, 1, -1), 1);
	signal(SIGALRM, SIG_DFL);
	pair_close(&p);
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

static void bindings_that_lead_nowhere_are_told_apart(void **state)
{
	struct ncadg_sm_listener *l, *l2;
	struct ncadg_sm *c;
	char path[300], other[NCADG_SM_BINDING_LEN], name[80];
	int fd;

	(void)state;
	assert_int_equal(ncadg_sm_listen(&l, "ncadg_sm[]"), -EINVAL);
	assert_int_equal(ncadg_sm_connect(&c, "ncacn_ip_tcp:[1]", 0), -EINVAL);
	snprintf(other, sizeof(other), "ncadg_sm[id=%u,ftok=/tmp/x]", geteuid() + 1);
	assert_int_equal(ncadg_sm_listen(&l, other), -EPERM);
	snprintf(path, sizeof(path), "%s/plain", scratch_map);
	snprintf(other, sizeof(other), "ncadg_sm[id=%u,ftok=%s]", geteuid(), path);
	assert_int_equal(ncadg_sm_connect(&c, other, 1000), -ECONNREFUSED);
	fd = open(path, O_CREAT | O_WRONLY, 0644); /* somebody's file, not ours to remove */
	assert_int_equal(ncadg_sm_listen(&l, other), -EEXIST);
	assert_int_equal(ncadg_sm_connect(&c, other, 1000), -ECONNREFUSED);
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	unlink(path);
	assert_int_equal(ncadg_sm_listen(&l, other), 0);
	assert_int_equal(ncadg_sm_listen(&l2, other), -EADDRINUSE);
	assert_int_equal(ncadg_sm_accept(l, &c, 0), -EAGAIN);
	assert_int_equal(ncadg_sm_accept(l, &c, 10), -ETIMEDOUT);
	assert_int_equal(ncadg_sm_connect(&c, other, 20), -ETIMEDOUT); /* nobody accepts */
	ncadg_sm_listener_close(l);
	assert_int_equal(ncadg_sm_connect(&c, other, 1000), -ECONNREFUSED);
	snprintf(other, sizeof(other), "ncadg_sm[id=%u,ftok=%s/no/folder]", geteuid(), scratch_map);
	assert_int_equal(ncadg_sm_listen(&l, other), -ENOENT);
	snprintf(other, sizeof(other), "ncadg_sm[id=%u,ftok=%s/%u/tcp-1]", geteuid(), scratch_map, geteuid());
	assert_int_equal(ncadg_sm_listen(&l, other), -EINVAL);
	assert_int_equal(ncadg_sm_compose(other, sizeof(other), 1, ""), -EINVAL);
	assert_int_equal(ncadg_sm_compose(other, sizeof(other), 1, "a/b"), -EINVAL);
	memset(name, 'a', 65);
	name[65] = '\0';
	assert_int_equal(ncadg_sm_compose(other, sizeof(other), 1, name), -EINVAL);
	assert_int_equal(ncadg_sm_compose(other, 5, 1, "x"), -ENOSPC);
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
	assert_true(ncadg_sm_compose(bnd, sizeof(bnd), geteuid(), "dead") > 0);
	snprintf(other, sizeof(other), "ncadg_sm[id=%u,ftok=%s/dead]", geteuid(), scratch_map);
	for (int in_map = 0; in_map < 2; in_map++) {
		char *which = in_map ? bnd : other;

		assert_int_equal(scratch_wait(scratch_fork(0, listen_and_die, which)), SIGKILL);
		assert_int_equal(ncadg_sm_connect(&c, which, 1000), -ECONNREFUSED);
		assert_int_equal(ncadg_sm_listen(&l, which), 0);
		ncadg_sm_listener_close(l);
	}
	assert_int_equal(scratch_wait(scratch_fork(0, listen_and_die, bnd)), SIGKILL);
	assert_int_equal(ept_gc(geteuid()), 1);
}

static int listens_often(void *arg)
{
	_Atomic int *holders = arg;

	for (int i = 0; i < 30; i++) {
		struct ncadg_sm_listener *l;
		int err = ncadg_sm_listen(&l, bnd);

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
			assert_true(ncadg_sm_compose(bnd, sizeof(bnd), geteuid(), "race") > 0);
		else
			snprintf(bnd, sizeof(bnd), "ncadg_sm[id=%u,ftok=%s/race]", geteuid(), scratch_map);
		assert_int_equal(scratch_wait(scratch_fork(0, listen_and_die, bnd)), SIGKILL);
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
	EXPECT(ncadg_sm_connect(&c, bnd, LIMIT) == 0);
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
	l = listen_here("test");
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

	EXPECT(binding_parse(&b, bnd) == 0);
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
	assert_true(binding_compose(&b, bnd, sizeof(bnd)) > 0);
	assert_int_equal(ncadg_sm_connect(&c, bnd, LIMIT), -EPROTO);
	ept_retract(&e);
}

static int accepts(void *arg)
{
	struct ncadg_sm *s;
	char buf[8];

	EXPECT(ncadg_sm_accept(((struct pair *)arg)->l, &s, LIMIT) == 0);
	EXPECT(ncadg_sm_recv(s, buf, sizeof(buf), LIMIT) == 1);
	EXPECT(ncadg_sm_send(s, buf, 1, LIMIT) == 0);
	EXPECT(ncadg_sm_recv(s, buf, sizeof(buf), LIMIT) == -EPIPE);
	ncadg_sm_close(s);
	ncadg_sm_listener_close(((struct pair *)arg)->l); /* removes nothing */
	return 0;
}

static void processes_that_inherit_a_listener_share_what_comes_in(void **state)
{
	struct pair p;
	pid_t pid[3];
	char buf[8];

	(void)state;
	p.l = listen_here("test");
	for (int i = 0; i < 3; i++)
		pid[i] = scratch_fork(0, accepts, &p);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ncadg_sm_connect(&p.c, bnd, LIMIT), 0);
		assert_int_equal(ncadg_sm_send(p.c, "x", 1, LIMIT), 0);
		assert_int_equal(ncadg_sm_recv(p.c, buf, sizeof(buf), LIMIT), 1);
		ncadg_sm_close(p.c);
	}
	for (int i = 0; i < 3; i++)
		scratch_wait_ok(pid[i]);
	ncadg_sm_listener_close(p.l);
}

static void whatever_fails_in_a_connect_or_a_listen_leaves_nothing(void **state)
{
	struct ncadg_sm_listener *l;
	struct ncadg_sm *c;
	int err, n;

	(void)state;
	assert_true(ncadg_sm_compose(bnd, sizeof(bnd), geteuid(), "test") > 0);
	for (n = 0;; n++) {
		scratch_fault_at(n, -EMFILE);
		err = ncadg_sm_listen(&l, bnd);
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
		assert_true(ncadg_sm_connect(&c, bnd, 3) < 0);
		scratch_fault_off();
		assert_int_equal(scratch_n_shm(), 1); /* the listener's */
		assert_int_equal(scratch_n_sem(), 1);
	}
	ncadg_sm_listener_close(l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(datagrams_keep_their_boundaries_their_order_and_every_octet),
		TEST(lengths_that_do_not_fit_are_refused_and_the_datagram_stays),
		TEST(a_full_ring_waits_and_loses_nothing),
		TEST(the_descriptor_is_readable_when_there_is_news_and_not_before),
		TEST(what_was_sent_before_a_close_is_received_and_then_the_close_is_told),
		TEST(a_peer_that_is_killed_is_told_after_what_it_sent_whether_we_wait_or_come_later),
		TEST(two_threads_on_each_side_stream_both_ways_at_once),
		TEST(of_many_threads_that_wait_each_datagram_goes_to_one),
		TEST(a_signal_ends_a_wait_and_nothing_is_lost),
		TEST(nonsense_ends_the_association_and_touches_nothing_else),
		TEST(a_peer_that_plays_with_us_keeps_us_no_longer_than_we_wanted),
		TEST(bindings_that_lead_nowhere_are_told_apart),
		TEST(a_killed_listener_is_replaced_and_leaves_nothing),
		TEST(of_processes_that_listen_at_once_one_has_the_name),
		TEST(users_may_differ_and_the_kernel_says_who_it_is),
		TEST(a_stranger_gets_into_no_association),
		TEST(a_server_of_another_user_than_the_binding_names_is_not_believed),
		TEST(an_endpoint_that_is_not_the_librarys_is_not_waited_for),
		TEST(processes_that_inherit_a_listener_share_what_comes_in),
		TEST(whatever_fails_in_a_connect_or_a_listen_leaves_nothing),
	};

	return scratch_run("api", tests, sizeof(tests) / sizeof(tests[0]));
}
