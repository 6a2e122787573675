/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_still.c - the process at the other end of many connections stands still (SIGSTOP), and its octets are unread here: who ends them is not held up by each. */
#include "oracle_heir.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 40
#define LIMIT_MS 2000 /* the kernel's own needs none of it; 50 ms for each would be as much */
#define LEN 100

static int fd[MANY];

static int has_stopped(void *pid)
{
	return task_state(*(pid_t *)pid) == 'T';
}

/* The connections are a child's. */
static void client(void)
{
	int port = (int)await_number(), ready[2], go[2];
	char c = 0;

	MUST(pipe(ready));
	MUST(pipe(go));
	pid_t pid = fork_part();
	if (pid == 0) {
		for (int i = 0; i < MANY; i++) {
			warm_up(fd[i] = (int)MUST(connect_to("127.0.0.1", port)));
			put(fd[i], LEN, 1, 0);
		}
		MUST(write(ready[1], &c, 1));
		MUST(read(go[0], &c, 1));
		exit(0);
	}
	MUST(read(ready[0], &c, 1));
	MUST(kill(pid, SIGSTOP));
	HOLDS(wait_until(has_stopped, &pid));
	tell("stopped");
	await("over");
	MUST(kill(pid, SIGCONT));
	MUST(write(go[1], &c, 1));
	join_child(pid);
}

static void serve_many(void)
{
	int port, lfd = listen_on("127.0.0.1", MANY, &port);

	tell_number(port);
	for (int i = 0; i < MANY; i++) {
		warm_up(fd[i] = (int)MUST(accept(lfd, NULL, NULL)));
		MUST(fcntl(fd[i], F_SETFD, FD_CLOEXEC));
	}
	await("stopped");
	for (int i = 0; i < MANY; i++)
		unread_is(fd[i], LEN);
	TRY(close(lfd));
}

/* ---- another program begins, and all of them end */

static void exec_server(void)
{
	char now[24];

	if (heir()) {
		HOLDS(now_ms() - atoll(heir()) < LIMIT_MS);
		tell("over");
		return;
	}
	serve_many();
	snprintf(now, sizeof now, "%lld", (long long)now_ms());
	become_heir((int)MUST(open("/dev/null", O_RDONLY)), now);
}

/* ---- both directions are shut down; what has come before is there */

static void shutdown_server(void)
{
	serve_many();
	int64_t begin = now_ms();
	for (int i = 0; i < MANY; i++)
		MUST(shutdown(fd[i], SHUT_RDWR));
	HOLDS(now_ms() - begin < LIMIT_MS);
	for (int i = 0; i < MANY; i++)
		get(fd[i], LEN, 1, 0);
	tell("over");
	for (int i = 0; i < MANY; i++)
		MUST(close(fd[i]));
}

const struct oracle_case oracle_cases[] = {
	{"exec", exec_server, client, CASE_ALONE | CASE_SLOW, NULL},
	{"shutdown", shutdown_server, client, CASE_ALONE | CASE_SLOW, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
