/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle_talk.h - one connection that is talked on between one thing that the server does to itself and the next, which the connection
 * should not notice.
 */
#ifndef ORACLE_TALK_H
#define ORACLE_TALK_H

#include "oracle.h"

#define TALK_LEN 3000 /* octets a turn, each way */
#define TALK_TURNS 30

extern int talk_fd;	  /* the connection, and what has gone each way on it so far */
extern uint64_t talk_pos; /* (for who goes on where another process has talked) */

void turn(void);
void talk(void);	 /* TALK_TURNS of them, and says so */
void talk_first(int fd); /* on a new connection */

/* The server's part, */
void talk_again(void);
void talk_end(void);
/* and the client's: talks at first, then as often as the server does, and closes. */
void talk_as_told(int fd);

/* Either part: a hundred requests of 30 octets and their answers, from the beginning of streams 1 and 2. */
void chat(int fd);

#endif
