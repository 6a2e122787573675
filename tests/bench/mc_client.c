/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mc_client - N processes, each with one blocking connection to a memcached: one set of 64 bytes to nine gets of what was set;
 * every answer is compared. Prints how many requests a second, all together. The first fifth of the time is not counted.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "net.h"

#define MAX_CLIENTS 1000
#define VALUE_LEN 64

static unsigned long port, n_clients = 8, ms = 500;

/* Exactly `want` must come back. */
static void expect(int fd, const char *want, size_t len)
{
	char got[256];

	if (!recv_all(fd, got, len))
		die("memcached hung up");
	errno = 0;
	if (memcmp(got, want, len))
		die("not the answer: %.*s", (int)len, got);
}

static uint64_t client(unsigned long me, uint64_t from, uint64_t to)
{
	char set[160], get[64], value[VALUE_LEN + 1], found[160];
	int fd = connect_to(port), i, n_set, n_get, n_found;
	uint64_t n = 0, before = 0, t = 0;

	n_get = snprintf(get, sizeof(get), "get key-%lu\r\n", me);
	for (; t < to; t = now_ns()) {
		if (t < from)
			before = n;
		snprintf(value, sizeof(value), "%032lx%032llx", me, (unsigned long long)n);
		n_set = snprintf(set, sizeof(set), "set key-%lu 0 0 %d\r\n%s\r\n", me, VALUE_LEN, value);
		n_found = snprintf(found, sizeof(found), "VALUE key-%lu 0 %d\r\n%s\r\nEND\r\n", me, VALUE_LEN, value);
		send_all(fd, set, (size_t)n_set);
		expect(fd, "STORED\r\n", 8);
		for (i = 0; i < 9; i++) {
			send_all(fd, get, (size_t)n_get);
			expect(fd, found, (size_t)n_found);
		}
		n += 10;
	}
	close(fd);
	return n - before;
}

int main(int argc, char **argv)
{
	uint64_t *count, from, to, sum = 0;
	unsigned long i;
	int o, st, bad = 0;

	while ((o = getopt(argc, argv, "p:c:t:")) != -1)
		switch (o) {
		case 'c':
			n_clients = number("-c", optarg, 1, MAX_CLIENTS);
			break;
		default:
			bad |= !client_option(o, &port, &ms);
		}
	if (bad || optind != argc || !port) {
		fputs("usage: mc_client -p PORT [-c CLIENTS] [-t MILLISECONDS]\n", stderr);
		return 2;
	}
	count = mmap(NULL, sizeof(*count) * MAX_CLIENTS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED)
		die("mmap");
	from = now_ns() + ms * 200000;
	to = from + ms * 1000000;
	for (i = 0; i < n_clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			count[i] = client(i, from, to);
			return 0;
		}
	}
	while (wait(&st) > 0)
		bad |= st;
	if (bad)
		return 1;
	for (i = 0; i < n_clients; i++)
		sum += count[i];
	report(sum, to - from);
	return 0;
}
