/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_udpthread.c - threads on one datagram socket: many that send, many that receive, both at once. */
#include "oracle_udp.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 8
#define EACH 1000

static int shared;
static struct addr peer;

/* Each thread waits for its own datagram's answer before it sends the next one; which thread gets whose answer does not matter. */
static void *asker(void *arg)
{
	struct {
		uint32_t thread, number;
	} it = {(uint32_t)(uintptr_t)arg, 0}, back;

	for (; it.number < EACH; it.number++) {
		if (sendto(shared, &it, sizeof it, 0, &peer.sa, peer.len) != sizeof it)
			say("FALSE: send");
		if (recv(shared, &back, sizeof back, 0) != sizeof back)
			say("FALSE: recv");
	}
	return NULL;
}

static void run_threads(void *(*run)(void *), unsigned n)
{
	pthread_t t[THREADS];

	for (uintptr_t i = 0; i < n; i++)
		t[i] = start_thread(run, (void *)i);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void senders_server(void)
{
	struct addr client;
	uint32_t next[THREADS] = {0}, it[2];
	int fd = udp_serve(&client);

	for (unsigned i = 0; i < THREADS * EACH; i++) {
		if (MUST(recv(fd, it, sizeof it, 0)) != sizeof it || it[0] >= THREADS || it[1] < next[it[0]])
			say("FALSE: thread %u: %u where %u or more was to come", it[0], it[1], next[it[0] % THREADS]);
		next[it[0] % THREADS] = it[1] + 1;
		MUST(sendto(fd, it, sizeof it, 0, &client.sa, client.len));
	}
	for (unsigned i = 0; i < THREADS; i++)
		HOLDS(next[i] == EACH);
	none_is_there(fd);
}

static void senders_client(void)
{
	shared = udp_call(&peer);
	run_threads(asker, THREADS);
	none_is_there(shared);
}

/* ---- many receive from one socket; each answers where it came from */

static _Atomic unsigned answered;

static void *answerer(void *arg)
{
	uint32_t it[2];

	(void)arg;
	for (;;) {
		struct addr from = {.len = sizeof from.ss};
		ssize_t n = MUST(recvfrom(shared, it, sizeof it, 0, &from.sa, &from.len));
		if (n == 0)
			return NULL;
		atomic_fetch_add(&answered, 1);
		MUST(sendto(shared, it, sizeof it, 0, &from.sa, from.len));
	}
}

static void receivers_server(void)
{
	struct addr client;

	shared = udp_serve(&client);
	run_threads(answerer, THREADS);
	say("%u answered", atomic_load(&answered));
	none_is_there(shared);
}

static void receivers_client(void)
{
	shared = udp_call(&peer);
	run_threads(asker, the_case->arg ? THREADS : 1);
	for (unsigned i = 0; i < THREADS; i++)
		hit(shared, &peer, 0, 0, 0);
	none_is_there(shared);
}

const struct oracle_case oracle_cases[] = {
	{"senders", senders_server, senders_client, 0, NULL},
	{"receivers", receivers_server, receivers_client, 0, NULL},
	{"both", receivers_server, receivers_client, 0, "both"},
	{NULL, NULL, NULL, 0, NULL},
};
