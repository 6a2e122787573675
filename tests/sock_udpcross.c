/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpcross.c - datagram sockets where two things happen at once: sleepers and new peers, edges and what is left unread, forks on both sides, leaving in the middle. */
#include "oracle_udp.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* ---- a thread waits for whatever comes, while another makes a second server known */

#define ASKS 120

static int one_socket;
static _Atomic unsigned n_come;

static void *waits_by_recv(void *arg)
{
	char c;
	while (recv(one_socket, &c, 1, 0) == 1)
		atomic_fetch_add(&n_come, 1);
	return arg;
}

static void *waits_by_poll(void *arg)
{
	char c = 1;
	while (c) {
		struct pollfd p = {.fd = one_socket, .events = POLLIN};
		if (poll(&p, 1, -1) == 1 && recv(one_socket, &c, 1, MSG_DONTWAIT) == 1)
			atomic_fetch_add(&n_come, c != 0);
	}
	return arg;
}

static int has_come(void *arg)
{
	return atomic_load(&n_come) == *(unsigned *)arg;
}

static void peers_client(void)
{
	struct addr first, second;
	void *(*waits)(void *) = the_case->arg ? waits_by_poll : waits_by_recv;

	one_socket = udp_call(&first);
	second = addr_of("127.0.0.1", (int)await_number());
	udp_warm_client(one_socket, &first);
	pthread_t t = start_thread(waits, NULL);
	for (unsigned i = 0; i < ASKS; i++) {
		const struct timespec pause = {.tv_nsec = 300000};
		hit(one_socket, &second, 10, 1, i);
		nanosleep(&pause, NULL);
	}
	tell("asked");
	for (unsigned i = 1; i <= 20; i++) {
		tell("answer");
		HOLDS(wait_until(has_come, &i));
	}
	tell("end");
	pthread_join(t, NULL);
}

static void peers_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), port, other = udp_on("127.0.0.1", &port);

	tell_number(port);
	udp_warm_server(fd, 1);
	for (unsigned i = 0; i < ASKS; i++)
		take(other, 10, 1, i);
	await("asked");
	for (unsigned i = 1; i <= 20; i++) {
		await("answer");
		MUST(sendto(other, "x", 1, 0, &client.sa, client.len));
	}
	await("end");
	MUST(sendto(other, "", the_case->arg ? 1 : 0, 0, &client.sa, client.len));
}

/* ---- edges: what has been reported and left unread is not reported again, and who waits for more does not run meanwhile */

static int64_t cpu_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void left_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), ep = new_set();
	uint64_t pos = 0;

	set_add(ep, fd, EPOLLIN | EPOLLET, 7);
	for (int i = 0; i < 5; i++) {
		udp_get_sent(3);
		set_says(ep, SOON);
		take(fd, 30, 1, pos++);
		int64_t cpu = cpu_ms();
		set_says(ep, 300); /* nothing new */
		HOLDS(cpu_ms() - cpu < 100);
		udp_get_sent(1);
		set_says(ep, SOON);
		set_says(ep, 0);
		for (int k = 0; k < 3; k++)
			take(fd, 30, 1, pos++);
		none_is_there(fd);
		set_says(ep, 0);
	}
	tell_number(-1);
}

/* ---- two numbers of one socket in one set: each is a member of its own */

static void numbers_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), two = (int)MUST(dup(fd)), ep = new_set();
	uint64_t pos = 0;

	set_add(ep, fd, EPOLLIN, 1);
	set_add(ep, two, EPOLLIN, 2);
	for (int i = 0; i < 6; i++) {
		set_says(ep, 20);
		udp_get_sent(1);
		set_says(ep, SOON);
		take(fd, 30, 1, pos++);
		if (i == 2)
			set_del(ep, two);
		if (i == 4) {
			set_add(ep, two, EPOLLIN, 2);
			set_del(ep, fd);
		}
	}
	tell_number(-1);
}

/* ---- a datagram with ancillary data among others, before any of them has been read */

static void send_with_ttl(int fd, const struct addr *to, size_t len, uint64_t pos)
{
	unsigned char buf[100];
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL}};
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_name = (void *)(uintptr_t)&to->sa,
		.msg_namelen = to->len,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control};
	int ttl = 9;

	memcpy(CMSG_DATA(&control.h), &ttl, sizeof ttl);
	fill(buf, len, 1, pos);
	MUST(sendmsg(fd, &m, 0));
}

static void mixed_client(void)
{
	struct addr server;
	int fd = udp_call(&server);
	uint64_t pos = 0;

	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 20; i++, pos++)
			if ((i * 7 + round) % (2 + round % 9) == 0)
				send_with_ttl(fd, &server, 40, pos);
			else
				hit(fd, &server, 40, 1, pos);
		meet("sent");
		meet("read");
	}
}

static void mixed_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	uint64_t pos = 0;

	for (unsigned round = 0; round < 60; round++) {
		meet("sent");
		for (unsigned i = 0; i < 20; i++)
			take(fd, 40, 1, pos++);
		none_is_there(fd);
		meet("read");
	}
	say("all in order");
}

/* ---- both sides fork at the same moment, with unread datagrams */

static void forks(int fd, const struct addr *to)
{
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 50; i++) { /* linked again */
			const struct timespec pause = {.tv_nsec = 200000};
			hit(fd, to, 20, 1, i);
			take(fd, 20, 1, i);
			if (i % 4 == 0)
				nanosleep(&pause, NULL);
		}
		meet("warm");
		for (unsigned i = 0; i < 20; i++)
			hit(fd, to, 20, 2, i);
		meet("sent");
		pid_t pid = fork_part();
		if (pid == 0)
			_exit(0);
		join_child(pid);
		meet("forked");
		for (unsigned i = 0; i < 20; i++)
			take(fd, 20, 2, i);
		none_is_there(fd);
		meet("read");
	}
}

static void forks_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	forks(fd, &client);
}

static void forks_client(void)
{
	struct addr server;
	int fd = udp_call(&server);
	forks(fd, &server);
}

/* ---- the process puts itself under a filter while one of its threads waits for a datagram */

static void *takes_ten(void *arg)
{
	for (unsigned i = 0; i < 10; i++)
		take(one_socket, 30, 1, i);
	return arg;
}

static void filtered_server(void)
{
	struct addr client;
	struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = {1, &pass};

	one_socket = udp_serve(&client);
	pthread_t t = start_thread(takes_ten, NULL);
	udp_get_sent(5);
	usleep(20000); /* it sleeps by now; whether it does makes no difference to what is to come */
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	udp_get_sent(5);
	pthread_join(t, NULL);
	none_is_there(one_socket);
	tell_number(-1);
}

const struct oracle_case oracle_cases[] = {
	{"peers", peers_server, peers_client, 0, NULL},
	{"peers_poll", peers_server, peers_client, 0, "poll"},
	{"left", left_server, udp_sends_as_told, 0, NULL},
	{"numbers", numbers_server, udp_sends_as_told, 0, NULL},
	{"mixed", mixed_server, mixed_client, 0, NULL},
	{"forks", forks_server, forks_client, 0, NULL},
	{"filtered", filtered_server, udp_sends_as_told, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
