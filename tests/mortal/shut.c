/* SPDX-License-Identifier: BSD-2-Clause */
/* shut.c - a connection that one thread shuts down while another one reads. */
#include "mortal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

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
