/* SPDX-License-Identifier: BSD-2-Clause */
/* rpc_pmap.c N - asks the port mapper of 127.0.0.1, on one TCP connection, for nothing until there is a file "go"; then N times for nothing, N times for its own port; and for its table. */
#include <arpa/inet.h>
#include <rpc/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rpc/pmap_prot.h> /* needs the others */

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(PMAPPORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct pmap ask = {.pm_prog = PMAPPROG, .pm_vers = PMAPVERS, .pm_prot = IPPROTO_TCP};
	struct pmaplist *list = NULL, *p;
	struct timeval limit = {20, 0};
	int i, entries = 0, right = 0, nulls = 0, n = argc == 2 ? atoi(argv[1]) : 0, fd = RPC_ANYSOCK;
	CLIENT *c = clnttcp_create(&sa, PMAPPROG, PMAPVERS, &fd, 0, 0);
	u_long port;

	if (!c) {
		clnt_pcreateerror("connect");
		return 1;
	}
	while (access("go", F_OK)) {
		if (clnt_call(c, PMAPPROC_NULL, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL, limit) != RPC_SUCCESS) {
			clnt_perror(c, "null");
			return 1;
		}
		usleep(50000);
	}
	for (i = 0; i < n; i++) {
		port = 0;
		nulls += clnt_call(c, PMAPPROC_NULL, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL, limit) ==
			 RPC_SUCCESS;
		right += clnt_call(c, PMAPPROC_GETPORT, (xdrproc_t)xdr_pmap, (char *)&ask, (xdrproc_t)xdr_u_long, (char *)&port,
				 limit) == RPC_SUCCESS &&
			 port == PMAPPORT;
	}
	if (clnt_call(c, PMAPPROC_DUMP, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_pmaplist, (char *)&list, limit) !=
		RPC_SUCCESS) {
		clnt_perror(c, "dump");
		return 1;
	}
	for (p = list; p; p = p->pml_next)
		entries++;
	printf("null: %d, port of rpcbind: %d, entries: %d\n", nulls, right, entries);
	clnt_destroy(c);
	return 0;
}
