/* SPDX-License-Identifier: BSD-2-Clause */
/* shut.c - a connection that one thread shuts down, or ends with the process, while another one is in the middle of it. */
#include "mortal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

#define PING_LEN 100

static struct {
	uint64_t at;	   /* when so much has been got */
	_Atomic bool over; /* the connection is */
} shutting;

static void *shuts_both(void *arg)
{
	while (mine->got < shutting.at && !shutting.over)
		nap(100);
	shutdown(stream_fd, SHUT_RDWR);
	return arg;
}

void shut_meanwhile(int who)
{
	jmp_buf outer;
	pthread_t thread;
	if (role != who) {
		put_impatiently();
		for (;;)
			put(100);
	}
	shutting.at = mine->got + 20000;
	shutting.over = false;
	if (pthread_create(&thread, NULL, shuts_both, NULL))
		exit(8);
	memcpy(outer, stream_over, sizeof(outer));
	volatile bool has_ended = false;
	if (setjmp(stream_over) == 0)
		expect_end();
	else
		has_ended = true;
	shutting.over = true;
	pthread_join(thread, NULL); /* before the number is another connection's */
	memcpy(stream_over, outer, sizeof(outer));
	if (has_ended)
		longjmp(stream_over, 1);
}

static void *pings_on(void *arg)
{
	if (setjmp(stream_over) == 0)
		for (;;) {
			await_unread(PING_LEN); /* awake: while the process ends there may be nobody to wake it */
			ping(PING_LEN);
		}
	shutting.over = true;
	return arg;
}

void exit_meanwhile(int who)
{
	jmp_buf outer;
	pthread_t thread;
	if (role != who)
		for (;;)
			ping(PING_LEN);
	shutting.at = mine->got + 600 * PING_LEN; /* the threads that talk have the tokens for themselves by then */
	shutting.over = false;
	memcpy(outer, stream_over, sizeof(outer)); /* from here on it is the thread's */
	if (pthread_create(&thread, NULL, pings_on, NULL))
		exit(8);
	while (mine->got < shutting.at && !shutting.over)
		nap(100);
	if (!shutting.over) {
		report("ok");
		exit(0);
	}
	pthread_join(thread, NULL);
	memcpy(stream_over, outer, sizeof(outer));
	longjmp(stream_over, 1);
}
