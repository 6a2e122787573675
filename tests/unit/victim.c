/* SPDX-License-Identifier: BSD-2-Clause */
#include "victim.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rdv.h"
#include "sys.h"

#define END_MS 5000	 /* a program ends within */
#define REST_MS 300	 /* its CPU time is watched for so long when nobody talks to it any more ... */
#define REST_BUSY_MS 150 /* ... and stays below this: it does not spin */
#define SWITCH_EVERY_MS 400
#define N_PROG 4

uint32_t attack_ms = 1200;
static char dir[PATH_MAX];	    /* the build folder */
static struct prog running[N_PROG]; /* what a failed test leaves */

uint64_t now_ms(void)
{
	return sys_now_ns() / 1000000;
}

/* ---- programs */

static _Noreturn void prog_exec(int plain, const char *const args[])
{
	char shunt[PATH_MAX + 16], path[PATH_MAX + 64];
	const char *argv[16] = {shunt, "run", "--", path};

	snprintf(shunt, sizeof(shunt), "%s/shunt", dir);
	snprintf(path, sizeof(path), "%s/tests/progs/%s", dir, args[0]);
	for (int i = 1; args[i] && i < 12; i++)
		argv[3 + i] = args[i];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("SHUNT_MAP", scratch_map, 1);
	setenv("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1", 0);
	execv(plain ? path : shunt, (char **)(uintptr_t)(plain ? argv + 3 : argv));
	_exit(127);
}

struct prog prog_start(int plain, const char *const args[])
{
	struct prog p;
	int pipefd[2];

	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	p.out = pipefd[0];
	p.pid = fork();
	if (p.pid == 0) {
		dup2(pipefd[1], 1);
		prog_exec(plain, args);
	}
	close(pipefd[1]);
	for (int i = 0; i < N_PROG; i++) {
		if (!running[i].pid) {
			running[i] = p;
			break;
		}
	}
	return p;
}

static void prog_gone(const struct prog *p)
{
	close(p->out);
	for (int i = 0; i < N_PROG; i++)
		if (running[i].pid == p->pid)
			running[i].pid = 0;
}

void prog_says(const struct prog *p, long v[2])
{
	char line[64] = "";
	size_t n = 0;
	struct pollfd pfd = {.fd = p->out, .events = POLLIN};

	while (n < sizeof(line) - 1 && !strchr(line, '\n')) {
		assert_int_equal(poll(&pfd, 1, 10000), 1);
		ssize_t r = read(p->out, line + n, 1);
		assert_int_equal(r, 1);
		n++;
	}
	v[1] = 0;
	assert_true(sscanf(line, "%ld %ld", &v[0], &v[1]) >= 1);
}

/* CPU time in ms. */
static long prog_cpu(const struct prog *p)
{
	char path[64], text[512];
	unsigned long user, system;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)p->pid);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_int_equal(
		sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
	return (long)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

/* Its wait status. */
static int prog_end(struct prog *p)
{
	uint64_t end = now_ms() + END_MS;
	int st = -1;

	kill(p->pid, SIGTERM);
	while (waitpid(p->pid, &st, WNOHANG) == 0) {
		if (now_ms() > end) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, &st, 0);
			prog_gone(p);
			fail_msg("it did not end within %d ms of SIGTERM", END_MS);
		}
		poll(NULL, 0, 5);
	}
	prog_gone(p);
	return st;
}

void prog_ends(struct prog *p)
{
	int st = prog_end(p);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
}

void prog_comes_to_rest(const struct prog *p)
{
	uint64_t end = now_ms() + END_MS;
	long busy;

	do {
		long before = prog_cpu(p);
		poll(NULL, 0, REST_MS);
		busy = prog_cpu(p) - before;
	} while (busy > REST_BUSY_MS && now_ms() < end);
	if (busy > REST_BUSY_MS)
		fail_msg("the victim spins: %ld ms of CPU time in %d ms", busy, REST_MS);
}

void player_ends(struct prog *p, const char *who)
{
	long v[2];
	int st;

	kill(p->pid, SIGTERM);
	prog_says(p, v);
	st = prog_end(p);
	assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	print_message("%s: %ld rounds, the longest %ld ms\n", who, v[0], v[1]);
	assert_true(v[0] > 0);
	assert_true(v[1] <= STALL_MS);
}

/* ---- hostile processes */

void count_link(const struct world *w)
{
	if (write(w->report, "l", 1) != 1)
		_exit(3);
}

uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	return cookie;
}

struct diag_addr name_of(int fd, int peer)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct diag_addr a = {0};

	if ((peer ? getpeername(fd, (struct sockaddr *)&sa, &len) : getsockname(fd, (struct sockaddr *)&sa, &len)) == 0)
		diag_addr_from(&a, (struct sockaddr *)&sa, len);
	return a;
}

int offer_for(struct seg *seg, const struct ept_ref *r, uint16_t proto, const struct diag_addr *own,
	const struct diag_addr *peer, uint64_t cookie)
{
	int i = seg_chan_alloc(seg);

	if (i < 0) { /* what we have done to the bitmap */
		i = (int)(evil_rnd() % SM_N_CHAN);
		memset((void *)seg_chan(seg, (uint32_t)i), 0, sizeof(struct sm_chan));
	}
	seg_chan_offer(seg, (uint32_t)i, proto, own, peer, cookie);
	rdv_offer(r, 0);
	return i;
}

/* ---- the plots */

static void shunt_does(const char *verb, const struct prog *p)
{
	char shunt[PATH_MAX + 16], pid[16];
	pid_t child;

	snprintf(shunt, sizeof(shunt), "%s/shunt", dir);
	snprintf(pid, sizeof(pid), "%d", (int)p->pid);
	child = fork();
	if (child == 0) {
		close(2);
		execl(shunt, shunt, verb, pid, NULL);
		_exit(127);
	}
	waitpid(child, NULL, 0);
}

/* Until that ends. */
static void switch_until(pid_t evil, const struct prog *victim)
{
	siginfo_t si;

	for (;;) {
		si.si_pid = 0;
		if (waitid(P_PID, (id_t)evil, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid)
			break;
		poll(NULL, 0, SWITCH_EVERY_MS);
		shunt_does("off", victim);
		shunt_does("on", victim);
	}
}

static long links_made(int fd)
{
	char b[256];
	long n = 0;
	ssize_t r;

	while ((r = read(fd, b, sizeof(b))) > 0)
		n += r;
	close(fd);
	return n;
}

static struct prog serve(const char *prog, const char *manner, int plain, char port[16])
{
	struct prog p = prog_start(plain, (const char *const[]){prog, "serve", manner, NULL});
	long v[2];

	prog_says(&p, v);
	snprintf(port, 16, "%ld", v[0]);
	return p;
}

void client_against(const char *prog, const char *manner, int (*life)(void *world), int how)
{
	char port[16];
	struct prog victim = serve(prog, manner, 0, port), honest, plain = {0};
	struct world w;
	int pipefd[2];

	honest = prog_start(0, (const char *const[]){prog, "ping", "poll", port, NULL});
	if (how & PLAIN_TOO)
		plain = prog_start(1, (const char *const[]){prog, "ping", "poll", port, NULL});
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	w = (struct world){atoi(port), pipefd[1]};
	pid_t evil = scratch_fork(0, life, &w);
	close(pipefd[1]);
	if (how & SWITCHED)
		switch_until(evil, &victim);
	scratch_wait_ok(evil);
	assert_true(links_made(pipefd[0]) > 0);
	poll(NULL, 0, 100); /* for the honest one to see what is left */
	player_ends(&honest, "the honest one");
	if (how & PLAIN_TOO)
		player_ends(&plain, "by the kernel");
	prog_comes_to_rest(&victim);
	prog_ends(&victim);
}

void server_against(const char *prog, const char *manner, int (*life)(void *world), int how)
{
	char good[16], plain_port[16], bad[N_LAIR][16];
	struct prog honest = serve(prog, "epoll", 0, good), plain = {0}, victim;
	struct world w;
	int pipefd[2], port[N_LAIR];

	if (how & PLAIN_TOO)
		plain = serve(prog, "epoll", 1, plain_port);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	w = (struct world){0, pipefd[1]};
	pid_t evil = scratch_fork(0, life, &w);
	close(pipefd[1]);
	assert_int_equal(read(pipefd[0], port, sizeof(port)), sizeof(port));
	for (int i = 0; i < N_LAIR; i++)
		snprintf(bad[i], sizeof(bad[i]), "-%d", port[i]);
	victim = prog_start(0,
		(const char *const[]){prog, "ping", manner, good, bad[0], bad[1], how & PLAIN_TOO ? plain_port : NULL, NULL});
	if (how & SWITCHED)
		switch_until(evil, &victim);
	scratch_wait_ok(evil);
	assert_true(links_made(pipefd[0]) > 0);
	poll(NULL, 0, 100);
	player_ends(&victim, "with the honest ones");
	prog_comes_to_rest(&honest);
	prog_ends(&honest);
	if (how & PLAIN_TOO)
		prog_ends(&plain);
}

/* ---- for main() */

int victim_teardown(void **state)
{
	for (int i = 0; i < N_PROG; i++) {
		if (!running[i].pid)
			continue;
		kill(running[i].pid, SIGKILL);
		waitpid(running[i].pid, NULL, 0);
		prog_gone(&running[i]);
	}
	ept_gc(geteuid()); /* what those who were killed have left must not fail the next test too */
	return scratch_teardown(state);
}

int victim_run(const char *name, const struct CMUnitTest *tests, size_t n)
{
	const char *v = getenv("HOSTILE_SEED");
	ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	evil_seed = v ? (uint32_t)strtoul(v, NULL, 10) : (uint32_t)sys_now_ns() | 1;
	if ((v = getenv("HOSTILE_MS")))
		attack_ms = (uint32_t)strtoul(v, NULL, 10);
	for (int up = 0; len > 0 && up < 3; up++) /* BUILD/tests/unit/test_* */
		*strrchr(dir, '/') = 0;
	print_message("HOSTILE_SEED=%u\n", evil_seed);
	return scratch_run(name, tests, n);
}
