/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pump.c - two programs that expect to be killed, and can tell whether the survivor saw what the kernel would have shown it.
 *
 *   pump server PORT MINE THEIRS        echoes what comes; after each connection prints a line; SIGTERM ends it
 *   pump client PORT MINE THEIRS [N]    sends a numbered stream and compares its echo, for ever or N bytes; prints a line
 *
 * Octet i of a stream is a function of i. MINE and THEIRS are files of eight octets, mapped shared: how much this side (the other
 * side) has sent on the present connection, and which that is. It is counted after the send, so at a kill the truth may be larger, never smaller.
 * The line: "eof" or "reset" (or another errno), "RECEIVED/SENT" counts, and "ok", or what is wrong: another octet, or an end of
 * file before all that the peer had counted. After a reset octets may be missing, as ever; wrong ones may not be there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static _Atomic uint64_t *mine, *theirs;
static uint64_t sent, received; /* on this connection */
static uint64_t tag;		/* its client's port: a count says whose it is, since the one before may have been killed */
#define COUNT_MASK ((UINT64_C(1) << 48) - 1)
static volatile sig_atomic_t stop;

static uint8_t octet(uint64_t i)
{
	return (uint8_t)(i * 0x9e3779b97f4a7c15u >> 56);
}

static _Atomic uint64_t *counter(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0666);
	void *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, 8))
		p = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
	return p;
}

static void report(const char *who, int err, const char *wrong)
{
	const char *how = err == 0 ? "eof" : err == ECONNRESET || err == EPIPE ? "reset" : strerror(err);

	uint64_t t = atomic_load(theirs);

	if (!wrong && err == 0 && t >> 48 == tag && received < (t & COUNT_MASK))
		wrong = "LOST";
	printf("%s %s %llu/%llu %s\n", who, how, (unsigned long long)received, (unsigned long long)sent, wrong ? wrong : "ok");
	fflush(stdout);
}

static int is_stream(const uint8_t *buf, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (buf[i] != octet(received + i))
			return 0;
	return 1;
}

/* One conversation of the server. */
static void echo(int fd)
{
	static uint8_t buf[40000];
	size_t done, size = 1;
	ssize_t n;

	for (;;) {
		n = recv(fd, buf, size, 0);
		if (n < 0 && errno == EINTR && !stop)
			continue;
		if (n <= 0) {
			report("server", n ? errno : 0, NULL);
			return;
		}
		if (!is_stream(buf, (size_t)n)) {
			report("server", 0, "WRONG");
			return;
		}
		received += (uint64_t)n;
		size = size * 3 % sizeof(buf) + 1;
		for (done = 0; done < (size_t)n;) {
			ssize_t m = send(fd, buf + done, (size_t)n - done, MSG_NOSIGNAL);

			if (m < 0 && errno == EINTR && !stop)
				continue;
			if (m < 0) {
				report("server", errno, NULL);
				return;
			}
			done += (size_t)m;
			sent += (uint64_t)m;
			atomic_store(mine, tag << 48 | sent);
		}
	}
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static int server(const struct sockaddr_in *sa)
{
	struct sigaction act = {.sa_handler = on_term}; /* no SA_RESTART: accept() ends */
	struct sockaddr_in peer;
	int one = 1, fd, listener = socket(AF_INET, SOCK_STREAM, 0);

	sigaction(SIGTERM, &act, NULL);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (const struct sockaddr *)sa, sizeof(*sa)) || listen(listener, 16)) {
		perror("listen");
		return 2;
	}
	puts("ready");
	fflush(stdout);
	while (!stop) {
		fd = accept(listener, (struct sockaddr *)&peer, &(socklen_t){sizeof(peer)});
		if (fd < 0)
			continue;
		sent = received = 0;
		tag = peer.sin_port;
		atomic_store(mine, tag << 48);
		echo(fd);
		close(fd);
	}
	return 0;
}

/*
 * Send what the socket takes, compare what it gives, without blocking in either. 0: went on; 1: ended, reported. An error is shown to
 * one call only: what send() was told counts, and what had come before it is read first.
 */
static int client_turn(int fd, uint64_t limit)
{
	static uint8_t out[30000], in[30000];
	static int broken; /* what send() said */
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t window = sent - received;
	size_t i, len = (size_t)(1 + sent * 7 % sizeof(out));
	ssize_t n;

	if (window < 500000 && sent < limit && !broken)
		p.events |= POLLOUT;
	if (len > limit - sent)
		len = (size_t)(limit - sent);
	if (poll(&p, 1, 20000) <= 0) {
		report("client", ETIMEDOUT, NULL);
		return 1;
	}
	if (p.events & p.revents & POLLOUT) {
		for (i = 0; i < len; i++)
			out[i] = octet(sent + i);
		n = send(fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			sent += (uint64_t)n;
			atomic_store(mine, tag << 48 | sent);
		} else if (errno != EAGAIN && errno != EINTR) {
			broken = errno;
		}
	}
	if (!broken && !(p.revents & ~POLLOUT))
		return 0;
	n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		report("client", n ? errno : broken, NULL);
		return 1;
	}
	if (!is_stream(in, (size_t)n)) {
		report("client", 0, "WRONG");
		return 1;
	}
	received += (uint64_t)n;
	if (received == limit) {
		report("client", 0, NULL);
		return 1;
	}
	return 0;
}

static int client(const struct sockaddr_in *sa, uint64_t limit)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in own;

	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) ||
		getsockname(fd, (struct sockaddr *)&own, &(socklen_t){sizeof(own)})) {
		report("client", errno, NULL);
		return 0;
	}
	tag = own.sin_port;
	atomic_store(mine, tag << 48);
	while (!client_turn(fd, limit))
		;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (argc < 5) {
		fputs("usage: pump server|client PORT MINE THEIRS [BYTES]\n", stderr);
		return 2;
	}
	sa.sin_port = htons((uint16_t)atoi(argv[2]));
	mine = counter(argv[3]);
	theirs = counter(argv[4]);
	if (!strcmp(argv[1], "server"))
		return server(&sa);
	return client(&sa, argc > 5 ? strtoull(argv[5], NULL, 10) : UINT64_MAX);
}
