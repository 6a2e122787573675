/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c - a server over ncadg_sm: answers each datagram with the same in capital letters, to as many clients as come, in one thread with poll(2).
 *
 *   cc -o server server.c -lncadg_sm -pthread
 *   ./server [BINDING]       ncadg_sm[id=UID,ftok=PATH], or the name "example" in the endpoint map; until SIGINT or SIGTERM
 */
#include <ctype.h>
#include <errno.h>
#include <ncadg_sm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CLIENTS 64

static int stop[2]; /* a pipe that the handler writes to: poll() then returns, whenever the signal came */

static void on_signal(int sig)
{
	(void)sig;
	if (write(stop[1], "", 1) < 0)
		_exit(1);
}

static struct ncadg_sm *client[MAX_CLIENTS];
static int n_clients;

static void drop(int i)
{
	ncadg_sm_close(client[i]);
	client[i] = client[--n_clients];
}

/* All that is there, until -EAGAIN: only then will the descriptor tell of more. 0, or why the client is no more. */
static int serve(struct ncadg_sm *a)
{
	static char buf[NCADG_SM_MAX_LEN];
	ssize_t n;
	int err = 0;

	while (!err && (n = ncadg_sm_recv(a, buf, sizeof(buf), 0)) >= 0) {
		for (ssize_t i = 0; i < n; i++)
			buf[i] = (char)toupper((unsigned char)buf[i]);
		err = ncadg_sm_send(a, buf, (size_t)n, 1000); /* one that does not read its answers for a second is dropped */
	}
	return err ? err : n == -EAGAIN ? 0 : (int)n;
}

static void take(struct ncadg_sm_listener *l)
{
	struct ncadg_sm_peer who;
	struct ncadg_sm *a;

	while (n_clients < MAX_CLIENTS && ncadg_sm_accept(l, &a, 0) == 0) {
		ncadg_sm_peer(a, &who);
		printf("client of user %u, process %d\n", (unsigned)who.uid, (int)who.pid);
		client[n_clients++] = a;
	}
}

static void run(struct ncadg_sm_listener *l)
{
	struct pollfd p[2 + MAX_CLIENTS];

	for (;;) {
		int err, n = n_clients;

		p[0] = (struct pollfd){.fd = stop[0], .events = POLLIN};
		p[1] = (struct pollfd){.fd = n < MAX_CLIENTS ? ncadg_sm_listener_fd(l) : -1, .events = POLLIN};
		for (int i = 0; i < n; i++)
			p[2 + i] = (struct pollfd){.fd = ncadg_sm_fd(client[i]), .events = POLLIN};
		if (poll(p, (nfds_t)(2 + n), -1) < 0)
			continue; /* the handler has written to the pipe */
		if (p[0].revents)
			return;
		for (int i = n - 1; i >= 0; i--) { /* from the end: drop() puts the last one in the place of another */
			err = p[2 + i].revents ? serve(client[i]) : 0;
			if (!err)
				continue;
			printf("client gone: %s\n", err == -EPIPE ? "closed" : strerror(-err));
			drop(i);
		}
		if (p[1].revents)
			take(l);
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};
	char name[NCADG_SM_BINDING_LEN];
	const char *binding = argc > 1 ? argv[1] : name;
	struct ncadg_sm_listener *l;
	int err = argc > 1 ? 0 : ncadg_sm_compose(name, sizeof(name), geteuid(), "example");

	if (err >= 0)
		err = ncadg_sm_listen(&l, binding);
	if (err < 0 || pipe(stop)) {
		fprintf(stderr, "server: %s: %s\n", err == -EINVAL ? "no such binding" : binding,
			strerror(err < 0 ? -err : errno));
		return 1;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	printf("listening at %s\n", binding);
	fflush(stdout);
	setvbuf(stdout, NULL, _IOLBF, 0);
	run(l);
	while (n_clients)
		drop(0);
	ncadg_sm_listener_close(l); /* removes the file and all that belongs to it */
	return 0;
}
