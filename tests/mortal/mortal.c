/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mortal.c - the two roles of tests/run_faults.py; see mortal.h.
 *
 *   mortal server|client PORT WITNESS LETTERS
 *
 * The server says "ready" and accepts one connection after the other; the client's first octet on each says what it is about. The client makes one for each letter. Each
 * connection is a line on stdout. Both take orders on stdin: "again" (a client) is one connection more; the end of it is theirs.
 */
#include "mortal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const char *self;
static struct sockaddr_in at = {.sin_family = AF_INET};

/* ---- arguments; what they say is in the environment for the program that we execute */

static void map_witness(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p = MAP_FAILED;
	if (fd >= 0 && ftruncate(fd, 4096) == 0)
		p = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
	w = p;
}

static const char *setting(const char *name, const char *given)
{
	if (given)
		setenv(name, given, 1);
	const char *v = getenv(name);
	if (!v) {
		fputs("usage: mortal server|client PORT WITNESS LETTERS\n", stderr);
		exit(2);
	}
	return v;
}

/* ---- server */

static int listen_here(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 16)) {
		perror("listen");
		exit(2);
	}
	return fd;
}

/* Another process listens there first, and ends as soon as we do too. */
static int listen_after_another(void)
{
	int ready[2], over[2];
	if (pipe2(ready, O_CLOEXEC) || pipe2(over, O_CLOEXEC))
		exit(2);
	pid_t pid = fork();
	if (!pid) {
		listen_here();
		close(ready[1]);
		close(over[1]);
		exit((int)read(over[0], &(char){0}, 1));
	}
	close(ready[1]);
	close(over[0]);
	if (read(ready[0], &(char){0}, 1))
		exit(2);
	int fd = listen_here();
	close(ready[0]);
	close(over[1]);
	waitpid(pid, NULL, 0);
	return fd;
}

/* Until stdin ends. */
static int serve(int listener)
{
	struct pollfd p[2] = {{.fd = listener, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	char letter;
	while (poll(p, 2, -1) > 0 || errno == EINTR) {
		if (p[0].revents) {
			int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0)
				continue;
			begin(fd);
			if (receive(fd, &letter, 1) == 1) {
				converse(fd, letter);
			} else {
				report("eof");
				close(fd);
			}
		} else if (p[1].revents) {
			break;
		}
	}
	close(listener);
	return 0;
}

/* ---- client */

static void one_connection(char letter)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	begin(fd);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) || send(fd, &letter, 1, MSG_NOSIGNAL) != 1) {
		report(errno == ECONNREFUSED ? "refused" : errno == ECONNRESET || errno == EPIPE ? "reset" : strerror(errno));
		close(fd);
		return;
	}
	converse(fd, letter);
}

static int take_orders(void)
{
	char line[64];
	say("done\n");
	while (read(0, line, sizeof(line)) > 0)
		one_connection('a');
	return 0;
}

static bool has(const char *letters, const char *some)
{
	return letters[strcspn(letters, some)];
}

int main(int argc, char **argv)
{
	self = argv[0];
	role = strcmp(setting("MORTAL_ROLE", argc > 1 ? argv[1] : NULL), "client") == 0 ? CLIENT : SERVER;
	at.sin_port = htons((uint16_t)atoi(setting("MORTAL_PORT", argc > 2 ? argv[2] : NULL)));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	map_witness(setting("MORTAL_WITNESS", argc > 3 ? argv[3] : NULL));
	const char *letters = setting("MORTAL_LETTERS", argc > 4 ? argv[4] : NULL), *inherited = getenv("MORTAL_FD");
	mine = &w->side[role];
	if (letters[0] == 'd')
		return datagrams(ntohs(at.sin_port), letters);
	if (has(letters, role == SERVER ? "g" : "G"))
		helper_start();
	if (inherited) {
		unsetenv("MORTAL_FD");
		if (atoi(inherited) >= 0)
			resume(atoi(inherited), 0);
	}
	if (role == SERVER) {
		int listener = has(letters, "q") ? listen_after_another() : listen_here();
		say("ready\n");
		return serve(listener);
	}
	for (const char *l = inherited ? "" : letters; *l; l++)
		one_connection(*l);
	return take_orders();
}
