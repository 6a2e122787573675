/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy.h - what this process has been told about which sockets may go up (rules, core/rule.h), and whose processes may be at the other end (--share).
 *
 * SHUNT_RULES is read once, at load; `shunt run` has looked for mistakes in it. One that is found here all the same means: nothing goes up. The
 * rules are asked when a socket connects, listens, is accepted or is published: never for a byte.
 */
#ifndef SHUNT_POLICY_H
#define SHUNT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "rule.h"

struct sock;

extern bool policy_has_rules;

/* At load. NULL: everything may. */
void policy_init(const char *text);
bool policy_forbids_slow(uint8_t proto, uint8_t side, const struct diag_addr *at);

/* May this TCP or UDP socket (RULE_*) not go up, at that address? Logs the rule that says so. Any thread; no lock. */
static inline bool policy_forbids(uint8_t proto, uint8_t side, const struct diag_addr *at)
{
	return __builtin_expect(policy_has_rules, 0) && policy_forbids_slow(proto, side, at);
}

/* It stays in the kernel, and says why. */
void policy_pin(struct sock *s);

/* May a process of that user, with that group, be at the other end? */
bool policy_accepts(uint32_t uid, uint32_t gid);

#endif
