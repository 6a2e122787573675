/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle_talk.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int talk_fd = -1;
uint64_t talk_pos;

void turn(void)
{
	if (is_server) {
		put(talk_fd, TALK_LEN, 1, talk_pos);
		get(talk_fd, TALK_LEN, 2, talk_pos);
	} else {
		get(talk_fd, TALK_LEN, 1, talk_pos);
		put(talk_fd, TALK_LEN, 2, talk_pos);
	}
	talk_pos += TALK_LEN;
}

void talk(void)
{
	for (int i = 0; i < TALK_TURNS; i++)
		turn();
	say("talked");
}

void talk_first(int fd)
{
	talk_fd = fd;
	talk_pos = 0;
	talk();
}

void talk_again(void)
{
	tell_number(1);
	talk();
}

void talk_end(void)
{
	tell_number(0);
	poll_is(talk_fd, POLLIN | POLLRDHUP, POLLIN | POLLRDHUP);
	TRY(close(talk_fd));
}

void talk_as_told(int fd)
{
	for (talk_first(fd); await_number();)
		talk();
	TRY(close(talk_fd));
}

void chat(int fd)
{
	for (unsigned i = 0; i < 100; i++) {
		if (is_server)
			get(fd, 30, 1, 30 * i);
		put(fd, 30, is_server ? 2 : 1, 30 * i);
		if (!is_server)
			get(fd, 30, 2, 30 * i);
	}
}
