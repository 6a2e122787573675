/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_limit.c - a process that may start no thread any more, one that may write no file, and one that has changed its root directory. */
#include "oracle.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEN 3000
static int sock = -1;
static uint64_t pos;

/* LEN octets each way, 30 times. */
static void talk(void)
{
	for (int i = 0; i < 30; i++) {
		if (is_server) {
			put(sock, LEN, 1, pos);
			get(sock, LEN, 2, pos);
		} else {
			get(sock, LEN, 1, pos);
			put(sock, LEN, 2, pos);
		}
		pos += LEN;
	}
	say("talked");
}

static int accept_warm(int l)
{
	int fd = (int)MUST(accept(l, NULL, NULL));

	no_delay(fd);
	warm_up(fd);
	return fd;
}

/* The client of all: a connection for each number, to that port; talks as often as it is told. */
static void client(void)
{
	for (long port = await_number(); port; port = await_number()) {
		sock = connect_to("127.0.0.1", (int)port);
		no_delay(sock);
		warm_up(sock);
		pos = 0;
		for (talk(); await_number();)
			talk();
		TRY(close(sock));
	}
}

static void again(void)
{
	tell_number(1);
	talk();
}

static void finish(void)
{
	tell_number(0);
	poll_is(sock, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	TRY(close(sock));
}

/* ---- RLIMIT_NPROC: does not count for who has certain capabilities, or is root ---- */

static void become_limited(void)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (geteuid() != 0)
		return;
	MUST(syscall(SYS_setresuid, 1, 0, 0));
	MUST(syscall(SYS_capget, &hdr, data));
	data[0].effective &= ~(1u << CAP_SYS_RESOURCE | 1u << CAP_SYS_ADMIN);
	MUST(syscall(SYS_capset, &hdr, data));
}

static const struct rlimit none; /* 0 */

static int by_setrlimit(void)
{
	return setrlimit(RLIMIT_NPROC, &none);
}

static int by_prlimit(void)
{
	return prlimit(0, RLIMIT_NPROC, &none, NULL);
}

static int by_number(void)
{
	return (int)syscall(SYS_prlimit64, getpid(), RLIMIT_NPROC, &none, NULL);
}

static void *nothing(void *arg)
{
	return arg;
}

static void nproc_server(void)
{
	int (*const *limit)(void) = the_case->arg;
	int port, l = listen_on("127.0.0.1", 8, &port);
	pthread_t t;

	become_limited();
	TRY((*limit)());
	say("pthread_create: %s", pthread_create(&t, NULL, nothing, NULL) == EAGAIN ? "EAGAIN" : "not EAGAIN");
	for (int i = 0; i < 2; i++) {
		tell_number(port);
		sock = accept_warm(l);
		pos = 0;
		talk();
		again();
		finish();
	}
	tell_number(0);
}

/* ---- chroot: in a child, which has a connection and the listening socket from before ---- */

static void chroot_child(int l, int port)
{
	TRY(chroot("/usr"));
	TRY(chdir("/"));
	again();
	finish();
	tell_number(port);
	sock = accept_warm(l);
	pos = 0;
	talk();
	again();
	finish();
	_exit(0);
}

static void chroot_server(void)
{
	int port, l = listen_on("127.0.0.1", 8, &port);
	pid_t pid;

	tell_number(port);
	sock = accept_warm(l);
	talk();
	pid = fork_part();
	if (pid == 0)
		chroot_child(l, port);
	close(sock);
	join_child(pid);
	tell_number(0);
}

/* ---- RLIMIT_FSIZE: a write that is too much is a signal. Nothing of the program's own may be written meanwhile: the transcript is a file ---- */

static void swap(void)
{
	for (int i = 0; i < 30; i++) {
		put(sock, LEN, 1, pos);
		get(sock, LEN, 2, pos);
		pos += LEN;
	}
}

static void fsize_child(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (setrlimit(RLIMIT_FSIZE, &none) < 0 || bind(l, (struct sockaddr *)&sin, sizeof(sin)) < 0 || listen(l, 1) < 0)
		_exit(1);
	tell_number(1);
	swap();
	_exit(0);
}

static void fsize_server(void)
{
	int port, l = listen_on("127.0.0.1", 8, &port);
	pid_t pid;

	tell_number(port);
	sock = accept_warm(l);
	talk();
	pid = fork_part();
	if (pid == 0)
		fsize_child();
	join_child(pid);
	pos += 30 * LEN;
	again();
	finish();
	tell_number(0);
}

static int (*const setrlimit_way)(void) = by_setrlimit;
static int (*const prlimit_way)(void) = by_prlimit;
static int (*const number_way)(void) = by_number;

const struct oracle_case oracle_cases[] = {
	{"setrlimit", nproc_server, client, 0, &setrlimit_way},
	{"prlimit", nproc_server, client, 0, &prlimit_way},
	{"number", nproc_server, client, 0, &number_way},
	{"fsize", fsize_server, client, 0, NULL},
	{"chroot", chroot_server, client, CASE_HEIR, NULL},
	{0},
};
