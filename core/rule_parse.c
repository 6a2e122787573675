/* SPDX-License-Identifier: BSD-2-Clause */
/* Rules from a text, and what is wrong with it, and where. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "rule_int.h"

/* About the word that was read last, `skip` letters into it. -EINVAL. */
int rule_bad(struct reader *rd, size_t skip, const char *fmt, ...)
{
	char text[RULE_WHY_LEN];
	va_list ap;

	va_start(ap, fmt);
	vfmt_buf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(rd->err->why, text, sizeof(text));
	rd->err->line = rd->at_line;
	rd->err->col = rd->at_col + (uint32_t)skip;
	return -EINVAL;
}

static void step(struct reader *rd)
{
	if (*rd->p == '\n') {
		rd->line++;
		rd->col = 0;
	}
	rd->p++;
	rd->col++;
}

static int is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Blanks, and a comment. */
static void skip_blank(struct reader *rd)
{
	while (rd->p < rd->end && is_blank(*rd->p))
		step(rd);
	if (rd->p < rd->end && *rd->p == '#')
		while (rd->p < rd->end && *rd->p != '\n')
			step(rd);
}

/* The next word of this statement: 1; 0: it ends here, and the place of its end is noted; -EINVAL. */
static int next_word(struct reader *rd)
{
	size_t n = 0;

	skip_blank(rd);
	rd->at_line = rd->line;
	rd->at_col = rd->col;
	rd->word[0] = '\0';
	if (rd->p == rd->end || *rd->p == '\n' || *rd->p == ';')
		return 0;
	for (; rd->p < rd->end && !is_blank(*rd->p) && *rd->p != '\n' && *rd->p != ';' && *rd->p != '#'; step(rd)) {
		if ((unsigned char)*rd->p < ' ' || *rd->p == 127)
			return rule_bad(rd, n, "a control character");
		if (n == WORD_LEN - 1)
			return BAD(rd, "this word has more than %d letters", WORD_LEN - 1);
		rd->word[n++] = *rd->p;
	}
	rd->word[n] = '\0';
	return 1;
}

static int want_word(struct reader *rd, const char *after, const char *what)
{
	int got = next_word(rd);

	return got < 0 ? got : got ? 0 : BAD(rd, "%s must follow `%s`", what, after);
}

/* ---- conditions ---- */

static int get_user(struct reader *rd, struct rule *r)
{
	const char *p;
	int err = want_word(rd, "user", "a name or a number");

	if (err)
		return err;
	if (r->has_user)
		return BAD(rd, "the user is given twice");
	p = rule_number(rd->word, UINT32_MAX - 1, &r->uid);
	if ((!p || *p) && (!rd->user || rd->user(rd->word, &r->uid)))
		return BAD(rd, "there is no user `%s`", rd->word);
	r->has_user = 1;
	return 0;
}

static int get_program(struct reader *rd, struct rule *r)
{
	int err = want_word(rd, "by", "the name of a program");

	if (err)
		return err;
	if (r->by[0])
		return BAD(rd, "the program is given twice");
	memcpy(r->by, rd->word, sizeof(r->by));
	return 0;
}

/* One of two words that exclude each other. */
static int get_bit(struct reader *rd, uint8_t *bits, uint8_t bit, const char *what)
{
	if (*bits)
		return BAD(rd, "the %s is given twice", what);
	*bits = bit;
	return 0;
}

static int get_condition(struct reader *rd, struct rule *r)
{
	const char *w = rd->word;

	if (!strcmp(w, "tcp") || !strcmp(w, "udp"))
		return get_bit(rd, &r->proto, w[0] == 't' ? RULE_TCP : RULE_UDP, "protocol");
	if (!strcmp(w, "listen") || !strcmp(w, "connect"))
		return get_bit(rd, &r->side, w[0] == 'l' ? RULE_LISTEN : RULE_CONNECT, "side");
	if (!strcmp(w, "port")) {
		int err = want_word(rd, "port", "a port, or FIRST-LAST,");

		return err ? err : rule_get_ports(rd, r, 0);
	}
	if (!strcmp(w, "by"))
		return get_program(rd, r);
	if (!strcmp(w, "user"))
		return get_user(rd, r);
	if (!strcmp(w, "unix") || !strcmp(w, "path"))
		return BAD(rd, "Unix sockets stay in the kernel: no rule is needed for them");
	if (strpbrk(w, ".:[*"))
		return rule_get_address(rd, r);
	return BAD(rd, "`%s`: a condition is tcp, udp, listen, connect, ADDRESS[/BITS][:PORT], port, by, user or any", w);
}

/* To the end of the statement. */
static int get_conditions(struct reader *rd, struct rule *r, const char *verb)
{
	int got, n = 0, any = 0;

	r->port[1] = 65535;
	while ((got = next_word(rd)) > 0) {
		int is_any = !strcmp(rd->word, "any"), err;

		if (any || (is_any && n))
			return BAD(rd, "`any` stands alone");
		any = is_any;
		err = is_any ? 0 : get_condition(rd, r);
		if (err)
			return err;
		n++;
	}
	if (got < 0)
		return got;
	return n ? 0 : BAD(rd, "a condition must follow `%s`; `any` is all sockets", verb);
}

/* ---- statements ---- */

static int want_end(struct reader *rd)
{
	int got = next_word(rd);

	return got <= 0 ? got : BAD(rd, "`%s` is too much here", rd->word);
}

static int get_share(struct reader *rd, struct rules *rs)
{
	int err = want_word(rd, "share", "user, group or all"), share;

	if (err)
		return err;
	share = rule_share_parse(rd->word);
	if (share < 0)
		return BAD(rd, "`%s`: share is with user, group or all", rd->word);
	if (share > rs->share)
		rs->share = (uint8_t)share;
	return want_end(rd);
}

/* What the next rule belongs to: the list that is being read, begun when its first rule comes. */
struct list {
	int begun;
};

static int get_rule(struct reader *rd, struct rules *rs, struct list *l)
{
	struct rule *r = &rs->rule[rs->n];
	int err;

	if (rs->n == RULE_MAX)
		return BAD(rd, "more than %d rules", RULE_MAX);
	if (!l->begun && rs->n_lists == RULE_LISTS)
		return BAD(rd, "more than %d lists of rules", RULE_LISTS);
	memset(r, 0, sizeof(*r));
	r->line = rd->at_line;
	r->col = rd->at_col;
	r->only = rd->word[0] == 'o';
	err = get_conditions(rd, r, r->only ? "only" : "not");
	if (err)
		return err;
	if (!l->begun)
		rs->has_only[rs->n_lists++] = 0;
	l->begun = 1;
	r->list = (uint8_t)(rs->n_lists - 1);
	rs->has_only[r->list] |= r->only;
	rs->n++;
	return 0;
}

static int get_statement(struct reader *rd, struct rules *rs, struct list *l)
{
	int got = next_word(rd);

	if (got <= 0)
		return got;
	if (!strcmp(rd->word, "only") || !strcmp(rd->word, "not"))
		return get_rule(rd, rs, l);
	if (!strcmp(rd->word, "share"))
		return get_share(rd, rs);
	if (!strcmp(rd->word, "--")) {
		l->begun = 0;
		return want_end(rd);
	}
	return BAD(rd, "`%s`: a rule begins with `only` or `not`", rd->word);
}

static void begin(struct reader *rd, const char *text, size_t len, rule_user_fn *user, struct rule_error *err)
{
	*rd = (struct reader){.p = text, .end = text + len, .line = 1, .col = 1, .user = user, .err = err};
	err->why[0] = '\0';
}

int rules_parse(struct rules *r, const char *text, size_t len, rule_user_fn *user, struct rule_error *err)
{
	unsigned first = r->n_lists;
	struct list l = {0};
	struct reader rd;
	int bad_one;

	begin(&rd, text, len, user, err);
	rd.at_line = rd.at_col = 1;
	if (len > RULE_TEXT_LEN)
		return BAD(&rd, "more than %d octets", RULE_TEXT_LEN);
	for (;;) {
		bad_one = get_statement(&rd, r, &l);
		if (bad_one)
			return bad_one;
		if (rd.p == rd.end)
			break;
		step(&rd); /* over the `;` or the end of the line */
	}
	rules_drop_repeats(r, first);
	return 0;
}

int rule_sock_parse(struct rule_sock *s, char name[RULE_BY_LEN], const char *text, rule_user_fn *user, struct rule_error *err)
{
	struct rule r = {0};
	struct reader rd;
	int bad_one;

	begin(&rd, text, strlen(text), user, err);
	rd.at_line = rd.at_col = 1;
	bad_one = get_conditions(&rd, &r, "--explain");
	if (bad_one)
		return bad_one;
	if (rd.p < rd.end)
		return BAD(&rd, "one socket is asked about");
	if (!r.proto || !r.side || !r.family || r.bits != (r.family == AF_INET ? 32 : 128) || r.port[0] != r.port[1])
		return BAD(&rd, "a socket has a protocol, a side, an address and one port: tcp connect 127.0.0.1:5432");
	s->proto = r.proto;
	s->side = r.side;
	s->at = (struct diag_addr){.family = r.family, .port = r.port[0]};
	memcpy(s->at.addr, r.addr, sizeof(s->at.addr));
	if (r.has_user)
		s->uid = r.uid;
	memcpy(name, r.by, sizeof(r.by));
	return 0;
}
