/* SPDX-License-Identifier: BSD-2-Clause */
/* A binding from its tower, and why not. */
#include <errno.h>
#include <string.h>

#include "log.h"
#include "twr_int.h"

static unsigned le16(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

#define BAD(at, n, fmt, ...)                                                                                                   \
	(fmt_buf(why, TWR_WHY_LEN, "octet %lu, floor %u: " fmt, (unsigned long)(at), (n), ##__VA_ARGS__), -EINVAL)

int twr_count(const uint8_t *oct, size_t len, char why[TWR_WHY_LEN])
{
	if (len >= 2)
		return (int)le16(oct);
	fmt_buf(why, TWR_WHY_LEN, "octet %lu: the count of floors is cut off", (unsigned long)len);
	return -EINVAL;
}

static int get_side(const uint8_t **side, uint16_t *side_len, const uint8_t *oct, size_t len, size_t *at)
{
	if (len - *at < 2)
		return -EINVAL;
	*side_len = (uint16_t)le16(oct + *at);
	*at += 2;
	if (len - *at < *side_len)
		return -ENOSPC;
	*side = oct + *at;
	*at += *side_len;
	return 0;
}

int twr_flr_next(struct twr_flr *f, unsigned n, const uint8_t *oct, size_t len, size_t *at, char why[TWR_WHY_LEN])
{
	int err;

	f->at = *at;
	err = get_side(&f->lhs, &f->lhs_len, oct, len, at);
	if (err == -EINVAL)
		return BAD(*at, n, "the tower ends where the left side's length should be");
	if (err)
		return BAD(*at, n, "the left side has %u octets, but only %lu follow", f->lhs_len, (unsigned long)(len - *at));
	if (!f->lhs_len)
		return BAD(*at, n, "the left side is empty: it must name a protocol");
	err = get_side(&f->rhs, &f->rhs_len, oct, len, at);
	if (err == -EINVAL)
		return BAD(*at, n, "the tower ends where the right side's length should be");
	if (err)
		return BAD(*at, n, "the right side has %u octets, but only %lu follow", f->rhs_len, (unsigned long)(len - *at));
	return 0;
}

struct reader {
	const uint8_t *oct;
	size_t len, at;
	char *why;
	unsigned n; /* floor */
	struct twr_flr f;
};

/* Where its sides begin. */
static size_t lhs_at(const struct reader *r)
{
	return (size_t)(r->f.lhs - r->oct);
}

static size_t rhs_at(const struct reader *r)
{
	return (size_t)(r->f.rhs - r->oct);
}

static int next(struct reader *r)
{
	return twr_flr_next(&r->f, ++r->n, r->oct, r->len, &r->at, r->why);
}

static int want_rhs(const struct reader *r, unsigned len, const char *what)
{
	char *why = r->why;

	return r->f.rhs_len == len ? 0
				   : BAD(rhs_at(r), r->n, "the right side, %s, has %u octets, not %u", what, r->f.rhs_len, len);
}

static int is_uuid(const struct reader *r, const char *what)
{
	char *why = r->why;

	if (r->f.lhs[0] != TWR_UUID)
		return BAD(lhs_at(r), r->n, "protocol 0x%x where a UUID, 0xd, must be: %s", r->f.lhs[0], what);
	if (r->f.lhs_len != TWR_UUID_LHS)
		return BAD(lhs_at(r), r->n, "a left side of a UUID and a version has 19 octets, this one %u", r->f.lhs_len);
	return 0;
}

static int get_syntax(struct reader *r, struct twr_syntax *s, const char *what)
{
	int err = next(r);

	if (!err)
		err = is_uuid(r, what);
	if (!err)
		err = want_rhs(r, 2, "a minor version");
	if (err)
		return err;
	twr_syntax_get(s, r->f.lhs);
	s->minor = (uint16_t)le16(r->f.rhs);
	return 0;
}

/* A floor of one octet on the left, and a string that ends with its only NUL on the right. */
static int get_string(struct reader *r, char str[STRBND_PART_LEN])
{
	const uint8_t *nul = memchr(r->f.rhs, 0, r->f.rhs_len);
	char *why = r->why;

	if (!nul)
		return BAD(rhs_at(r) + r->f.rhs_len, r->n, "the string on the right side has no NUL at its end");
	if (nul != r->f.rhs + r->f.rhs_len - 1)
		return BAD(nul - r->oct, r->n, "the string on the right side has a NUL before its end");
	if (r->f.rhs_len > STRBND_PART_LEN)
		return BAD(rhs_at(r), r->n, "the string on the right side has %u octets, more than 255", r->f.rhs_len - 1u);
	memcpy(str, r->f.rhs, r->f.rhs_len);
	return 0;
}

static int get_port(struct reader *r, struct strbnd *b)
{
	int err = want_rhs(r, 2, "a port");

	if (!err)
		b->port = (uint16_t)be16(r->f.rhs);
	return err;
}

static int get_ip(struct reader *r, struct strbnd *b)
{
	static const uint8_t none[4];
	int err = want_rhs(r, 4, "an IPv4 address");
	const uint8_t *a = r->f.rhs;

	if (!err && memcmp(a, none, 4))
		fmt_buf(b->host, sizeof(b->host), "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
	return err;
}

static int get_sm(struct reader *r, struct binding *b)
{
	const uint8_t *rhs = r->f.rhs, *path = rhs + TWR_SM_RHS;
	char *why = r->why;
	struct twr_syntax s;
	size_t n;

	twr_syntax_get(&s, r->f.lhs);
	if (s.major != twr_sm.major)
		return BAD(lhs_at(r) + 17, r->n, "ncadg_sm of version %u, not 1", s.major);
	if (r->f.rhs_len <= TWR_SM_RHS)
		return BAD(
			rhs_at(r), r->n, "the right side has %u octets: no room for minor version, uid and path", r->f.rhs_len);
	if (le16(rhs) != twr_sm.minor)
		return BAD(rhs_at(r), r->n, "ncadg_sm of version 1.%u, not 1.0", le16(rhs));
	b->id = be16(rhs + 2) << 16 | be16(rhs + 4);
	if (b->id == UINT32_MAX)
		return BAD(rhs_at(r) + 2, r->n, "the uid is 4294967295, which is nobody's");
	n = r->f.rhs_len - (size_t)TWR_SM_RHS;
	if (n >= BINDING_PATH_LEN)
		return BAD(rhs_at(r) + TWR_SM_RHS, r->n, "the path has %lu octets, more than 255", (unsigned long)n);
	if (path[0] != '/')
		return BAD(rhs_at(r) + TWR_SM_RHS, r->n, "the path is not absolute");
	if (memchr(path, 0, n))
		return BAD((const uint8_t *)memchr(path, 0, n) - r->oct, r->n, "the path holds a NUL");
	memcpy(b->path, path, n);
	b->path[n] = '\0';
	return 0;
}

/* Is floor 4 what this protocol sequence has there? A floor of a UUID: only if it is our own. */
static int fits(const struct reader *r, unsigned rpc, const struct twr_shape *s)
{
	struct twr_syntax uuid;

	if (s->rpc != rpc || s->proto != r->f.lhs[0])
		return 0;
	if (s->proto != TWR_UUID)
		return r->f.lhs_len == 1;
	if (r->f.lhs_len != TWR_UUID_LHS)
		return 0;
	twr_syntax_get(&uuid, r->f.lhs);
	return !memcmp(uuid.uuid, twr_sm.uuid, sizeof(uuid.uuid));
}

/* Floor 4 is there: which protocol sequence is it? */
static int get_protseq(struct reader *r, unsigned rpc, unsigned n_floors, struct strbnd *b)
{
	char *why = r->why;
	unsigned i;

	for (i = 0; i < PROTSEQ_N && !fits(r, rpc, &twr_shapes[i]); i++)
		;
	if (i == PROTSEQ_N && r->f.lhs[0] == TWR_UUID)
		return BAD(lhs_at(r), r->n, "over RPC 0x%x, a UUID that is not that of ncadg_sm, or not of 19 octets", rpc);
	if (i == PROTSEQ_N)
		return BAD(lhs_at(r), r->n, "protocol 0x%x (%u octets) over RPC 0x%x is none that is known here", r->f.lhs[0],
			r->f.lhs_len, rpc);
	b->protseq = (enum protseq)i;
	if (n_floors == twr_shapes[i].n)
		return 0;
	fmt_buf(why, TWR_WHY_LEN, "octet 0: %u floors, but %s has %u", n_floors, protseq_name(b->protseq), twr_shapes[i].n);
	return -EINVAL;
}

static int get_proto(struct reader *r, struct strbnd *b)
{
	switch (b->protseq) {
	case PROTSEQ_NCADG_SM:
		return get_sm(r, &b->sm);
	case PROTSEQ_NCALRPC:
	case PROTSEQ_NCACN_NP:
		return get_string(r, b->name);
	default:
		return get_port(r, b);
	}
}

static int get_addr(struct reader *r, struct strbnd *b)
{
	unsigned proto = twr_shapes[b->protseq].addr;
	char *why = r->why;
	int err;

	if (!proto)
		return 0;
	err = next(r);
	if (err)
		return err;
	if (r->f.lhs[0] != proto || r->f.lhs_len != 1)
		return BAD(lhs_at(r), r->n, "protocol 0x%x (%u octets), but %s has 0x%x there", r->f.lhs[0], r->f.lhs_len,
			protseq_name(b->protseq), proto);
	return proto == TWR_IP ? get_ip(r, b) : get_string(r, b->host);
}

static int get_rpc(struct reader *r, struct twr *t)
{
	char *why = r->why;
	int err = next(r);

	if (err)
		return err;
	if (r->f.lhs_len != 1 || r->f.lhs[0] < TWR_RPC_CL || r->f.lhs[0] > TWR_RPC_LOCAL)
		return BAD(lhs_at(r), r->n, "protocol 0x%x (%u octets) where RPC must be: 0xa, 0xb or 0xc, one octet",
			r->f.lhs[0], r->f.lhs_len);
	err = want_rhs(r, 2, "a minor version");
	if (!err)
		t->rpc_minor = (uint16_t)le16(r->f.rhs);
	return err;
}

int twr_parse(struct twr *t, const uint8_t *oct, size_t len, char why[TWR_WHY_LEN])
{
	struct reader r = {.oct = oct, .len = len, .at = 2, .why = why};
	int n = twr_count(oct, len, why), err;
	char str[STRBND_LEN];
	unsigned rpc;

	memset(t, 0, sizeof(*t));
	if (n < 0)
		return n;
	err = get_syntax(&r, &t->iface, "the interface");
	if (!err)
		err = get_syntax(&r, &t->xfer, "the transfer syntax");
	if (!err)
		err = get_rpc(&r, t);
	if (err)
		return err;
	rpc = r.f.lhs[0];
	err = next(&r);
	if (!err)
		err = get_protseq(&r, rpc, (unsigned)n, &t->bnd);
	if (!err)
		err = get_proto(&r, &t->bnd);
	if (!err)
		err = get_addr(&r, &t->bnd);
	if (err)
		return err;
	if (r.at != len)
		return BAD(r.at, r.n, "%lu octets follow the last floor", (unsigned long)(len - r.at));
	if (strbnd_compose(&t->bnd, str, sizeof(str)) < 0)
		return BAD(r.f.at, r.n, "its names cannot be written as a string binding of %s", protseq_name(t->bnd.protseq));
	return 0;
}
