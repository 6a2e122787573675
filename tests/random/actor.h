/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * actor.h - a process that does as it is told, one call at a time, and says what came of it; it knows nothing of shunt. See run, and program.py for the words.
 *
 * It holds descriptors in numbered slots. A command is a word and integers, in one packet on the channel of one of its threads; so is the answer: what the program saw (results,
 * errnos by name, sums of what was read), and behind a '|' what is not part of the transcript (process ids). An address is said as @FAMILY:PORT@.
 */
#ifndef ACTOR_H
#define ACTOR_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define N_SLOT 16
#define N_ARG 40
#define N_ACTOR 4
#define N_THREAD 2
/* Numbers that run has put there for all actors: actor a's thread t is told on CHANNEL + N_THREAD a + t; who gives a descriptor to a writes to BOX + 2 a, and a reads from the one behind it. */
#define CHANNEL 100
#define BOX 120
#define KICK(thread) (SIGRTMIN + (thread)) /* ends a call: no SA_RESTART */

struct command {
	const char *word;
	long arg[N_ARG];
	int n;
};

extern int slots[N_SLOT], self; /* -1: empty; which actor */
extern char *own_path;
/* The answer of the calling thread, so far. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void answer(void); /* gives it */
void start_answer(void);
void say_result(long r); /* " = r", or " = -1 ERRNO" */
/* A new descriptor; from 3 on not which: shunt's own thread may have the lowest number for the moment in which it makes one for itself (docs/COMPATIBILITY.md). */
void say_descriptor(int fd);
void say_address(const struct sockaddr_storage *from, socklen_t len);
int slot(long i);
void set_slot(long i, int fd);
void run_channel(int thread) __attribute__((noreturn));

/* IPv4, IPv6, or (5) the former on a socket of the latter; wild: any address */
socklen_t make_address(struct sockaddr_storage *at, long family, long port, long wild);
void fill(void *buf, size_t len, uint64_t key);
uint64_t sum_bytes(uint64_t sum, const void *buf, size_t len);

/* What a command word does. */
struct word {
	const char *name;
	void (*act)(const struct command *);
};
extern const struct word net_words[], data_words[], fd_words[], wait_words[], proc_words[];

#endif
