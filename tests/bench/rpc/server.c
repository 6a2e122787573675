/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server - an ONC RPC server over TCP, or with -u over UDP: null procedure, and echo. Not registered with rpcbind: the port is told to the client.
 * Leaves on SIGTERM.
 */
#include <rpc/rpc.h>
#include <signal.h>

#include "../net.h"
#include "echo.h"

static void dispatch(struct svc_req *req, SVCXPRT *xprt)
{
	blob data = {0};

	switch (req->rq_proc) {
	case NULLPROC:
		svc_sendreply(xprt, (xdrproc_t)xdr_void, NULL);
		return;
	case ECHO_BACK:
		if (!svc_getargs(xprt, (xdrproc_t)xdr_blob, (caddr_t)&data)) {
			svcerr_decode(xprt);
			return;
		}
		svc_sendreply(xprt, (xdrproc_t)xdr_blob, (caddr_t)&data);
		svc_freeargs(xprt, (xdrproc_t)xdr_blob, (caddr_t)&data);
		return;
	default:
		svcerr_noproc(xprt);
	}
}

static void leave(int sig)
{
	(void)sig;
	svc_exit();
}

int main(int argc, char **argv)
{
	SVCXPRT *xprt = argc > 1 && !strcmp(argv[1], "-u") ? svc_dg_create(bind_datagrams(0), 0, 0) : svc_vc_create(listen_on(0), 0, 0);

	signal(SIGTERM, leave);
	if (!xprt || !svc_reg(xprt, ECHO_PROG, ECHO_VERS, dispatch, NULL))
		die("no transport");
	svc_run();
	return 0;
}
