/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_reuse.c - one number that is a connection and a file by turns, closed in every way there is: no byte of the one gets into the other. */
#include "oracle.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID 40 /* octets that a connection carries each way before it is closed */

extern char **environ;

/* ---- how a connection's number goes */

static void by_close(int fd)
{
	MUST(close(fd));
}

static void by_number(int fd)
{
	MUST(syscall(SYS_close, fd));
}

static void by_range(int fd)
{
	MUST(close_range((unsigned)fd, (unsigned)fd, 0));
}

static void by_range_number(int fd)
{
	MUST(syscall(SYS_close_range, (unsigned)fd, (unsigned)fd, 0u));
}

static void by_fclose(int fd)
{
	FILE *f = fdopen(fd, "r+");

	MUST(f ? 0 : -1);
	MUST(fclose(f));
}

static void by_freopen(int fd)
{
	FILE *f = fdopen(fd, "r+");

	MUST(f ? 0 : -1);
	HOLDS(freopen("/dev/null", "r", f) == f);
	HOLDS(fileno(f) == fd);
	MUST(fclose(f));
}

static void by_dup2(int fd)
{
	int null = (int)MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));

	MUST(dup2(null, fd));
	MUST(close(null));
	MUST(close(fd));
}

static void by_dup3_number(int fd)
{
	int null = (int)MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));

	MUST(syscall(SYS_dup3, null, fd, O_CLOEXEC));
	MUST(close(null));
	MUST(close(fd));
}

/* A child closes its copy, and has a file there, before it is another program; the parent's goes on until it is closed. */
static void by_spawn(int fd)
{
	posix_spawn_file_actions_t fa;
	char *argv[] = {"cat", NULL};
	int status, out[2];
	pid_t pid;
	char buf[4];

	MUST(pipe2(out, O_CLOEXEC));
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addclose(&fa, fd);
	posix_spawn_file_actions_addopen(&fa, fd, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, fd, 0);
	posix_spawn_file_actions_adddup2(&fa, out[1], 1);
	HOLDS(posix_spawnp(&pid, "cat", &fa, NULL, argv, environ) == 0);
	posix_spawn_file_actions_destroy(&fa);
	MUST(close(out[1]));
	TRY(read(out[0], buf, sizeof buf));
	MUST(waitpid(pid, &status, 0));
	HOLDS(status == 0);
	MUST(close(out[0]));
	MUST(close(fd));
}

/* ---- how a file's number goes */

static int memory(void)
{
	int fd = (int)MUST(memfd_create("reuse", MFD_CLOEXEC));

	MUST(write(fd, "file", 4));
	MUST(lseek(fd, 0, SEEK_SET));
	return fd;
}

static int a_number(void)
{
	return memory();
}

static int a_stream(void)
{
	FILE *f = fopen("/dev/zero", "r");
	int fd = fileno(f);

	HOLDS(getc(f) == 0);
	MUST(fclose(f));
	return fd;
}

static int a_folder(void)
{
	DIR *d = opendir("/");
	int fd = dirfd(d);

	HOLDS(readdir(d) != NULL);
	MUST(closedir(d));
	return fd;
}

static int a_pipe(void)
{
	FILE *f = popen("echo x", "r");
	int fd = fileno(f);

	HOLDS(getc(f) == 'x');
	HOLDS(pclose(f) == 0);
	return fd;
}

struct way {
	const char *name;
	void (*ends)(int fd);
	int (*file)(void); /* one that has been closed when it returns its number; a_number: one that has not */
};
static const struct way ways[] = {{"close", by_close, a_number}, {"close by number", by_number, a_stream},
	{"close_range", by_range, a_folder}, {"close_range by number", by_range_number, a_pipe},
	{"fclose", by_fclose, a_number}, {"freopen", by_freopen, a_stream}, {"dup2", by_dup2, a_folder},
	{"dup3 by number", by_dup3_number, a_pipe}, {"posix_spawn", by_spawn, a_number}};
#define N_WAY (sizeof ways / sizeof ways[0])

/* The number is a connection. */
static void talk(int fd, unsigned turn)
{
	warm_up(fd);
	get(fd, SAID, 1, turn * SAID);
	put(fd, SAID, 2, turn * SAID);
}

/* It is a file: what it holds is what was written to it, read by any name. */
static void file_at(int number)
{
	char buf[16] = {0};
	int fd = memory();

	HOLDS(fd == number);
	TRY(read(fd, buf, sizeof buf));
	HOLDS(!memcmp(buf, "file", 4));
	TRY(send(fd, "x", 1, 0));
	TRY(recv(fd, buf, 1, MSG_DONTWAIT));
	TRY(write(fd, "more", 4));
	TRY(pread(fd, buf, sizeof buf, 0));
	HOLDS(!memcmp(buf, "filemore", 8));
	MUST(close(fd));
}

static void ways_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);

	tell_number(port);
	for (unsigned i = 0; i < N_WAY; i++) {
		say("%s", ways[i].name);
		int was = ways[i].file();
		if (ways[i].file == a_number)
			MUST(close(was));
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		HOLDS(fd == was);
		talk(fd, i);
		ways[i].ends(fd);
		await("ended");
		file_at(fd);
	}
	TRY(close(lfd));
}

static void ways_client(void)
{
	int port = (int)await_number();

	for (unsigned i = 0; i < N_WAY; i++) {
		int fd = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd);
		put(fd, SAID, 1, i * SAID);
		get(fd, SAID, 2, i * SAID);
		TRY(read(fd, (char[1]){0}, 1));
		tell("ended");
		MUST(close(fd));
	}
}

/* closefrom takes the channel to the other part along. */
static void closefrom_server(void)
{
	int fd = serve_warm();

	if (fork_part() == 0) {
		closefrom(3);
		int file = (int)open("/dev/zero", O_RDONLY);
		char c = 1;
		_exit(file == 3 && read(file, &c, 1) == 1 && c == 0 && send(file, &c, 1, 0) < 0 && errno == ENOTSOCK ? 0 : 1);
	}
	int status;
	MUST(wait(&status));
	HOLDS(status == 0);
	get(fd, SAID, 1, 0);
	put(fd, SAID, 2, 0);
	TRY(close(fd));
}

static void closefrom_client(void)
{
	int fd = connect_warm();

	put(fd, SAID, 1, 0);
	get(fd, SAID, 2, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* The C library puts /dev/null in the place of 0, 1 and 2. */
static void daemon_server(void)
{
	int fd = serve_warm(), sv[2];
	char c = 0;

	MUST(pipe(sv));
	pid_t pid = fork_part();
	if (pid == 0) {
		MUST(dup2(fd, 0));
		MUST(dup2(fd, 1));
		MUST(close(fd));
		if (daemon(1, 0))
			_exit(1);
		c = read(0, &c, 1) == 0 && write(1, &c, 1) == 1 ? 'y' : 'n';
		_exit(write(sv[1], &c, 1) != 1);
	}
	join_child(pid);
	TRY(close(fd));
	TRY(read(sv[0], &c, 1));
	HOLDS(c == 'y');
}

static void daemon_client(void)
{
	int fd = connect_warm();

	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"ways", ways_server, ways_client, CASE_SLOW, NULL},
	{"closefrom", closefrom_server, closefrom_client, 0, NULL},
	{"daemon", daemon_server, daemon_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
