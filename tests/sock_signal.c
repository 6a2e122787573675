/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_signal.c - signals while a call sleeps: EINTR, SA_RESTART, the masks of ppoll, pselect and epoll_pwait, a storm. */
#include "oracle.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t handled;
static void on_signal(int sig)
{
	handled += sig != 0;
}

static void handle(int flags)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};

	MUST(sigaction(SIGUSR1, &sa, NULL));
	handled = 0;
}

/* A timer that signals the process, whichever thread: whenever a call sleeps, a signal comes, but not how many. */
static timer_t start_pesterer(long us)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec each = {.it_value.tv_nsec = us * 1000, .it_interval.tv_nsec = us * 1000};
	timer_t timer;

	MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
	MUST(timer_settime(timer, 0, &each, NULL));
	return timer;
}

static void stop_pesterer(timer_t timer)
{
	MUST(timer_delete(timer));
}

static void idle_client(void)
{
	int fd = connect_warm();

	await("done");
	TRY(close(fd));
}

/* ---- without SA_RESTART each sleeping call ends with EINTR ---- */

static void eintr_server(void)
{
	struct timeval second = {.tv_sec = 5};
	char buf[8];
	fd_set r;
	int fd = serve_warm(), ep = new_set();
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd p = {.fd = fd, .events = POLLIN};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	handle(0);
	timer_t timer = start_pesterer(5000);
	TRY(read(fd, buf, 8));
	TRY(recv(fd, buf, 8, 0));
	TRY(recv(fd, buf, 8, MSG_PEEK));
	TRY(recv(fd, buf, 8, MSG_WAITALL));
	TRY(recvmsg(fd, &(struct msghdr){.msg_iov = &(struct iovec){buf, 8}, .msg_iovlen = 1}, 0));
	TRY(poll(&p, 1, -1));
	TRY(poll(&p, 1, 5000));
	TRY(ppoll(&p, 1, NULL, NULL));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	TRY(select(fd + 1, &r, NULL, NULL, NULL));
	TRY(select(fd + 1, &r, NULL, NULL, &second));
	HOLDS(second.tv_sec == 4);
	TRY(pselect(fd + 1, &r, NULL, NULL, NULL, NULL));
	TRY(epoll_wait(ep, &ev, 1, -1));
	TRY(epoll_pwait(ep, &ev, 1, 5000, NULL));
	TRY(epoll_pwait2(ep, &ev, 1, NULL, NULL));
	int port, lfd = listen_on("127.0.0.1", 4, &port);
	TRY(accept(lfd, NULL, NULL));
	TRY(poll(&(struct pollfd){.fd = lfd, .events = POLLIN}, 1, -1));
	close(lfd);
	stop_pesterer(timer);
	HOLDS(handled > 0);
	tell("done");
	TRY(close(fd));
	close(ep);
}

/* ---- with SA_RESTART: recv goes on, unless it has a time limit; poll and its kin end all the same ---- */

static void restart_server(void)
{
	struct timeval tv = {.tv_sec = 5};
	char buf[8];
	fd_set r;
	int fd = serve_warm(), ep = new_set();
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd p = {.fd = fd, .events = POLLIN};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	handle(SA_RESTART);
	timer_t timer = start_pesterer(5000);
	TRY(poll(&p, 1, -1));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	TRY(select(fd + 1, &r, NULL, NULL, NULL));
	TRY(epoll_wait(ep, &ev, 1, -1));
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	TRY(recv(fd, buf, 8, 0));
	tv.tv_sec = 0;
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	handled = 0;
	tell("send soon");
	TRY(recv(fd, buf, 8, 0));
	TRY(recv(fd, buf, 8, MSG_WAITALL));
	HOLDS(handled > 0);
	stop_pesterer(timer);
	TRY(close(fd));
	close(ep);
}

static void restart_client(void)
{
	int fd = connect_warm();

	await("send soon");
	usleep(50000);
	put(fd, 5, 1, 0);
	usleep(50000);
	put(fd, 8, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* MSG_WAITALL with some bytes there: a signal ends it with those, without SA_RESTART or with. */
static void partial_server(void)
{
	char buf[16];
	int fd = serve_warm();

	await("sent");
	unread_is(fd, 10);
	handle(*(const int *)the_case->arg);
	timer_t timer = start_pesterer(5000);
	TRY(recv(fd, buf, 16, MSG_WAITALL));
	stop_pesterer(timer);
	TRY(recv(fd, buf, 16, MSG_DONTWAIT));
	tell("done");
	TRY(close(fd));
}

static void partial_client(void)
{
	int fd = connect_warm();

	put(fd, 10, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

/* A sleeping send is interrupted: it tells what it has sent, then EINTR. */
static void send_server(void)
{
	size_t len = 64 << 20;
	char *buf = calloc(1, len);
	int fd = serve_warm();

	handle(0);
	timer_t timer = start_pesterer(20000);
	long total = send(fd, buf, len, 0);
	HOLDS(total > 0 && total < (long)len);
	ssize_t n;
	while ((n = send(fd, buf, len, 0)) > 0)
		total += n;
	say_result("send", n);
	stop_pesterer(timer);
	HOLDS(total >= 1000000);
	TRY(shutdown(fd, SHUT_WR));
	tell_number(total);
	TRY(read(fd, buf, 1));
	TRY(close(fd));
	free(buf);
}

static void send_client(void)
{
	int fd = connect_warm();
	long total = await_number();
	uint64_t sum;

	HOLDS((long)get_to_eof(fd, &sum) == total);
	TRY(close(fd));
}

/* ---- masks: a pending signal is let in for the time of the call ---- */

static void mask_server(void)
{
	sigset_t block, open, now;
	struct timespec second = {.tv_sec = 5};
	fd_set r;
	int fd = serve_warm(), ep = new_set();
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd p = {.fd = fd, .events = POLLIN};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	handle(SA_RESTART);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &block, &open));
	for (int ready = 0; ready < 2; ready++) {
		raise(SIGUSR1);
		say("handled %d", (int)handled);
		TRY(poll(&p, 1, 10));
		TRY(ppoll(&p, 1, &second, &open)); /* something to read is preferred to the signal */
		say("handled %d", (int)handled);
		raise(SIGUSR1);
		FD_ZERO(&r);
		FD_SET(fd, &r);
		TRY(pselect(fd + 1, &r, NULL, NULL, &second, &open));
		say("handled %d", (int)handled);
		raise(SIGUSR1);
		TRY(epoll_pwait(ep, &ev, 1, 5000, &open));
		say("handled %d", (int)handled);
		raise(SIGUSR1);
		TRY(epoll_pwait2(ep, &ev, 1, &second, &open));
		say("handled %d", (int)handled);
		MUST(sigprocmask(SIG_SETMASK, NULL, &now));
		say("still blocked: %d", sigismember(&now, SIGUSR1));
		if (!ready) {
			tell("go");
			await("sent");
			poll_is(fd, POLLIN, POLLIN);
		}
	}
	get(fd, 10, 1, 0);
	tell("done");
	TRY(close(fd));
	close(ep);
}

static void mask_client(void)
{
	int fd = connect_warm();

	await("go");
	put(fd, 10, 1, 0);
	tell("sent");
	await("done");
	TRY(close(fd));
}

/* A signal that the mask keeps out does not end the wait. */
static void kept_out_server(void)
{
	sigset_t block;
	int fd = serve_warm();
	struct pollfd p = {.fd = fd, .events = POLLIN};

	handle(0);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	timer_t timer = start_pesterer(2000);
	tell("send soon");
	int n;
	do /* a signal may come before the mask is there */
		n = ppoll(&p, 1, NULL, &block);
	while (n < 0 && errno == EINTR);
	say_result("ppoll", n);
	stop_pesterer(timer);
	get(fd, 5, 1, 0);
	TRY(close(fd));
}

static void kept_out_client(void)
{
	int fd = connect_warm();

	await("send soon");
	usleep(50000);
	put(fd, 5, 1, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
}

/* ---- a handler that uses the socket itself ---- */

static int echo_fd;
static void on_signal_send(int sig)
{
	int saved = errno;

	if (sig == SIGUSR1 && send(echo_fd, "s", 1, MSG_DONTWAIT) == 1)
		handled++;
	errno = saved;
}

static void handler_server(void)
{
	char buf[64];
	long signals = 0, total = 0;
	ssize_t n;
	int fd = serve_warm();

	while ((n = MUST(read(fd, buf, sizeof buf))) > 0) {
		total += n;
		for (ssize_t i = 0; i < n; i++)
			signals += buf[i] == 's';
		if (total - signals == 200) /* all the ordinary bytes */
			break;
		if (memchr(buf, '.', (size_t)n))
			MUST(write(fd, "k", 1));
	}
	MUST(write(fd, "k", 1));
	while ((n = MUST(read(fd, buf, sizeof buf))) > 0)
		signals += n;
	HOLDS(await_number() == signals);
	TRY(close(fd));
}

static void handler_client(void)
{
	struct sigaction sa = {.sa_handler = on_signal_send, .sa_flags = SA_RESTART};
	char c;
	int fd = echo_fd = connect_warm();

	no_delay(fd);
	MUST(sigaction(SIGUSR1, &sa, NULL));
	timer_t timer = start_pesterer(300);
	for (int i = 0; i < 200; i++) {
		MUST(write(fd, ".", 1));
		MUST(read(fd, &c, 1));
	}
	stop_pesterer(timer);
	TRY(shutdown(fd, SHUT_WR));
	tell_number(handled);
	TRY(read(fd, &c, 1));
	TRY(close(fd));
}

/* ---- a storm, through all kinds of calls; nothing is lost or said twice ---- */

static void storm(int fd)
{
	int ep = new_set();
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd p = {.fd = fd, .events = POLLIN};

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	handle(is_server ? 0 : SA_RESTART);
	timer_t timer = start_pesterer(100);
	for (unsigned i = 0; i < 3000; i++) {
		if (!is_server)
			put(fd, 1 + i % 700, 1, i);
		int n = 0;
		do
			n = i % 3 == 0 ? poll(&p, 1, -1) : i % 3 == 1 ? epoll_wait(ep, &ev, 1, -1) : 1;
		while (n < 0 && errno == EINTR);
		if (n != 1)
			say_result("FALSE: wait", n);
		get(fd, 1 + i % 700, is_server ? 1 : 2, i);
		if (is_server)
			put(fd, 1 + i % 700, 2, i);
	}
	/* and one that fills everything */
	if (is_server)
		get(fd, 8 << 20, 3, 0);
	else
		put(fd, 8 << 20, 3, 0);
	stop_pesterer(timer);
	meet("done");
	TRY(close(fd));
	close(ep);
}

static void storm_server(void)
{
	storm(serve_warm());
}
static void storm_client(void)
{
	storm(connect_warm());
}
static void storm_fresh_server(void)
{
	storm(serve_one());
}
static void storm_fresh_client(void)
{
	storm(connect_one());
}

static const int no_restart = 0, restart = SA_RESTART;

const struct oracle_case oracle_cases[] = {
	{"eintr", eintr_server, idle_client, 0, NULL},
	{"restart", restart_server, restart_client, 0, NULL},
	{"waitall_partial", partial_server, partial_client, 0, &no_restart},
	{"waitall_partial_restart", partial_server, partial_client, 0, &restart},
	{"send", send_server, send_client, 0, NULL},
	{"masks", mask_server, mask_client, 0, NULL},
	{"kept_out", kept_out_server, kept_out_client, 0, NULL},
	{"in_handler", handler_server, handler_client, 0, NULL},
	{"storm", storm_server, storm_client, 0, NULL},
	{"storm_fresh", storm_fresh_server, storm_fresh_client, CASE_NOWARM, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
