/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * victim.h - what tests with a hostile peer stand on: programs under the interposer, that are watched, and the two plots: a hostile client against a server, a hostile server against
 * a client, each with an honest party that must not feel it.
 */
#ifndef TESTS_VICTIM_H
#define TESTS_VICTIM_H

#include "evil.h"
#include "scratch.h"

#define LINK_MS 2000  /* for the victim to take our channel; it has to, or nothing was tested */
#define STALL_MS 2500 /* the honest party may wait for so long on a busy machine, and no longer */

extern uint32_t attack_ms; /* length of an attack; HOSTILE_MS=n */

uint64_t now_ms(void);

/* ---- programs of tests/progs */

struct prog {
	pid_t pid;
	int out;
};
/* args: its name in tests/progs, and its arguments. `plain`: not under the interposer. */
struct prog prog_start(int plain, const char *const args[]);
/* A line of its output into numbers; fails the test after 10 s. */
void prog_says(const struct prog *p, long v[2]);
/* It ends within 5 s of SIGTERM, and of nothing else; fails the test otherwise. */
void prog_ends(struct prog *p);
/* Its CPU time stands still, sooner or later: it is not in a loop. */
void prog_comes_to_rest(const struct prog *p);
/* A player of rounds plays still, and never had to wait for long. It is told to end. `who`: for people. */
void player_ends(struct prog *p, const char *who);

/* ---- hostile processes */

struct world {
	int port; /* of the victim; or 0: we are its server, and our ports are to be told, all at once, as int */
	int report;
};
#define N_LAIR 2 /* ports of a hostile server */

/* A channel has been taken. */
void count_link(const struct world *w);
uint64_t cookie_of(int fd);
struct diag_addr name_of(int fd, int peer);
/* As preload does it, for whatever pair of sockets: the channel's index. */
int offer_for(struct seg *seg, const struct ept_ref *r, uint16_t proto, const struct diag_addr *own,
	const struct diag_addr *peer, uint64_t cookie);

/*
 * `life` is what a hostile process does. `prog`: victim and honest party. PLAIN_TOO: there is another honest one, which only the kernel serves. SWITCHED: meanwhile the victim is switched off and
 * on again.
 */
#define PLAIN_TOO 1
#define SWITCHED 2
void client_against(const char *prog, const char *manner, int (*life)(void *world), int how);
void server_against(const char *prog, const char *manner, int (*life)(void *world), int how);

/* ---- for main() */
int victim_teardown(void **state);
#define HOSTILE_TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, victim_teardown)
int victim_run(const char *name, const struct CMUnitTest *tests, size_t n);

#endif
