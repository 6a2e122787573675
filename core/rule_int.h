/* SPDX-License-Identifier: BSD-2-Clause */
/* rule_int.h - inside of the parser of rules (rule_parse.c, rule_addr.c). */
#ifndef SHUNT_RULE_INT_H
#define SHUNT_RULE_INT_H

#include "rule.h"

#define WORD_LEN RULE_BY_LEN

struct reader {
	const char *p, *end;	  /* what is left */
	uint32_t line, col;	  /* of p */
	uint32_t at_line, at_col; /* of the word that was read last */
	char word[WORD_LEN];
	rule_user_fn *user;
	struct rule_error *err;
};

#define BAD(rd, ...) rule_bad((rd), 0, __VA_ARGS__)

/* About the word that was read last, `skip` letters into it. -EINVAL. */
int rule_bad(struct reader *rd, size_t skip, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A number up to `max` at *p; the place behind it, or NULL. */
const char *rule_number(const char *p, uint32_t max, uint32_t *out);
/* PORT or PORT-PORT, `skip` letters into the word; ADDRESS in any form, the whole word. 0 or -EINVAL. */
int rule_get_ports(struct reader *rd, struct rule *r, size_t skip);
int rule_get_address(struct reader *rd, struct rule *r);

#endif
