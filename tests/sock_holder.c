/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_holder.c - sockets that are shared by fork, and one of the processes that hold them is killed: the other is alone again.
 *
 * The sharing begins before a connection could have gone through memory, and ends before its first octets: what is counted there was moved by who was left.
 */
#include "oracle_talk.h"
#include "oracle_udp.h"

#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct sharing {
	int at_server; /* that side forks */
	int children;
	void (*child)(int fd); /* what a child does until it is killed */
};

static const struct sharing *sharing(void)
{
	return the_case->arg;
}

static int forks(void)
{
	return sharing()->at_server == is_server;
}

static int sleeps(void *pid)
{
	return task_state(*(pid_t *)pid) == 'S';
}

static pid_t fork_holder(int fd)
{
	pid_t pid = fork_part();

	if (pid == 0) {
		sharing()->child(fd);
		for (;;)
			pause();
	}
	return pid;
}

static pid_t start_holder(int fd)
{
	pid_t pid = fork_holder(fd);

	HOLDS(wait_until(sleeps, &pid));
	return pid;
}

/* With as many descriptors as are allowed. */
static pid_t start_holder_full(int fd)
{
	struct rlimit was, full;
	int next = dup(fd);
	pid_t pid;

	MUST(next);
	MUST(close(next));
	MUST(getrlimit(RLIMIT_NOFILE, &was));
	full = was;
	full.rlim_cur = (rlim_t)next;
	MUST(setrlimit(RLIMIT_NOFILE, &full));
	pid = fork_holder(fd);
	MUST(setrlimit(RLIMIT_NOFILE, &was));
	HOLDS(wait_until(sleeps, &pid));
	return pid;
}

static void is_killed(pid_t pid)
{
	MUST(kill(pid, SIGKILL));
	join_child(pid);
}

/* The side that forks; the other one waits until all is over. */
static void share(int fd)
{
	pid_t pid[16] = {0};

	for (int i = 0; i < sharing()->children; i++)
		pid[i] = start_holder(fd);
	for (int i = 0; i < sharing()->children; i++)
		is_killed(pid[i]);
}

static void holds(int fd)
{
	(void)fd;
}
static void receives(int fd)
{
	TRY(recv(fd, (char[1]){0}, 1, 0));
}

/* ---- a connection ---- */

static void talk_alone(int fd)
{
	meet("alone");
	warm_up(fd);
	chat(fd);
	TRY(close(fd));
}

static void stream_part(void)
{
	int fd = is_server ? serve_one() : connect_one();

	if (forks())
		share(fd);
	talk_alone(fd);
}

static void full_part(void)
{
	int fd = is_server ? serve_one() : connect_one();

	if (forks())
		is_killed(start_holder_full(fd));
	talk_alone(fd);
}

/* A fork that fails makes no holder, also where there is no place for one any more. */
static void become_limited(void)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	const struct rlimit none = {0, 0};

	if (geteuid() == 0) { /* whom the limit does not hold for */
		MUST(syscall(SYS_setresuid, 1, 0, 0));
		MUST(syscall(SYS_capget, &hdr, data));
		data[0].effective &= ~(1u << CAP_SYS_RESOURCE | 1u << CAP_SYS_ADMIN);
		MUST(syscall(SYS_capset, &hdr, data));
	}
	MUST(setrlimit(RLIMIT_NPROC, &none));
}

static void refused_part(void)
{
	int fd = is_server ? serve_one() : connect_one();
	pid_t pid[14] = {0};

	if (forks()) {
		for (int i = 0; i < 14; i++)
			pid[i] = start_holder(fd);
		become_limited();
		for (int i = 0; i < 3; i++)
			TRY(fork());
		for (int i = 0; i < 14; i++)
			is_killed(pid[i]);
	}
	talk_alone(fd);
}

/* Some holders are killed, others go on, all of them look, and end as processes do. */
#define SURVIVORS 3
#define KILLED 8

static pid_t start_looker(int fd, int until)
{
	struct pollfd p = {.fd = until, .events = POLLIN};
	pid_t pid = fork_part();

	if (pid)
		return pid;
	while (poll(&p, 1, 0) == 0)
		recv(fd, (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK);
	exit(0);
}

static void several_part(void)
{
	int fd = is_server ? serve_one() : connect_one(), go[2];
	pid_t pid[SURVIVORS] = {0};

	if (forks()) {
		MUST(pipe(go));
		for (int i = 0; i < SURVIVORS; i++)
			pid[i] = start_looker(fd, go[0]);
		for (int i = 0; i < KILLED; i++)
			is_killed(start_holder(fd));
	}
	chat(fd); /* shared still */
	if (forks()) {
		MUST(write(go[1], "g", 1));
		for (int i = 0; i < SURVIVORS; i++)
			join_child(pid[i]);
	}
	talk_alone(fd);
}

/* A child goes on alone, when its parent has been killed. Who tells of it is the parent's parent. */
static void orphan_part(void)
{
	int port, lfd, to_child[2], from_child[2];
	char c = 0;

	if (!is_server) {
		stream_part();
		return;
	}
	MUST(pipe(to_child));
	MUST(pipe(from_child));
	lfd = listen_on("127.0.0.1", 1, &port);
	tell_number(port);
	pid_t parent = fork_part();
	if (parent == 0) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		if (fork() == 0) {
			MUST(write(from_child[1], &c, 1));
			MUST(read(to_child[0], &c, 1));
			warm_up(fd);
			chat(fd);
			TRY(close(fd));
			MUST(write(from_child[1], &c, 1));
			exit(0);
		}
		for (;;)
			pause();
	}
	MUST(read(from_child[0], &c, 1));
	is_killed(parent);
	meet("alone");
	MUST(write(to_child[1], &c, 1));
	TRY(read(from_child[0], &c, 1));
	TRY(close(lfd));
}

/* ---- who lives on keeps its hold, whatever it does: what it reads at last is not in a ring that it does not know ---- */

static int has_stopped(void *pid)
{
	return task_state(*(pid_t *)pid) == 'T';
}

static void lives_part(void)
{
	int fd = is_server ? serve_one() : connect_one(), go[2];

	if (!forks()) {
		for (unsigned i = 0; i < 4; i++) {
			chat(fd);
			meet("next");
		}
		TRY(close(fd));
		return;
	}
	MUST(pipe(go));
	pid_t other = fork_part();
	if (other == 0) {
		for (unsigned i = 0; i < 2; i++) {
			MUST(read(go[0], (char[1]){0}, 1));
			chat(fd);
			meet("next");
			MUST(kill(getpid(), SIGSTOP));
		}
		exit(0);
	}
	for (unsigned i = 0; i < 2; i++) {
		is_killed(start_holder(fd)); /* one of three, the rest is two */
		chat(fd);
		meet("next");
		MUST(write(go[1], "g", 1));
		HOLDS(wait_until(has_stopped, &other));
		MUST(kill(other, SIGCONT));
	}
	join_child(other);
	TRY(close(fd));
}

/* ---- the survivor closes: it was the last ---- */

static void closes_part(void)
{
	char buf[8];

	for (int i = 0; i < 4; i++) {
		int fd = is_server ? serve_warm() : connect_warm();
		no_delay(fd);
		if (!forks()) {
			put(fd, 10, 1, 0);
			meet("sent");
			if (i % 2)
				poll_is(fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP | POLLHUP | POLLERR);
			TRY(recv(fd, buf, sizeof buf, 0));
			TRY(recv(fd, buf, sizeof buf, 0));
			TRY(close(fd));
			continue;
		}
		share(fd);
		meet("sent");
		if (i % 2 == 0)
			get(fd, 10, 1, 0);
		TRY(close(fd)); /* a reset, if it is unread */
	}
}

/* ---- datagrams ---- */

static void dgram_talk(int fd, const struct addr *to)
{
	for (unsigned i = 0; i < 100; i++) {
		if (is_server)
			take(fd, 30, 1, i);
		hit(fd, to, 30, is_server ? 2 : 1, i);
		if (!is_server)
			take(fd, 30, 2, i);
	}
}

static void dgram_talk_alone(int fd, const struct addr *to)
{
	meet("alone");
	if (is_server)
		udp_warm_server(fd, 1);
	else
		udp_warm_client(fd, to);
	dgram_talk(fd, to);
	TRY(close(fd));
}

static void dgram_part(void)
{
	int port, fd = udp_on("127.0.0.1", &port);

	tell_number(port);
	struct addr other = addr_of("127.0.0.1", (int)await_number());
	if (forks())
		share(fd);
	dgram_talk_alone(fd, &other);
}

/* Not before the fork, but after it, is the socket asked for a channel: the offer stands when the child is killed. */
static void dgram_late_part(void)
{
	int port, fd = udp_on("127.0.0.1", &port);

	tell_number(port);
	struct addr other = addr_of("127.0.0.1", (int)await_number());
	pid_t pid = forks() ? start_holder(fd) : 0;
	dgram_talk(fd, &other);
	if (forks())
		is_killed(pid);
	dgram_talk_alone(fd, &other);
}

#define BOTH(name, part, flags, n, child)                                                                                      \
	{name "_server", part, part, flags, &(const struct sharing){1, n, child}},                                             \
	{                                                                                                                      \
		name "_client", part, part, flags, &(const struct sharing)                                                     \
		{                                                                                                              \
			0, n, child                                                                                            \
		}                                                                                                              \
	}

const struct oracle_case oracle_cases[] = {
	BOTH("one", stream_part, 0, 1, holds),
	BOTH("reader", stream_part, 0, 1, receives),
	BOTH("many", stream_part, CASE_SLOW, 14, receives),
	BOTH("full", full_part, 0, 1, holds),
	BOTH("refused", refused_part, CASE_SLOW, 1, holds),
	BOTH("several", several_part, 0, 1, holds),
	{"orphan", orphan_part, orphan_part, 0, &(const struct sharing){0, 0, holds}},
	BOTH("lives", lives_part, CASE_KERNEL, 1, holds),
	BOTH("closes", closes_part, 0, 1, holds),
	BOTH("dgram", dgram_part, 0, 1, holds),
	BOTH("dgram_reader", dgram_part, 0, 1, receives),
	BOTH("dgram_late", dgram_late_part, 0, 1, holds),
	{NULL, NULL, NULL, 0, NULL},
};
