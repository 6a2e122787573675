/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "api_pair.h"
#include "dring.h"
#include "ncadg_sm.h"
#include "scratch.h"
#include "sysv.h"

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
	p.l = api_listen("test");
	for (int i = 0; i < 3; i++)
		pid[i] = scratch_fork(0, accepts, &p);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ncadg_sm_connect(&p.c, api_binding, LIMIT), 0);
		assert_int_equal(ncadg_sm_send(p.c, "x", 1, LIMIT), 0);
		assert_int_equal(ncadg_sm_recv(p.c, buf, sizeof(buf), LIMIT), 1);
		ncadg_sm_close(p.c);
	}
	for (int i = 0; i < 3; i++)
		scratch_wait_ok(pid[i]);
	ncadg_sm_listener_close(p.l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(datagrams_keep_their_boundaries_their_order_and_every_octet),
		TEST(lengths_that_do_not_fit_are_refused_and_the_datagram_stays),
		TEST(a_full_ring_waits_and_loses_nothing),
		TEST(the_descriptor_is_readable_when_there_is_news_and_not_before),
		TEST(what_was_sent_before_a_close_is_received_and_then_the_close_is_told),
		TEST(two_threads_on_each_side_stream_both_ways_at_once),
		TEST(of_many_threads_that_wait_each_datagram_goes_to_one),
		TEST(a_signal_ends_a_wait_and_nothing_is_lost),
		TEST(bindings_that_lead_nowhere_are_told_apart),
		TEST(processes_that_inherit_a_listener_share_what_comes_in),
	};

	return scratch_run("api", tests, sizeof(tests) / sizeof(tests[0]));
}
