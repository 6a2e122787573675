/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive.c - a fuzz target without libFuzzer: the seeds, changed at random, the same changes on every run.
 *
 *   fuzz_X SECONDS         go on for so long; prints how many inputs it was
 *   fuzz_X --seeds FOLDER  write the seeds there, for libFuzzer
 */
#include <string.h>
#include <time.h>

#include "fuzz.h"

#define MAX_LEN 1024

static uint64_t state = 88172645463325252u;

static uint32_t any(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? (uint32_t)(state >> 16) % below : 0;
}

static size_t seed(uint8_t *buf, const char *hex)
{
	size_t n = 0;
	unsigned v;

	for (; *hex && sscanf(hex, "%2x", &v) == 1; hex += 2)
		buf[n++] = (uint8_t)v;
	return n;
}

/* Octets from `at` on make room for, or close up over, `len`. */
static size_t insert(uint8_t *buf, size_t n, size_t at, size_t len)
{
	if (n + len > MAX_LEN)
		return n;
	memmove(buf + at + len, buf + at, n - at);
	for (size_t i = 0; i < len; i++)
		buf[at + i] = (uint8_t)any(256);
	return n + len;
}

static size_t erase(uint8_t *buf, size_t n, size_t at, size_t len)
{
	if (len > n - at)
		len = n - at;
	memmove(buf + at, buf + at + len, n - at - len);
	return n - len;
}

static size_t mutate(uint8_t *buf, size_t n)
{
	static const uint8_t edge[] = {0, 1, 2, 0x7f, 0x80, 0xff, '[', ']', ',', '\\', '=', ':', '/', '@', '0', 19};
	size_t at = any((uint32_t)n + 1), len = 1 + any(any(8) ? 4 : 300);

	switch (any(6)) {
	case 0:
		return insert(buf, n, at, len);
	case 1:
		return erase(buf, n, at, len);
	case 2:
		return at;
	case 3:
		if (at < n)
			buf[at] ^= (uint8_t)(1u << any(8));
		return n;
	case 4:
		if (at < n)
			buf[at] = edge[any(sizeof(edge))];
		return n;
	default:
		if (at < n)
			buf[at] = (uint8_t)(buf[at] + any(5) - 2);
		return n;
	}
}

static int write_seeds(const char *folder)
{
	uint8_t buf[MAX_LEN];
	char path[512];

	for (int i = 0; fuzz_seeds[i]; i++) {
		size_t n = seed(buf, fuzz_seeds[i]);
		FILE *f;

		snprintf(path, sizeof(path), "%s/%d", folder, i);
		f = fopen(path, "w");
		if (!f || fwrite(buf, 1, n, f) != n || fclose(f)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint8_t buf[MAX_LEN];
	unsigned long n_in = 0;
	time_t end;
	int n_seeds = 0;

	if (argc == 3 && !strcmp(argv[1], "--seeds"))
		return write_seeds(argv[2]);
	while (fuzz_seeds[n_seeds])
		n_seeds++;
	end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);
	do {
		for (int i = 0; i < 1000; i++, n_in++) {
			size_t n = seed(buf, fuzz_seeds[any((uint32_t)n_seeds)]);

			for (uint32_t m = any(6); m; m--)
				n = mutate(buf, n);
			LLVMFuzzerTestOneInput(buf, n);
		}
	} while (time(NULL) < end);
	printf("%lu inputs\n", n_in);
	return 0;
}
