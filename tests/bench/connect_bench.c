/* SPDX-License-Identifier: BSD-2-Clause */
/* connect_bench - connect, one request and its answer, close; again and again. Prints how many a second. Serve with rr_server. */
#include "net.h"

int main(int argc, char **argv)
{
	unsigned long port = 0, len = 64, ms = 500;
	uint64_t start, from = 0, t = 0, n = 0;
	int o, bad = 0;
	char *msg, *buf;

	while ((o = getopt(argc, argv, "p:s:t:")) != -1)
		switch (o) {
		case 's':
			len = number("-s", optarg, 1, 1 << 24);
			break;
		default:
			bad |= !client_option(o, &port, &ms);
		}
	if (bad || !port || optind != argc) {
		fputs("usage: connect_bench -p PORT [-s LEN] [-t MILLISECONDS]\n", stderr);
		return 2;
	}
	msg = calloc(1, len);
	buf = malloc(len);
	if (!msg || !buf)
		die("malloc");
	start = now_ns();
	do {
		int fd = connect_to(port);

		send_all(fd, msg, len);
		if (!recv_all(fd, buf, len))
			die("the server hung up");
		close(fd);
		n++;
		t = now_ns();
		if (!from && t - start >= ms * 200000) {
			from = t;
			n = 0;
		}
	} while (!from || t - from < ms * 1000000);
	report(n, t - from);
	return 0;
}
