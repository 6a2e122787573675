/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * datagrams.c - the same two roles with datagrams. What a side has sent and received counts datagrams; each has a number, and those of one conversation come in their order, each once. A
 * client learns of its server's death by ECONNREFUSED, as answer to what it goes on sending; a server learns of nothing: the next conversation is the end of the last one.
 */
#include "mortal.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEN 200
#define STILL 6
#define SLICE_MS 100
#define TRIES 150 /* slices that a client waits for an answer, or for the kernel's word that nobody will give one */

/* What the server does about it: answers, or not; and afterwards sleeps, forks, or counts the conversation as ended. */
enum kind { ECHO, SILENT, NAP, FORK, END };

struct msg {
	uint64_t conn, nr;
	uint32_t kind;
	char fill[LEN];
};

static int fd;
static bool is_over; /* the client's conversation: its server is gone */

static void open_socket(int port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval slice = {0, SLICE_MS * 1000};
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		perror("bind");
		exit(2);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice));
}

static void fork_shortly(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void line(uint64_t conn, uint64_t got, uint64_t sent, const char *how)
{
	char text[120];
	int n = snprintf(text, sizeof(text), "conn %llu got %llu sent %llu %s\n", (unsigned long long)conn,
		(unsigned long long)got, (unsigned long long)sent, how);
	if (write(1, text, (size_t)n) != n)
		exit(3);
}

/* ---- server */

/* A conversation; and the last one, of which something may still come: datagrams of different senders have no order. */
static struct talk {
	uint64_t conn, got, sent, nr;
	bool ended;
} now, last;

static void end_last(void)
{
	if (last.conn && !last.ended)
		line(last.conn, last.got, last.sent, "eof");
	last = (struct talk){0};
}

static void came(const struct msg *m)
{
	struct talk *t = &now;
	if (m->conn == last.conn) {
		t = &last;
	} else if (m->conn != now.conn) {
		end_last();
		last = now;
		now = (struct talk){.conn = m->conn};
		mine->begun = mine->done = mine->got = 0;
		mine->conn = m->conn;
	}
	if (m->nr <= t->nr) {
		line(m->conn, t->got, t->sent, "WRONG order");
		exit(4);
	}
	t->nr = m->nr;
	t->got++;
	if (t == &now)
		mine->got = t->got;
}

static void answer(struct msg *m, const struct sockaddr_in *to)
{
	if (m->kind == SILENT || m->conn != now.conn)
		return;
	mine->begun = mine->done + 1;
	if (sendto(fd, m, sizeof(*m), 0, (const struct sockaddr *)to, sizeof(*to)) == sizeof(*m))
		now.sent = ++mine->done;
	mine->begun = mine->done;
	if (m->kind == NAP)
		nap(20000);
	else if (m->kind == FORK)
		fork_shortly();
	if (m->kind == END) {
		now.ended = true;
		end_last();
		line(now.conn, now.got, now.sent, "ok");
	}
}

static int serve(int port)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};
	struct sockaddr_in from;
	struct msg m;
	open_socket(port);
	if (write(1, "ready\n", 6) != 6)
		return 3;
	while (poll(&in, 1, 0) == 0) {
		socklen_t len = sizeof(from);
		if (recvfrom(fd, &m, sizeof(m), 0, (struct sockaddr *)&from, &len) != sizeof(m))
			continue;
		came(&m);
		answer(&m, &from);
	}
	close(fd);
	return 0;
}

/* ---- client */

/* `special`: with ancillary data, which is the kernel's matter. */
static void tell(enum kind kind, bool special)
{
	static uint64_t nr;
	struct msg m = {.conn = mine->conn, .nr = ++nr, .kind = kind};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	if (special) {
		h.msg_control = control.buf;
		h.msg_controllen = sizeof(control.buf);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(c), &(int){64}, sizeof(int));
	}
	mine->begun = mine->done + 1;
	if (sendmsg(fd, &h, 0) == sizeof(m))
		mine->done++;
	else if (errno == ECONNREFUSED)
		is_over = true;
	mine->begun = mine->done;
}

static bool take(int flags)
{
	static uint64_t nr;
	struct msg m;
	ssize_t n = recv(fd, &m, sizeof(m), flags);
	if (n < 0 && errno == ECONNREFUSED)
		is_over = true;
	if (n != sizeof(m) || m.conn != mine->conn)
		return false;
	if (m.nr <= nr) {
		line(m.conn, mine->got, mine->done, "WRONG order");
		exit(4);
	}
	nr = m.nr;
	mine->got++;
	return true;
}

static void ask(enum kind kind, bool special)
{
	if (is_over)
		return;
	tell(kind, special);
	for (int i = 0; !is_over && !take(0); i++) {
		if (i == TRIES) {
			line(mine->conn, mine->got, mine->done, "no answer");
			exit(5);
		}
		if (!is_over)
			tell(SILENT, false); /* so that the kernel may say that nobody is there */
	}
}

static uint64_t kernel_carried(void)
{
	unsigned long long in, out = 0, sum = 0;
	char text[1024];
	FILE *f = fopen("/proc/self/net/snmp", "re");
	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, "Udp: %llu %*u %*u %llu", &in, &out) == 2)
			sum = in + out;
	if (f)
		fclose(f);
	return sum;
}

static bool warm_up(void)
{
	int still = 0;
	for (int i = 0; i < 2000 && still < STILL && !is_over; i++) {
		uint64_t before = kernel_carried();
		ask(ECHO, false);
		still = kernel_carried() == before ? still + 1 : 0;
		if (!still)
			nap(i < 100 ? 200 : 2000);
	}
	return still == STILL;
}

static void several(int n, enum kind kind)
{
	for (int i = 0; i < n && !is_over; i++)
		kind == SILENT ? tell(kind, false) : ask(kind, false);
}

/* Into the ring while the server does not look, and out of it again. */
static void up_and_away(void)
{
	ask(NAP, true);
	several(3, SILENT);
	if (!is_over)
		tell(SILENT, true);
	several(10, ECHO);
}

static void watched(void)
{
	for (uint32_t stage = 1; stage <= 4 && !is_over; stage++) {
		w->stage = stage;
		while (w->reached < stage && !is_over)
			ask(ECHO, false);
		several(20, ECHO);
	}
}

static void talk(const char *letters)
{
	several(60, ECHO);
	for (int i = 0; i < 10; i++) {
		nap(1500);
		several(1, ECHO);
	}
	several(50, SILENT);
	several(5, NAP);
	for (int i = 0; i < 3; i++)
		up_and_away();
	warm_up();
	several(1, FORK);
	warm_up();
	if (!is_over)
		fork_shortly();
	warm_up();
	if (strchr(letters, 'o'))
		watched();
}

static void converse_once(const char *letters, const struct sockaddr_in *to)
{
	mine->begun = mine->done = mine->got = 0;
	mine->conn++;
	is_over = false;
	open_socket(0);
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		exit(2);
	bool warm = warm_up();
	if (strchr(letters, 'a'))
		line(mine->conn, mine->got, mine->done, is_over ? "eof" : warm ? "memory" : "kernel");
	else
		talk(letters);
	ask(END, false);
	if (is_over)
		while (take(MSG_DONTWAIT))
			;
	line(mine->conn, mine->got, mine->done, is_over ? "eof" : "ok");
	close(fd);
}

int datagrams(int port, const char *letters)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char order[64];
	if (role == SERVER)
		return serve(port);
	converse_once(letters, &to);
	if (write(1, "done\n", 5) != 5)
		return 3;
	while (read(0, order, sizeof(order)) > 0)
		converse_once("da", &to);
	return 0;
}
