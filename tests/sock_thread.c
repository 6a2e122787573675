/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_thread.c - threads: many on one socket, one reading while one writes, many connections, epoll changed under a sleeper. */
#include "oracle.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- 64 threads write whole records to one socket, 64 threads read whole records ---- */

#define THREADS 64
#define RECORD 64
#define RECORDS_EACH 60

static int shared_fd;
static _Atomic uint64_t record_sum; /* of the records' first bytes and indices: order does not matter */
static _Atomic unsigned records;

static void *record_writer(void *arg)
{
	unsigned char rec[RECORD];
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < RECORDS_EACH; i++) {
		fill(rec, sizeof rec, me, i);
		if (send(shared_fd, rec, sizeof rec, 0) != sizeof rec)
			say("FALSE: a short send");
	}
	return NULL;
}

/* Records are written whole and all reads ask for one: no reader gets a piece. */
static void *record_reader(void *arg)
{
	unsigned char rec[RECORD];

	(void)arg;
	while (atomic_fetch_add(&records, 1) < THREADS * RECORDS_EACH) {
		ssize_t n = recv(shared_fd, rec, sizeof rec, 0);
		if (n != sizeof rec) {
			say_result("FALSE: recv", n);
			return NULL;
		}
		atomic_fetch_add(&record_sum, sum_bytes(0, rec, sizeof rec));
	}
	return NULL;
}

static void many_part(int writes)
{
	pthread_t t[THREADS];
	int fd = shared_fd = is_server ? serve_warm() : connect_warm();

	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = start_thread(writes ? record_writer : record_reader, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (!writes)
		say("sum %016llx", (unsigned long long)atomic_load(&record_sum));
	meet("done");
	TRY(close(fd));
}

static void many_server(void)
{
	many_part(0);
}
static void many_client(void)
{
	many_part(1);
}

/* ---- one reads, one writes, both directions full ---- */

static void *writer(void *arg)
{
	put(shared_fd, 16 << 20, *(unsigned *)arg, 0);
	return NULL;
}

static void duplex_part(void)
{
	unsigned mine = is_server ? 2 : 1;
	int fd = shared_fd = is_server ? serve_warm() : connect_warm();
	pthread_t t = start_thread(writer, &mine);

	get(fd, 16 << 20, 3 - mine, 0);
	pthread_join(t, NULL);
	meet("done");
	TRY(close(fd));
}

/* ---- a thread for each connection ---- */

#define CONNECTIONS 24

static void *serve_thread(void *arg)
{
	int fd = (int)(intptr_t)arg;

	for (unsigned i = 0; i < 400; i++) {
		get(fd, 1 + i % 100, 1, i);
		put(fd, 1 + i % 100, 2, i);
	}
	MUST(close(fd));
	return NULL;
}

static void *ask_thread(void *arg)
{
	int fd = (int)MUST(connect_to("127.0.0.1", (int)(intptr_t)arg));

	for (unsigned i = 0; i < 400; i++) {
		put(fd, 1 + i % 100, 1, i);
		get(fd, 1 + i % 100, 2, i);
		if (i % 20 == 0)
			usleep(500);
	}
	if (read(fd, (char[1]){0}, 1) != 0)
		say("FALSE: no end of file");
	MUST(close(fd));
	return NULL;
}

static void each_server(void)
{
	pthread_t t[CONNECTIONS];
	int port, lfd = listen_on("127.0.0.1", CONNECTIONS, &port);

	tell_number(port);
	for (int i = 0; i < CONNECTIONS; i++)
		t[i] = start_thread(serve_thread, (void *)(intptr_t)MUST(accept(lfd, NULL, NULL)));
	for (int i = 0; i < CONNECTIONS; i++)
		pthread_join(t[i], NULL);
	close(lfd);
	say("served");
}

static void each_client(void)
{
	pthread_t t[CONNECTIONS];
	long port = await_number();

	for (int i = 0; i < CONNECTIONS; i++)
		t[i] = start_thread(ask_thread, (void *)port);
	for (int i = 0; i < CONNECTIONS; i++)
		pthread_join(t[i], NULL);
	say("asked");
}

/* ---- threads that accept from one listener ---- */

static void *accept_thread(void *arg)
{
	int lfd = *(int *)arg;

	for (int i = 0; i < CONNECTIONS / 4; i++)
		serve_thread((void *)(intptr_t)MUST(accept(lfd, NULL, NULL)));
	return NULL;
}

static void accept_server(void)
{
	pthread_t t[4];
	int port, lfd = listen_on("127.0.0.1", CONNECTIONS, &port);

	tell_number(port);
	for (int i = 0; i < 4; i++)
		t[i] = start_thread(accept_thread, &lfd);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	close(lfd);
	say("served");
}

/* ---- a set is changed while a thread sleeps in it ---- */

static int set_fd, woken;
static struct epoll_event woken_by;

static void *sleeper(void *arg)
{
	(void)arg;
	woken_by = (struct epoll_event){0};
	woken = epoll_wait(set_fd, &woken_by, 1, 5000);
	return NULL;
}

static void join_sleeper(pthread_t t)
{
	pthread_join(t, NULL);
	say("woken: %d %s %llu", woken, event_names(woken_by.events), (unsigned long long)woken_by.data.u64);
}

static void set_server(void)
{
	int fd = serve_warm();
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 1};

	set_fd = new_set();
	pthread_t t = start_thread(sleeper, NULL); /* of an empty set */
	tell_number(5);
	await("sent");
	usleep(20000);
	TRY(epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, &ev));
	join_sleeper(t);
	get(fd, 5, 1, 0);
	t = start_thread(sleeper, NULL);
	usleep(20000);
	ev = (struct epoll_event){.events = EPOLLOUT, .data.u64 = 2};
	TRY(epoll_ctl(set_fd, EPOLL_CTL_MOD, fd, &ev));
	join_sleeper(t);
	ev.events = EPOLLIN | EPOLLET;
	TRY(epoll_ctl(set_fd, EPOLL_CTL_MOD, fd, &ev));
	t = start_thread(sleeper, NULL);
	usleep(20000);
	tell_number(5);
	join_sleeper(t);
	await("sent");
	close_yours();
	get(fd, 5, 1, 5);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	close(set_fd);
}

/* Four threads sleep in one set, level: each message is read by one of them. */
static void *set_worker(void *arg)
{
	char buf[64];
	struct epoll_event ev;

	(void)arg;
	for (;;) {
		if (epoll_wait(set_fd, &ev, 1, 5000) != 1) {
			say("FALSE: no event");
			return NULL;
		}
		if (ev.data.u64 == 9)
			return NULL;
		ssize_t n = recv(shared_fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n > 0) {
			atomic_fetch_add(&records, (unsigned)n);
			MUST(send(shared_fd, "k", 1, 0));
		} else if (n == 0 || errno != EAGAIN)
			say_result("FALSE: recv", n);
	}
}

static void workers_server(void)
{
	pthread_t t[4];
	int fd = shared_fd = serve_warm(), stop = (int)MUST(eventfd(0, EFD_CLOEXEC));
	uint64_t one = 1;

	set_fd = new_set();
	MUST(epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u64 = 1}));
	MUST(epoll_ctl(set_fd, EPOLL_CTL_ADD, stop, &(struct epoll_event){.events = EPOLLIN, .data.u64 = 9}));
	for (int i = 0; i < 4; i++)
		t[i] = start_thread(set_worker, NULL);
	await("sent");
	MUST(write(stop, &one, 8));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("%u bytes", atomic_load(&records));
	TRY(close(fd));
	close(stop);
	close(set_fd);
}

static void workers_client(void)
{
	int fd = connect_warm();
	char c;

	for (unsigned i = 0; i < 1500; i++) {
		put(fd, 20, 1, i);
		MUST(read(fd, &c, 1));
	}
	tell("sent");
	TRY(read(fd, &c, 1));
	TRY(close(fd));
}

/* ---- close and shutdown under a sleeper ---- */

static void *blocked_reader(void *arg)
{
	*(ssize_t *)arg = read(shared_fd, (char[1]){0}, 1);
	return NULL;
}

static void shutdown_server(void)
{
	int fd = shared_fd = serve_warm();
	ssize_t n = -2;
	pthread_t t = start_thread(blocked_reader, &n);

	usleep(20000);
	TRY(shutdown(fd, SHUT_RDWR));
	pthread_join(t, NULL);
	say("read: %zd", n);
	tell("shut");
	TRY(close(fd));
}

static void shutdown_client(void)
{
	int fd = connect_warm();

	await("shut");
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- a blocked read is a cancellation point; and a call that succeeds leaves errno alone ---- */

static void *reader_to_cancel(void *arg)
{
	char c;

	(void)arg;
	if (read(shared_fd, &c, 1) < 0)
		say("FALSE: a read that was to be cancelled failed");
	return NULL;
}

static void cancelled_server(void)
{
	int fd = serve_warm();
	void *result;

	shared_fd = fd;
	pthread_t t = start_thread(reader_to_cancel, NULL);
	MUST(pthread_cancel(t) ? -1 : 0);
	MUST(pthread_join(t, &result) ? -1 : 0);
	HOLDS(result == PTHREAD_CANCELED);
	tell("go");
	errno = 77;
	get(fd, 100, 1, 0);
	put(fd, 100, 2, 0);
	HOLDS(errno == 77);
	TRY(close(fd));
}

static void cancelled_client(void)
{
	int fd = connect_warm();

	await("go");
	put(fd, 100, 1, 0);
	get(fd, 100, 2, 0);
	TRY(close(fd));
}

/* ---- the first thread leaves, and the process ends with the last one ---- */

static void say_exit(void)
{
	say("handlers run at exit");
}

static void *last_talk(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 200; i++) {
		if (is_server)
			put(shared_fd, 100, 3, 100 * i);
		get(shared_fd, 100, 3, 100 * i);
		if (!is_server)
			put(shared_fd, 100, 3, 100 * i);
	}
	say("the last thread ends");
	return NULL;
}

static void first_leaves(void)
{
	shared_fd = is_server ? serve_warm() : connect_warm();
	MUST(atexit(say_exit));
	pthread_detach(start_thread(last_talk, NULL));
	pthread_exit(NULL);
}

/* A thread forks: it is the child's first one, and the child ends when it returns. */
static void *forks(void *arg)
{
	pid_t pid = fork_part();

	(void)arg;
	if (pid == 0)
		return last_talk(NULL);
	join_child(pid);
	return NULL;
}

static void fork_server(void)
{
	shared_fd = serve_warm();
	last_talk(NULL);
}

static void fork_client(void)
{
	shared_fd = connect_warm();
	pthread_join(start_thread(forks, NULL), NULL);
}

const struct oracle_case oracle_cases[] = {
	{"64_on_one_socket", many_server, many_client, 0, NULL},
	{"reader_and_writer", duplex_part, duplex_part, 0, NULL},
	{"one_each", each_server, each_client, 0, NULL},
	{"accepting", accept_server, each_client, 0, NULL},
	{"set_changed", set_server, sender_client, 0, NULL},
	{"workers_of_a_set", workers_server, workers_client, 0, NULL},
	{"shutdown_under_reader", shutdown_server, shutdown_client, 0, NULL},
	{"cancelled", cancelled_server, cancelled_client, 0, NULL},
	{"first_leaves", first_leaves, first_leaves, 0, NULL},
	{"fork_in_a_thread", fork_server, fork_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
