/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "diag.h"
#include "scratch.h"
#include "sys.h"

static struct diag_addr name_of(int fd, int peer)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct diag_addr a;

	assert_int_equal(
		peer ? getpeername(fd, (struct sockaddr *)&ss, &len) : getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(diag_addr_from(&a, (struct sockaddr *)&ss, len), 0);
	return a;
}

static uint64_t cookie_of(int fd)
{
	uint64_t c = 0;
	socklen_t len = sizeof(c);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &c, &len), 0);
	return c;
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint32_t)st.st_ino;
}

static int connect_to(const struct diag_addr *to)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(to->port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(to->port)};
	int v4 = to->family == AF_INET, fd = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(&in.sin_addr, to->addr, 4);
	memcpy(&in6.sin6_addr, to->addr, 16);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6, v4 ? sizeof(in) : sizeof(in6)), 0);
	return fd;
}

static void check_pair(const char *listen_at, const char *to)
{
	struct ept_key key;
	struct diag_sock s;
	struct diag_addr at, own, peer;
	int l = scratch_listen(listen_at, 0, &key), c, a;

	at = scratch_addr(to, key.at.port);
	c = connect_to(&at);
	own = name_of(c, 0);
	peer = name_of(c, 1);
	assert_int_equal(diag_conn(&own, &peer, &s), 0);
	assert_true(s.cookie == cookie_of(c) && s.inode == inode_of(c) && s.uid == geteuid() && s.state == TCP_ESTABLISHED);
	assert_true(diag_addr_eq(&s.own, &own));
	/* not accepted: nobody's yet */
	assert_int_equal(diag_conn(&peer, &own, &s), 0);
	assert_int_equal(s.inode, 0);
	a = accept(l, NULL, NULL);
	assert_int_equal(diag_conn(&peer, &own, &s), 0);
	assert_true(s.cookie == cookie_of(a) && s.inode == inode_of(a) && s.uid == geteuid());
	own.port ^= 1;
	assert_int_equal(diag_conn(&peer, &own, &s), -ENOENT); /* and not the listener */
	own.port ^= 1;
	close(c);
	close(a);
	close(l);
}

static void both_ends_of_a_connection_are_found_with_cookie_and_owner(void **state)
{
	(void)state;
	check_pair("127.0.0.1", "127.0.0.1");
	check_pair("::1", "::1");
	check_pair("::", "::1");
	check_pair("::", "127.0.0.1"); /* dual-stack: the accepted socket is an AF_INET6 one with mapped addresses */
	check_pair("0.0.0.0", "127.1.2.3");
}

static int accept_as(void *arg)
{
	int *fd = arg;
	char c;
	int a = accept(fd[0], NULL, NULL);

	EXPECT(a >= 0);
	EXPECT(write(fd[1], "a", 1) == 1);
	EXPECT(read(fd[1], &c, 1) == 1);
	return 0;
}

static int udp_at(const char *ip, uint16_t port, struct diag_addr *own)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, ip, &in.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(diag_addr_from(own, (struct sockaddr *)&in, len), 0);
	return fd;
}

static void a_datagram_socket_is_found_as_its_datagrams_would_find_it(void **state)
{
	struct diag_addr any, other, to;
	struct diag_sock s;
	int fd = udp_at("0.0.0.0", 0, &any), peer = udp_at("127.0.0.1", 0, &other), near;

	(void)state;
	to = scratch_addr("127.0.0.1", any.port);
	assert_int_equal(diag_udp(&to, &other, &s), 0);
	assert_true(s.cookie == cookie_of(fd) && s.inode && diag_addr_is_any(&s.own));
	assert_int_equal(s.uid, geteuid());
	/* A socket that is connected to somebody else has no ear for this one. */
	assert_int_equal(
		connect(fd,
			(struct sockaddr *)&(struct sockaddr_in){
				.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
			sizeof(struct sockaddr_in)),
		0);
	assert_int_equal(diag_udp(&to, &other, &s), -ENOENT);
	close(fd);
	assert_int_equal(diag_udp(&to, &other, &s), -ENOENT);
	near = udp_at("127.0.0.1", any.port, &to);
	assert_int_equal(diag_udp(&to, &other, &s), 0);
	assert_true(s.cookie == cookie_of(near) && diag_addr_eq(&s.own, &to));
	close(near);
	close(peer);
}

static void an_accepted_socket_belongs_to_who_accepted_it(void **state)
{
	struct ept_key key;
	struct diag_sock s;
	struct diag_addr own, peer;
	int l, c, sp[2], arg[2];
	pid_t pid;
	char byte;

	(void)state;
	scratch_need_root();
	l = scratch_listen("127.0.0.1", 0, &key);
	c = connect_to(&key.at);
	own = name_of(c, 0);
	peer = name_of(c, 1);
	scratch_pair(sp);
	arg[0] = l;
	arg[1] = sp[1];
	pid = scratch_fork(ALICE, accept_as, arg);
	assert_int_equal(read(sp[0], &byte, 1), 1);
	assert_int_equal(diag_conn(&peer, &own, &s), 0);
	assert_int_equal(s.uid, ALICE);
	assert_int_not_equal(s.inode, 0);
	assert_int_equal(diag_listener(&key.at, &s), 0);
	assert_int_equal(s.uid, 0);
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
	close(c);
	close(l);
}

static void a_listener_is_found_with_the_address_it_is_bound_to(void **state)
{
	static const struct {
		const char *at;
		int v6only;
		const char *to;
		int found, dual;
	} t[] = {
		{"0.0.0.0", 0, "127.0.0.1", 1, 0},
		{"0.0.0.0", 0, "::1", 0, 0},
		{"127.0.0.1", 0, "127.0.0.1", 1, 0},
		{"127.0.0.1", 0, "127.0.0.2", 0, 0},
		{"::", 0, "127.0.0.1", 1, 1},
		{"::", 0, "::1", 1, 1},
		{"::", 1, "127.0.0.1", 0, 0},
		{"::", 1, "::1", 1, 0},
		{"::1", 1, "::1", 1, 0},
		{"::ffff:127.0.0.1", 0, "127.0.0.1", 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct ept_key key;
		struct diag_sock s;
		int l = scratch_listen(t[i].at, t[i].v6only, &key);
		struct diag_addr to = scratch_addr(t[i].to, key.at.port);

		assert_int_equal(diag_listener(&to, &s), t[i].found ? 0 : -ENOENT);
		if (t[i].found) {
			assert_true(s.cookie == cookie_of(l) && s.inode == inode_of(l) && s.state == TCP_LISTEN);
			assert_true(diag_addr_eq(&s.own, &key.at));
			assert_int_equal(s.dual, t[i].dual);
		}
		close(l);
		assert_int_equal(diag_listener(&to, &s), -ENOENT);
	}
}

static void the_exact_listener_comes_before_the_wildcard(void **state)
{
	struct ept_key key;
	struct diag_sock s;
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct diag_addr other;
	int one = 1, any = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    exact = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	setsockopt(any, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	setsockopt(exact, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	assert_int_equal(bind(any, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(any, 1), 0);
	key.at = name_of(any, 0);
	in.sin_port = htons(key.at.port);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(exact, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(exact, 1), 0);
	other = scratch_addr("127.0.0.2", key.at.port);
	key.at = scratch_addr("127.0.0.1", key.at.port);
	assert_int_equal(diag_listener(&key.at, &s), 0);
	assert_true(s.cookie == cookie_of(exact));
	assert_int_equal(diag_listener(&other, &s), 0);
	assert_true(s.cookie == cookie_of(any));
	close(any);
	close(exact);
}

static void addresses_are_normalised_and_odd_ones_refused(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	struct diag_addr a = scratch_addr("::ffff:10.1.2.3", 80), b = scratch_addr("10.1.2.3", 80);
	struct sockaddr un = {.sa_family = AF_UNIX};
	uint8_t raw[sizeof(in6) + 1];

	(void)state;
	assert_true(diag_addr_eq(&a, &b));
	b.port++;
	assert_false(diag_addr_eq(&a, &b));
	assert_int_equal(diag_addr_from(&a, &un, sizeof(un)), -EAFNOSUPPORT);
	assert_int_equal(diag_addr_from(&a, (struct sockaddr *)&in6, 8), -EAFNOSUPPORT);
	in6.sin6_addr.s6_addr[0] = 0xfe;
	in6.sin6_addr.s6_addr[1] = 0x80;
	assert_int_equal(diag_addr_from(&a, (struct sockaddr *)&in6, sizeof(in6)), -EINVAL);
	in6.sin6_addr = in6addr_loopback;
	in6.sin6_scope_id = 1;
	assert_int_equal(diag_addr_from(&a, (struct sockaddr *)&in6, sizeof(in6)), -EINVAL);
	in6.sin6_scope_id = 0;
	memcpy(raw + 1, &in6, sizeof(in6)); /* unaligned */
	assert_int_equal(diag_addr_from(&a, (struct sockaddr *)(void *)(raw + 1), sizeof(in6)), 0);
	assert_true(diag_addr_is_loopback(&a) && !diag_addr_is_any(&a));
	a = scratch_addr("127.255.0.9", 1);
	assert_true(diag_addr_is_loopback(&a));
	a = scratch_addr("128.0.0.1", 1);
	assert_false(diag_addr_is_loopback(&a));
	a = scratch_addr("::", 1);
	assert_true(diag_addr_is_any(&a) && !diag_addr_is_loopback(&a));
	assert_int_equal(diag_conn(&a, &b, &(struct diag_sock){0}), -EINVAL); /* two families */
}

static int ask_after_fork(void *arg)
{
	struct diag_sock s;

	EXPECT(diag_listener(arg, &s) == 0);
	return 0;
}

static void a_child_asks_for_itself(void **state)
{
	struct ept_key key;
	struct diag_sock s;
	int l = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_int_equal(diag_listener(&key.at, &s), 0);
	scratch_wait_ok(scratch_fork(0, ask_after_fork, &key.at));
	assert_int_equal(diag_listener(&key.at, &s), 0);
	close(l);
}

static struct diag_addr nested_at;
static int nested_err = 1;

static long ask_within(long nr)
{
	struct diag_sock s;

	if (nr != SYS_sendto)
		return 0;
	sys_fault = NULL;
	nested_err = diag_listener(&nested_at, &s);
	return 0;
}

static void a_question_in_the_middle_of_another_does_not_wait_for_it(void **state)
{
	struct ept_key key;
	struct diag_sock s;
	int l = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	nested_at = key.at;
	sys_fault = ask_within; /* as a signal handler between send and receive */
	assert_int_equal(diag_listener(&key.at, &s), 0);
	assert_int_equal(nested_err, 0);
	assert_true(s.cookie == cookie_of(l));
	close(l);
}

static void *ask_often(void *arg)
{
	struct diag_sock s;

	for (int i = 0; i < 300; i++)
		if (diag_listener(arg, &s) || s.own.port != ((struct diag_addr *)arg)->port)
			return arg;
	return NULL;
}

static void threads_that_ask_at_once_each_get_their_own_answer(void **state)
{
	struct ept_key key[4];
	pthread_t t[4];
	int l[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		l[i] = scratch_listen("127.0.0.1", 0, &key[i]);
		assert_int_equal(pthread_create(&t[i], NULL, ask_often, &key[i].at), 0);
	}
	for (int i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(t[i], &wrong);
		assert_null(wrong);
		close(l[i]);
	}
}

static void a_failed_question_leaves_no_descriptor_and_the_next_one_works(void **state)
{
	struct ept_key key;
	struct diag_sock s;
	int l = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	for (int n = 0; n < 3; n++) {
		scratch_fault_at(n, -ENOBUFS);
		assert_int_equal(diag_listener(&key.at, &s), -ENOBUFS);
		scratch_fault_off();
		diag_fork_child();
	}
	assert_int_equal(diag_listener(&key.at, &s), 0);
	scratch_fault_nr(SYS_recvfrom, 1, -ENOBUFS);
	assert_int_equal(diag_listener(&key.at, &s), -ENOBUFS);
	scratch_fault_off();
	assert_int_equal(diag_listener(&key.at, &s), 0); /* not the lost answer */
	close(l);
}

static void the_network_namespace_has_a_cookie(void **state)
{
	struct ept_key key;
	int l = scratch_listen("127.0.0.1", 0, &key);

	(void)state;
	assert_true(diag_netns(l) == key.netns);
	assert_int_equal(diag_netns(-1), 0);
	close(l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(both_ends_of_a_connection_are_found_with_cookie_and_owner),
		TEST(a_datagram_socket_is_found_as_its_datagrams_would_find_it),
		TEST(an_accepted_socket_belongs_to_who_accepted_it),
		TEST(a_listener_is_found_with_the_address_it_is_bound_to),
		TEST(the_exact_listener_comes_before_the_wildcard),
		TEST(addresses_are_normalised_and_odd_ones_refused),
		TEST(a_child_asks_for_itself),
		TEST(a_question_in_the_middle_of_another_does_not_wait_for_it),
		TEST(threads_that_ask_at_once_each_get_their_own_answer),
		TEST(a_failed_question_leaves_no_descriptor_and_the_next_one_works),
		TEST(the_network_namespace_has_a_cookie),
	};

	return scratch_run("diag", tests, sizeof(tests) / sizeof(tests[0]));
}
