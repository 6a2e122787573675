/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rpc_client.c PORT N tcp|udp - N null calls, N echoes of each of several sizes (over UDP those that a datagram holds), every octet compared; and N
 * batched calls: sent one behind the other, without an answer.
 */
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

static int batch(CLIENT *c, int n)
{
	struct timeval none = {0, 0}, limit = {20, 0};
	char buf[1000];
	octets arg = {sizeof(buf), buf};
	u_quad_t want = 0, total = 0;
	int i;
	u_int j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < sizeof(buf); j++) {
			buf[j] = (char)(j + (u_int)i);
			want += (unsigned char)buf[j];
		}
		/* no result, no time: libtirpc keeps the call back until a record is full */
		if (clnt_call(c, ADD, (xdrproc_t)xdr_octets, (char *)&arg, NULL, NULL, none) != RPC_SUCCESS) {
			clnt_perror(c, "batch");
			return 1;
		}
	}
	if (clnt_call(c, TOTAL, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_u_quad_t, (char *)&total, limit) != RPC_SUCCESS) {
		clnt_perror(c, "total");
		return 1;
	}
	if (total != want) {
		fprintf(stderr, "batch: %llu instead of %llu\n", (unsigned long long)total, (unsigned long long)want);
		return 1;
	}
	printf("batch: %d\n", n);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int n, fd = RPC_ANYSOCK, udp = argc == 4 && !strcmp(argv[3], "udp");
	CLIENT *c;
	size_t i;

	if (argc != 4)
		return 2;
	sa.sin_port = htons((uint16_t)atoi(argv[1]));
	n = atoi(argv[2]);
	c = udp ? clntudp_bufcreate(&sa, RPC_ECHO, RPC_ECHO_1, (struct timeval){20, 0}, &fd, 65536, 65536)
		: clnttcp_create(&sa, RPC_ECHO, RPC_ECHO_1, &fd, 0, 0);
	if (!c) {
		clnt_pcreateerror("connect");
		return 1;
	}
	if (null_calls(c, n))
		return 1;
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if ((!udp || sizes[i] <= 32768) && echoes(c, sizes[i], sizes[i] > 100000 ? 3 : n))
			return 1;
	if (!udp && batch(c, n)) /* over UDP a server that is behind loses some */
		return 1;
	clnt_destroy(c);
	return 0;
}
