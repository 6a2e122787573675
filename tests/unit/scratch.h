/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scratch.h - what every unit test of core stands on: a world of its own (IPC namespace where allowed, endpoint map, file mode
 * mask), children as other users, injected failures, and a look around afterwards: a test that leaves a descriptor, a segment, a
 * semaphore, a file or a child behind has failed.
 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "ept.h"

#define ALICE 12345u /* users that own nothing */
#define BOB 12346u
#define MALLORY 12347u

extern char scratch_map[64]; /* the endpoint map of the running test */

/* Runs the tests, each with the setup and teardown below. The value for main(). */
int scratch_run(const char *name, const struct CMUnitTest *tests, size_t n);
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)
int scratch_setup(void **state);
int scratch_teardown(void **state);

/* Skips the test unless we are root (children of other users, namespaces). */
void scratch_need_root(void);

/* A child that becomes `uid` (unless 0), calls fn and exits with its value. In fn: EXPECT(), whose failure is the child's. */
pid_t scratch_fork(uint32_t uid, int (*fn)(void *arg), void *arg);
/* Its wait status; SIGKILLs it and fails the test after 10 s. */
int scratch_wait(pid_t pid);
void scratch_wait_ok(pid_t pid); /* fails the test unless it exited with 0 */
#define EXPECT(cond)                                                                                                           \
	do {                                                                                                                   \
		if (!(cond)) {                                                                                                 \
			print_error("%s:%d: child: not true: %s\n", __FILE__, __LINE__, #cond);                                \
			return 1;                                                                                              \
		}                                                                                                              \
	} while (0)

/* A connected pair of sockets to talk to children with; a read that nobody answers fails after 10 s. */
void scratch_pair(int sp[2]);

/* A listening TCP socket on a free port of `addr` (a number of either family; v6only as told), and its key. */
int scratch_listen(const char *addr, int v6only, struct ept_key *key);
/* diag_addr of a number and a port. */
struct diag_addr scratch_addr(const char *addr, uint16_t port);

/* A published endpoint of ours: such a socket of 127.0.0.1. */
int scratch_publish(struct ept *e, struct ept_key *key);
/* The endpoint that was published is the one that has been found. */
void scratch_same_endpoint(const struct ept *e, const struct ept_ref *r);
void scratch_is_found(const struct ept *e); /* a lookup of its key finds it */
/* For scratch_fork(): publishes the struct ept_key `arg` and dies of SIGKILL. */
int scratch_publish_and_die(void *arg);

/* Objects in our IPC namespace that are not marked for removal; exact if it is our own (root), else of our uid. */
int scratch_n_shm(void);
int scratch_n_sem(void);
/* Files in the map, at any depth, folders not counted. */
int scratch_n_files(void);

/*
 * Injected failures. scratch_fault_at(n, err): the n-th system call (from 0) of those that can leave something half made fails, once; calls
 * that only tidy up are not counted. scratch_fault_nr(nr, n, err): the next n calls of that number fail. scratch_kill_at(n): the
 * n-th call of any kind is not made; we die of SIGKILL. scratch_count(): just counts all. scratch_fault_off(): the calls seen.
 */
void scratch_fault_at(int n, long err);
void scratch_fault_nr(long nr, int n, long err);
void scratch_kill_at(int n);
void scratch_count(void);
int scratch_fault_off(void);

#endif
