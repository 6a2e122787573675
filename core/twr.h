/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * twr.h - protocol towers: what a binding is on the wire, as C706 (DCE 1.1: Remote Procedure Call), appendices I and L, lays it down.
 *
 *   floor count | floor 1 | floor 2 | ...      a floor:  lhs length | lhs | rhs length | rhs
 *
 * Counts and lengths are two octets, little endian. The left side (lhs) begins with the octet that names a protocol; the right side (rhs) holds
 * what that protocol needs to know.
 *
 *   floor  lhs                                        rhs
 *   1      0D, interface UUID, major version          minor version
 *   2      0D, transfer syntax UUID, major version    minor version
 *   3      0A (RPC, connectionless), 0B (connection-oriented), 0C (local)
 *                                                     minor version of the RPC protocol
 *   4, 5   ncadg_ip_udp  08                           port, big endian
 *                        09                           IPv4 address
 *          ncacn_ip_tcp  07                           port, big endian
 *                        09                           IPv4 address
 *          ncalrpc       10                           name, NUL
 *          ncacn_np      0F                           name of the pipe, NUL
 *                        11                           host, NUL
 *          ncadg_sm      0D, TWR_SM_UUID, 1           0 (two octets), uid (four, big endian), path without a NUL
 *
 * UUIDs are little endian in their first three fields, versions in both octets. C706 has all of it but what follows floor 3 of ncalrpc and
 * ncacn_np, which is as Windows and Samba have it, and ncadg_sm, which is ours: docs/PROTOCOL.md, section 1.
 *
 * The parser is strict: every octet has to be accounted for, and what it takes can be composed again to the same octets. Nothing beyond
 * the length given is read. Pure functions: any thread, signal handlers too; -errno.
 */
#ifndef SHUNT_TWR_H
#define SHUNT_TWR_H

#include "protseq.h"

#define TWR_LEN 640			 /* enough for any tower that twr_compose() makes */
#define TWR_WHY_LEN STRBND_WHY_LEN	 /* of an explanation, with its NUL */
#define TWR_SYNTAX_STR_LEN (36 + 12 + 1) /* UUID:MAJOR.MINOR, with its NUL */

/* The left side of our own floor. Another major version is another layout of the right side. */
#define TWR_SM_UUID "46213de2-d93b-4b84-95ee-f5a802112a83"
#define TWR_SM_MAJOR 1

/* The first octet of a left side. */
enum {
	TWR_TCP = 0x07,
	TWR_UDP = 0x08,
	TWR_IP = 0x09,
	TWR_RPC_CL = 0x0a,
	TWR_RPC_CO = 0x0b,
	TWR_RPC_LOCAL = 0x0c,
	TWR_UUID = 0x0d,
	TWR_SMB = 0x0f,
	TWR_PIPE = 0x10,
	TWR_NETBIOS = 0x11,
};

/* An interface, or a transfer syntax. All zero: not told. */
struct twr_syntax {
	uint8_t uuid[16]; /* in the order in which it is written */
	uint16_t major, minor;
};
extern const struct twr_syntax twr_ndr; /* the transfer syntax of them all, 2.0 */

struct twr {
	struct twr_syntax iface, xfer;
	uint16_t rpc_minor; /* of floor 3; 0 */
	struct strbnd bnd;
};

/* A floor where it lies in the octets. */
struct twr_flr {
	size_t at; /* of its first octet, the left side's length */
	const uint8_t *lhs, *rhs;
	uint16_t lhs_len, rhs_len;
};

/* Number of octets, or -ENOSPC, -EINVAL (a host that is no IPv4 number, a binding that could not be written as a string). */
int twr_compose(const struct twr *t, uint8_t *buf, size_t len);
/* 0, or -EINVAL and why: which octet, which floor, what is wrong. */
int twr_parse(struct twr *t, const uint8_t *oct, size_t len, char why[TWR_WHY_LEN]);

/*
 * One floor after the other, of any tower: twr_count() floors, *at beginning behind the count (2) and going on from floor to floor. `n` is the floor's
 * number, for `why`. 0 or -EINVAL.
 */
int twr_count(const uint8_t *oct, size_t len, char why[TWR_WHY_LEN]);
int twr_flr_next(struct twr_flr *f, unsigned n, const uint8_t *oct, size_t len, size_t *at, char why[TWR_WHY_LEN]);

/* "UUID", "UUID:MAJOR" or "UUID:MAJOR.MINOR", a missing number being 0. 0 or -EINVAL. */
int twr_syntax_parse(struct twr_syntax *s, const char *str);
void twr_syntax_compose(const struct twr_syntax *s, char buf[TWR_SYNTAX_STR_LEN]);
/* The left side of a floor of TWR_UUID (19 octets). Its minor version becomes 0: that is on the right. */
void twr_syntax_get(struct twr_syntax *s, const uint8_t lhs[19]);

#endif
