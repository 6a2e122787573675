/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_stdio.c - stdio on a socket, on a fresh one and in the middle of its life: stdio's own reads and writes pass no interposer. */
#include "oracle.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static FILE *stream_on(int fd, const char *mode)
{
	FILE *f = fdopen(fd, mode);

	MUST(f ? 0 : -1);
	return f;
}

/* ---- lines, both ways ---- */

static void lines_server(void)
{
	char line[200];
	int fd = the_case->flags & CASE_NOWARM ? serve_one() : serve_warm();
	FILE *in = stream_on(fd, "r"), *out = stream_on((int)MUST(dup(fd)), "w");

	for (int i = 0; fgets(line, sizeof line, in); i++) {
		if (i % 50 == 0)
			say("%d: %s", i, strtok(line, "\n"));
		if (fprintf(out, "line %d had %zu characters\n", i, strlen(line)) < 0 || fflush(out))
			say("FALSE: fprintf");
	}
	HOLDS(feof(in));
	TRY(fclose(in));
	TRY(fclose(out));
	TRY(write(fd, "x", 1));
}

static void lines_client(void)
{
	char line[200];
	int fd = the_case->flags & CASE_NOWARM ? connect_one() : connect_warm();

	for (int i = 0; i < 200; i++) {
		if (dprintf(fd, "request %d\n", i) < 0)
			say("FALSE: dprintf");
		size_t n = 0;
		while (n == 0 || line[n - 1] != '\n')
			n += (size_t)MUST(read(fd, line + n, 1));
		line[n - 1] = 0;
		if (i % 50 == 0)
			say("%s", line);
	}
	TRY(shutdown(fd, SHUT_WR));
	TRY(read(fd, line, 1));
	TRY(close(fd));
}

/* ---- in the middle: unread bytes are there when stdio comes, and read and write are used beside it ---- */

static void middle_server(void)
{
	char buf[100];
	int fd = serve_warm();

	no_delay(fd);
	await("sent");
	unread_is(fd, 1000);
	tell("counted");
	get(fd, 100, 1, 0);
	FILE *f = stream_on(fd, "r+");
	setvbuf(f, NULL, _IONBF, 0);
	TRY(fread(buf, 1, 100, f));
	say("sum %016llx", (unsigned long long)sum_bytes(0, buf, 100));
	get(fd, 300, 1, 200);
	TRY(fread(buf, 1, 100, f));
	get(fd, 400, 1, 600);
	for (unsigned i = 0; i < 300; i++) {
		get(fd, 30, 1, i);
		if (fwrite(buf, 1, 50, f) != 50 || fflush(f))
			say("FALSE: fwrite");
		put(fd, 50, 2, i);
	}
	HOLDS(fileno(f) == fd);
	TRY(fclose(f)); /* closes the socket by libc's own close */
	TRY(write(fd, "x", 1));
}

static void middle_client(void)
{
	char buf[50];
	int fd = connect_warm();

	put(fd, 1000, 1, 0);
	tell("sent");
	await("counted");
	for (unsigned i = 0; i < 300; i++) {
		put(fd, 30, 1, i);
		if (recv(fd, buf, 50, MSG_WAITALL) != 50)
			say("FALSE: recv");
		get(fd, 50, 2, i);
	}
	TRY(read(fd, buf, 1));
	TRY(close(fd));
}

/* ---- bytes that stdio has buffered go out at exit ---- */

static void at_exit_server(void)
{
	pid_t pid = fork_part();

	if (pid == 0) {
		FILE *f = stream_on(serve_warm(), "w");
		for (unsigned i = 0; i < 10000; i++)
			fprintf(f, "%u\n", i);
		exit(0);
	}
	join_child(pid);
}

static void at_exit_client(void)
{
	uint64_t sum;
	int fd = connect_warm();

	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	TRY(close(fd));
}

/* ---- getline, getc, scanf, ungetc; freopen takes the number away ---- */

static void scan_server(void)
{
	char *line = NULL;
	size_t size = 0;
	int a, b, fd = serve_warm();
	FILE *f = stream_on(fd, "r");

	TRY(fscanf(f, "%d + %d\n", &a, &b));
	say("%d", a + b);
	TRY(getline(&line, &size, f));
	TRY(getc(f));
	TRY(ungetc('u', f));
	TRY(fgetc(f));
	HOLDS(freopen("/dev/null", "r", f) == f);
	TRY(getc(f));
	TRY(fclose(f));
	tell("gone");
	free(line);
}

static void scan_client(void)
{
	int fd = connect_warm();

	TRY(dprintf(fd, "%d + %d\nand a line\nx", 40, 2));
	await("gone");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- what is still in the buffer cannot be written any more: fclose says so ---- */

static void too_late_server(void)
{
	int fd = serve_warm();
	FILE *f = stream_on((int)MUST(dup(fd)), "w");

	signal(SIGPIPE, SIG_IGN);
	HOLDS(fputs("too late", f) >= 0);
	TRY(shutdown(fd, SHUT_WR));
	TRY(fclose(f));
	TRY(close(fd));
}

static void too_late_client(void)
{
	int fd = connect_warm();

	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"lines", lines_server, lines_client, 0, NULL},
	{"lines_fresh", lines_server, lines_client, CASE_NOWARM, NULL},
	{"middle", middle_server, middle_client, 0, NULL},
	{"at_exit", at_exit_server, at_exit_client, 0, NULL},
	{"scan", scan_server, scan_client, 0, NULL},
	{"too_late", too_late_server, too_late_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
