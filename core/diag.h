/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag.h - who is the peer: questions to the kernel's NETLINK_SOCK_DIAG about TCP and UDP sockets of this network namespace.
 *
 * About 5 us a question: for slow paths. Any thread and signal handler: the netlink socket that is kept is tried for, never waited
 * for; who finds it in use opens one for this question alone.
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
	uint32_t uid;	      /* owner of the socket: who created it, or accepted it; 65534 is never to be believed */
	uint32_t inode;	      /* 0: no process holds it (still in an accept queue, or orphaned): uid means nothing then */
	uint64_t cookie;      /* SO_COOKIE */
	uint8_t state;	      /* TCP_* of <netinet/tcp.h> */
	uint8_t dual;	      /* a listener of family AF_INET6 that also takes IPv4 (an IPV6_V6ONLY one: 0) */
	struct diag_addr own; /* its own address as bound: a listener's may be the wildcard of either family */
};

struct sockaddr;
/* 0; -EAFNOSUPPORT (neither AF_INET nor AF_INET6), -EINVAL (an address with a scope: link-local; those stay in the kernel). */
int diag_addr_from(struct diag_addr *a, const struct sockaddr *sa, uint32_t len);
int diag_addr_eq(const struct diag_addr *a, const struct diag_addr *b);
int diag_addr_is_any(const struct diag_addr *a);
int diag_addr_is_loopback(const struct diag_addr *a);

/*
 * Both: the kernel's exact look-up, so that it answers for the one socket that a packet would go to. -ENOENT is also what the
 * kernel says when it has no inet_diag.
 *
 * The socket whose own address is `own` and whose peer is `peer`; never a listener. 0, -ENOENT (no such socket), or another -errno.
 */
int diag_conn(const struct diag_addr *own, const struct diag_addr *peer, struct diag_sock *out);
/* The socket that listens for connections to `at` (the kernel's choice: wildcard and dual-stack listeners count). As above. */
int diag_listener(const struct diag_addr *at, struct diag_sock *out);
/*
 * The UDP socket that would get a datagram from `from` to `at`. 0, -ENOENT, or another -errno. out->own as bound: may be the wildcard. `from` may be
 * {family} alone: from anybody.
 */
int diag_udp(const struct diag_addr *at, const struct diag_addr *from, struct diag_sock *out);
/* Cookie of the network namespace of a socket (SO_NETNS_COOKIE); 0 if the kernel cannot say. */
uint64_t diag_netns(int fd);
/* Forget the netlink socket: in the child after fork (its answers are the parent's), or after a change of network namespace. */
void diag_fork_child(void);

#endif
