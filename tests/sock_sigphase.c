/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_sigphase.c - one signal, at any moment of a call that would wait for ever: while it looks around, just before it sleeps, in its sleep.
 *
 * Another thread sends it, some microseconds after the call was announced. A signal that comes before the call has begun is lost, in the kernel too; then it is sent again after
 * a while. That may happen now and then, not often. A signal that only the call's own mask lets in is never lost.
 */
#include "oracle.h"

#include <poll.h>
#include <sys/prctl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 150
#define AGAIN_MS 100 /* when nothing has come of a signal for so long, another is sent */

static volatile sig_atomic_t handled, jump;
static sigjmp_buf back;
static void on_signal(int sig)
{
	handled += sig != 0;
	if (jump) {
		jump = 0;
		siglongjmp(back, 1);
	}
}

static void handle(int flags)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};

	MUST(sigaction(SIGUSR1, &sa, NULL));
}

/* ---- the thread that sends; one signal for each call that is announced */

static struct {
	sem_t begin, end;
	pthread_t whom;
	long max_us;
	int again; /* signals that had to be sent once more */
	volatile int over;
} sender = {.max_us = 150};

static void *send_signals(void *arg)
{
	unsigned seed = 1;
	sigset_t mine;

	sigemptyset(&mine);
	sigaddset(&mine, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mine, NULL);
	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		while (sem_wait(&sender.begin))
			;
		if (sender.over)
			return arg;
		/* Asleep, so that it takes nobody's processor. */
		nanosleep(&(struct timespec){.tv_nsec = (rand_r(&seed) % sender.max_us + 1) * 1000}, NULL);
		for (int n = 0;; n++) {
			struct timespec limit;

			sender.again += n > 0;
			pthread_kill(sender.whom, SIGUSR1);
			clock_gettime(CLOCK_REALTIME, &limit);
			limit.tv_nsec += AGAIN_MS * 1000000;
			limit.tv_sec += limit.tv_nsec / 1000000000;
			limit.tv_nsec %= 1000000000;
			if (sem_timedwait(&sender.end, &limit) == 0)
				break;
		}
	}
}

/* The next call is what the signal is for. */
static void announce(void)
{
	sem_post(&sender.begin);
}

static pthread_t start_sender(long max_us)
{
	sem_init(&sender.begin, 0, 0);
	sem_init(&sender.end, 0, 0);
	sender.whom = pthread_self();
	sender.max_us = max_us;
	sender.again = 0;
	sender.over = 0;
	return start_thread(send_signals, NULL);
}

static void stop_sender(pthread_t t)
{
	sender.over = 1;
	sem_post(&sender.begin);
	pthread_join(t, NULL);
}

/* ---- what waits */

static int the_fd, the_set;

static long do_recv(void)
{
	return recv(the_fd, (char[8]){0}, 8, 0);
}
static long do_peek(void)
{
	return recv(the_fd, (char[8]){0}, 8, MSG_PEEK);
}
static long do_all(void)
{
	return recv(the_fd, (char[8]){0}, 8, MSG_WAITALL);
}
static long do_readv(void)
{
	return readv(the_fd, &(struct iovec){(char[8]){0}, 8}, 1);
}
static long do_recvmmsg(void)
{
	struct iovec iov = {(char[8]){0}, 8};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};

	return recvmmsg(the_fd, &m, 1, 0, NULL);
}
static long do_poll(void)
{
	return poll(&(struct pollfd){.fd = the_fd, .events = POLLIN}, 1, -1);
}
static long do_poll_limit(void)
{
	return poll(&(struct pollfd){.fd = the_fd, .events = POLLIN}, 1, 20000);
}
static long do_ppoll(void)
{
	return ppoll(&(struct pollfd){.fd = the_fd, .events = POLLIN}, 1, NULL, NULL);
}
static long do_select(void)
{
	fd_set r;

	FD_ZERO(&r);
	FD_SET(the_fd, &r);
	return select(the_fd + 1, &r, NULL, NULL, NULL);
}
static long do_epoll(void)
{
	return epoll_wait(the_set, &(struct epoll_event){0}, 1, -1);
}
static long do_epoll2(void)
{
	return epoll_pwait2(the_set, &(struct epoll_event){0}, 1, &(struct timespec){.tv_sec = 20}, NULL);
}

struct kind {
	const char *name;
	long (*call)(void);
};
static const struct kind reading[] = {
	{"recv", do_recv}, {"peek", do_peek}, {"waitall", do_all}, {"readv", do_readv}, {"recvmmsg", do_recvmmsg}};
static const struct kind waiting[] = {{"poll", do_poll}, {"poll with a limit", do_poll_limit}, {"ppoll", do_ppoll},
	{"select", do_select}, {"epoll_wait", do_epoll}, {"epoll_pwait2", do_epoll2}};
#define N(a) (sizeof(a) / sizeof(*(a)))

static void begin(int warm)
{
	the_fd = warm;
	the_set = new_set();
	MUST(epoll_ctl(the_set, EPOLL_CTL_ADD, the_fd, &(struct epoll_event){.events = EPOLLIN}));
}

static void finish(void)
{
	MUST(write(the_fd, "e", 1));
	TRY(read(the_fd, (char[1]){0}, 1));
	TRY(close(the_fd));
	close(the_set);
}

/* The other part answers at once: such a peer is worth waiting for awake. */
static void ping(void)
{
	char c;

	for (int i = 0; i < 3; i++) {
		MUST(write(the_fd, "p", 1));
		int n;
		do
			n = i == 0 ? (int)do_epoll() : i == 1 ? (int)do_poll() : 1;
		while (n < 0 && errno == EINTR);
		while ((n = (int)read(the_fd, &c, 1)) < 0 && errno == EINTR)
			;
		if (n != 1 || c != 'p')
			say_result("FALSE: ping", n);
	}
}

static void echo_client(void)
{
	char c;

	the_fd = connect_warm();
	while (MUST(read(the_fd, &c, 1)) == 1 && c == 'p')
		MUST(write(the_fd, &c, 1));
	TRY(close(the_fd));
}

/* Each call of each kind ends with EINTR. Now and then a signal came too early. */
static void interrupt_each(const struct kind *kinds, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		int wrong = 0, rounds = is_patient() ? ROUNDS : ROUNDS / 3;

		sender.again = 0;
		for (int i = 0; i < rounds; i++) {
			ping();
			handled = 0;
			announce();
			errno = 0;
			wrong += kinds[k].call() != -1 || errno != EINTR || !handled;
			sem_post(&sender.end);
		}
		say("%s: %d calls wrong", kinds[k].name, wrong);
		if (sender.again > rounds / 4)
			say("FALSE: %d signals had to be sent again", sender.again);
	}
}

static void phases_server(void)
{
	int flags = *(const int *)the_case->arg;
	struct timeval limit = {.tv_sec = 20};

	begin(serve_warm());
	handle(flags);
	pthread_t t = start_sender(150);
	interrupt_each(waiting, N(waiting));
	if (flags) /* with a limit a read is not restarted */
		MUST(setsockopt(the_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	interrupt_each(reading, N(reading));
	stop_sender(t);
	finish();
}

/* With SA_RESTART a read goes on: each of the signals is handled, none ends the call. */
static void restart_server(void)
{
	char c;
	long many = 0;

	begin(serve_warm());
	no_delay(the_fd);
	handle(SA_RESTART);
	struct itimerval each = {{0, 130}, {0, 130}}, none = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	MUST(sigaction(SIGALRM, &sa, NULL));
	MUST(setitimer(ITIMER_REAL, &each, NULL));
	for (int i = 0; i < 2000; i++) {
		MUST(write(the_fd, "p", 1));
		many += MUST(recv(the_fd, &c, 1, 0)); /* -1 would end the part */
		if (i % 50 == 0) {
			tell("slowly");
			many += MUST(recv(the_fd, &c, 1, MSG_WAITALL));
		}
	}
	MUST(setitimer(ITIMER_REAL, &none, NULL));
	HOLDS(many == 2040);
	HOLDS(handled > 10);
	finish();
}

static void *slow_writer(void *arg)
{
	for (int i = 0; i < 40; i++) {
		await("slowly");
		usleep(2000);
		MUST(write(the_fd, "s", 1));
	}
	return arg;
}

static void restart_client(void)
{
	char c;

	the_fd = connect_warm();
	no_delay(the_fd);
	pthread_t t = start_thread(slow_writer, NULL);
	while (MUST(read(the_fd, &c, 1)) == 1 && c == 'p')
		MUST(write(the_fd, &c, 1));
	pthread_join(t, NULL);
	TRY(close(the_fd));
}

/* ---- a signal that only the call's mask lets in: always there, whenever it was sent */

static sigset_t open_mask;

static long mask_ppoll(void)
{
	return ppoll(&(struct pollfd){.fd = the_fd, .events = POLLIN}, 1, NULL, &open_mask);
}
static long mask_pselect(void)
{
	fd_set r;

	FD_ZERO(&r);
	FD_SET(the_fd, &r);
	return pselect(the_fd + 1, &r, NULL, NULL, NULL, &open_mask);
}
static long mask_epoll(void)
{
	return epoll_pwait(the_set, &(struct epoll_event){0}, 1, -1, &open_mask);
}
static long mask_epoll2(void)
{
	return epoll_pwait2(the_set, &(struct epoll_event){0}, 1, NULL, &open_mask);
}
static const struct kind masked[] = {
	{"ppoll", mask_ppoll}, {"pselect", mask_pselect}, {"epoll_pwait", mask_epoll}, {"epoll_pwait2", mask_epoll2}};

static void mask_server(void)
{
	sigset_t block, now;

	begin(serve_warm());
	handle(SA_RESTART);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	pthread_t t = start_sender(100);
	MUST(pthread_sigmask(SIG_BLOCK, &block, &open_mask) ? -1 : 0);
	for (size_t k = 0; k < N(masked); k++) {
		int wrong = 0;

		for (int i = 0; i < 1000; i++) {
			if (i % 4 == 0)
				ping();
			handled = 0;
			announce();
			errno = 0;
			wrong += masked[k].call() != -1 || errno != EINTR || handled != 1;
			sem_post(&sender.end);
			MUST(pthread_sigmask(SIG_SETMASK, NULL, &now) ? -1 : 0);
			wrong += !sigismember(&now, SIGUSR1) || sigismember(&now, SIGTERM);
		}
		say("%s: %d wrong, %d sent again", masked[k].name, wrong, sender.again);
	}
	stop_sender(t);
	finish();
}

/* With something to read the signal stays pending, whatever the mask. One that the mask keeps out is handled when the call is over. */
static void mask_data_server(void)
{
	sigset_t block, none;
	int wrong = 0;

	begin(serve_warm());
	handle(0);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigemptyset(&none);
	MUST(sigprocmask(SIG_BLOCK, &block, &open_mask));
	for (int i = 0; i < 400; i++) {
		MUST(write(the_fd, "p", 1));
		while (poll(&(struct pollfd){.fd = the_fd, .events = POLLIN}, 1, -1) != 1)
			;
		handled = 0;
		raise(SIGUSR1);
		wrong += masked[i % 4].call() != 1 || handled;
		MUST(sigprocmask(SIG_SETMASK, &open_mask, NULL));
		wrong += handled != 1;
		MUST(sigprocmask(SIG_BLOCK, &block, NULL));
		wrong += read(the_fd, &block, 1) != 1;
		sigemptyset(&block);
		sigaddset(&block, SIGUSR1);
	}
	HOLDS(wrong == 0);
	/* now open outside, and kept out by the call */
	MUST(sigprocmask(SIG_SETMASK, &open_mask, NULL));
	open_mask = block;
	pthread_t t = start_sender(100);
	for (int i = 0; i < 400; i++) {
		handled = 0;
		announce();
		MUST(write(the_fd, "p", 1));
		wrong += masked[i % 4].call() != 1;
		sem_post(&sender.end);
		while (!handled)
			;
		wrong += read(the_fd, &none, 1) != 1;
	}
	stop_sender(t);
	HOLDS(wrong == 0);
	finish();
}

/* ---- out of the handler by siglongjmp, from any moment of a read */

static void jump_server(void)
{
	volatile int i;
	volatile int wrong = 0;

	begin(serve_warm());
	handle(SA_NODEFER);
	pthread_t t = start_sender(150);
	for (i = 0; i < 600; i++) {
		ping();
		if (sigsetjmp(back, 1) == 0) {
			jump = 1;
			announce();
			if (i % 3 == 0)
				do_recv();
			else if (i % 3 == 1)
				do_poll();
			else
				do_recvmmsg();
			wrong++;
		}
		sem_post(&sender.end);
	}
	jump = 0;
	HOLDS(wrong == 0);
	HOLDS(sender.again <= 150);
	/* and as ever */
	interrupt_each(reading, 1);
	stop_sender(t);
	finish();
}

/* ---- out of the handler in the middle of a long look; then the other part's octets go one way and another, and each must be heard of */

#define LOOK_LEN 100000

static void look_server(void)
{
	static char buf[LOOK_LEN];
	volatile int i, wrong = 0;
	char c;

	begin(serve_warm());
	handle(SA_NODEFER);
	unread_is(the_fd, LOOK_LEN);
	pthread_t t = start_sender(150);
	for (i = 0; i < 400; i++) {
		if (sigsetjmp(back, 1) == 0) {
			jump = 1;
			announce();
			while (recv(the_fd, buf, sizeof buf, MSG_PEEK) == LOOK_LEN)
				;
			wrong++;
		}
		sem_post(&sender.end);
	}
	jump = 0;
	stop_sender(t);
	HOLDS(wrong == 0);
	get(the_fd, LOOK_LEN, 1, 0);
	for (i = 0; i < 40; i++) {
		tell("read");
		wrong += (i % 2 ? do_poll() : do_epoll()) != 1;
		wrong += read(the_fd, &c, 1) != 1 || c != 'p';
	}
	HOLDS(wrong == 0);
	TRY(read(the_fd, &c, 1));
	TRY(close(the_fd));
	close(the_set);
}

static void look_client(void)
{
	the_fd = connect_warm();
	put(the_fd, LOOK_LEN, 1, 0);
	for (int i = 0; i < 40; i++) {
		await("read");
		if (i % 8 < 4) /* the kernel's buffer is another one from now on */
			MUST(setsockopt(the_fd, SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int)));
		MUST(write(the_fd, "p", 1));
	}
	TRY(close(the_fd));
}

/* ---- a send that finds no room */

static void send_server(void)
{
	size_t len = 32 << 20;
	char *buf = calloc(1, len);
	int wrong = 0;

	begin(serve_warm());
	handle(*(const int *)the_case->arg);
	pthread_t t = start_sender(2500);
	for (int i = 0; i < 20; i++) {
		handled = 0;
		announce();
		long total = send(the_fd, buf, len, 0); /* a part */
		sem_post(&sender.end);
		wrong += total <= 0 || total >= (long)len || !handled;
		int was = handled;
		if (!*(const int *)the_case->arg) {
			announce();
			ssize_t n = send(the_fd, buf, len, 0); /* the rest of the room at most, and then nothing */
			wrong += n == 0 || n >= (ssize_t)len || (n < 0 && errno != EINTR) || handled == was;
			sem_post(&sender.end);
			total += n > 0 ? n : 0;
		}
		tell_number(total);
		await("read");
	}
	HOLDS(wrong == 0);
	HOLDS(sender.again <= 8);
	stop_sender(t);
	TRY(close(the_fd));
	close(the_set);
	free(buf);
}

static void drain_client(void)
{
	char *buf = malloc(1 << 20);
	int fd = connect_warm();

	for (int i = 0; i < 20; i++) {
		for (long left = await_number(); left > 0;)
			left -= MUST(read(fd, buf, left < 1 << 20 ? (size_t)left : 1 << 20));
		tell("read");
	}
	TRY(read(fd, buf, 1));
	TRY(close(fd));
	free(buf);
}

static const int no_restart = 0, restart = SA_RESTART;

const struct oracle_case oracle_cases[] = {
	{"phases", phases_server, echo_client, CASE_SLOW, &no_restart},
	{"phases_restart", phases_server, echo_client, CASE_SLOW, &restart},
	{"restart", restart_server, restart_client, 0, NULL},
	{"masks", mask_server, echo_client, CASE_SLOW, NULL},
	{"masks_and_data", mask_data_server, echo_client, 0, NULL},
	{"jump", jump_server, echo_client, CASE_SLOW, NULL},
	{"jump_looking", look_server, look_client, CASE_SLOW, NULL},
	{"send", send_server, drain_client, CASE_SLOW, &no_restart},
	{"send_restart", send_server, drain_client, CASE_SLOW, &restart},
	{NULL, NULL, NULL, 0, NULL},
};
