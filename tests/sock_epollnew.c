/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_epollnew.c - sockets that are in an edge-triggered set before they are connected, as Cap'n Proto and Boost.Asio have it. */
#include "oracle.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EDGE (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static void sender_server(void)
{
	send_as_told(serve_warm());
}

static int connect_now(int fd, int port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return connect(fd, (struct sockaddr *)&a, sizeof a);
}

/* Connected, and warm; then edges as they come. */
static void edges(int ep, int fd)
{
	set_says(ep, SOON);
	set_nonblock(fd, 0);
	warm_up(fd);
	set_nonblock(fd, 1);
	while (epoll_wait(ep, &(struct epoll_event){0}, 1, 0) > 0) /* of the warming */
		;
	for (int i = 0; i < 20; i++) {
		send_me(100);
		set_says(ep, SOON);
		set_says(ep, 0);
		get(fd, 100, 1, (uint64_t)i * 100);
	}
	put(fd, 10, 2, 0);
	set_says(ep, 0);
	close_yours();
	set_says(ep, SOON);
	TRY(close(fd));
}

static void client(int first_look)
{
	int port = (int)await_number(), ep = new_set(), fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	set_add(ep, fd, EDGE, 1);
	if (first_look)
		set_says(ep, 0);
	TRY(connect_now(fd, port));
	edges(ep, fd);
}

static void unseen_client(void)
{
	client(0);
}

static void seen_client(void)
{
	client(1);
}

/* Nothing is said twice to somebody who sleeps there meanwhile. */
static struct epoll_event woken_by;

static void *sleeper(void *arg)
{
	MUST(epoll_wait(*(int *)arg, &woken_by, 1, SOON));
	return NULL;
}

static void woken_client(void)
{
	int port = (int)await_number(), ep = new_set(), fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	set_add(ep, fd, EDGE, 1);
	set_says(ep, 0);
	pthread_t t = start_thread(sleeper, &ep);
	meet("begin");
	TRY(connect_now(fd, port));
	pthread_join(t, NULL);
	say("woken by %s", event_names(woken_by.events));
	set_says(ep, 0);
	meet("end");
}

static void woken_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);

	tell_number(port);
	meet("begin");
	meet("end");
	TRY(close(lfd));
}

/*
 * Little is read, and each message is an edge, wherever it is put: the first ones are the kernel's, and stay unread in front of what goes another way.
 */
#define N_UNREAD 400

static void unread_server(void)
{
	int fd = serve_one(), ep = new_set(), told = 0, more = 0;
	struct epoll_event ev;

	set_add(ep, fd, EPOLLIN | EPOLLET, 1);
	for (int i = 1; i <= N_UNREAD; i++) {
		send_me(5);
		told += epoll_wait(ep, &ev, 1, SOON) == 1 && ev.events == EPOLLIN;
		more += epoll_wait(ep, &ev, 1, 0) != 0;
		get(fd, 1, 1, (uint64_t)i - 1);
	}
	say("%d told of, %d too much", told, more);
	get(fd, 4 * N_UNREAD, 1, N_UNREAD);
	close_yours();
	set_says(ep, SOON);
	TRY(close(fd));
}

static void unread_client(void)
{
	int fd = connect_one();

	no_delay(fd);
	send_as_told(fd);
}

const struct oracle_case oracle_cases[] = {
	{"unseen", sender_server, unseen_client, 0, NULL},
	{"seen", sender_server, seen_client, 0, NULL},
	{"woken", woken_server, woken_client, CASE_KERNEL, NULL},
	{"unread", unread_server, unread_client, CASE_NOWARM, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
