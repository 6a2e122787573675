/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle_warm.c - ping-pong until what is done to a connection behind its back is over; see oracle.h and oracle_udp.h.
 *
 * Where a part is patient (oracle.h), octets are expected to leave the kernel. That the program can see: the kernel's counters stand still while
 * messages go on arriving. As long as they do not, the client waits longer and longer before it goes on. How many messages there are does
 * not depend on it. Elsewhere nothing is expected, and fewer do.
 */
#include "oracle_udp.h"

#include <linux/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MSGS 240
#define UDP_MSGS 320
#define BRIEF 4 /* the fourth part of them */
#define PAUSE_EVERY 4
#define PAUSE_NS 200000
#define LONGEST_NS 200000000
#define PATIENCE_NS INT64_C(3000000000) /* all in all */

unsigned warm_messages(void)
{
	return is_patient() ? MSGS : MSGS / BRIEF;
}

unsigned udp_warm_messages(void)
{
	return is_patient() ? UDP_MSGS : UDP_MSGS / BRIEF;
}

/* ---- what the kernel has carried ---- */

static uint64_t tcp_octets(int fd)
{
	struct tcp_info ti = {0};
	socklen_t len = sizeof ti;

	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	return ti.tcpi_bytes_sent + ti.tcpi_bytes_received;
}

/* In and out, by both families, in this network namespace. 0: no descriptor is left to ask with. */
static uint64_t udp_datagrams(void)
{
	static const char *const files[] = {"/proc/self/net/snmp", "/proc/self/net/snmp6"};
	uint64_t sum = 0;
	char line[1024];

	for (int i = 0; i < 2; i++) {
		unsigned long long in, out, n;
		FILE *f = fopen(files[i], "re");
		while (f && fgets(line, sizeof line, f))
			if (sscanf(line, "Udp: %llu %*u %*u %llu", &in, &out) == 2)
				sum += in + out;
			else if (sscanf(line, "Udp6InDatagrams %llu", &n) == 1 ||
				 sscanf(line, "Udp6OutDatagrams %llu", &n) == 1)
				sum += n;
		if (f)
			fclose(f);
	}
	return sum;
}

/* ---- pauses ---- */

static _Atomic int64_t patience = PATIENCE_NS; /* what is left of it: a connection that stays in the kernel uses it up */

struct pace {
	int watches; /* goes on by what the kernel says, not by time */
	long pause_ns;
	uint64_t seen;	/* by the kernel, so far */
	unsigned still; /* looks in a row that found nothing new */
};

static struct pace begin(void)
{
	return (struct pace){.watches = is_patient() && !(the_case->flags & CASE_KERNEL), .pause_ns = PAUSE_NS};
}

/* fd: of a stream; -1: datagrams */
static void pause_now(struct pace *p, int fd)
{
	long ns = PAUSE_NS;

	if (p->watches) {
		uint64_t before = p->seen;
		if (p->still == 2)
			return;
		p->seen = fd < 0 ? udp_datagrams() : tcp_octets(fd);
		p->still = p->seen == before ? p->still + 1 : 0;
		if (p->still)
			return;
		/* Datagrams that go up one way only may do so for good: an answer from another address. */
		long most = fd < 0 && p->seen - before <= 2 * PAUSE_EVERY ? LONGEST_NS / 50 : LONGEST_NS;
		p->pause_ns = 2 * p->pause_ns < most ? 2 * p->pause_ns : most;
		if (atomic_fetch_sub(&patience, p->pause_ns) > 0)
			ns = p->pause_ns;
	}
	nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

void warm_up(int fd)
{
	unsigned n = warm_messages();
	struct pace pace = begin();

	for (unsigned i = 0; i < n; i++) {
		if (!is_server)
			put(fd, WARM_LEN, WARM_STREAM, i);
		get(fd, WARM_LEN, WARM_STREAM, i);
		if (is_server)
			put(fd, WARM_LEN, WARM_STREAM, i);
		else if (i % PAUSE_EVERY == 0)
			pause_now(&pace, fd);
	}
}

void udp_warm_server(int fd, int clients)
{
	static unsigned char buf[UDP_LARGEST]; /* a client that is warm may already send what it likes */
	unsigned n = udp_warm_messages() * (unsigned)clients;
	struct addr from;

	for (unsigned i = 0; i < n; i++) {
		from.len = sizeof from.ss;
		ssize_t len = recvfrom(fd, buf, sizeof buf, 0, &from.sa, &from.len);
		MUST(len);
		MUST(sendto(fd, buf, (size_t)len, 0, &from.sa, from.len));
	}
}

void udp_warm_client(int fd, const struct addr *to)
{
	unsigned n = udp_warm_messages();
	struct pace pace = begin();

	for (unsigned i = 0; i < n; i++) {
		hit(fd, to, WARM_LEN, WARM_STREAM, i);
		take(fd, WARM_LEN, WARM_STREAM, i);
		if (i % PAUSE_EVERY == 0)
			pause_now(&pace, -1);
	}
}
