/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rule.h - which sockets may go through shared memory: the language of shunt.conf(5), of --only and --not, and of SHUNT_RULES.
 *
 *   text       statements, each on a line or ended by `;`; from `#` to the end of the line is a comment
 *   statement  only CONDITION...      these may
 *              not CONDITION...       these may not
 *              share user|group|all   whose processes may be at the other end
 *              --                     another list begins
 *   condition  tcp | udp              each kind once, in any order; all of them must be true
 *              listen | connect       the side: a listener and what it accepts, or who connects (or sends) there
 *              ADDRESS[/BITS][:PORT[-PORT]]   of the listener or UDP socket; IPv6 in brackets if a port follows; * is any
 *              port PORT[-PORT]
 *              by PROGRAM             its file name, or the name that ps shows; with a `/`, its path; `*` and `?` as in a shell
 *              user NAME|UID          effective user
 *              any                    true, and alone
 *
 * In a list the first rule whose conditions are true decides. If none is, the socket may, unless the list has an `only`. There may be several lists
 * (of the administrator, the user, the command line): a socket may if each of them lets it. So a list can only ever forbid more, and the
 * same list twice is as good as once. `share` is not part of an order: the narrowest that is said counts.
 *
 * Pure functions, no memory of their own: any thread, signal handlers too (but for the parser's stack, about 1 KiB); -errno.
 */
#ifndef SHUNT_RULE_H
#define SHUNT_RULE_H

#include <stddef.h>
#include <stdint.h>

#include "diag.h"

#define RULE_MAX 512	    /* rules in all lists together */
#define RULE_LISTS 16	    /* lists */
#define RULE_BY_LEN 128	    /* of a program, with its NUL */
#define RULE_STR_LEN 320    /* enough for any composed rule */
#define RULE_TEXT_LEN 65536 /* of a text that is parsed, and of all that is composed */
#define RULE_WHY_LEN 192    /* of an explanation, with its NUL */

enum { RULE_TCP = 1, RULE_UDP = 2 };
enum { RULE_LISTEN = 1, RULE_CONNECT = 2 };
enum rule_share { SHARE_ALL, SHARE_GROUP, SHARE_USER };

struct rule {
	uint8_t only;	     /* else: not */
	uint8_t list;	     /* of which list */
	uint8_t proto, side; /* bits; 0: either */
	uint8_t has_user;
	uint8_t bits;	  /* of the prefix */
	uint16_t family;  /* of the address; 0: any */
	uint8_t addr[16]; /* as diag_addr has it */
	uint16_t port[2]; /* first and last; 0 and 65535: any */
	uint32_t uid;
	uint32_t line, col;   /* where it begins, from 1 */
	char by[RULE_BY_LEN]; /* "": any program */
};

struct rules {
	uint16_t n;
	uint8_t n_lists;
	uint8_t share; /* enum rule_share */
	uint8_t has_only[RULE_LISTS];
	struct rule rule[RULE_MAX];
};

/* A socket that is asked about. */
struct rule_sock {
	uint8_t proto, side;
	struct diag_addr
		at; /* of the listener or UDP socket: its own on that side, the peer on the other; all zero: a wildcard listener */
	const char *exe;  /* path of the program's file; "" if not known */
	const char *comm; /* its name; "" */
	uint32_t uid;	  /* effective */
};

struct rule_answer {
	int may;
	int depends;		 /* a wildcard listener: some of its connections may not; ask again for each */
	const struct rule *rule; /* which forbids it; NULL: none, or no `only` of `list` is true */
	unsigned list;		 /* of the refusal */
};

/* Where and why a text is no such text. */
struct rule_error {
	uint32_t line, col; /* from 1 */
	char why[RULE_WHY_LEN];
};

/* Who is called so? 0 or -ENOENT. The interposer cannot ask: there a user is a number. */
typedef int rule_user_fn(const char *name, uint32_t *uid);

/* Append the lists of a text; one without a rule, or that says what an earlier one says, adds none. `user` may be NULL. 0, or -EINVAL and *err. */
int rules_parse(struct rules *r, const char *text, size_t len, rule_user_fn *user, struct rule_error *err);
/* All of it as a text, one line, that rules_parse() reads the same. Length, or -ENOSPC. */
int rules_compose(const struct rules *r, char *buf, size_t len);
int rule_compose(const struct rule *r, char *buf, size_t len);

/* Leave out what repeats an earlier list, of the lists from `first` on. Part of rules_parse(). */
void rules_drop_repeats(struct rules *r, unsigned first);

/* May it? Always answers. */
void rules_ask(const struct rules *r, const struct rule_sock *s, struct rule_answer *a);

/*
 * What --explain is asked: "tcp connect 127.0.0.1:5432 by psql user 0". Protocol, side, address and port must be there; what is not told of program and user
 * is left as it is in *s. `by` is written to name[]. 0, or -EINVAL and *err.
 */
int rule_sock_parse(struct rule_sock *s, char name[RULE_BY_LEN], const char *text, rule_user_fn *user, struct rule_error *err);

/* "user", "group", "all". -EINVAL: none of them. */
int rule_share_parse(const char *word);
const char *rule_share_word(unsigned share);

#endif
