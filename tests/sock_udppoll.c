/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udppoll.c - waiting for datagrams: poll, select, epoll level, edge and one-shot, several sockets, beside TCP and pipes; signals. */
#include "oracle_udp.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- poll, ppoll, select, pselect */

static void poll_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM};
	struct timeval tv = {.tv_usec = 30000};
	fd_set r;
	uint64_t pos = 0;

	for (int i = 0; i < 30; i++) {
		p.events = POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM;
		TRY(poll(&p, 1, 0));
		say("%s", event_names((unsigned short)p.revents));
		p.events = POLLIN;
		TRY(poll(&p, 1, i ? 1 : 30));
		TRY(ppoll(&p, 1, &(struct timespec){.tv_nsec = 1000000}, NULL));
		tell_number(2);
		TRY(i % 2 ? poll(&p, 1, SOON) : ppoll(&p, 1, NULL, NULL));
		say("%s", event_names((unsigned short)p.revents));
		await("sent");
		take(fd, 30, 1, pos++);
		TRY(poll(&p, 1, -1));
		take(fd, 30, 1, pos++);
		FD_ZERO(&r);
		FD_SET(fd, &r);
		tv.tv_usec = 1000;
		TRY(select(fd + 1, &r, NULL, NULL, &tv));
		FD_SET(fd, &r);
		tell_number(1);
		TRY(i % 2 ? select(fd + 1, &r, NULL, NULL, NULL) : pselect(fd + 1, &r, NULL, NULL, NULL, NULL));
		say("%d", !!FD_ISSET(fd, &r));
		take(fd, 30, 1, pos++);
		await("sent");
	}
	tell_number(-1);
}

/* ---- epoll: level, edge, one-shot */

static void epoll_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), lt = new_set(), et = new_set(), once = new_set();
	uint64_t pos = 0;

	set_add(lt, fd, EPOLLIN, 1);
	set_add(et, fd, EPOLLIN | EPOLLOUT | EPOLLET, 2);
	set_add(once, fd, EPOLLIN | EPOLLONESHOT, 3);
	set_says(lt, 0);
	set_says(et, 0); /* OUT, once */
	set_says(et, 0);
	for (int i = 0; i < 20; i++) {
		udp_get_sent(1);
		set_says(lt, SOON);
		set_says(lt, 0);
		set_says(et, SOON);
		set_says(et, 0);
		set_says(once, i ? 0 : SOON);
		udp_get_sent(1); /* a new edge for each datagram, although one is unread */
		set_says(et, SOON);
		set_says(et, 0);
		take(fd, 30, 1, pos++);
		set_says(lt, SOON);
		set_says(et, 0);
		take(fd, 30, 1, pos++);
		set_says(lt, 0);
		set_says(et, 0);
		udp_get_sent(2); /* two at once: one event */
		set_says(et, SOON);
		set_mod(once, fd, EPOLLIN | EPOLLONESHOT, 3);
		set_says(once, SOON);
		set_says(once, 0);
		set_mod(et, fd, EPOLLIN | EPOLLET, 2); /* says again what is there */
		set_says(et, SOON);
		set_mod(et, fd, EPOLLIN | EPOLLOUT | EPOLLET, 2);
		set_says(et, SOON);
		take(fd, 30, 1, pos++);
		take(fd, 30, 1, pos++);
	}
	tell_number(-1);
}

/* ---- several sockets, TCP and a pipe in one set and in one poll */

#define MIXED 4

static void mixed_server(void)
{
	struct addr client[MIXED];
	int fd[MIXED + 2], p[2], ep = new_set(), tcp;

	for (int i = 0; i < MIXED; i++)
		fd[i] = udp_serve(&client[i]);
	tcp = fd[MIXED] = serve_warm();
	MUST(pipe(p));
	fd[MIXED + 1] = p[0];
	for (int i = 0; i < MIXED + 2; i++)
		set_add(ep, fd[i], EPOLLIN, (uint64_t)i);
	for (unsigned turn = 0; turn < 100; turn++) {
		struct pollfd ps[MIXED + 2];
		await("sent");
		if (turn % 2)
			MUST(write(p[1], "x", 1));
		set_says(ep, SOON);
		for (int i = 0; i < MIXED + 2; i++)
			ps[i] = (struct pollfd){.fd = fd[i], .events = POLLIN};
		TRY(poll(ps, MIXED + 2, SOON));
		for (unsigned i = 0; i < MIXED; i++)
			if ((turn >> i) & 1)
				take(fd[i], 25, i, turn);
		get(tcp, 10, 9, turn * 10);
		char c;
		if (turn % 2)
			MUST(read(p[0], &c, 1));
		set_says(ep, 0);
		tell("next");
	}
}

static void mixed_client(void)
{
	struct addr server[MIXED];
	int fd[MIXED], tcp;

	for (int i = 0; i < MIXED; i++)
		fd[i] = udp_call(&server[i]);
	tcp = connect_warm();
	no_delay(tcp);
	for (unsigned turn = 0; turn < 100; turn++) {
		for (unsigned i = 0; i < MIXED; i++)
			if ((turn >> i) & 1)
				hit(fd[i], &server[i], 25, i, turn);
		put(tcp, 10, 9, turn * 10);
		tell("sent");
		await("next");
	}
}

/* ---- signals: EINTR, SA_RESTART, and a storm of them while datagrams come */

static _Atomic int struck;

static void strike(int sig)
{
	(void)sig;
	atomic_fetch_add(&struck, 1);
}

static void handle(int flags)
{
	struct sigaction sa = {.sa_handler = strike, .sa_flags = flags};

	MUST(sigaction(SIGUSR1, &sa, NULL));
}

struct blocked {
	int fd;
	pthread_t main;
	_Atomic int done;
};

/* Strikes until the call has ended: which signal finds it asleep does not matter. */
static void *striker(void *arg)
{
	struct blocked *b = arg;

	while (!atomic_load(&b->done)) {
		pthread_kill(b->main, SIGUSR1);
		poll(NULL, 0, 5);
	}
	return NULL;
}

#define INTERRUPTED(call)                                                                                                      \
	do {                                                                                                                   \
		struct blocked b = {.main = pthread_self()};                                                                   \
		pthread_t t = start_thread(striker, &b);                                                                       \
		TRY(call);                                                                                                     \
		int saved = errno;                                                                                             \
		atomic_store(&b.done, 1);                                                                                      \
		pthread_join(t, NULL);                                                                                         \
		errno = saved;                                                                                                 \
	} while (0)

static void eintr_server(void)
{
	struct addr client;
	int fd = udp_serve(&client), ep = new_set();
	char buf[64];
	struct iovec iov = {buf, sizeof buf};
	struct mmsghdr mm = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct epoll_event ev;
	struct timeval tv = {.tv_sec = 5};

	set_add(ep, fd, EPOLLIN, 1);
	handle(0);
	INTERRUPTED(recv(fd, buf, sizeof buf, 0));
	INTERRUPTED(read(fd, buf, sizeof buf));
	INTERRUPTED(recvmsg(fd, &mm.msg_hdr, MSG_PEEK));
	INTERRUPTED(recvmmsg(fd, &mm, 1, 0, NULL));
	handle(SA_RESTART);
	INTERRUPTED(poll(&p, 1, SOON));
	INTERRUPTED(epoll_wait(ep, &ev, 1, SOON));
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	INTERRUPTED(recv(fd, buf, sizeof buf, 0)); /* with a time: not restarted */
	tv.tv_sec = 0;
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	tell_number(1);
	INTERRUPTED(recv(fd, buf, sizeof buf, 0)); /* restarted, until something comes */
	await("sent");
	HOLDS(atomic_load(&struck) > 0);
	tell_number(-1);
}

static void storm_server(void)
{
	struct addr client;
	int fd = udp_serve(&client);
	struct blocked b = {.main = pthread_self()};

	handle(the_case->arg ? SA_RESTART : 0);
	pthread_t t = start_thread(striker, &b);
	for (unsigned i = 0; i < 2000; i++) {
		take(fd, 30, 1, i);
		hit(fd, &client, 30, 2, i);
	}
	atomic_store(&b.done, 1);
	pthread_join(t, NULL);
	HOLDS(atomic_load(&struck) > 0);
}

static void storm_client(void)
{
	struct addr server;
	int fd = udp_call(&server);

	for (unsigned i = 0; i < 2000; i++) {
		hit(fd, &server, 30, 1, i);
		take(fd, 30, 2, i);
		if (i % 100 == 0)
			poll(NULL, 0, 8);
	}
	say("two thousand");
}

const struct oracle_case oracle_cases[] = {
	{"poll", poll_server, udp_sends_as_told, 0, NULL},
	{"epoll", epoll_server, udp_sends_as_told, 0, NULL},
	{"mixed", mixed_server, mixed_client, 0, NULL},
	{"eintr", eintr_server, udp_sends_as_told, 0, NULL},
	{"storm", storm_server, storm_client, 0, NULL},
	{"storm_restart", storm_server, storm_client, 0, "restart"},
	{NULL, NULL, NULL, 0, NULL},
};
