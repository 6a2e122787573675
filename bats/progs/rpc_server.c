/* SPDX-License-Identifier: BSD-2-Clause */
/* rpc_server.c PORT tcp|udp - serves rpc_echo.x on 127.0.0.1, known to no port mapper. Ends well at SIGTERM. */
#include <arpa/inet.h>
#include <rpc/rpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "rpc_echo.h"

void rpc_echo_1(struct svc_req *rqstp, SVCXPRT *transp); /* rpcgen -m; its header does not say so */

static u_quad_t total[1024], said; /* by connection; told once */

/* The answer is encoded from the argument's memory, before the dispatcher frees it. */
octets *echo_1_svc(octets *arg, struct svc_req *req)
{
	(void)req;
	return arg;
}

/* Batched calls expect no answer: NULL is none. */
void *add_1_svc(octets *arg, struct svc_req *req)
{
	u_int i;

	for (i = 0; i < arg->octets_len; i++)
		total[req->rq_xprt->xp_fd % 1024] += (unsigned char)arg->octets_val[i];
	return NULL;
}

u_quad_t *total_1_svc(void *arg, struct svc_req *req)
{
	(void)arg;
	said = total[req->rq_xprt->xp_fd % 1024];
	total[req->rq_xprt->xp_fd % 1024] = 0;
	return &said;
}

static void stop(int sig)
{
	(void)sig;
	svc_exit();
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int udp = argc == 3 && !strcmp(argv[2], "udp"), one = 1, fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
	SVCXPRT *x;

	if (argc != 3)
		return 2;
	sa.sin_port = htons((uint16_t)atoi(argv[1]));
	if (!udp) /* so that it can start again at once; a UDP port would be open to others */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || (!udp && listen(fd, 16))) {
		perror("listen");
		return 1;
	}
	x = udp ? svc_dg_create(fd, 65536, 65536) : svc_vc_create(fd, 0, 0);
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
