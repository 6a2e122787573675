/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * udp_server - answers each datagram with itself; or, with -m stream, counts those that come. A datagram of one octet ends it: the answer is how many have been
 * counted.
 */
#include <poll.h>

#include "net.h"

int main(int argc, char **argv)
{
	static char buf[65536];
	unsigned long port = 0;
	int o, fd, stream = 0, use_poll = 0;
	uint64_t n = 0;

	while ((o = getopt(argc, argv, "p:m:n:")) != -1)
		switch (o) {
		case 'p':
			port = number("-p", optarg, 0, 65535);
			break;
		case 'm':
			stream = !strcmp(optarg, "stream");
			use_poll = !strcmp(optarg, "poll");
			break;
		case 'n': /* as the others have it: it ends by itself */
			break;
		default:
			return 2;
		}
	fd = bind_datagrams(port);
	for (;;) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (use_poll && poll(&p, 1, -1) < 0)
			die("poll");
		got = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		if (got < 0)
			die("recvfrom");
		n++;
		if (got == 1)
			got = snprintf(buf, sizeof(buf), "%llu", (unsigned long long)n - 1);
		else if (stream)
			continue;
		if (sendto(fd, buf, (size_t)got, 0, (struct sockaddr *)&from, len) != got)
			die("sendto");
		if (stream || buf[got - 1] == 'q')
			return 0;
	}
}
