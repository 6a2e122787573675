/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag.h - who is the peer: questions to the kernel's NETLINK_SOCK_DIAG about TCP sockets of this network namespace.
 *
 * About 8 us a question: for slow paths. Any thread (a short lock over the netlink socket; signal handlers must not call).
 */
#ifndef SHUNT_DIAG_H
#define SHUNT_DIAG_H

#include <stdint.h>

/* One end of a TCP connection. IPv4-mapped IPv6 addresses are always written as AF_INET: diag_addr_from() sees to it. */
struct diag_addr {
	uint16_t family;  /* AF_INET, AF_INET6 */
	uint16_t port;	  /* host order */
	uint8_t addr[16]; /* network order; IPv4 in the first four octets, the rest 0 */
};

struct diag_sock {
	uint32_t uid;	 /* owner of the socket: who created it, or accepted it; 65534 is never to be believed */
	uint32_t inode;	 /* 0: no process holds it (still in an accept queue, or orphaned): uid means nothing then */
	uint64_t cookie; /* SO_COOKIE */
	uint8_t state;	 /* TCP_* of <netinet/tcp.h> */
};

struct sockaddr;
/* 0; -EAFNOSUPPORT (neither AF_INET nor AF_INET6), -EINVAL (an address with a scope: link-local; those stay in the kernel). */
int diag_addr_from(struct diag_addr *a, const struct sockaddr *sa, uint32_t len);
int diag_addr_eq(const struct diag_addr *a, const struct diag_addr *b);
int diag_addr_is_any(const struct diag_addr *a);
int diag_addr_is_loopback(const struct diag_addr *a);

/* The socket whose own address is `own` and whose peer is `peer`. 0, -ENOENT (no such socket), or another -errno. */
int diag_conn(const struct diag_addr *own, const struct diag_addr *peer, struct diag_sock *out);
/* The socket that listens for connections to `at` (the kernel's choice: wildcard and dual-stack listeners count). As above. */
int diag_listener(const struct diag_addr *at, struct diag_sock *out);
/* Cookie of the network namespace of a socket (SO_NETNS_COOKIE); 0 if the kernel cannot say. */
uint64_t diag_netns(int fd);
/* In the child after fork: forget the parent's netlink socket. */
void diag_fork_child(void);

#endif
