/* SPDX-License-Identifier: BSD-2-Clause */
/* oracle.c - the program around the cases, its transcript and its out-of-band pipes; see oracle.h. */
#include "oracle.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OOB_LEN 24

const struct oracle_case *the_case;
int is_server;

int is_patient(void)
{
	return getenv("ORACLE_PATIENT") != NULL;
}

/* ---- transcript ---- */

void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int saved = errno;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	if (write(ORACLE_LOG, line, (size_t)n) != n)
		_exit(97);
	errno = saved;
}

long say_result(const char *what, long result)
{
	if (result == -1)
		say("%s = -1 %s", what, strerrorname_np(errno));
	else
		say("%s = %ld", what, result);
	return result;
}

int say_holds(const char *what, int is_true)
{
	say("%s: %s", what, is_true ? "true" : "FALSE");
	return is_true;
}

long must(const char *what, long result)
{
	if (result == -1) {
		say("FALSE: %s failed: %s", what, strerrorname_np(errno));
		exit(98);
	}
	return result;
}

const char *event_names(unsigned events)
{
	static const struct {
		unsigned bit;
		const char *name;
	} table[] = {{POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"}, {POLLERR, "ERR"}, {POLLHUP, "HUP"}, {POLLNVAL, "NVAL"},
		{POLLRDNORM, "RDNORM"}, {POLLRDBAND, "RDBAND"}, {POLLWRNORM, "WRNORM"}, {POLLWRBAND, "WRBAND"},
		{POLLRDHUP, "RDHUP"}};
	static _Thread_local char text[128];
	char *p = text;

	*p = 0;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (events & table[i].bit)
			p += sprintf(p, "%s%s", p == text ? "" : "|", table[i].name);
	return *text ? text : "0";
}

/* ---- out of band ---- */

void tell(const char *what)
{
	char record[OOB_LEN] = {0};

	snprintf(record, sizeof record, "%s", what);
	if (write(ORACLE_WR, record, sizeof record) != sizeof record)
		say("FALSE: the other part is gone, it cannot be told '%s'", what);
}

static void next_record(char *record, const char *wanted)
{
	ssize_t n;

	do
		n = read(ORACLE_RD, record, OOB_LEN);
	while (n < 0 && errno == EINTR);
	if (n != OOB_LEN) {
		say("FALSE: the other part ended before it said '%s'", wanted);
		exit(98);
	}
	record[OOB_LEN - 1] = 0;
}

void await(const char *what)
{
	char record[OOB_LEN];

	next_record(record, what);
	if (strcmp(record, what)) {
		say("FALSE: awaited '%s', was told '%s'", what, record);
		exit(98);
	}
}

void tell_number(long n)
{
	char text[OOB_LEN];

	snprintf(text, sizeof text, "%ld", n);
	tell(text);
}

long await_number(void)
{
	char record[OOB_LEN];

	next_record(record, "a number");
	return strtol(record, NULL, 10);
}

void meet(const char *where)
{
	tell(where);
	await(where);
}

/* ---- processes ---- */

static void out_of_time(int sig)
{
	static const char text[] = "FALSE: out of time\n";

	(void)sig;
	if (write(ORACLE_LOG, text, sizeof text - 1) < 0)
		_exit(97);
	_exit(99);
}

static void set_limit(void)
{
	signal(SIGALRM, out_of_time);
	alarm(the_case->flags & CASE_SLOW ? 40 : 10);
}

pid_t fork_part(void)
{
	pid_t pid = (pid_t)MUST(fork());

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a part that fails must not leave children */
		set_limit();
	}
	return pid;
}

void join_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			MUST(-1);
	if (WIFSIGNALED(status))
		say("child: signal %s", sigabbrev_np(WTERMSIG(status)));
	else
		say("child: exit %d", WEXITSTATUS(status));
}

/* For a person with a debugger: both parts as children of one process, without the runner. */
static void start_both(void)
{
	int to_client[2], to_server[2], status;

	MUST(pipe(to_client));
	MUST(pipe(to_server));
	pid_t pid = (pid_t)MUST(fork());
	is_server = pid == 0;
	MUST(dup2(is_server ? to_server[0] : to_client[0], ORACLE_RD));
	MUST(dup2(is_server ? to_client[1] : to_server[1], ORACLE_WR));
	for (int i = 0; i < 2; i++) {
		close(to_client[i]);
		close(to_server[i]);
	}
	set_limit();
	(is_server ? the_case->server : the_case->client)();
	if (!is_server)
		waitpid(pid, &status, 0);
	exit(0);
}

int main(int argc, char **argv)
{
	const struct oracle_case *c = oracle_cases;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (; c->name; c++)
			printf("%s %u\n", c->name, c->flags);
		return 0;
	}
	while (argc >= 2 && c->name && strcmp(c->name, argv[1]))
		c++;
	if (argc < 2 || !c->name) {
		fprintf(stderr, "usage: %s --list | CASE [server|client]\n", argv[0]);
		return 2;
	}
	the_case = c;
	MUST(dup2(STDOUT_FILENO, ORACLE_LOG));
	if (argc == 2)
		start_both();
	is_server = !strcmp(argv[2], "server");
	set_limit();
	(is_server ? c->server : c->client)();
	return 0;
}
