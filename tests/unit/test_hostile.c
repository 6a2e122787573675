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
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "rdv.h"
#include "victim.h"

#define N_HOSTILE 3 /* hostile connections at a time */

/* ---- the hostile client */

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

static void offer(struct evil *e, struct seg *seg, const struct ept_ref *r, int fd)
{
	struct diag_addr own = name_of(fd, 0), peer = name_of(fd, 1);

	evil_link(e, fd, seg, (uint32_t)offer_for(seg, r, IPPROTO_TCP, &own, &peer, cookie_of(fd)), SM_CLIENT);
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
	int port[N_LAIR];

	l.fd = scratch_listen("127.0.0.1", 0, &l.key);
	for (int i = 0; i < N_LAIR; i++)
		port[i] = l.key.at.port;
	fcntl(l.fd, F_SETFL, O_NONBLOCK);
	EXPECT(ept_publish(&l.e, &l.key, geteuid()) == 0);
	EXPECT(write(w->report, port, sizeof(port)) == sizeof(port));
	for (int i = 0; i < N_HOSTILE; i++)
		l.ev[i].fd = -1;
	end = now_ms() + attack_ms + 1000; /* the victim has to start first */
	while (now_ms() < end)
		server_turn(&l, w);
	ept_retract(&l.e);
	return 0;
}

/* ---- the tests */

static void a_server_survives_it_with_poll(void **state)
{
	(void)state;
	client_against("echo_many", "poll", client_life, 0);
}

static void a_server_survives_it_with_epoll(void **state)
{
	(void)state;
	client_against("echo_many", "epoll", client_life, 0);
}

static void a_server_survives_it_with_threads(void **state)
{
	(void)state;
	client_against("echo_many", "threads", client_life, 0);
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
			claimed[n++] = offer_for(&seg, &r, IPPROTO_TCP, &c->own, &c->peer, c->cookie);
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
	int fd, pipefd[2];
	long v[2];

	(void)state;
	scratch_need_root();
	victim = prog_start(0, (const char *const[]){"echo_many", "serve", "poll", NULL});
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
	prog_ends(&victim);
}

static void a_client_survives_it_with_poll(void **state)
{
	(void)state;
	server_against("echo_many", "poll", server_life, 0);
}

static void a_client_survives_it_with_epoll(void **state)
{
	(void)state;
	server_against("echo_many", "epoll", server_life, 0);
}

static void a_client_survives_it_with_threads(void **state)
{
	(void)state;
	server_against("echo_many", "threads", server_life, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		HOSTILE_TEST(a_server_survives_it_with_poll),
		HOSTILE_TEST(a_server_survives_it_with_epoll),
		HOSTILE_TEST(a_server_survives_it_with_threads),
		HOSTILE_TEST(a_third_user_cannot_claim_a_connection),
		HOSTILE_TEST(a_client_survives_it_with_poll),
		HOSTILE_TEST(a_client_survives_it_with_epoll),
		HOSTILE_TEST(a_client_survives_it_with_threads),
	};
	return victim_run("hostile", tests, sizeof(tests) / sizeof(*tests));
}
