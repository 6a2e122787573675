/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hostile_dg.c - as test_hostile.c, with datagrams: a peer that makes a real association and real channels for UDP sockets of a program under the interposer, and then writes over all that
 * can be written there. The victim may lose what comes from that peer; it must not crash, it must go on serving an honest one, and one that only the kernel serves; it must come to rest, and
 * end when told.
 *
 * The victim is tests/progs/echo_dgram. HOSTILE_SEED, HOSTILE_MS: as there.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "evil_dg.h"
#include "rdv.h"
#include "victim.h"

#define N_HOSTILE 3 /* hostile sockets at a time */

/* One of them. Not linked: e.seg is NULL. */
struct foe {
	struct evil e;
	struct sockaddr_in to; /* the victim's; port 0: not known yet */
};

static struct sockaddr_in address(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int udp_socket(void)
{
	struct sockaddr_in sa = address(0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -1 : fd;
}

static int is_linked(const struct evil *e)
{
	return load_acquire(&e->its->flags) & SM_END_LINKED;
}

/* It has left the channel; or so it is written. */
static int has_left(const struct foe *f)
{
	return load_acquire(&f->e.its->flags) & SM_END_CLOSED;
}

/* A few attacks, and what makes the victim meet them. */
static void attack(struct foe *f)
{
	for (uint32_t n = 1 + evil_rnd() % 4; n; n--) {
		evil_dg_attack(&f->e);
		evil_dg_talk(&f->e, &f->to);
	}
}

/* As one that ends in order, or without a word. */
static void leave(struct foe *f)
{
	if (evil_rnd() % 2)
		or_acqrel(&f->e.my->flags, SM_END_CLOSED);
	f->e.seg = NULL;
}

/* ---- the hostile client */

struct raid {
	const struct world *w;
	struct ept_ref r;
	struct seg seg;
	struct foe foe[N_HOSTILE];
};

/* It publishes its socket when it has heard datagrams of this host. */
static int find_victim(struct raid *d)
{
	struct diag_addr to = scratch_addr("127.0.0.1", (uint16_t)d->w->port);
	struct sockaddr_in sa = address(d->w->port);
	uint64_t end = now_ms() + LINK_MS;
	int fd = udp_socket(), err;

	do {
		sendto(fd, "?", 1, 0, (struct sockaddr *)&sa, sizeof(sa));
		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 20);
		err = ept_lookup_udp(&d->r, &to, diag_netns(fd));
	} while (err && now_ms() < end);
	close(fd);
	return err ? err : rdv_call(&d->seg, &d->r, geteuid(), LINK_MS, NULL, NULL);
}

/* A socket of its own, and a channel for it: a fresh one, or one that the victim has already, for another socket. */
static int storm(struct raid *d, struct foe *f)
{
	const struct foe *other = &d->foe[evil_rnd() % N_HOSTILE];
	uint64_t end = now_ms() + LINK_MS;
	struct diag_addr own, peer;
	uint32_t idx;
	char b[64];
	int fd = udp_socket();

	f->to = address(d->w->port);
	connect(fd, (struct sockaddr *)&f->to, sizeof(f->to));
	own = name_of(fd, 0), peer = name_of(fd, 1);
	if (other->e.seg && evil_rnd() % 4 == 0) {
		idx = other->e.idx;
		store_relaxed(&other->e.its->flags, 0);
		seg_chan_offer(&d->seg, idx, IPPROTO_UDP, &own, &peer, cookie_of(fd));
		rdv_offer(&d->r, 0);
		end = now_ms() + 20; /* it need not take it */
	} else {
		idx = (uint32_t)offer_for(&d->seg, &d->r, IPPROTO_UDP, &own, &peer, cookie_of(fd));
	}
	evil_link(&f->e, fd, &d->seg, idx, SM_CLIENT);
	while (!is_linked(&f->e) && now_ms() < end) {
		send(fd, "?", 1, MSG_DONTWAIT);
		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5);
		recv(fd, b, sizeof(b), MSG_DONTWAIT);
	}
	return is_linked(&f->e) ? 0 : -1;
}

static int raid_begins(struct raid *d, const struct world *w)
{
	*d = (struct raid){.w = w};
	EXPECT(find_victim(d) == 0);
	return 0;
}

static void raid_turn(struct raid *d, struct foe *f)
{
	if (!f->e.seg) {
		if (storm(d, f) == 0)
			count_link(d->w);
		evil_dg_play_along(&f->e);
	}
	attack(f);
	if (has_left(f) || evil_rnd() % 50 == 0) {
		leave(f);
		close(f->e.fd);
	}
}

static int client_life(void *arg)
{
	struct raid d;
	uint64_t end = now_ms() + attack_ms;

	EXPECT(raid_begins(&d, arg) == 0);
	while (now_ms() < end)
		raid_turn(&d, &d.foe[evil_rnd() % N_HOSTILE]);
	return 0;
}

/* One whose ring is always full of what was sent first, and one that has gone down, but whose ring is never read to its end. For longer than an honest one may wait. */
static int flood_life(void *arg)
{
	struct raid d;
	uint64_t end = now_ms() + STALL_MS + 500;

	EXPECT(raid_begins(&d, arg) == 0);
	while (now_ms() < end)
		for (int i = 0; i < 2; i++) {
			struct foe *f = &d.foe[i];
			if (!f->e.seg && storm(&d, f) == 0)
				count_link(d.w);
			if (i)
				evil_dg_flood_down(&f->e);
			else
				evil_dg_flood(&f->e);
			evil_dg_talk(&f->e, &f->to);
			if (has_left(f))
				close(f->e.fd), f->e.seg = NULL;
		}
	return 0;
}

/* ---- the hostile server */

struct lair {
	struct ept e;
	struct seg seg; /* the victim's last association */
	struct foe foe;
};

static int lair_open(struct lair *l)
{
	struct ept_key key = {.udp = 1};

	*l = (struct lair){.foe.e.fd = udp_socket()};
	key.at = name_of(l->foe.e.fd, 0);
	key.netns = diag_netns(l->foe.e.fd);
	return ept_publish(&l->e, &key, geteuid());
}

static void lair_adopt(struct lair *l)
{
	struct seg s;

	if (rdv_answer(&l->e, &s) != 1)
		return;
	l->foe.e.seg = NULL;
	seg_detach(&l->seg);
	l->seg = s;
}

/* A channel that was offered. */
static void lair_link(struct lair *l, const struct world *w)
{
	struct evil *e = &l->foe.e;

	for (uint32_t i = 0; l->seg.hdr && i < SM_N_CHAN; i++) {
		struct sm_chan *c = seg_chan(&l->seg, i);
		if (load_acquire(&c->state) != SM_CHAN_OFFERED || c->proto != IPPROTO_UDP)
			continue;
		store_release(&c->state, SM_CHAN_LINKED);
		evil_link(e, e->fd, &l->seg, i, SM_SERVER);
		l->foe.to = address(c->client_port);
		evil_dg_play_along(e);
		count_link(w);
		return;
	}
}

static void lair_turn(struct lair *l, const struct world *w)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char b[9000];
	ssize_t n;

	lair_adopt(l);
	if (l->foe.e.seg) {
		attack(&l->foe);
		if (has_left(&l->foe) || evil_rnd() % 50 == 0)
			leave(&l->foe);
		return;
	}
	lair_link(l, w); /* an honest server so far */
	poll(&(struct pollfd){.fd = l->foe.e.fd, .events = POLLIN}, 1, 1);
	n = recvfrom(l->foe.e.fd, b, sizeof(b), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
	if (n >= 0)
		sendto(l->foe.e.fd, b, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&from, len);
}

static int server_life(void *arg)
{
	const struct world *w = arg;
	struct lair l[N_LAIR];
	uint64_t end = now_ms() + attack_ms + 500; /* the victim has to start first */
	int port[N_LAIR];

	for (int i = 0; i < N_LAIR; i++) {
		EXPECT(lair_open(&l[i]) == 0);
		port[i] = l[i].e.key.at.port;
	}
	EXPECT(write(w->report, port, sizeof(port)) == sizeof(port));
	while (now_ms() < end)
		lair_turn(&l[evil_rnd() % N_LAIR], w);
	for (int i = 0; i < N_LAIR; i++)
		ept_retract(&l[i].e);
	return 0;
}

/* ---- the tests */

static void a_server_survives_it_with_poll(void **state)
{
	(void)state;
	client_against("echo_dgram", "poll", client_life, PLAIN_TOO | SWITCHED);
}

static void a_server_survives_it_with_epoll(void **state)
{
	(void)state;
	client_against("echo_dgram", "epoll", client_life, PLAIN_TOO | SWITCHED);
}

static void a_server_survives_it_with_threads(void **state)
{
	(void)state;
	client_against("echo_dgram", "threads", client_life, PLAIN_TOO | SWITCHED);
}

static void a_flood_keeps_nobody_waiting(void **state)
{
	(void)state;
	client_against("echo_dgram", "poll", flood_life, PLAIN_TOO);
}

static void a_client_survives_it_with_poll(void **state)
{
	(void)state;
	server_against("echo_dgram", "poll", server_life, PLAIN_TOO | SWITCHED);
}

static void a_client_survives_it_with_epoll(void **state)
{
	(void)state;
	server_against("echo_dgram", "epoll", server_life, PLAIN_TOO | SWITCHED);
}

static void a_client_survives_it_with_threads(void **state)
{
	(void)state;
	server_against("echo_dgram", "threads", server_life, PLAIN_TOO | SWITCHED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		HOSTILE_TEST(a_server_survives_it_with_poll),
		HOSTILE_TEST(a_server_survives_it_with_epoll),
		HOSTILE_TEST(a_server_survives_it_with_threads),
		HOSTILE_TEST(a_flood_keeps_nobody_waiting),
		HOSTILE_TEST(a_client_survives_it_with_poll),
		HOSTILE_TEST(a_client_survives_it_with_epoll),
		HOSTILE_TEST(a_client_survives_it_with_threads),
	};
	attack_ms = 700;
	return victim_run("hostile_dg", tests, sizeof(tests) / sizeof(*tests));
}
