/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mortal.h - plain programs, of which one is killed at any point of core/fault.h, and which leave behind what is needed to tell whether the other one saw what the kernel would
 * have shown it. They know nothing of shunt.
 *
 * Octet i of a stream is a function of i. What a role has sent and received stands in a file that both roles map (struct witness), not in the processes: so it outlives them, and another
 * process of the role (forked, given the socket, executed) goes on from there. Roles are in step: each conversation is a fixed order of puts and gets, and the client's first
 * octet says which.
 */
#ifndef MORTAL_H
#define MORTAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of the present connection. A call in progress has taken between done and begun, got and asked. */
struct side {
	_Atomic uint64_t conn;	/* which; 0: none yet */
	_Atomic uint64_t begun; /* octets of calls that have begun to send */
	_Atomic uint64_t done;	/* that calls have taken */
	_Atomic uint64_t asked;
	_Atomic uint64_t got;
};

enum { SERVER, CLIENT };

struct witness {
	struct side side[2];
	_Atomic uint64_t last_ping; /* of a phase; 0: not known yet */
	_Atomic uint32_t stage;	    /* the client waits for somebody outside to have done this ... */
	_Atomic uint32_t reached;   /* ... who says so here */
};

extern struct witness *w;
extern struct side *mine;
extern int role;
extern const char *self; /* our own file */
extern int helper_fd;	 /* a process that takes connections over; -1: none */

/* How a call waits for input first. */
enum waiting { WAIT_NOT, WAIT_POLL, WAIT_EPOLL };
extern enum waiting waiting;

void begin(int fd);
/* recv(), which is not restarted after a stop (SIGSTOP, SIGCONT) where it has a time-out. */
ssize_t receive(int fd, void *buf, size_t len);
/* All of it. A connection that has ended is reported, and is the end of the conversation (longjmp). */
void put(size_t len);
/* From now on put() does not take longer than seconds, to a peer that has shut down and never reads. */
void put_impatiently(void);
void get(size_t len);
void await_unread(int n);
/* A count of the other side's has come that far. */
void await_witness(const _Atomic uint64_t *count, uint64_t n);
/* Reads to the end of file, which is no surprise. */
void expect_end(void);
void say(const char *line);
void report(const char *how);
/* One message there and back, len octets. */
void ping(size_t len);
/* Pings until octets leave the kernel in both directions: true; or patience has. */
bool warm(void);
void nap(long us);

/* The conversation that `letter` says, on fd. true: it has come to its end as intended; false: the peer has ended it, or it is somebody else's now. It is closed and reported. */
bool converse(int fd, char letter);
bool resume(int fd, char letter);

/* A part: one thread of `who` reads, another one shuts both directions down, and the other side sends on and on. */
void shut_meanwhile(int who);
/* A part: one thread of `who` exchanges messages with the other side, on and on, until another one ends the process. */
void exit_meanwhile(int who);
/* A part: a process of `who` sends, and leaves memory, and its child goes on; the other side reads, and leaves memory, too. false: it is not ours any more. */
bool left_to_heir(int who, bool reader_leaves);
/* A part: the same of who receives. */
bool read_by_heir(int who);

/* Of connections that are passed: each of a process that was there before they were. */
void helper_start(void);
void helper_give(int fd, char letter);

/* All of it with datagrams instead: letters that begin with d. */
int datagrams(int port, const char *letters);

#endif
