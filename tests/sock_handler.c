/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_handler.c - what a program is told of its own handlers, and what they are given. */
#include "oracle.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The older names are meant. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static volatile sig_atomic_t handled;
static void on_signal(int sig)
{
	handled += sig != 0;
}

static void on_info(int sig, siginfo_t *info, void *context)
{
	sigset_t now;

	sigprocmask(SIG_SETMASK, NULL, &now);
	say("handler: %d, pid %d, context %d, USR1 held %d, USR2 held %d", sig == SIGUSR1, info->si_pid == getpid(),
		context != NULL, sigismember(&now, SIGUSR1), sigismember(&now, SIGUSR2));
}

#define KERNEL_OWN 0x04000000 /* SA_RESTORER */

static void say_action(int sig)
{
	struct sigaction now;

	MUST(sigaction(sig, NULL, &now));
	say("action: %s, flags %x, USR2 %d",
		now.sa_handler == SIG_DFL     ? "default"
		: now.sa_handler == SIG_IGN   ? "ignore"
		: now.sa_handler == on_signal ? "on_signal"
		: now.sa_sigaction == on_info ? "on_info"
					      : "another",
		now.sa_flags & ~KERNEL_OWN, sigismember(&now.sa_mask, SIGUSR2));
}

static void report_server(void)
{
	static const int flags[] = {0, SA_RESTART, SA_SIGINFO, SA_NODEFER | SA_SIGINFO, SA_ONSTACK, (int)SA_RESETHAND,
		(int)SA_RESETHAND | SA_SIGINFO};
	static const int defaults[] = {SIGTERM, SIGPIPE, SIGHUP, SIGSEGV, SIGBUS, SIGCHLD};
	int fd = serve_warm();

	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		struct sigaction sa = {.sa_flags = flags[i]};

		sigaddset(&sa.sa_mask, SIGUSR2);
		if (flags[i] & SA_SIGINFO)
			sa.sa_sigaction = on_info;
		else
			sa.sa_handler = on_signal;
		MUST(sigaction(SIGUSR1, &sa, NULL));
		say_action(SIGUSR1);
		handled = 0;
		raise(SIGUSR1);
		say("handled %d", (int)handled);
		say_action(SIGUSR1);
	}
	HOLDS(signal(SIGUSR1, on_signal) == SIG_DFL);
	say_action(SIGUSR1);
	HOLDS(signal(SIGUSR1, SIG_IGN) == on_signal);
	say_action(SIGUSR1);
	HOLDS(siginterrupt(SIGUSR1, 1) == 0);
	HOLDS(signal(SIGUSR1, on_signal) == SIG_IGN);
	say_action(SIGUSR1);
	HOLDS(siginterrupt(SIGUSR1, 0) == 0);
	say_action(SIGUSR1);
	HOLDS(sysv_signal(SIGUSR1, on_signal) == on_signal);
	say_action(SIGUSR1);
	raise(SIGUSR1);
	say_action(SIGUSR1);
	HOLDS(sigset(SIGUSR1, on_signal) == SIG_DFL);
	say_action(SIGUSR1);
	HOLDS(sigset(SIGUSR1, SIG_HOLD) == on_signal);
	HOLDS(sigset(SIGUSR1, SIG_DFL) == SIG_HOLD);
	say_action(SIGUSR1);
	TRY(signal(SIGKILL, on_signal) == SIG_ERR);
	TRY(signal(0, on_signal) == SIG_ERR);
	TRY(signal(32, on_signal) == SIG_ERR);
	TRY(signal(65, on_signal) == SIG_ERR);
	TRY(sigaction(70, NULL, NULL));
	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
		say_action(defaults[i]);
		HOLDS(signal(defaults[i], on_signal) == SIG_DFL);
		say_action(defaults[i]);
		handled = 0;
		raise(defaults[i]);
		HOLDS(handled == 1);
		HOLDS(signal(defaults[i], SIG_IGN) == on_signal);
		raise(defaults[i]);
		HOLDS(signal(defaults[i], SIG_DFL) == SIG_IGN);
		say_action(defaults[i]);
	}
	tell("done");
	TRY(close(fd));
}

static void idle_client(void)
{
	int fd = connect_warm();

	await("done");
	TRY(close(fd));
}

/* ---- strikes in the middle of a send, and sends there, too, while another thread wants to; or makes a socket while another thread forks ---- */

#define ROUNDS 60
#define LONG_LEN 32768
#define HANDLER_MS 2 /* for the other thread to come and wait */

static int conn;
static atomic_int struck, over;
static atomic_ulong n_sent, n_sends; /* octets; long ones */

static void send_some(size_t len)
{
	static const char buf[LONG_LEN];

	atomic_fetch_add(&n_sent, (unsigned long)MUST(send(conn, buf, len, 0)));
}

static void on_send(int sig)
{
	int saved = errno;

	(void)sig;
	atomic_fetch_add(&struck, 1);
	for (int64_t until = now_ms() + HANDLER_MS; now_ms() < until;)
		;
	send_some(1);
	atomic_fetch_add(&struck, 1);
	errno = saved;
}

static void *sends(void *arg)
{
	while (!atomic_load(&over)) {
		send_some(LONG_LEN);
		atomic_fetch_add(&n_sends, 1);
	}
	return arg;
}

static int has_struck(void *n)
{
	return atomic_load(&struck) >= *(int *)n;
}

static int has_sent(void *n)
{
	return atomic_load(&n_sends) >= *(unsigned long *)n;
}

static void on_socket(int sig)
{
	int saved = errno;

	(void)sig;
	atomic_fetch_add(&struck, 1);
	for (int64_t until = now_ms() + HANDLER_MS; now_ms() < until;)
		;
	MUST(close((int)MUST(socket(AF_INET, SOCK_STREAM, 0))));
	atomic_fetch_add(&struck, 1);
	errno = saved;
}

static void by_sending(void)
{
	send_some(10);
}

static void by_forking(void)
{
	pid_t pid = fork_part();

	if (pid == 0)
		_exit(0);
	MUST(waitpid(pid, NULL, 0));
}

static const struct strike {
	void (*handler)(int);
	void (*meanwhile)(void);
} send_strike = {on_send, by_sending}, fork_strike = {on_socket, by_forking};

static void strike_server(void)
{
	const struct strike *now = the_case->arg;

	conn = serve_warm();
	HOLDS(signal(SIGUSR1, now->handler) == SIG_DFL);
	pthread_t t = start_thread(sends, NULL);
	int n = 0;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned long many = atomic_load(&n_sends) + (is_patient() ? 400 : 10); /* it has come to be alone with it */
		if (!wait_until(has_sent, &many) || pthread_kill(t, SIGUSR1) || (n++, !wait_until(has_struck, &n)))
			break;
		now->meanwhile();
		n++;
		if (!wait_until(has_struck, &n))
			break;
	}
	HOLDS(n == 2 * ROUNDS);
	atomic_store(&over, 1);
	pthread_join(t, NULL);
	tell_number((long)atomic_load(&n_sent));
	TRY(close(conn));
}

static void strike_client(void)
{
	static char buf[1 << 18];
	long n, all = 0;
	int fd = connect_warm();

	while ((n = (long)MUST(recv(fd, buf, sizeof buf, 0))) >
		0) /* no slower than who sends: his sends shall not wait for room */
		all += n;
	HOLDS(all == await_number());
	TRY(close(fd));
}

const struct oracle_case oracle_cases[] = {
	{"reports", report_server, idle_client, 0, NULL},
	{"strikes_in_send", strike_server, strike_client, 0, &send_strike},
	{"strikes_in_send_fork", strike_server, strike_client, 0, &fork_strike},
	{NULL, NULL, NULL, 0, NULL},
};
