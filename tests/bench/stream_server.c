/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_server - reads each connection to its end in reads of at most LEN bytes, and answers with the number of bytes read
 * (eight octets, the host's order). Leaves after N connections (0: never).
 */
#include "net.h"

int main(int argc, char **argv)
{
	unsigned long port = 0, len = 65536, limit = 0, i;
	int o, ls;
	char *buf;

	while ((o = getopt(argc, argv, "p:r:n:")) != -1)
		switch (o) {
		case 'p':
			port = number("-p", optarg, 0, 65535);
			break;
		case 'r':
			len = number("-r", optarg, 1, 1 << 26);
			break;
		case 'n':
			limit = number("-n", optarg, 0, 1 << 20);
			break;
		default:
			fputs("usage: stream_server [-p PORT] [-r LEN] [-n CONNECTIONS]\n", stderr);
			return 2;
		}
	buf = malloc(len);
	if (!buf)
		die("malloc");
	ls = listen_on(port);
	for (i = 0; !limit || i < limit; i++) {
		int fd = accept(ls, NULL, NULL);
		uint64_t sum = 0;
		ssize_t n;

		if (fd < 0)
			die("accept");
		while ((n = recv(fd, buf, len, 0)) > 0)
			sum += (uint64_t)n;
		if (n < 0)
			die("recv");
		send_all(fd, (char *)&sum, sizeof(sum));
		close(fd);
	}
	return 0;
}
