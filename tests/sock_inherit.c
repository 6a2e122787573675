/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_inherit.c - a connection, or a listener, that another program goes on with after exec, at any byte, with the other side in any call. The runner sees to it that both programs
 * moved bytes as they should (CASE_HEIR).
 */
#include "oracle_heir.h"

#include <fcntl.h>
#include <link.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void busy_exec_server(void)
{
	int fd = HEIR_FD;

	if (!heir()) {
		fd = serve_warm();
		echo(fd, 0, MUCH / 4);
		become_heir(fd, "echo");
	}
	echo(fd, 0, UINT64_MAX);
	TRY(close(fd));
}

static void exec_server(void)
{
	if (heir())
		go_on(HEIR_FD, 1);
	else
		become_heir(serve_some(), "go on");
}

/* The listener is inherited as well. */
static void exec_fresh_server(void)
{
	int port;

	if (heir()) {
		go_on(HEIR_FD, 0);
		return;
	}
	int lfd = listen_on("127.0.0.1", 16, &port);
	MUST(fcntl(lfd, F_SETFD, 0));
	tell_number(port);
	become_heir((int)MUST(accept(lfd, NULL, NULL)), "go on");
}

/* ---- listeners ---- */

static void accept_and_go_on(int lfd)
{
	int fd = (int)MUST(accept(lfd, NULL, NULL));

	TRY(close(lfd));
	go_on(fd, 0);
}

static void exec_listener_server(void)
{
	int port;

	if (heir()) {
		tell_number(atoi(heir()));
		accept_and_go_on(HEIR_FD);
		return;
	}
	char text[16];
	int lfd = listen_on("127.0.0.1", 16, &port);
	snprintf(text, sizeof text, "%d", port);
	become_heir(lfd, text);
}

/* arg: the passer closes its own before; or it goes on listening until the worker has ended. */
static void pass_listener_server(void)
{
	int keeps = *(const int *)the_case->arg, sv[2], go[2], port;
	char c = 0;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	MUST(pipe(go));
	pid_t pid = fork_part();
	if (!pid) {
		close(sv[0]);
		MUST(read(go[0], &c, 1));
		int lfd = take_fd(sv[1]);
		tell_number(await_number());
		accept_and_go_on(lfd);
		exit(0);
	}
	close(sv[1]);
	int lfd = listen_on("127.0.0.1", 16, &port);
	pass_fd(sv[0], lfd);
	if (!keeps)
		TRY(close(lfd));
	MUST(write(go[1], &c, 1));
	tell_number(port);
	join_child(pid);
	if (keeps)
		TRY(close(lfd));
}

/* It is passed bound, and listens where it arrives. The first client has connected before anybody accepts. */
static void pass_bound_server(void)
{
	struct sockaddr_in me = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof me;
	int sv[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid_t pid = fork_part();
	if (!pid) {
		close(sv[0]);
		int lfd = take_fd(sv[1]);
		TRY(listen(lfd, 16));
		MUST(getsockname(lfd, (struct sockaddr *)&me, &len));
		tell_number(ntohs(me.sin_port));
		await("connected");
		accept_and_go_on(lfd);
		exit(0);
	}
	close(sv[1]);
	int lfd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(bind(lfd, (struct sockaddr *)&me, sizeof me));
	pass_fd(sv[0], lfd);
	MUST(close(lfd));
	join_child(pid);
}

/* As listen_on(); others may listen there too. port 0: any. */
static int listen_beside(int *port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int one = 1, fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
	MUST(bind(fd, (struct sockaddr *)&at, len));
	MUST(listen(fd, 16));
	MUST(getsockname(fd, (struct sockaddr *)&at, &len));
	*port = ntohs(at.sin_port);
	return fd;
}

/* Another process has listened there first, and ends when this one does so too; arg: it is killed. Then clients come. */
static void second_listener_server(void)
{
	int killed = *(const int *)the_case->arg, first[2], go[2], port = 0;
	char c = 0;

	MUST(pipe(first));
	MUST(pipe(go));
	pid_t pid = fork_part();
	if (!pid) {
		listen_beside(&port);
		MUST(write(first[1], &port, sizeof port));
		MUST(read(go[0], &c, 1));
		if (killed)
			kill(getpid(), SIGKILL);
		exit(0);
	}
	MUST(read(first[0], &port, sizeof port));
	int lfd = listen_beside(&port);
	MUST(write(go[1], &c, 1));
	join_child(pid);
	tell_number(port);
	accept_and_go_on(lfd);
}

/* The child of who has listened there first listens beside it, and goes on when that one closes; arg: or ends. Then clients come. */
static void child_listener_server(void)
{
	int ends = *(const int *)the_case->arg, there[2], up[2], go[2], port = 0;
	char c = 0;

	MUST(pipe(there));
	MUST(pipe(up));
	MUST(pipe(go));
	pid_t parent = fork_part();
	if (parent == 0) {
		int first = listen_beside(&port);
		pid_t pid = (pid_t)MUST(fork());
		if (pid == 0) {
			int lfd = listen_beside(&port);
			close(first);
			MUST(write(there[1], &c, 1));
			MUST(read(go[0], &c, 1));
			tell_number(port);
			accept_and_go_on(lfd);
			MUST(write(up[1], &c, 1));
			exit(0);
		}
		MUST(read(there[0], &c, 1));
		if (!ends) {
			TRY(close(first));
			MUST(write(up[1], &c, 1));
			join_child(pid);
		}
		exit(0);
	}
	if (ends)
		join_child(parent);
	else
		MUST(read(up[0], &c, 1));
	MUST(write(go[1], &c, 1));
	MUST(read(up[0], &c, 1));
	if (!ends)
		join_child(parent);
}

static void pass_bound_client(void)
{
	int fd = connect_one();

	tell("connected");
	rest_of_client(fd);
}

/* Tells when both processes are there. */
static void pass_listener_client(void)
{
	tell_number(await_number());
	adopt_fresh_client();
}

static void stays_server(void)
{
	go_on(serve_some(), 1);
}

static void exec_client(void)
{
	if (heir()) {
		rest_of_client(HEIR_FD);
		return;
	}
	int fd = connect_warm();
	put(fd, WAITING, 1, 0);
	meet("sent");
	become_heir(fd, "ask on");
}

/* A child becomes the new program; its parent closes what it has. */
static void fork_exec_server(void)
{
	if (heir()) {
		go_on(HEIR_FD, 1);
		return;
	}
	int fd = serve_some();
	pid_t pid = fork_part();
	if (!pid)
		become_heir(fd, "go on");
	TRY(close(fd));
	join_child(pid);
}

/* The other side is in a call that waits when the program changes. */
static void late_server(void)
{
	struct timespec pause = {
		.tv_nsec = 20000000}; /* the client is asleep by then; it makes no difference to what is right */

	if (!heir()) {
		int fd = serve_warm();
		await("waits");
		become_heir(fd, "late");
	}
	nanosleep(&pause, NULL);
	put(HEIR_FD, ANSWER, 2, 0);
	warm_up(HEIR_FD);
	answer(HEIR_FD, TURNS, 0);
	TRY(close(HEIR_FD));
}

static void by_recv(int fd)
{
	(void)fd;
}
static void by_poll(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	TRY(poll(&p, 1, SOON));
}
static void by_epoll(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = new_set();
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	TRY(epoll_wait(ep, &ev, 1, SOON));
	close(ep);
}

static void late_client(void)
{
	int fd = connect_warm();

	tell("waits");
	((void (*)(int))the_case->arg)(fd);
	get(fd, ANSWER, 2, 0);
	warm_up(fd);
	ask(fd, TURNS, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* By way of a program with an empty environment, which gives it back. */
static void detour_server(void)
{
	static char self[256];
	char *argv[512] = {"env"}, *const empty[] = {NULL};
	int n = 1;

	if (heir()) {
		go_on(HEIR_FD, 1);
		return;
	}
	int fd = serve_some();
	MUST(dup2(fd, HEIR_FD));
	close(fd);
	MUST(setenv("HEIR", "go on", 1));
	MUST(readlink("/proc/self/exe", self, sizeof self - 1));
	for (char **e = environ; *e && n < 500; e++)
		argv[n++] = *e;
	argv[n++] = self;
	argv[n++] = (char *)(uintptr_t)the_case->name;
	argv[n++] = "server";
	execve("/usr/bin/env", argv, empty);
	_exit(127);
}

/* Behind the environment stands the auxiliary vector, or nothing. */
static bool auxv_is_sound(void)
{
	char **e = environ;

	while (*e)
		e++;
	for (const ElfW(auxv_t) *a = (const void *)(e + 1); a->a_type != AT_NULL; a++)
		if (a->a_type == AT_PAGESZ)
			return a->a_un.a_val == getauxval(AT_PAGESZ);
	return e[1] == NULL;
}

/* By way of an environment made from scratch, of which the next program sees what it was given, and no more. */
static void scratch_server(void)
{
	static char name[] = "HEIR=go on";
	char *env[64] = {name};
	int n = 1, others = 0;

	if (heir()) {
		for (char **e = environ; *e; e++)
			others += strcmp(*e, name) && strncmp(*e, "ORACLE_", 7);
		HOLDS(!others);
		HOLDS(auxv_is_sound());
		go_on(HEIR_FD, 1);
		return;
	}
	int fd = serve_some();
	MUST(dup2(fd, HEIR_FD));
	close(fd);
	for (char **e = environ; *e && n < 63; e++)
		if (!strncmp(*e, "ORACLE_", 7))
			env[n++] = *e;
	execle("/proc/self/exe", "heir", the_case->name, "server", (char *)NULL, env);
	_exit(127);
}

/* The first program that is tried cannot be executed. */
static void second_try_server(void)
{
	if (heir()) {
		go_on(HEIR_FD, 1);
		return;
	}
	int fd = serve_some();
	MUST(fcntl(fd, F_SETFD, 0));
	TRY(execl("/nowhere/heir", "heir", (char *)NULL));
	become_heir(fd, "go on");
}

/* ... and nothing else is: it goes on here. */
static void failed_server(void)
{
	int fd = serve_some();

	MUST(fcntl(fd, F_SETFD, 0));
	TRY(execl("/nowhere/heir", "heir", (char *)NULL));
	go_on(fd, 1);
}

/* An epoll set is inherited with the connection, which is a member. First by an exec that fails. */
static void set_server(void)
{
	static const uint32_t kinds[] = {EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT};

	if (heir()) {
		for (int i = 0; i < 3; i++)
			set_says(HEIR_FD + 1 + i, SOON);
		set_mod(HEIR_FD + 1, HEIR_FD, EPOLLOUT, 5);
		set_says(HEIR_FD + 1, SOON);
		go_on(HEIR_FD, 1);
		return;
	}
	int fd = serve_some();
	MUST(fcntl(fd, F_SETFD, 0));
	for (int i = 0; i < 3; i++) {
		int ep = new_set();
		set_add(ep, fd, kinds[i], 7);
		MUST(dup2(ep, HEIR_FD + 1 + i));
		close(ep);
	}
	TRY(execl("/nowhere/heir", "heir", (char *)NULL));
	set_says(HEIR_FD + 1, SOON);
	for (int i = 0; i < 3; i++) { /* as the number that it will have */
		set_del(HEIR_FD + 1 + i, fd);
		MUST(dup2(fd, HEIR_FD));
		set_add(HEIR_FD + 1 + i, HEIR_FD, kinds[i], 7);
	}
	become_heir(fd, "go on");
}

static const int no = 0, yes = 1;

const struct oracle_case oracle_cases[] = {
	{"itself", exec_server, adopt_client, CASE_HEIR, NULL},
	{"fresh", exec_fresh_server, adopt_fresh_client, 0, NULL},
	{"client", stays_server, exec_client, CASE_HEIR_CLIENT, NULL},
	{"child", fork_exec_server, adopt_client, CASE_HEIR, NULL},
	{"busy", busy_exec_server, adopt_busy_client, CASE_HEIR, NULL},
	{"scratch", scratch_server, adopt_client, CASE_HEIR, NULL},
	{"detour", detour_server, adopt_client, CASE_HEIR, NULL},
	{"second_try", second_try_server, adopt_client, CASE_HEIR, NULL},
	{"failed", failed_server, adopt_client, 0, NULL},
	{"set", set_server, adopt_client, 0, NULL},
	{"in_recv", late_server, late_client, CASE_HEIR, by_recv},
	{"in_poll", late_server, late_client, CASE_HEIR, by_poll},
	{"in_epoll", late_server, late_client, CASE_HEIR, by_epoll},
	{"listener", exec_listener_server, adopt_fresh_client, 0, NULL},
	{"passed_listener", pass_listener_server, pass_listener_client, 0, &no},
	{"shared_listener", pass_listener_server, pass_listener_client, 0, &yes},
	{"bound_listener", pass_bound_server, pass_bound_client, 0, NULL},
	{"second_listener", second_listener_server, adopt_fresh_client, 0, &no},
	{"first_listener_killed", second_listener_server, adopt_fresh_client, 0, &yes},
	{"child_listener", child_listener_server, adopt_fresh_client, 0, &no},
	{"child_listener_alone", child_listener_server, adopt_fresh_client, 0, &yes},
	{NULL, NULL, NULL, 0, NULL},
};
