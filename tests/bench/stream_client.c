/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_client - writes as fast as it can, LEN bytes a call, and prints how many writes a second arrived.
 *
 * The time runs until the server says how many bytes it has read; the bytes of the first fifth are not counted.
 */
#include "net.h"

int main(int argc, char **argv)
{
	unsigned long port = 0, len = 65536, ms = 500, n = 0, n_counted = 0;
	uint64_t t, from = 0, start, sum;
	int o, bad = 0, fd;
	char *buf;

	while ((o = getopt(argc, argv, "p:w:t:")) != -1)
		switch (o) {
		case 'w':
			len = number("-w", optarg, 1, 1 << 26);
			break;
		default:
			bad |= !client_option(o, &port, &ms);
		}
	if (bad || !port || optind != argc) {
		fputs("usage: stream_client -p PORT [-w LEN] [-t MILLISECONDS]\n", stderr);
		return 2;
	}
	buf = malloc(len);
	if (!buf)
		die("malloc");
	memset(buf, 'x', len);
	fd = connect_to(port);
	start = now_ns();
	for (;;) {
		send_all(fd, buf, len);
		if (++n % 16 && len < 1 << 20)
			continue;
		t = now_ns();
		if (!from && t - start >= ms * 200000) {
			from = t;
			n_counted = n;
		}
		if (from && t - from >= ms * 1000000)
			break;
	}
	if (shutdown(fd, SHUT_WR) || !recv_all(fd, (char *)&sum, sizeof(sum)))
		die("no answer");
	errno = 0;
	if (sum != (uint64_t)n * len)
		die("%llu bytes sent, %llu arrived", (unsigned long long)n * len, (unsigned long long)sum);
	t = now_ns() - from;
	report(n - n_counted, t);
	return 0;
}
