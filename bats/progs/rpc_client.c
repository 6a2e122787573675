/* SPDX-License-Identifier: BSD-2-Clause */
/* rpc_client.c PORT N - N null calls, and N echoes of each of several sizes, every octet compared. */
#include <arpa/inet.h>
#include <rpc/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc_echo.h"

static const u_int sizes[] = {0, 1, 1024, 32768, 65536, 1048577};

static int null_calls(CLIENT *c, int n)
{
	struct timeval limit = {20, 0};
	int i;

	for (i = 0; i < n; i++)
		if (clnt_call(c, NULLPROC, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL, limit) != RPC_SUCCESS) {
			clnt_perror(c, "null");
			return 1;
		}
	printf("null: %d\n", n);
	return 0;
}

static int echoes(CLIENT *c, u_int len, int n)
{
	char *buf = malloc(len + 1u);
	octets arg = {len, buf}, *res;
	u_int j;
	int i;

	for (i = 0; i < n; i++) {
		for (j = 0; j < len; j++)
			buf[j] = (char)(j * 7u + (j >> 8) + (u_int)i);
		res = echo_1(&arg, c);
		if (!res) {
			clnt_perror(c, "echo");
			return 1;
		}
		if (res->octets_len != len || memcmp(res->octets_val, buf, len)) {
			fprintf(stderr, "echo of %u octets: another came back\n", len);
			return 1;
		}
		clnt_freeres(c, (xdrproc_t)xdr_octets, (char *)res);
		memset(res, 0, sizeof(*res)); /* the stub decodes into the same place again */
	}
	printf("echo %u: %d\n", len, n);
	free(buf);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int n, fd = RPC_ANYSOCK;
	CLIENT *c;
	size_t i;

	if (argc != 3)
		return 2;
	sa.sin_port = htons((uint16_t)atoi(argv[1]));
	n = atoi(argv[2]);
	c = clnttcp_create(&sa, RPC_ECHO, RPC_ECHO_1, &fd, 0, 0);
	if (!c) {
		clnt_pcreateerror("connect");
		return 1;
	}
	if (null_calls(c, n))
		return 1;
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (echoes(c, sizes[i], sizes[i] > 100000 ? 3 : n))
			return 1;
	clnt_destroy(c);
	return 0;
}
