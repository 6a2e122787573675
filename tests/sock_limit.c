/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_limit.c - a process that may start no thread any more, one that may write no file, and one that has changed its root directory. */
#include "oracle_talk.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of a server that has several connections, one after the other: takes the next one, on the port that the client is told. */
static void serve_next(int l, int port)
{
	int fd;

	tell_number(port);
	fd = (int)MUST(accept(l, NULL, NULL));
	no_delay(fd);
	warm_up(fd);
	talk_first(fd);
}

/* The client of all: a connection for each number, to that port. */
static void client(void)
{
	for (long port = await_number(); port; port = await_number()) {
		int fd = connect_to("127.0.0.1", (int)port);

		no_delay(fd);
		warm_up(fd);
		talk_as_told(fd);
	}
}

/* Listens, and has taken one connection, when it starts a process that goes on; 0 there. */
static pid_t fork_served(int *l, int *port)
{
	*l = listen_on("127.0.0.1", 8, port);
	serve_next(*l, *port);
	return fork_part();
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
		serve_next(l, port);
		talk_again();
		talk_end();
	}
	tell_number(0);
}

/*
 * Credentials that are set again, by another thread meanwhile, and by this one afterwards, which calls itself by its number or by 0: whatever is done because of it, no thread can be
 * started.
 */
static atomic_int over;

static void same_caps(void)
{
	const int *named = the_case->arg;
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3, .pid = *named ? (int)syscall(SYS_gettid) : 0};
	struct __user_cap_data_struct data[2];

	MUST(syscall(SYS_capget, &hdr, data));
	MUST(syscall(SYS_capset, &hdr, data));
}

static void *sets_caps(void *arg)
{
	while (!atomic_load(&over))
		same_caps();
	return arg;
}

static void nproc_caps_server(void)
{
	int port, l = listen_on("127.0.0.1", 8, &port);

	become_limited();
	pthread_t t = start_thread(sets_caps, NULL);
	TRY(by_setrlimit());
	atomic_store(&over, 1);
	pthread_join(t, NULL);
	same_caps();
	serve_next(l, port);
	talk_again();
	talk_end();
	tell_number(0);
}

/* ---- chroot: in a child, which has a connection and the listening socket from before ---- */

static void chroot_child(int l, int port)
{
	TRY(chroot("/usr"));
	TRY(chdir("/"));
	talk_again();
	talk_end();
	serve_next(l, port);
	talk_again();
	talk_end();
	_exit(0);
}

static void chroot_server(void)
{
	int port, l;
	pid_t pid = fork_served(&l, &port);

	if (pid == 0)
		chroot_child(l, port);
	close(talk_fd);
	join_child(pid);
	tell_number(0);
}

/* ---- RLIMIT_FSIZE: a write that is too much is a signal. Nothing of the program's own may be written meanwhile: the transcript is a file ---- */

static void fsize_child(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (setrlimit(RLIMIT_FSIZE, &none) < 0 || bind(l, (struct sockaddr *)&sin, sizeof(sin)) < 0 || listen(l, 1) < 0)
		_exit(1);
	tell_number(1);
	for (int i = 0; i < TALK_TURNS; i++)
		turn();
	_exit(0);
}

static void fsize_server(void)
{
	int port, l;
	pid_t pid = fork_served(&l, &port);

	if (pid == 0)
		fsize_child();
	join_child(pid);
	talk_pos += TALK_TURNS * TALK_LEN;
	talk_again();
	talk_end();
	tell_number(0);
}

static int (*const setrlimit_way)(void) = by_setrlimit;
static int (*const prlimit_way)(void) = by_prlimit;
static int (*const number_way)(void) = by_number;

static const int unnamed = 0, named = 1;

const struct oracle_case oracle_cases[] = {
	{"setrlimit", nproc_server, client, 0, &setrlimit_way},
	{"prlimit", nproc_server, client, 0, &prlimit_way},
	{"number", nproc_server, client, 0, &number_way},
	{"beside_caps", nproc_caps_server, client, 0, &unnamed},
	{"beside_named_caps", nproc_caps_server, client, 0, &named},
	{"fsize", fsize_server, client, 0, NULL},
	{"chroot", chroot_server, client, CASE_HEIR, NULL},
	{0},
};
