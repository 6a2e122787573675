/* SPDX-License-Identifier: BSD-2-Clause */
/* rpc_server.c PORT - serves rpc_echo.x over TCP on 127.0.0.1, known to no port mapper. Ends well at SIGTERM. */
#include <arpa/inet.h>
#include <rpc/rpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "rpc_echo.h"

void rpc_echo_1(struct svc_req *rqstp, SVCXPRT *transp); /* rpcgen -m; its header does not say so */

/* The answer is encoded from the argument's memory, before the dispatcher frees it. */
octets *echo_1_svc(octets *arg, struct svc_req *req)
{
	(void)req;
	return arg;
}

static void stop(int sig)
{
	(void)sig;
	svc_exit();
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	SVCXPRT *x;

	if (argc != 2)
		return 2;
	sa.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 16)) {
		perror("listen");
		return 1;
	}
	x = svc_vc_create(fd, 0, 0);
	if (!x || !svc_reg(x, RPC_ECHO, RPC_ECHO_1, rpc_echo_1, NULL)) {
		fputs("cannot register\n", stderr);
		return 1;
	}
	signal(SIGTERM, stop);
	puts("ready");
	fflush(stdout);
	svc_run();
	return 0;
}
