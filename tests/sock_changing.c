/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_changing.c - threads that change sets and sockets while others use them. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int shared_fd;
static _Atomic int shared_ep;
static _Atomic int stop;

/* ---- one thread sends files, another messages: in whatever order, all of it arrives */

#define FILE_LEN (1 << 20)
#define N_FILE 24

static void *file_sender(void *arg)
{
	int file = *(int *)arg;

	for (int i = 0; i < N_FILE; i++) {
		off_t off = 0;
		while (off < FILE_LEN)
			MUST(sendfile(shared_fd, file, &off, (size_t)(FILE_LEN - off)));
	}
	return NULL;
}

static void files_server(void)
{
	char name[] = "/tmp/attackXXXXXX";
	int file = (int)MUST(mkstemp(name));
	long n = 0;

	unlink(name);
	MUST(ftruncate(file, FILE_LEN));
	shared_fd = serve_one();
	pthread_t t = start_thread(file_sender, &file);
	while (pthread_tryjoin_np(t, NULL)) {
		n += MUST(send(shared_fd, "x", 1, 0));
		nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	TRY(shutdown(shared_fd, SHUT_WR));
	tell_number(n + (long)N_FILE * FILE_LEN);
	TRY(read(shared_fd, (char[1]){0}, 1));
	TRY(close(shared_fd));
}

static void files_client(void)
{
	static char buf[65536];
	int fd = connect_one();
	long n, total = 0;

	while ((n = MUST(recv(fd, buf, sizeof buf, 0))) > 0)
		total += n;
	HOLDS(total == await_number());
	TRY(close(fd));
}

/* ---- a set that another thread closes while it waits there */

static void *waiter(void *arg)
{
	int64_t before = now_ms();

	(void)arg;
	set_says(shared_ep, SOON);
	HOLDS(now_ms() - before < SOON - 500);
	return NULL;
}

static void closed_set_server(void)
{
	int fd = serve_warm();

	shared_ep = new_set();
	set_add(shared_ep, fd, EPOLLIN, 1);
	pthread_t t = start_thread(waiter, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	MUST(close(shared_ep));
	send_me(5);
	pthread_join(t, NULL);
	close_yours();
	TRY(close(fd));
}

/* ---- one socket in more sets than there are bells */

static void many_sets_server(void)
{
	int fd = serve_warm(), ep[80], ready = 0;

	for (int i = 0; i < 80; i++) {
		ep[i] = new_set();
		set_add(ep[i], fd, EPOLLIN, (uint64_t)i);
	}
	for (int turn = 0; turn < 3; turn++) {
		struct epoll_event ev;
		for (int i = 0; i < 80; i++)
			MUST(epoll_wait(ep[i], &ev, 1, 1));
		send_me(5);
		for (int i = 0; i < 80; i++)
			ready += epoll_wait(ep[i], &ev, 1, SOON) == 1;
		say("%d", ready);
		get(fd, 5, 1, 5 * (uint64_t)turn);
	}
	close_yours();
	TRY(close(fd));
}

/* ---- two sockets in one set; another thread puts them into another set and takes them out again */

static int both_fd[2];

static void *changer(void *arg)
{
	int ep = new_set();

	(void)arg;
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		set_add(ep, both_fd[i & 1], EPOLLIN, 1);
		set_del(ep, both_fd[i & 1]);
	}
	return NULL;
}

static void changed_server(void)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port), ep = new_set();
	struct epoll_event ev;
	pthread_t t;

	tell_number(port);
	for (int i = 0; i < 2; i++) {
		both_fd[i] = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(both_fd[i]);
		set_add(ep, both_fd[i], EPOLLIN, (uint64_t)i);
	}
	t = start_thread(changer, NULL);
	for (;;) {
		if (epoll_wait(ep, &ev, 1, SOON) != 1) {
			say("FALSE: nothing for %d ms", SOON);
			break;
		}
		int fd = both_fd[ev.data.u64];
		char c;
		if (MUST(recv(fd, &c, 1, 0)) == 0)
			break;
		MUST(send(fd, &c, 1, 0));
	}
	atomic_store(&stop, 1);
	pthread_join(t, NULL);
	TRY(close(both_fd[0]));
	TRY(close(both_fd[1]));
}

static void changed_client(void)
{
	int port = (int)await_number(), fd[2];
	char c = 0;

	for (int i = 0; i < 2; i++) {
		fd[i] = (int)MUST(connect_to("127.0.0.1", port));
		warm_up(fd[i]);
	}
	int64_t end = now_ms() + rare_ms(5000);
	for (unsigned i = 0; now_ms() < end; i++) {
		MUST(send(fd[i & 1], &c, 1, 0));
		MUST(recv(fd[i & 1], &c, 1, 0) == 1 ? 0 : -1);
		if (i % 4 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	close(fd[0]);
	close(fd[1]);
}

/* ---- a set grows while another thread waits there; a socket is in it often, but not so often that the kernel refuses */

#define N_CONN 6
#define N_COPY 300

static void *wait_again(void *arg)
{
	struct epoll_event ev[8];

	(void)arg;
	while (!atomic_load(&stop))
		epoll_wait(shared_ep, ev, 8, 1);
	return NULL;
}

static void copies(int *copy)
{
	int port, lfd = listen_on("127.0.0.1", 4, &port);
	struct rlimit rl;

	MUST(getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = rl.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	tell_number(port);
	for (int i = 0; i < N_CONN; i++) {
		int fd = (int)MUST(accept(lfd, NULL, NULL));
		warm_up(fd);
		for (int k = 0; k < N_COPY; k++)
			copy[i * N_COPY + k] = (int)MUST(fcntl(fd, F_DUPFD_CLOEXEC, 2000));
	}
}

/* `closing`: a set that has been replaced is closed, while that thread may still be in it. */
static void grow(int closing, int64_t ms)
{
	static int copy[N_CONN * N_COPY], old[100];
	pthread_t t = 0;
	int n = 0;

	copies(copy);
	for (int64_t end = now_ms() + rare_ms(ms); now_ms() < end;) {
		int before = shared_ep;
		shared_ep = new_set();
		if (!t)
			t = start_thread(wait_again, NULL);
		else if (closing)
			close(before);
		else
			old[n++] = before;
		for (int i = 0; i < N_CONN * N_COPY; i++)
			set_add(shared_ep, copy[i], EPOLLIN, (uint64_t)i);
		for (int i = 0; i < N_CONN * N_COPY; i++)
			set_del(shared_ep, copy[i]);
		while (n > 20) /* that thread has left it long since */
			close(old[--n]);
	}
	atomic_store(&stop, 1);
	pthread_join(t, NULL);
	tell("end");
}

static void growing_server(void)
{
	grow(0, 12000);
}

static void replaced_server(void)
{
	grow(1, 3000);
}

static void idle_client(void)
{
	int port = (int)await_number();

	for (int i = 0; i < N_CONN; i++)
		warm_up((int)MUST(connect_to("127.0.0.1", port)));
	await("end");
}

/* ---- how deep sets may be nested */

static void chain_server(void)
{
	int fd = serve_warm(), ep[8];

	ep[0] = new_set();
	set_add(ep[0], fd, EPOLLIN, 0);
	for (int i = 1; i < 8; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uint64_t)i};
		ep[i] = new_set();
		TRY(epoll_ctl(ep[i], EPOLL_CTL_ADD, ep[i - 1], &ev));
	}
	close_yours();
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"files_and_messages", files_server, files_client, CASE_SLOW | CASE_NOWARM, NULL},
	{"closed_set", closed_set_server, sender_client, 0, NULL},
	{"many_sets", many_sets_server, sender_client, 0, NULL},
	{"changed_elsewhere", changed_server, changed_client, CASE_SLOW, NULL},
	{"growing_set", growing_server, idle_client, CASE_SLOW, NULL},
	{"replaced_set", replaced_server, idle_client, CASE_SLOW, NULL},
	{"chain", chain_server, sender_client, CASE_DIFFERS, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
