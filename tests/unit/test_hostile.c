/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hostile.c - a peer that is out to do harm. It makes a real association and real connections with a program that runs under the interposer, and then writes
 * over everything in the segment that can be written: at random, with values from the edges, and chasing what the victim does. The victim may lose
 * that connection; it must not crash, it must go on serving an honest one, it must come to rest afterwards, and it must end when told.
 *
 * The victim is tests/progs/echo_many, in a build with sanitizers a sanitized one. HOSTILE_SEED=n repeats a run's choices, HOSTILE_MS=n is the length of an attack.
 */
#include <errno.h>
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

#include "atomic.h"
#include "evil.h"
#include "rdv.h"
#include "scratch.h"
#include "sysv.h"

#define LINK_MS 2000	 /* for the victim to take our channel; it has to, or nothing was tested */
#define STALL_MS 2500	 /* the honest connection may wait for so long on a busy machine, and no longer */
#define END_MS 5000	 /* the victim ends within */
#define REST_MS 300	 /* its CPU time is watched for so long when nobody talks to it any more ... */
#define REST_BUSY_MS 150 /* ... and stays below this: it does not spin */
#define N_HOSTILE 3	 /* hostile connections at a time */

static uint32_t attack_ms = 1200;
static char dir[PATH_MAX]; /* the build folder */

static uint64_t now_ms(void)
{
	return sys_now_ns() / 1000000;
}

/* ---- the programs under the interposer */

struct prog {
	pid_t pid;
	int out;
};
static struct prog running[4]; /* what a failed test leaves */

static struct prog prog_start(const char *const args[])
{
	char shunt[PATH_MAX + 16], echo[PATH_MAX + 32];
	const char *argv[10] = {shunt, "run", "--", echo};
	struct prog p;
	int pipefd[2];

	snprintf(shunt, sizeof(shunt), "%s/shunt", dir);
	snprintf(echo, sizeof(echo), "%s/tests/progs/echo_many", dir);
	for (int i = 0; args[i]; i++)
		argv[4 + i] = args[i], argv[5 + i] = NULL;
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	p.out = pipefd[0];
	p.pid = fork();
	if (p.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipefd[1], 1);
		setenv("SHUNT_MAP", scratch_map, 1);
		setenv("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1", 0);
		execv(shunt, (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(pipefd[1]);
	for (int i = 0; i < 4; i++) {
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
	for (int i = 0; i < 4; i++)
		if (running[i].pid == p->pid)
			running[i].pid = 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 4; i++) {
		if (!running[i].pid)
			continue;
		kill(running[i].pid, SIGKILL);
		waitpid(running[i].pid, NULL, 0);
		prog_gone(&running[i]);
	}
	ept_gc(geteuid()); /* what those who were killed have left must not fail the next test too */
	return scratch_teardown(state);
}

/* A line of its output into numbers; fails the test after 10 s. */
static void prog_says(const struct prog *p, long v[2])
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

/* It ends within END_MS of SIGTERM: its wait status; fails the test otherwise. */
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
			fail_msg("the victim did not end within %d ms of SIGTERM", END_MS);
		}
		poll(NULL, 0, 5);
	}
	prog_gone(p);
	return st;
}

/* Its CPU time stands still, sooner or later: it is not in a loop. */
static void prog_comes_to_rest(const struct prog *p)
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

/* ---- the hostile client */

struct world {
	int port; /* of the victim, or ours */
	int report;
};

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	return cookie;
}

static int join(int port)
{
	struct diag_addr at = scratch_addr("127.0.0.1", (uint16_t)port);
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(at.port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(&sa.sin_addr, at.addr, 4);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

static struct diag_addr name_of(int fd, int peer)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct diag_addr a = {0};

	if ((peer ? getpeername(fd, (struct sockaddr *)&sa, &len) : getsockname(fd, (struct sockaddr *)&sa, &len)) == 0)
		diag_addr_from(&a, (struct sockaddr *)&sa, len);
	return a;
}

/* As preload/link.c does it, for whatever connection. */
static int offer_for(
	struct seg *seg, const struct ept_ref *r, const struct diag_addr *own, const struct diag_addr *peer, uint64_t cookie)
{
	int i = seg_chan_alloc(seg);

	if (i < 0) { /* what we have done to the bitmap */
		i = (int)(evil_rnd() % SM_N_CHAN);
		memset((void *)seg_chan(seg, (uint32_t)i), 0, sizeof(struct sm_chan));
	}
	seg_chan_offer(seg, (uint32_t)i, IPPROTO_TCP, own, peer, cookie);
	rdv_offer(r, 0);
	return i;
}

static void offer(struct evil *e, struct seg *seg, const struct ept_ref *r, int fd)
{
	struct diag_addr own = name_of(fd, 0), peer = name_of(fd, 1);

	evil_link(e, fd, seg, (uint32_t)offer_for(seg, r, &own, &peer, cookie_of(fd)), SM_CLIENT);
}

/* The victim takes the channel on one of its next calls. */
static int wait_linked(struct evil *e)
{
	uint64_t end = now_ms() + LINK_MS;
	char b[64];

	while (!(load_acquire(&e->its->flags) & SM_END_LINKED)) {
		if (now_ms() > end || send(e->fd, "?", 1, MSG_NOSIGNAL) < 0)
			return -1;
		poll(&(struct pollfd){.fd = e->fd, .events = POLLIN}, 1, 20);
		recv(e->fd, b, sizeof(b), MSG_DONTWAIT);
	}
	return 0;
}

static void count_link(const struct world *w)
{
	if (write(w->report, "l", 1) != 1)
		_exit(3);
}

/* Connections that are attacked until `end`; a client makes new ones for those that the victim has ended. */
static int client_life(void *arg)
{
	struct world *w = arg;
	struct evil ev[N_HOSTILE];
	uint64_t end = now_ms() + attack_ms;
	struct diag_addr to = scratch_addr("127.0.0.1", (uint16_t)w->port);
	struct ept_ref r;
	struct seg seg;
	int fd = join(w->port);

	EXPECT(fd >= 0);
	EXPECT(ept_lookup(&r, &to, diag_netns(fd)) == 0);
	EXPECT(rdv_call(&seg, &r, geteuid(), LINK_MS, NULL, NULL) == 0);
	close(fd);
	for (int i = 0; i < N_HOSTILE; i++)
		ev[i].fd = -1;
	while (now_ms() < end) {
		struct evil *e = &ev[evil_rnd() % N_HOSTILE];
		if (e->fd < 0) {
			fd = join(w->port);
			if (fd < 0)
				continue;
			offer(e, &seg, &r, fd);
			if (wait_linked(e) == 0)
				count_link(w);
			evil_play_along(e);
		}
		for (uint32_t n = evil_rnd() % 8; n; n--) {
			evil_attack(e);
			if (e->fd >= 0 && (evil_talk(e) < 0 || evil_rnd() % 400 == 0)) {
				close(e->fd);
				e->fd = -1;
				break;
			}
		}
	}
	return 0;
}

/* ---- the hostile server */

struct lair {
	int fd;
	struct ept_key key;
	struct ept e;
	struct seg seg; /* the victim's last association */
	struct evil ev[N_HOSTILE];
};

static void lair_accept(struct lair *l)
{
	for (int i = 0; i < N_HOSTILE; i++) {
		if (l->ev[i].fd >= 0)
			continue;
		l->ev[i] = (struct evil){.fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)};
		return;
	}
}

static void lair_adopt(struct lair *l)
{
	struct seg s;

	if (rdv_answer(&l->e, &s) != 1)
		return;
	for (int i = 0; i < N_HOSTILE; i++)
		l->ev[i].seg = NULL;
	seg_detach(&l->seg);
	l->seg = s;
}

/* A channel that was offered for this connection. */
static void lair_link(struct lair *l, struct evil *e, const struct world *w)
{
	struct diag_addr peer = name_of(e->fd, 1);

	for (uint32_t i = 0; l->seg.hdr && i < SM_N_CHAN; i++) {
		struct sm_chan *c = seg_chan(&l->seg, i);
		if (load_acquire(&c->state) != SM_CHAN_OFFERED || c->client_port != peer.port)
			continue;
		store_release(&c->state, SM_CHAN_LINKED);
		evil_link(e, e->fd, &l->seg, i, SM_SERVER);
		evil_play_along(e);
		count_link(w);
		return;
	}
}

static int server_turn(struct lair *l, const struct world *w)
{
	struct evil *e = &l->ev[evil_rnd() % N_HOSTILE];
	char b[4096];
	ssize_t n;

	lair_adopt(l);
	if (e->fd < 0) {
		lair_accept(l);
		return 0;
	}
	if (!e->seg) { /* an honest server so far */
		lair_link(l, e, w);
		n = recv(e->fd, b, sizeof(b), MSG_DONTWAIT);
		if (n > 0)
			n = send(e->fd, b, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			close(e->fd), e->fd = -1;
		return 0;
	}
	for (uint32_t k = evil_rnd() % 8; k; k--) {
		evil_attack(e);
		if (evil_talk(e) < 0 || evil_rnd() % 400 == 0) {
			close(e->fd);
			*e = (struct evil){.fd = -1};
			break;
		}
	}
	return 0;
}

static int server_life(void *arg)
{
	struct world *w = arg;
	struct lair l = {.fd = -1};
	uint64_t end;
	uint16_t port;

	l.fd = scratch_listen("127.0.0.1", 0, &l.key);
	port = l.key.at.port;
	fcntl(l.fd, F_SETFL, O_NONBLOCK);
	EXPECT(ept_publish(&l.e, &l.key, geteuid()) == 0);
	EXPECT(write(w->report, &port, sizeof(port)) == sizeof(port));
	for (int i = 0; i < N_HOSTILE; i++)
		l.ev[i].fd = -1;
	end = now_ms() + attack_ms + 1000; /* the victim has to start first */
	while (now_ms() < end)
		server_turn(&l, w);
	ept_retract(&l.e);
	return 0;
}

/* ---- the tests */

static long links_made(int fd)
{
	char b[256];
	long n = 0;
	ssize_t r;

	while ((r = read(fd, b, sizeof(b))) > 0)
		n += r;
	return n;
}

/* It plays still, and never had to wait for long. */
static void check_player(struct prog *p)
{
	long v[2];
	int st;

	kill(p->pid, SIGTERM);
	prog_says(p, v);
	st = prog_end(p);
	assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	print_message("the honest connection: %ld rounds, the longest %ld ms\n", v[0], v[1]);
	assert_true(v[0] > 0);
	assert_true(v[1] <= STALL_MS);
}

static void client_against(const char *manner)
{
	struct prog victim = prog_start((const char *const[]){"serve", manner, NULL}), honest;
	struct world w;
	char port[16];
	long v[2];
	int pipefd[2];

	prog_says(&victim, v);
	snprintf(port, sizeof(port), "%ld", v[0]);
	honest = prog_start((const char *const[]){"ping", "poll", port, NULL});
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	w = (struct world){(int)v[0], pipefd[1]};
	pid_t evil = scratch_fork(0, client_life, &w);
	close(pipefd[1]);
	scratch_wait_ok(evil);
	assert_true(links_made(pipefd[0]) > 0);
	close(pipefd[0]);
	poll(NULL, 0, 100); /* for the honest one to see what is left */
	check_player(&honest);
	prog_comes_to_rest(&victim);
	int st = prog_end(&victim);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
}

static void a_server_survives_it_with_poll(void **state)
{
	(void)state;
	client_against("poll");
}

static void a_server_survives_it_with_epoll(void **state)
{
	(void)state;
	client_against("epoll");
}

static void a_server_survives_it_with_threads(void **state)
{
	(void)state;
	client_against("threads");
}

/* ---- a third user who claims somebody else's connection */

struct claim {
	int port, report;
	struct diag_addr own, peer; /* of the connection that is claimed */
	uint64_t cookie;
};

/* Its own connection it gets a channel for; the other's, with all that the kernel tells everybody of it, it never does. */
static int claimer_life(void *arg)
{
	struct claim *c = arg;
	struct diag_addr to = scratch_addr("127.0.0.1", (uint16_t)c->port);
	struct evil mine;
	struct ept_ref r;
	struct seg seg;
	uint64_t end = now_ms() + attack_ms;
	int fd = join(c->port), n = 0, claimed[64];

	EXPECT(fd >= 0 && ept_lookup(&r, &to, diag_netns(fd)) == 0);
	EXPECT(rdv_call(&seg, &r, 0, LINK_MS, NULL, NULL) == 0);
	offer(&mine, &seg, &r, fd);
	while (now_ms() < end) {
		if (n < 64)
			claimed[n++] = offer_for(&seg, &r, &c->own, &c->peer, c->cookie);
		poll(NULL, 0, 5);
		for (int i = 0; i < n; i++)
			EXPECT(load_acquire(&seg_chan(&seg, (uint32_t)claimed[i])->state) == SM_CHAN_OFFERED);
	}
	EXPECT(wait_linked(&mine) == 0); /* offers are looked at here */
	EXPECT(write(c->report, "e", 1) == 1);
	return 0;
}

static void a_third_user_cannot_claim_a_connection(void **state)
{
	struct prog victim;
	char sent[64], got[64];
	unsigned rounds = 0;
	int fd, pipefd[2], st;
	long v[2];

	(void)state;
	scratch_need_root();
	victim = prog_start((const char *const[]){"serve", "poll", NULL});
	prog_says(&victim, v);
	fd = join((int)v[0]);
	assert_true(fd >= 0);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC | O_NONBLOCK), 0);
	struct claim c = {(int)v[0], pipefd[1], name_of(fd, 0), name_of(fd, 1), cookie_of(fd)};
	pid_t mallory = scratch_fork(MALLORY, claimer_life, &c);
	close(pipefd[1]);
	while (read(pipefd[0], got, 1) < 0) { /* until it has ended */
		memset(sent, (int)(rounds++ % 251), sizeof(sent));
		assert_int_equal(send(fd, sent, sizeof(sent), MSG_NOSIGNAL), sizeof(sent));
		assert_int_equal(recv(fd, got, sizeof(got), MSG_WAITALL), sizeof(got));
		assert_memory_equal(sent, got, sizeof(got));
	}
	scratch_wait_ok(mallory);
	assert_true(rounds > 100);
	close(pipefd[0]);
	close(fd);
	st = prog_end(&victim);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
}

/* The victim plays with an honest server as well. */
static void server_against(const char *manner)
{
	struct prog honest = prog_start((const char *const[]){"serve", "epoll", NULL}), victim;
	char good[16], bad[16];
	struct world w;
	uint16_t port;
	long v[2];
	int pipefd[2];

	prog_says(&honest, v);
	snprintf(good, sizeof(good), "%ld", v[0]);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	w = (struct world){0, pipefd[1]};
	pid_t evil = scratch_fork(0, server_life, &w);
	close(pipefd[1]);
	assert_int_equal(read(pipefd[0], &port, sizeof(port)), sizeof(port));
	snprintf(bad, sizeof(bad), "%d", port);
	victim = prog_start((const char *const[]){"ping", manner, good, bad, bad, NULL});
	scratch_wait_ok(evil);
	assert_true(links_made(pipefd[0]) > 0);
	close(pipefd[0]);
	poll(NULL, 0, 100);
	check_player(&victim);
	prog_comes_to_rest(&honest);
	int st = prog_end(&honest);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
}

static void a_client_survives_it_with_poll(void **state)
{
	(void)state;
	server_against("poll");
}

static void a_client_survives_it_with_epoll(void **state)
{
	(void)state;
	server_against("epoll");
}

static void a_client_survives_it_with_threads(void **state)
{
	(void)state;
	server_against("threads");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_server_survives_it_with_poll, scratch_setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_survives_it_with_epoll, scratch_setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_survives_it_with_threads, scratch_setup, teardown),
		cmocka_unit_test_setup_teardown(a_third_user_cannot_claim_a_connection, scratch_setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_survives_it_with_poll, scratch_setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_survives_it_with_epoll, scratch_setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_survives_it_with_threads, scratch_setup, teardown),
	};
	const char *v = getenv("HOSTILE_SEED");
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	evil_seed = v ? (uint32_t)strtoul(v, NULL, 10) : (uint32_t)sys_now_ns() | 1;
	if ((v = getenv("HOSTILE_MS")))
		attack_ms = (uint32_t)strtoul(v, NULL, 10);
	for (int up = 0; n > 0 && up < 3; up++) /* BUILD/tests/unit/test_hostile */
		*strrchr(dir, '/') = 0;
	print_message("HOSTILE_SEED=%u\n", evil_seed);
	return scratch_run("hostile", tests, sizeof(tests) / sizeof(*tests));
}
