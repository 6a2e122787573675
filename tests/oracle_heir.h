/* SPDX-License-Identifier: BSD-2-Clause */
/* oracle_heir.h - for connections that change hands: what is said before and after, and another program that goes on with one. */
#ifndef ORACLE_HEIR_H
#define ORACLE_HEIR_H

#include "oracle.h"

#define TURNS 400
#define ASK 20
#define ANSWER 30
#define WAITING 1000	/* have been sent and are not read when the socket changes hands */
#define BEFORE 300	/* but for these */
#define HEIR_FD 60	/* where a program finds the connection that it is to go on with */
#define MUCH (6u << 20) /* for a transfer at full speed */

/* Requests of ASK bytes and answers of ANSWER; n of them, from position `at` of each stream on. */
void answer(int fd, unsigned n, uint64_t at);
void ask(int fd, unsigned n, uint64_t at);

/* The server's part: what the former owner has left over is read first, if so; then for as long as it takes anybody to find out what may be done with the connection. To its end. */
void go_on(int fd, int left_over);
/* Accepts a connection, on which WAITING bytes have come, and reads BEFORE of them. */
int serve_some(void);
/* Sends back what comes, from position `at` on, until `until` or the end of file; how far. */
uint64_t echo(int fd, uint64_t at, uint64_t until);

/* The clients' parts. */
void rest_of_client(int fd);   /* of go_on() */
void adopt_client(void);       /* of serve_some() and go_on() */
void adopt_fresh_client(void); /* of go_on(), on a connection that is new */
void adopt_busy_client(void);  /* MUCH, as fast as it goes, in both directions at once; and then slowly */

/* This program once more, in this process, with the connection as HEIR_FD; `what` is what heir() says there. In the first program it is NULL. */
void become_heir(int fd, const char *what) __attribute__((noreturn));
const char *heir(void);

#endif
