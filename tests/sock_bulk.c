/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_bulk.c - much data: tiny and huge writes, both directions at once, all written before anything is read. */
#include "oracle.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB (1 << 20)

struct sizes {
	size_t total, write_len, read_len;
};

static void stream_server(void)
{
	const struct sizes *z = the_case->arg;
	char *buf = malloc(z->read_len);
	uint64_t total = 0, sum = 0;
	int fd = serve_warm();
	ssize_t n;

	while ((n = MUST(read(fd, buf, z->read_len))) > 0) {
		total += (uint64_t)n;
		sum = sum_bytes(sum, buf, (size_t)n);
	}
	say("%llu bytes, sum %016llx", (unsigned long long)total, (unsigned long long)sum);
	TRY(close(fd));
	free(buf);
}

static void stream_client(void)
{
	const struct sizes *z = the_case->arg;
	char *buf = malloc(z->write_len);
	int fd = connect_warm();

	for (uint64_t pos = 0; pos < z->total; pos += z->write_len) {
		fill(buf, z->write_len, 1, pos);
		if (write(fd, buf, z->write_len) != (ssize_t)z->write_len) /* blocking: all of it */
			say("FALSE: a short write");
	}
	TRY(close(fd));
	free(buf);
}

/* ---- both write megabytes before either reads ---- */

static void write_first(int fd)
{
	uint64_t sum;

	put(fd, 2 * MIB, is_server ? 2 : 1, 0);
	meet("written");
	TRY(shutdown(fd, SHUT_WR));
	say("%llu bytes", (unsigned long long)get_to_eof(fd, &sum));
	say("sum %016llx", (unsigned long long)sum);
	TRY(close(fd));
}

static void write_first_server(void)
{
	write_first(serve_warm());
}
static void write_first_client(void)
{
	write_first(connect_warm());
}
static void write_first_fresh_server(void)
{
	write_first(serve_one());
}
static void write_first_fresh_client(void)
{
	write_first(connect_one());
}

/* ---- a reader that stops: the writer never waits for it, then small messages again, then more ---- */

static void stop_and_go_server(void)
{
	int fd = serve_warm();

	for (unsigned turn = 0; turn < 6; turn++) {
		await("written");
		get(fd, (1 + turn % 3) * MIB / 2, 1, 0);
		put(fd, 1, 2, turn);
		for (unsigned i = 0; i < 300; i++) {
			get(fd, 40, 3, i);
			put(fd, 40, 4, i);
		}
	}
	TRY(close(fd));
}

static void stop_and_go_client(void)
{
	char buf[1];
	int fd = connect_warm();

	for (unsigned turn = 0; turn < 6; turn++) {
		put(fd, (1 + turn % 3) * MIB / 2, 1, 0);
		tell("written");
		get(fd, 1, 2, turn);
		for (unsigned i = 0; i < 300; i++) {
			put(fd, 40, 3, i);
			get(fd, 40, 4, i);
		}
	}
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

/* ---- both directions at once, one thread, poll and non-blocking calls with lengths that differ all the time ---- */

#define DUPLEX_TOTAL (12 * MIB)

static size_t some_length(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	unsigned shift = *state >> 28; /* small ones as often as large ones */
	return 1 + ((*state >> 8) & ((1u << (shift > 1 ? shift + 1 : 6)) - 1));
}

static void duplex(int fd)
{
	static char buf[1 << 17], good[1 << 17];
	unsigned mine = is_server ? 2 : 1, theirs = is_server ? 1 : 2;
	uint32_t state = mine;
	uint64_t sent = 0, got = 0;

	set_nonblock(fd, 1);
	while (sent < DUPLEX_TOTAL || got < DUPLEX_TOTAL) {
		struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < DUPLEX_TOTAL ? POLLOUT : 0))};
		MUST(poll(&p, 1, -1));
		if (p.revents & POLLOUT) {
			size_t len = some_length(&state);
			len = len < DUPLEX_TOTAL - sent ? len : DUPLEX_TOTAL - sent;
			fill(buf, len, mine, sent);
			ssize_t n = write(fd, buf, len);
			if (n < 0 && errno != EAGAIN)
				MUST(n);
			sent += n > 0 ? (uint64_t)n : 0;
		}
		if (p.revents & POLLIN) {
			ssize_t n = read(fd, buf, some_length(&state));
			if (n == 0 || (n < 0 && errno != EAGAIN)) {
				say_result("FALSE: read", n);
				break;
			}
			if (n < 0)
				continue;
			fill(good, (size_t)n, theirs, got);
			if (memcmp(buf, good, (size_t)n)) {
				say("FALSE: a wrong byte after %llu", (unsigned long long)got);
				break;
			}
			got += (uint64_t)n;
		}
	}
	say("sent %llu, got %llu", (unsigned long long)sent, (unsigned long long)got);
	meet("exchanged");
	set_nonblock(fd, 0);
	TRY(close(fd));
}

static void duplex_server(void)
{
	duplex(serve_warm());
}
static void duplex_client(void)
{
	duplex(connect_warm());
}
static void duplex_fresh_server(void)
{
	duplex(serve_one());
}
static void duplex_fresh_client(void)
{
	duplex(connect_one());
}

/* ---- many requests under way ---- */

static void pipeline_server(void)
{
	int fd = serve_warm();

	no_delay(fd);
	for (unsigned i = 0; i < 50 * 64; i++) {
		get(fd, 100, 1, i);
		put(fd, 1000, 2, i);
	}
	TRY(close(fd));
}

static void pipeline_client(void)
{
	char buf[1];
	int fd = connect_warm();

	no_delay(fd);
	for (unsigned turn = 0; turn < 50; turn++) {
		for (unsigned i = 0; i < 64; i++)
			put(fd, 100, 1, turn * 64 + i);
		for (unsigned i = 0; i < 64; i++)
			get(fd, 1000, 2, turn * 64 + i);
	}
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

/* ---- a file, by sendfile and by splice through a pipe ---- */

static int file_of(size_t len)
{
	int file = (int)MUST(memfd_create("oracle", MFD_CLOEXEC));
	char *p = malloc(len);

	fill(p, len, 2, 0);
	MUST(write(file, p, len));
	free(p);
	return file;
}

static void file_server(void)
{
	int fd = serve_warm(), file = file_of(5 * MIB);
	off_t at = 0;
	int p[2];

	while (at < 5 * MIB)
		MUST(sendfile(fd, file, &at, (size_t)(5 * MIB - at)));
	TRY(sendfile(fd, file, &at, 100)); /* nothing left */
	put(fd, 10, 3, 0);
	at = MIB;
	TRY(sendfile(fd, file, &at, 12345));
	say("offset %lld", (long long)at);
	MUST(pipe(p));
	for (loff_t in = 0; in < 5 * MIB;) {
		ssize_t n = MUST(splice(file, &in, p[1], NULL, 65536, SPLICE_F_MOVE));
		while (n > 0)
			n -= MUST(splice(p[0], NULL, fd, NULL, (size_t)n, SPLICE_F_MOVE | SPLICE_F_MORE));
	}
	get(fd, 1, 1, 0);
	TRY(close(fd));
	close(file);
	close(p[0]);
	close(p[1]);
}

static void file_client(void)
{
	int fd = connect_warm();

	get(fd, 5 * MIB, 2, 0);
	get(fd, 10, 3, 0);
	get(fd, 12345, 2, MIB);
	get(fd, 5 * MIB, 2, 0);
	put(fd, 1, 1, 0);
	char buf[1];
	TRY(recv(fd, buf, 1, 0));
	TRY(close(fd));
}

static const struct sizes tiny = {60000, 1, 65536}, tiny_reads = {60000, 20000, 1}, odd = {5000 * 777, 777, 1001},
			  sixty_four_k = {64 * MIB, 65536, 65536}, huge = {32 * MIB, 16 * MIB, 16 * MIB},
			  huge_small = {16 * MIB, 16 * MIB, 4096};

const struct oracle_case oracle_cases[] = {
	{"write_1_byte", stream_server, stream_client, 0, &tiny},
	{"read_1_byte", stream_server, stream_client, 0, &tiny_reads},
	{"odd_lengths", stream_server, stream_client, 0, &odd},
	{"64k", stream_server, stream_client, 0, &sixty_four_k},
	{"write_16M", stream_server, stream_client, 0, &huge},
	{"write_16M_read_4k", stream_server, stream_client, 0, &huge_small},
	{"write_first", write_first_server, write_first_client, 0, NULL},
	{"write_first_fresh", write_first_fresh_server, write_first_fresh_client, CASE_NOWARM, NULL},
	{"stop_and_go", stop_and_go_server, stop_and_go_client, 0, NULL},
	{"duplex", duplex_server, duplex_client, 0, NULL},
	{"duplex_fresh", duplex_fresh_server, duplex_fresh_client, CASE_NOWARM, NULL},
	{"pipeline", pipeline_server, pipeline_client, 0, NULL},
	{"files", file_server, file_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
