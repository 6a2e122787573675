/* SPDX-License-Identifier: BSD-2-Clause */
/* actor.c - commands, answers, slots; see actor.h. */
#include "actor.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int slots[N_SLOT], self;
char *own_path;

static __thread char text[8192];
static __thread size_t text_len;
static __thread int channel;

void say(const char *fmt, ...)
{
	size_t room = sizeof(text) - text_len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + text_len, room, fmt, ap);
	va_end(ap);
	text_len += (size_t)n < room ? (size_t)n : room - 1;
}

void start_answer(void)
{
	text_len = 0;
}

void answer(void)
{
	if (write(channel, text, text_len) != (ssize_t)text_len)
		_exit(111);
}

void say_result(long r)
{
	if (r < 0)
		say(" = -1 %s", strerrorname_np(errno));
	else
		say(" = %ld", r);
}

void say_descriptor(int fd)
{
	if (fd > 2)
		say(" = fd");
	else
		say_result(fd);
}

void say_address(const struct sockaddr_storage *from, socklen_t len)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;

	if (len == sizeof(*v4) && from->ss_family == AF_INET)
		say(" @4:%d@", ntohs(v4->sin_port));
	else if (len == sizeof(*v6) && from->ss_family == AF_INET6)
		say(" @%d:%d@", IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) ? 5 : 6, ntohs(v6->sin6_port));
	else
		say(" family %d", len ? from->ss_family : 0);
}

int slot(long i)
{
	return i >= 0 && i < N_SLOT ? slots[i] : -1;
}

/* A slot is emptied by close alone: what it held stays open in nobody's name otherwise, so run does not fill one twice. */
void set_slot(long i, int fd)
{
	for (int k = 0; k < N_SLOT; k++)
		if (fd >= 0 && slots[k] == fd)
			slots[k] = -1;
	if (fd >= 0)
		slots[i] = fd;
}

socklen_t make_address(struct sockaddr_storage *at, long family, long port, long wild)
{
	struct sockaddr_in *v4 = (void *)at;
	struct sockaddr_in6 *v6 = (void *)at;

	memset(at, 0, sizeof(*at));
	if (family == 0) {
		at->ss_family = AF_UNSPEC;
		return sizeof(*v4);
	}
	if (family == 4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		v4->sin_addr.s_addr = wild ? INADDR_ANY : htonl(INADDR_LOOPBACK);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	v6->sin6_addr = wild ? in6addr_any : in6addr_loopback;
	if (family == 5) {
		memset(&v6->sin6_addr, 0, sizeof(v6->sin6_addr));
		v6->sin6_addr.s6_addr[10] = v6->sin6_addr.s6_addr[11] = 0xff;
		v6->sin6_addr.s6_addr[12] = 127;
		v6->sin6_addr.s6_addr[15] = 1;
	}
	return sizeof(*v6);
}

/* The octets of a message are known by its key. */
void fill(void *buf, size_t len, uint64_t key)
{
	unsigned char *at = buf;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = (key << 32 | i) * UINT64_C(0x9e3779b97f4a7c15);

		x ^= x >> 29;
		memcpy(at + i, &x, len - i < 8 ? len - i : 8);
	}
}

uint64_t sum_bytes(uint64_t sum, const void *buf, size_t len)
{
	const unsigned char *at = buf;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static int look_up(const struct word *w, const struct command *c)
{
	for (; w->name; w++)
		if (!strcmp(w->name, c->word)) {
			w->act(c);
			return 1;
		}
	return 0;
}

static void obey(char *line)
{
	static const struct word *const tables[] = {net_words, data_words, fd_words, wait_words, proc_words};
	struct command c = {0};
	char *at;

	c.word = strtok_r(line, " ", &at);
	for (char *word; c.n < N_ARG && (word = strtok_r(NULL, " ", &at));)
		c.arg[c.n++] = strtol(word, NULL, 10);
	start_answer();
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		if (look_up(tables[i], &c)) {
			answer();
			return;
		}
	_exit(112);
}

void run_channel(int thread)
{
	char line[512];

	channel = CHANNEL + N_THREAD * self + thread;
	for (;;) {
		ssize_t n = read(channel, line, sizeof(line) - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		line[n] = 0;
		obey(line);
	}
}

static void on_kick(int sig)
{
	(void)sig;
}

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = on_kick, .sa_flags = flags};

	sigaction(sig, &sa, NULL);
}

/* actor WHO [FD...]: the slots' numbers, when it is another life of one */
int main(int argc, char **argv)
{
	own_path = argv[0];
	self = argc > 1 ? atoi(argv[1]) : 0;
	for (int i = 0; i < N_SLOT; i++)
		slots[i] = argc > i + 2 ? atoi(argv[i + 2]) : -1;
	handle(KICK(0), 0);
	handle(KICK(1), 0);
	handle(SIGUSR2, SA_RESTART);
	handle(SIGPIPE, SA_RESTART);
	start_answer();
	channel = CHANNEL + N_THREAD * self;
	say("ready");
	answer();
	run_channel(0);
}
