/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_fork.c - processes: a shared connection, servers that fork after accept or before it, exec with a live connection. */
#include "oracle.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Two processes take turns: each waits for the other's byte in its own pipe. */
struct turns {
	int mine[2], theirs[2];
};

static void pass_turn(const struct turns *t)
{
	MUST(write(t->theirs[1], "t", 1));
}
static void await_turn(const struct turns *t)
{
	MUST(read(t->mine[0], (char[1]){0}, 1) == 1 ? 0 : -1);
}

static struct turns new_turns(void)
{
	struct turns t;

	MUST(pipe2(t.mine, O_CLOEXEC));
	MUST(pipe2(t.theirs, O_CLOEXEC));
	return t;
}

static struct turns other_side(const struct turns *t)
{
	struct turns o;

	memcpy(o.mine, t->theirs, sizeof o.mine);
	memcpy(o.theirs, t->mine, sizeof o.theirs);
	return o;
}

static void echoing_client(void)
{
	int fd = the_case->flags & CASE_NOWARM ? connect_one() : connect_warm();
	char buf[512];
	ssize_t n;

	while ((n = MUST(read(fd, buf, sizeof buf))) > 0)
		put(fd, 100, 2, 0);
	TRY(close(fd));
}

/* ---- parent and child share one connection and alternate ---- */

/* One writes and reads 60 bytes of the answer, the other reads 40; then the other way round. */
static void shared_server(void)
{
	int fd = the_case->flags & CASE_NOWARM ? serve_one() : serve_warm();
	struct turns t = new_turns();
	pid_t pid = fork_part();

	if (pid == 0) {
		t = other_side(&t);
		for (unsigned i = 0; i < 200; i++) {
			await_turn(&t);
			get(fd, 40, 2, 60);
			put(fd, 10, 1, i);
			get(fd, 60, 2, 0);
			pass_turn(&t);
		}
		TRY(close(fd));
		exit(0);
	}
	for (unsigned i = 0; i < 200; i++) {
		put(fd, 10, 1, i);
		get(fd, 60, 2, 0);
		pass_turn(&t);
		await_turn(&t);
		get(fd, 40, 2, 60);
	}
	join_child(pid);
	put(fd, 10, 1, 0); /* alone again */
	get(fd, 100, 2, 0);
	TRY(close(fd));
}

/* The child writes, the parent reads. */
static void halves_server(void)
{
	int fd = serve_warm();
	pid_t pid = fork_part();

	if (pid == 0) {
		put(fd, 4 << 20, 2, 0);
		exit(0);
	}
	get(fd, 4 << 20, 1, 0);
	join_child(pid);
	meet("done");
	TRY(close(fd));
}

static void halves_client(void)
{
	int fd = connect_warm();
	pid_t pid = fork_part();

	if (pid == 0) {
		get(fd, 4 << 20, 2, 0);
		exit(0);
	}
	put(fd, 4 << 20, 1, 0);
	join_child(pid);
	meet("done");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* The end of file comes when the last holder closes. */
static void last_holder_server(void)
{
	int fd = serve_warm(), go[2];

	MUST(pipe2(go, O_CLOEXEC));
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(read(go[0], (char[1]){0}, 1));
		put(fd, 5, 2, 0);
		exit(0);
	}
	TRY(close(fd));
	tell("parent has closed");
	await("nothing yet");
	MUST(write(go[1], "g", 1));
	join_child(pid);
}

static void last_holder_client(void)
{
	int fd = connect_warm();

	await("parent has closed");
	TRY(recv(fd, (char[8]){0}, 8, MSG_DONTWAIT));
	tell("nothing yet");
	TRY(recv(fd, (char[8]){0}, 8, MSG_WAITALL));
	TRY(recv(fd, (char[8]){0}, 8, 0));
	TRY(close(fd));
}

/* ---- servers ---- */

#define CLIENTS 12

static void serve(int fd)
{
	warm_up(fd);
	for (unsigned i = 0; i < 100; i++) {
		get(fd, 50, 1, i);
		put(fd, 80, 2, i);
	}
	if (read(fd, (char[1]){0}, 1) != 0)
		say("FALSE: no end of file");
	MUST(close(fd));
}

static void per_connection_server(void)
{
	int port, status, lfd = listen_on("127.0.0.1", CLIENTS, &port);

	tell_number(port);
	for (int i = 0; i < CLIENTS; i++) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		if (fork_part() == 0) {
			MUST(close(lfd));
			serve(fd);
			exit(0);
		}
		MUST(close(fd));
	}
	for (int i = 0; i < CLIENTS; i++)
		if (wait(&status) < 0 || status)
			say("FALSE: a child ended with %x", (unsigned)status);
	await("done");
	TRY(close(lfd));
}

/* What accept() says then. */
static int serve_until_told(int lfd)
{
	for (;;) {
		int fd = accept(lfd, NULL, NULL);
		if (fd < 0)
			return errno;
		serve(fd);
	}
}

struct workers {
	int n;
	uid_t uid;  /* whose; their clients are his, too */
	int master; /* serves one connection itself, before */
};

/* Where there is another user; else all are the same one's. The right to be root again is kept, for what is written at the end. */
static void as_user(uid_t uid)
{
	(void)!setresuid((uid_t)-1, uid, (uid_t)-1);
}

/* The listener is made by the parent and handed to children; shutdown of it ends them. */
static void prefork_server(void)
{
	const struct workers *w = the_case->arg;
	int port, status, children = w->n, lfd = listen_on("127.0.0.1", CLIENTS, &port);

	tell_number(port);
	if (w->master)
		serve((int)MUST(accept(lfd, NULL, NULL)));
	for (int i = 0; i < children; i++)
		if (fork_part() == 0) {
			as_user(w->uid);
			int said = serve_until_told(lfd);
			as_user(0);
			exit(said == EINVAL ? 0 : 1);
		}
	await("done");
	TRY(shutdown(lfd, SHUT_RD));
	for (int i = 0; i < children; i++)
		if (wait(&status) < 0 || status)
			say("FALSE: a child ended with %x", (unsigned)status);
	TRY(close(lfd));
}

static void call(int port)
{
	int fd = (int)MUST(connect_to("127.0.0.1", port));

	warm_up(fd);
	for (unsigned i = 0; i < 100; i++) {
		put(fd, 50, 1, i);
		get(fd, 80, 2, i);
	}
	MUST(close(fd));
}

static void calls(int port)
{
	for (int k = 0; k < CLIENTS; k++)
		call(port);
	tell("done");
	say("%d clients", CLIENTS);
}

static void clients(void)
{
	calls((int)await_number());
}

static void clients_of_workers(void)
{
	const struct workers *w = the_case->arg;
	int port = (int)await_number();
	pid_t pid = w->master ? fork_part() : 1;

	if (pid == 0) { /* another process: this one shares no memory with the server yet */
		call(port);
		exit(0);
	}
	if (w->master)
		join_child(pid);
	as_user(w->uid);
	calls(port);
	as_user(0);
}

/* ---- exec ---- */

/* What the program after exec does with its inherited socket: the shell copies stdin to stdout, byte for byte. */
static void exec_server(void)
{
	int fd = serve_warm();
	pid_t pid = fork_part();

	if (pid == 0) {
		MUST(dup2(fd, 0));
		MUST(dup2(fd, 1));
		execlp("head", "head", "-c", "100000", (char *)NULL);
		_exit(127);
	}
	TRY(close(fd));
	join_child(pid);
}

static void exec_client(void)
{
	int fd = connect_warm();

	put(fd, 100000, 1, 0);
	get(fd, 100000, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* Unread bytes are inherited too; the parent goes on afterwards. */
static void exec_unread_server(void)
{
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 1000);
	get(fd, 300, 1, 0);
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(dup2(fd, 0));
		MUST(dup2(fd, 1));
		execlp("head", "head", "-c", "200", (char *)NULL);
		_exit(127);
	}
	join_child(pid); /* head may have read more than it wrote: what is left is its business */
	tell("go");
	await("sent");
	TRY(close(fd));
}

static void exec_unread_client(void)
{
	int fd = connect_warm();

	put(fd, 1000, 1, 0);
	tell("sent");
	get(fd, 200, 1, 300);
	await("go");
	tell("sent");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* system, popen and posix_spawn while a connection lives: it is not disturbed. (It is close-on-exec or not: both.) */
static void spawn_server(void)
{
	char line[64], *argv[] = {"true", NULL};
	int status, fd = serve_one();
	pid_t pid;

	MUST(fcntl(fd, F_SETFD, *(const int *)the_case->arg));
	warm_up(fd);
	for (unsigned i = 0; i < 5; i++) {
		put(fd, 10, 1, i);
		TRY(system("exit 3") >> 8);
		get(fd, 100, 2, 0);
		put(fd, 10, 1, i);
		FILE *f = popen("echo popen", "r");
		TRY(fgets(line, sizeof line, f) ? (long)strlen(line) : -1);
		TRY(pclose(f));
		get(fd, 100, 2, 0);
		TRY(posix_spawnp(&pid, "true", NULL, NULL, argv, NULL));
		MUST(waitpid(pid, &status, 0));
		pid = vfork();
		if (pid == 0)
			_exit(5);
		MUST(waitpid(pid, &status, 0));
		say("vfork: %d", WEXITSTATUS(status));
	}
	for (unsigned i = 0; i < 200; i++) {
		put(fd, 10, 1, i);
		get(fd, 100, 2, 0);
	}
	TRY(close(fd));
}

/* A set made before fork, used after it by the child. */
static void epoll_server(void)
{
	int fd = serve_warm(), ep = new_set();
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 7};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	pid_t pid = fork_part();
	if (pid == 0) {
		for (unsigned i = 0; i < 100; i++) {
			put(fd, 10, 1, i);
			if (epoll_wait(ep, &ev, 1, 5000) != 1 || ev.data.u64 != 7 || ev.events != EPOLLIN)
				say("FALSE: epoll_wait in the child");
			get(fd, 100, 2, 0);
		}
		exit(0);
	}
	join_child(pid);
	put(fd, 10, 1, 0);
	TRY(epoll_wait(ep, &ev, 1, 5000));
	get(fd, 100, 2, 0);
	TRY(close(fd));
	close(ep);
}

static const struct workers three = {3, 0, 0}, three_of_another = {3, 1000, 1};
static const int none = 0, cloexec = FD_CLOEXEC;

const struct oracle_case oracle_cases[] = {
	{"shared", shared_server, echoing_client, 0, NULL},
	{"shared_fresh", shared_server, echoing_client, CASE_NOWARM, NULL},
	{"halves", halves_server, halves_client, 0, NULL},
	{"last_holder", last_holder_server, last_holder_client, 0, NULL},
	{"per_connection", per_connection_server, clients, CASE_SLOW, NULL},
	{"prefork", prefork_server, clients_of_workers, CASE_SLOW, &three},
	{"prefork_user", prefork_server, clients_of_workers, CASE_SLOW, &three_of_another},
	{"exec", exec_server, exec_client, 0, NULL},
	{"exec_unread", exec_unread_server, exec_unread_client, 0, NULL},
	{"spawn", spawn_server, echoing_client, 0, &none},
	{"spawn_cloexec", spawn_server, echoing_client, 0, &cloexec},
	{"epoll", epoll_server, echoing_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
