/* SPDX-License-Identifier: BSD-2-Clause */
/* client - calls the RPC server, with -u over UDP: the null procedure (-s 0), or an echo of LEN bytes; prints how many calls a second. */
#include <rpc/rpc.h>

#include "../net.h"
#include "echo.h"

static CLIENT *clnt;
static blob sent;

static void call(void)
{
	static struct timeval limit = {.tv_sec = 10};
	blob got = {0};
	enum clnt_stat st;

	if (!sent.blob_len) {
		st = clnt_call(clnt, NULLPROC, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL, limit);
	} else {
		st = clnt_call(clnt, ECHO_BACK, (xdrproc_t)xdr_blob, (caddr_t)&sent, (xdrproc_t)xdr_blob, (caddr_t)&got, limit);
		if (st == RPC_SUCCESS && (got.blob_len != sent.blob_len || memcmp(got.blob_val, sent.blob_val, got.blob_len))) {
			errno = 0;
			die("the echo differs");
		}
		xdr_free((xdrproc_t)xdr_blob, &got);
	}
	if (st != RPC_SUCCESS) {
		clnt_perror(clnt, "call");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct netbuf nb = {.maxlen = sizeof(a), .len = sizeof(a), .buf = &a};
	unsigned long port = 0, len = 0, ms = 500, n = 0;
	uint64_t start, from = 0, t = 0;
	int o, bad = 0, udp = 0;

	while ((o = getopt(argc, argv, "up:s:t:")) != -1)
		switch (o) {
		case 'u':
			udp = 1;
			break;
		case 's':
			len = number("-s", optarg, 0, ECHO_MAX);
			break;
		default:
			bad |= !client_option(o, &port, &ms);
		}
	if (bad || !port || optind != argc) {
		fputs("usage: client [-u] -p PORT [-s LEN] [-t MILLISECONDS]\n", stderr);
		return 2;
	}
	sent.blob_len = (u_int)len;
	sent.blob_val = calloc(1, len + 1);
	a.sin_port = htons((uint16_t)port);
	clnt = udp ? clnt_dg_create(socket(AF_INET, SOCK_DGRAM, 0), &nb, ECHO_PROG, ECHO_VERS, 0, 0)
		   : clnt_vc_create(connect_to(port), &nb, ECHO_PROG, ECHO_VERS, 0, 0);
	if (!sent.blob_val || !clnt)
		die("no client handle");
	start = now_ns();
	for (;;) {
		call();
		if (++n % 16)
			continue;
		t = now_ns();
		if (!from && t - start >= ms * 200000) {
			from = t;
			n = 0;
		}
		if (from && t - from >= ms * 1000000)
			break;
	}
	report(n, t - from);
	return 0;
}
