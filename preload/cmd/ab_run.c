/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_run.c - one run: a command, or a fresh server on a free port and a client of it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ab.h"
#include "diag.h"

#define READY_S 10

static const char *const way_name[] = {"without shunt", "with shunt"};

/* false, for `return fail(...)`. */
static bool __attribute__((format(printf, 2, 3))) fail(struct ab_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, ap);
	va_end(ap);
	return false;
}

/* A port that nobody uses now. 0: none. */
static unsigned free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&a, len) || getsockname(fd, (struct sockaddr *)&a, &len))
		a.sin_port = 0;
	close(fd);
	return ntohs(a.sin_port);
}

/* `text` with each {port} replaced, split into words as a shell does. */
static bool split(const char *text, unsigned port, wordexp_t *w, struct ab_run *r)
{
	char with[4096];
	size_t n = 0;
	int e;

	while (*text && n < sizeof(with) - 8) {
		if (!strncmp(text, "{port}", 6)) {
			n += (size_t)snprintf(with + n, 8, "%u", port);
			text += 6;
		} else {
			with[n++] = *text++;
		}
	}
	with[n] = 0;
	e = *text ? WRDE_NOSPACE : wordexp(with, w, WRDE_NOCMD);
	if (e == WRDE_BADCHAR || e == WRDE_CMDSUB)
		return fail(r, "'%s' needs a shell: give sh -c '...'", with);
	if (e || !w->we_wordc)
		return fail(r, "'%s' is not a command", with);
	return true;
}

/* Looks into the kernel's tables, without a connection: a server that accepts only one is not disturbed. */
static bool somebody_is_at(unsigned port)
{
	const struct diag_addr any[] = {{.family = AF_INET}, {.family = AF_INET6}};
	struct diag_addr at[] = {{.family = AF_INET, .port = (uint16_t)port, .addr = {127, 0, 0, 1}},
		{.family = AF_INET6, .port = (uint16_t)port}};
	struct diag_sock d;

	at[1].addr[15] = 1;
	for (int i = 0; i < 2; i++)
		if (!diag_listener(&at[i], &d) || !diag_udp(&at[i], &any[i], &d))
			return true;
	return false;
}

static bool is_ready(const char *ready, unsigned port, struct ab_run *r)
{
	struct ab_proc p;
	wordexp_t w;
	bool ok;

	if (port)
		return somebody_is_at(port);
	if (!split(ready, 0, &w, r))
		return false;
	ok = !ab_start(&p, w.we_wordv, NULL) && ab_wait(&p, READY_S) == 1 && WIFEXITED(p.status) && !WEXITSTATUS(p.status);
	ab_stop(&p);
	ab_proc_fini(&p);
	wordfree(&w);
	return ok;
}

static void last_line(const struct ab_proc *p, char *buf, size_t len)
{
	char *text = ab_output(p), *s;

	buf[0] = 0;
	for (s = text ? strtok(text, "\n") : NULL; s; s = strtok(NULL, "\n"))
		snprintf(buf, len, "%s", s);
	free(text);
}

/* It has ended, and should not have, or not so. */
static bool fail_by_end(struct ab_run *r, const char *who, const struct ab_proc *p)
{
	char last[160];

	last_line(p, last, sizeof(last));
	if (WIFSIGNALED(p->status))
		return fail(r, "the %s was killed by %s%s%s", who, strsignal(WTERMSIG(p->status)), last[0] ? ": " : "", last);
	return fail(r, "the %s ended with status %d%s%s", who, WEXITSTATUS(p->status), last[0] ? ": " : "", last);
}

static bool wait_ready(const struct ab_conf *c, unsigned port, struct ab_proc *server, struct ab_run *r)
{
	static const struct timespec nap = {.tv_nsec = 2000000};
	double until = ab_now() + READY_S;
	char *end;

	if (c->ready) {
		port = (unsigned)strtoul(c->ready, &end, 10);
		if (*end)
			port = 0;
	}
	while (!is_ready(c->ready, port, r)) {
		int w = ab_wait(server, 0);
		if (r->error[0])
			return false;
		if (w == 1)
			return fail_by_end(r, "server", server);
		if (w < 0)
			return fail(r, "interrupted");
		if (ab_now() > until)
			return port ? fail(r, "the server does not listen on port %u after %d s; see --ready", port, READY_S)
				    : fail(r, "'%s' does not succeed after %d s", c->ready, READY_S);
		nanosleep(&nap, NULL);
	}
	return true;
}

static bool take_figure(const struct ab_conf *c, const struct ab_proc *p, struct ab_run *r)
{
	char *text;
	int e;

	r->figure = r->wall_s;
	if (!c->metric.regex)
		return true;
	text = ab_output(p);
	e = text ? ab_metric_find(&c->metric, text, &r->figure) : -ENOMEM;
	free(text);
	if (e) {
		char last[160];
		last_line(p, last, sizeof(last));
		return fail(
			r, "its output has no %s: nothing matches '%s'; it ends in: %s", c->metric.name, c->metric.regex, last);
	}
	return r->figure > 0 ? true : fail(r, "the %s is 0", c->metric.name);
}

/* The part that is measured, to its end. */
static bool run_client(const struct ab_conf *c, char *const argv[], const char *stats, struct ab_run *r)
{
	struct ab_proc p;
	double begin = ab_now();
	int w;
	bool ok = false;

	if (ab_start(&p, argv, stats))
		return fail(r, "it cannot be started: %s", strerror(errno));
	w = ab_wait(&p, c->run_limit_s);
	r->wall_s = ab_now() - begin;
	if (w == 1) {
		r->used[AB_CLIENT] = p.used;
		ok = WIFEXITED(p.status) && !WEXITSTATUS(p.status) ? take_figure(c, &p, r)
								   : fail_by_end(r, c->server ? "client" : "command", &p);
	} else {
		ok = w < 0 ? fail(r, "interrupted") : fail(r, "it has not ended after %.0f s; see --run-limit", c->run_limit_s);
	}
	ab_stop(&p);
	ab_proc_fini(&p);
	return ok;
}

bool ab_pair_start(const struct ab_conf *c, struct ab_pair *p, const char *stats, struct ab_run *r)
{
	unsigned port = free_port();

	*p = (struct ab_pair){0};
	if (!split(c->server, port, &p->server_words, r))
		return false;
	if (!split(c->client, port, &p->client, r)) {
		wordfree(&p->server_words);
		return false;
	}
	if (ab_start(&p->server, p->server_words.we_wordv, stats))
		fail(r, "the server cannot be started: %s", strerror(errno));
	else if (wait_ready(c, port, &p->server, r))
		return true;
	ab_pair_stop(p);
	return false;
}

void ab_pair_stop(struct ab_pair *p)
{
	ab_stop(&p->server);
	ab_proc_fini(&p->server);
	wordfree(&p->server_words);
	wordfree(&p->client);
}

static bool run_pair(const struct ab_conf *c, const char *stats, struct ab_run *r)
{
	struct ab_pair p;
	bool ok;

	if (!ab_pair_start(c, &p, stats, r))
		return false;
	ok = run_client(c, p.client.we_wordv, stats, r);
	ab_pair_stop(&p);
	r->used[AB_SERVER] = p.server.used;
	return ok;
}

bool ab_run(const struct ab_conf *c, enum ab_way way, struct ab_run *r)
{
	char file[] = "/tmp/shunt-ab-XXXXXX";
	const char *stats = NULL;
	bool ok;
	int fd;

	*r = (struct ab_run){0};
	if (way == AB_SHUNT && !c->itself) {
		fd = mkstemp(file);
		if (fd < 0)
			return fail(r, "%s: %s", file, strerror(errno));
		close(fd);
		stats = file;
	}
	ok = c->server ? run_pair(c, stats, r) : run_client(c, c->command, stats, r);
	if (stats) {
		ab_stats_read(stats, &r->bytes);
		unlink(stats);
	}
	if (!ok) {
		char why[sizeof(r->error)];
		snprintf(why, sizeof(why), "%s", r->error);
		snprintf(r->error, sizeof(r->error), "%s: %.280s", way_name[way], why);
	}
	return ok;
}
