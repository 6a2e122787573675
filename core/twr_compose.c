/* SPDX-License-Identifier: BSD-2-Clause */
/* A tower from its binding. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "twr_int.h"

struct writer {
	uint8_t oct[TWR_LEN];
	size_t n;
};

static void put(struct writer *w, const void *src, size_t len)
{
	memcpy(w->oct + w->n, src, len);
	w->n += len;
}

static void put8(struct writer *w, unsigned v)
{
	w->oct[w->n++] = (uint8_t)v;
}

static void put_le16(struct writer *w, unsigned v)
{
	put8(w, v & 0xff);
	put8(w, v >> 8);
}

static void put_be16(struct writer *w, unsigned v)
{
	put8(w, v >> 8);
	put8(w, v & 0xff);
}

static void put_uuid_lhs(struct writer *w, const struct twr_syntax *s)
{
	uint8_t uuid[16];

	twr_swap_uuid(uuid, s->uuid);
	put_le16(w, TWR_UUID_LHS);
	put8(w, TWR_UUID);
	put(w, uuid, sizeof(uuid));
	put_le16(w, s->major);
}

static void put_syntax(struct writer *w, const struct twr_syntax *s)
{
	put_uuid_lhs(w, s);
	put_le16(w, 2);
	put_le16(w, s->minor);
}

/* A left side of one octet, and how long the right side will be. */
static void put_lhs(struct writer *w, unsigned proto, size_t rhs_len)
{
	put_le16(w, 1);
	put8(w, proto);
	put_le16(w, (unsigned)rhs_len);
}

static int put_string(struct writer *w, unsigned proto, const char *s)
{
	size_t len = strlen(s) + 1;

	put_lhs(w, proto, len);
	put(w, s, len);
	return 0;
}

static int put_ip(struct writer *w, unsigned proto, const struct strbnd *b)
{
	struct in_addr ip = {0};

	if (b->host[0] && inet_pton(AF_INET, b->host, &ip) != 1)
		return -EINVAL;
	put_lhs(w, proto, 2);
	put_be16(w, b->port);
	put_lhs(w, TWR_IP, sizeof(ip));
	put(w, &ip, sizeof(ip)); /* in network order already */
	return 0;
}

static int put_sm(struct writer *w, const struct binding *b)
{
	size_t len = strlen(b->path);

	if (b->id == UINT32_MAX)
		return -EINVAL;
	put_uuid_lhs(w, &twr_sm);
	put_le16(w, (unsigned)(TWR_SM_RHS + len));
	put_le16(w, twr_sm.minor);
	put_be16(w, b->id >> 16);
	put_be16(w, b->id & 0xffff);
	put(w, b->path, len);
	return 0;
}

static int put_address(struct writer *w, const struct strbnd *b)
{
	switch (b->protseq) {
	case PROTSEQ_NCADG_IP_UDP:
	case PROTSEQ_NCACN_IP_TCP:
		return put_ip(w, twr_shapes[b->protseq].proto, b);
	case PROTSEQ_NCACN_NP:
		put_string(w, TWR_SMB, b->name);
		return put_string(w, TWR_NETBIOS, b->host);
	case PROTSEQ_NCALRPC:
		return put_string(w, TWR_PIPE, b->name);
	case PROTSEQ_NCADG_SM:
		return put_sm(w, &b->sm);
	default:
		return -EINVAL;
	}
}

int twr_compose(const struct twr *t, uint8_t *buf, size_t len)
{
	char str[STRBND_LEN];
	struct writer w = {.n = 0};
	int err = strbnd_compose(&t->bnd, str, sizeof(str)); /* all its parts have an end, and their form */

	if (err < 0)
		return err;
	put_le16(&w, twr_shapes[t->bnd.protseq].n);
	put_syntax(&w, &t->iface);
	put_syntax(&w, &t->xfer);
	put_lhs(&w, twr_shapes[t->bnd.protseq].rpc, 2);
	put_le16(&w, t->rpc_minor);
	err = put_address(&w, &t->bnd);
	if (err)
		return err;
	if (w.n > len)
		return -ENOSPC;
	memcpy(buf, w.oct, w.n);
	return (int)w.n;
}
