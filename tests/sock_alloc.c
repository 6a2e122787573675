/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_alloc.c - a program with a memory allocator of its own, whose lock a thread holds when a handler interrupts it. */
#include "oracle.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int heap, waits, holds, talked;

static void heap_lock(void)
{
	while (atomic_exchange(&heap, 1)) {
		atomic_store(&waits, 1);
		usleep(100);
	}
}

/* The C library asks for memory by this name, too, where it makes a thread. Sanitizers have their own, which must not be replaced. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern void *__libc_calloc(size_t n, size_t len);

void *calloc(size_t n, size_t len)
{
	heap_lock();
	void *p = __libc_calloc(n, len);
	atomic_store(&heap, 0);
	return p;
}
#endif

static int port, handled;

/* connect() and close() are what a handler may call at any time. */
static void on_signal(int sig)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	handled = sig == SIGUSR1 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0 && close(fd) == 0;
}

static int is_awaited(void *arg)
{
	(void)arg;
	return atomic_load(&waits) || atomic_load(&talked);
}

/* In the middle of the allocator until somebody else wants it; if nobody does, until all is over. */
static void *allocates(void *arg)
{
	heap_lock();
	atomic_store(&holds, 1);
	HOLDS(wait_until(is_awaited, NULL));
	raise(SIGUSR1);
	atomic_store(&heap, 0);
	HOLDS(handled);
	return arg;
}

static int is_held(void *arg)
{
	(void)arg;
	return atomic_load(&holds);
}

static pthread_t begin_holding(void)
{
	HOLDS(signal(SIGUSR1, on_signal) != SIG_ERR);
	pthread_t t = start_thread(allocates, NULL);
	HOLDS(wait_until(is_held, NULL));
	return t;
}

static void end(int fd)
{
	meet("talked");
	TRY(close(fd));
}

static void talk_meanwhile(int fd, pthread_t t)
{
	warm_up(fd);
	atomic_store(&talked, 1);
	pthread_join(t, NULL);
	end(fd);
}

/* What is needed for a part's first connection is made while the other thread is there. */
static void client(void)
{
	port = (int)await_number();
	pthread_t t = begin_holding();
	talk_meanwhile((int)MUST(connect_to("127.0.0.1", port)), t);
}

static void server(void)
{
	int l = listen_on("127.0.0.1", 16, &port);

	pthread_t t = begin_holding();
	tell_number(port);
	talk_meanwhile((int)MUST(accept(l, NULL, NULL)), t);
}

static void plain_client(void)
{
	int fd = connect_one();

	warm_up(fd);
	end(fd);
}

static void plain_server(void)
{
	int fd = serve_one();

	warm_up(fd);
	end(fd);
}

const struct oracle_case oracle_cases[] = {
	{"client", plain_server, client, 0, NULL},
	{"server", server, plain_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
