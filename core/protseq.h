/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protseq.h - the protocol sequences that a tower of ours can tell of, and their string bindings.
 *
 *   ncadg_ip_udp:HOST[PORT]            HOST an IPv4 number, PORT 1 to 65535; each may be left out
 *   ncacn_ip_tcp:HOST[PORT]            the same
 *   ncalrpc:[NAME]                     no HOST: always this machine; NAME may be left out
 *   ncacn_np:HOST[\pipe\NAME]          `\` is a letter of the name here and escapes nothing
 *   ncadg_sm[id=UID,ftok=PATH]         see binding.h; also read with `:` behind the name
 *
 * [endpoint=X] is read as [X]. In a NAME `,` `]` `=` `[` and `\` are written with a `\` before them. An object UUID (`UUID@` in front) and
 * options (`,name=value` behind the endpoint) are refused: a tower has no place for them. Where nothing stands between the brackets they
 * are left out, a HOST of 0.0.0.0 and a PORT of 0 too: they say "not told", in a tower as well.
 *
 * Pure functions: any thread, signal handlers too.
 */
#ifndef SHUNT_PROTSEQ_H
#define SHUNT_PROTSEQ_H

#include <stddef.h>
#include <stdint.h>

#include "binding.h"

enum protseq { PROTSEQ_NCADG_IP_UDP, PROTSEQ_NCACN_IP_TCP, PROTSEQ_NCALRPC, PROTSEQ_NCACN_NP, PROTSEQ_NCADG_SM, PROTSEQ_N };

#define STRBND_PART_LEN 256	   /* of a host, or of an endpoint's name, with its NUL */
#define STRBND_LEN BINDING_STR_LEN /* enough for any composed string binding */
#define STRBND_WHY_LEN 192	   /* of an explanation, with its NUL */

struct strbnd {
	enum protseq protseq;
	char host[STRBND_PART_LEN]; /* ncadg_ip_udp, ncacn_ip_tcp, ncacn_np; empty: not told */
	char name[STRBND_PART_LEN]; /* ncalrpc, ncacn_np: the endpoint; empty: not told */
	uint16_t port;		    /* ncadg_ip_udp, ncacn_ip_tcp: the endpoint; 0: not told */
	struct binding sm;	    /* ncadg_sm */
};

const char *protseq_name(enum protseq protseq);
/* The host is not looked at more closely than as to its length: the caller may know how to make a number of it (twr_compose wants one). 0 or -EINVAL, and why. */
int strbnd_parse(struct strbnd *b, const char *str, char why[STRBND_WHY_LEN]);
/* Length of the string written (without NUL), or -ENOSPC, -EINVAL (a part that cannot be written in its protocol sequence's form). */
int strbnd_compose(const struct strbnd *b, char *buf, size_t len);
/* A pipe's name as ncacn_np has it: `\pipe\` (in any case) and something behind it, nothing that the string binding gives another meaning. */
int strbnd_is_pipe(const char *name);

#endif
