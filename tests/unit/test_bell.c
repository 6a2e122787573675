/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "bell.h"
#include "scratch.h"
#include "sys.h"

static int ringer(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void a_ring_wakes_who_polls_and_is_taken_once(void **state)
{
	uint8_t name[BELL_NAME_LEN] = {0};
	int bell = bell_open(name), from = ringer();
	struct pollfd p = {bell, POLLIN, 0};

	(void)state;
	assert_true(bell >= 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(bell_ring(from, name), 0);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(bell_drain(bell), 1);
	assert_int_equal(bell_drain(bell), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	close(bell);
	close(from);
}

static void a_full_bell_is_success(void **state)
{
	uint8_t name[BELL_NAME_LEN] = {0};
	int bell = bell_open(name), from = ringer(), n;

	(void)state;
	for (int i = 0; i < 2000; i++)
		assert_int_equal(bell_ring(from, name), 0);
	n = bell_drain(bell);
	assert_true(n >= 1 && n < 2000);
	close(bell);
	close(from);
}

static void a_bell_that_is_gone_refuses(void **state)
{
	uint8_t name[BELL_NAME_LEN] = {0};
	int bell = bell_open(name), from = ringer();

	(void)state;
	close(bell);
	assert_int_equal(bell_ring(from, name), -ECONNREFUSED);
	close(from);
}

static void a_bell_has_the_name_it_is_given_and_no_two_have_the_same(void **state)
{
	uint8_t name[BELL_NAME_LEN] = {0}, other[BELL_NAME_LEN] = {0};
	int a = bell_open(name), b = bell_open(other), from = ringer();

	(void)state;
	assert_memory_not_equal(name, other, sizeof(name));
	assert_int_equal(bell_open(name), -EADDRINUSE);
	assert_int_equal(bell_ring(from, other), 0);
	assert_int_equal(bell_drain(a), 0);
	assert_int_equal(bell_drain(b), 1);
	assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(a, F_GETFL) & O_NONBLOCK);
	close(a);
	close(b);
	close(from);
}

static void a_bell_that_cannot_be_made_leaves_no_descriptor(void **state)
{
	uint8_t name[BELL_NAME_LEN] = {0};

	(void)state;
	scratch_fault_nr(SYS_getrandom, 1, -ENOSYS);
	assert_int_equal(bell_open(name), -ENOSYS);
	scratch_fault_nr(SYS_socket, 1, -EMFILE);
	assert_int_equal(bell_open(name), -EMFILE);
	scratch_fault_nr(SYS_bind, 1, -ENOMEM);
	assert_int_equal(bell_open(name), -ENOMEM);
	scratch_fault_off();
}

static void a_wait_on_a_changed_word_returns_at_once(void **state)
{
	_Atomic uint32_t word = 5;

	(void)state;
	assert_int_equal(futex_wait(&word, 4, -1), 0);
	assert_int_equal(futex_wait(&word, 5, 2000000), -ETIMEDOUT);
	assert_int_equal(futex_wake(&word, 1), 0);
}

struct sleeper {
	_Atomic uint32_t word, here;
	int err;
};

static void *sleep_on(void *arg)
{
	struct sleeper *s = arg;

	store_release(&s->here, 1);
	do {
		s->err = futex_wait(&s->word, 0, INT64_C(9000000000));
	} while (!s->err && load_acquire(&s->word) == 0);
	return NULL;
}

static void a_sleeper_is_woken(void **state)
{
	struct sleeper s = {0};
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, sleep_on, &s), 0);
	while (!load_acquire(&s.here))
		sched_yield();
	store_release(&s.word, 1);
	futex_wake(&s.word, 1);
	pthread_join(t, NULL);
	assert_int_equal(s.err, 0);
}

static _Atomic uint32_t handled;

static void on_signal(int sig)
{
	(void)sig;
	store_release(&handled, 1);
}

static void *interrupt(void *arg)
{
	while (!load_acquire(&handled)) {
		pthread_kill(*(pthread_t *)arg, SIGUSR1);
		sched_yield();
	}
	return NULL;
}

static void a_signal_ends_a_wait_without_a_limit_unless_it_restarts(void **state)
{
	struct sigaction sa = {.sa_handler = on_signal}, old;
	_Atomic uint32_t word = 0;
	pthread_t t, self = pthread_self();
	int err;

	(void)state;
	store_relaxed(&handled, 0);
	sigaction(SIGUSR1, &sa, &old);
	assert_int_equal(pthread_create(&t, NULL, interrupt, &self), 0);
	/* the signal may come before the sleep; then there is no other, and the limit of the loop ends it */
	do {
		err = futex_wait(&word, 0, load_acquire(&handled) ? 1000 : 1000000000);
	} while (err == -ETIMEDOUT && !load_acquire(&handled));
	pthread_join(t, NULL);
	sigaction(SIGUSR1, &old, NULL);
	assert_true(err == -EINTR || err == -ETIMEDOUT);
	assert_int_equal(load_acquire(&handled), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_ring_wakes_who_polls_and_is_taken_once),
		TEST(a_full_bell_is_success),
		TEST(a_bell_that_is_gone_refuses),
		TEST(a_bell_has_the_name_it_is_given_and_no_two_have_the_same),
		TEST(a_bell_that_cannot_be_made_leaves_no_descriptor),
		TEST(a_wait_on_a_changed_word_returns_at_once),
		TEST(a_sleeper_is_woken),
		TEST(a_signal_ends_a_wait_without_a_limit_unless_it_restarts),
	};

	return scratch_run("bell", tests, sizeof(tests) / sizeof(tests[0]));
}
