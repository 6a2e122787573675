/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle_udp.h - datagrams for the cases: addresses that are written without their ports, sockets, warm-ups, messages as they came.
 *
 * A datagram's content is fill()'s, its length and position are the caller's to say. Nothing here waits without a limit: a part that
 * waits for a datagram that does not come runs into its own limit, and says so.
 */
#ifndef ORACLE_UDP_H
#define ORACLE_UDP_H

#include "oracle.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define UDP_LARGEST 65536 /* octets; no datagram is larger */

struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage ss;
	};
	socklen_t len;
};

/* ---- addresses ---- */
struct addr addr_of(const char *ip, int port);
int addr_port(const struct addr *a);
int addr_equal(const struct addr *a, const struct addr *b); /* address and port */
struct addr name_of(int fd);				    /* getsockname */
void call_port(int port, const char *name); /* in this part's transcript; `name` must last. A port without a name is ? */
const char *addr_text(
	const struct addr *a); /* "127.0.0.1:S"; a static buffer of the calling thread, overwritten by the second next call */
void say_names(const char *what, int fd); /* getsockname and getpeername */

/* ---- sockets ---- */
int udp_new(int family);
int udp_on(const char *ip, int *port); /* bound, to any port; IPv6 wildcard "::" is dual-stack */
int udp_at(const char *ip, int port);  /* bound to this one: -1, errno */
int udp_to(const char *ip, int port);  /* connected */
int set_int(int fd, int level, int option, int value);

/* ---- datagrams ---- */
void hit(int fd, const struct addr *to, size_t len, unsigned stream,
	uint64_t pos); /* blocking; to NULL: where it is connected */
struct addr take(
	int fd, size_t len, unsigned stream, uint64_t pos); /* exactly this datagram; any other ends the part. Its source */
void none_is_there(int fd);				    /* says what a receive says that does not wait */
/* Waits for a datagram, then receives it into `len` octets with `control_len` octets of room; writes everything that recvmsg says. */
void say_message(int fd, size_t len, size_t control_len, int flags);

/* ---- warm-ups: as warm_up(), for datagrams. The server's part answers each of so many clients where its datagrams come from ---- */
void udp_warm_server(int fd, int clients);
void udp_warm_client(int fd, const struct addr *to); /* to NULL: connected */
unsigned udp_warm_messages(void);
/* A server on 127.0.0.1 and its one client, unconnected, warm; each knows the other's address. Their ports are S and C. */
int udp_serve(struct addr *client);
int udp_call(struct addr *server);
int udp_call_connected(struct addr *server);
/* A part that sends n datagrams of 30 octets (stream 1) for each number that it is told; -1 ends it. And what tells it. */
void udp_sends_as_told(void);
void udp_get_sent(long n);

#endif
