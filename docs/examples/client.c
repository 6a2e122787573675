/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.c - a client over ncadg_sm, for server.c.
 *
 *   cc -o client client.c -lncadg_sm -pthread
 *   ./client [BINDING] TEXT...        sends each TEXT as one datagram and prints the answers
 *   ./client [BINDING] -n NUMBER      sends so many datagrams of 64 octets, each after the last one's answer, and prints how long one took
 *
 * Without a BINDING, which begins with "ncadg_sm", the server is our own user's under the name "example" in the endpoint map.
 */
#include <errno.h>
#include <ncadg_sm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000 /* for each answer */

static int fail(const char *what, int err)
{
	fprintf(stderr, "client: %s: %s\n", what, err == -EPIPE ? "the server has closed" : strerror(-err));
	return 1;
}

static int ask(struct ncadg_sm *a, const char *text)
{
	char answer[NCADG_SM_MAX_LEN];
	int err = ncadg_sm_send(a, text, strlen(text), PATIENCE_MS);
	ssize_t n = err ? err : ncadg_sm_recv(a, answer, sizeof(answer), PATIENCE_MS);

	if (n < 0)
		return fail(text, (int)n);
	printf("%.*s\n", (int)n, answer);
	return 0;
}

static int measure(struct ncadg_sm *a, long n)
{
	struct timespec begin, end;
	char buf[64] = "";

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long i = 0; i < n; i++) {
		int err = ncadg_sm_send(a, buf, sizeof(buf), PATIENCE_MS);
		ssize_t len = err ? err : ncadg_sm_recv(a, buf, sizeof(buf), PATIENCE_MS);

		if (len < 0)
			return fail("measuring", (int)len);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%ld calls, %.2f microseconds each\n", n,
		((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / 1e3 /
			(double)(n > 0 ? n : 1));
	return 0;
}

int main(int argc, char **argv)
{
	int told = argc > 1 && !strncmp(argv[1], "ncadg_sm", 8), i = 1 + told, err = 0;
	char name[NCADG_SM_BINDING_LEN];
	const char *binding = told ? argv[1] : name;
	struct ncadg_sm *a;

	if (!told)
		err = ncadg_sm_compose(name, sizeof(name), geteuid(), "example");
	if (err >= 0)
		err = ncadg_sm_connect(&a, binding, PATIENCE_MS);
	if (err < 0)
		return fail(err == -EINVAL ? "no such binding" : binding, err);
	if (i + 1 < argc && !strcmp(argv[i], "-n"))
		err = measure(a, strtol(argv[i + 1], NULL, 10));
	else
		for (; i < argc && !err; i++)
			err = ask(a, argv[i]);
	ncadg_sm_close(a);
	return err;
}
