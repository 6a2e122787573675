/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's client: binding to association. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "api.h"
#include "atomic.h"
#include "ept.h"
#include "rdv.h"
#include "sys.h"

#define MAX_TIMEOUT_MS 30000 /* as rdv_call() has it */

static int hello(int life, const struct api_hello *say, uint64_t deadline_ns)
{
	struct api_hello answer;
	long n = sys6(SYS_sendto, life, say, sizeof(*say), MSG_NOSIGNAL, 0, 0);
	int err;

	if (n != sizeof(*say))
		return n < 0 ? (int)n : -EPROTO;
	do {
		err = api_life_wait(life, deadline_ns);
	} while (err == -EINTR);
	if (err)
		return err;
	n = sys6(SYS_recvfrom, life, &answer, sizeof(answer), MSG_DONTWAIT, 0, 0);
	if (n <= 0)
		return -EPERM; /* it has hung up: it would not, or could not, attach the segment */
	if (n != sizeof(answer) || answer.magic != API_HELLO_MAGIC || answer.version != API_HELLO_VERSION ||
		answer.server != 1 || answer.nonce != say->nonce)
		return -EPROTO;
	return 0;
}

/* The lifeline is there, and leads to the right user. It is ours now. */
static int associate(struct ncadg_sm **out, const struct ept_ref *r, int life, const struct ucred *who, uint64_t deadline_ns)
{
	uint64_t now = sys_now_ns(), left_ms = now < deadline_ns ? (deadline_ns - now) / 1000000u : 0;
	struct api_hello say = {.magic = API_HELLO_MAGIC, .version = API_HELLO_VERSION};
	struct seg seg;
	int chan, err = rdv_call(&seg, r, r->owner, (uint32_t)left_ms, NULL, NULL);

	if (err) {
		sys1(SYS_close, life);
		return err == -EIDRM ? -ECONNREFUSED : err;
	}
	chan = seg_chan_alloc(&seg);
	err = chan < 0 ? chan : api_new(out, &seg, (uint32_t)chan, SM_CLIENT, life, who);
	if (err) {
		seg_detach(&seg);
		sys1(SYS_close, life);
		return err;
	}
	seg_chan(&seg, (uint32_t)chan)->proto = IPPROTO_UDP; /* its rings hold datagrams */
	say.shmid = seg.shmid;
	say.chan = (uint32_t)chan;
	say.nonce = seg.nonce;
	err = hello(life, &say, deadline_ns);
	if (err) {
		ncadg_sm_close(*out);
		*out = NULL;
	}
	return err;
}

static int connect_to(struct ncadg_sm **out, const struct ept_ref *r, uint64_t deadline_ns)
{
	struct ucred who;
	int err, life = api_life_connect(r->nonce, deadline_ns);

	if (life < 0) /* published, but no such listener: it is not the library's, or in another network namespace */
		return life == -ECONNREFUSED ? -EPROTO : life;
	err = api_life_who(life, &who);
	if (!err && who.uid != r->owner)
		err = -EPERM;
	if (err) {
		sys1(SYS_close, life);
		return err;
	}
	return associate(out, r, life, &who, deadline_ns);
}

int ncadg_sm_connect(struct ncadg_sm **out, const char *binding, int timeout_ms)
{
	struct binding b;
	struct ept_ref r;
	int err = binding_parse(&b, binding);

	*out = NULL;
	if (err)
		return err;
	if (timeout_ms < 0 || timeout_ms > MAX_TIMEOUT_MS)
		timeout_ms = MAX_TIMEOUT_MS;
	err = ept_lookup_at(&r, &b);
	if (err)
		return err == -ENOENT || err == -ENOTDIR ? -ECONNREFUSED : err;
	err = connect_to(out, &r, api_deadline(timeout_ms ? timeout_ms : 1));
	ept_ref_drop(&r);
	return err;
}

int ncadg_sm_compose(char *buf, size_t len, uid_t uid, const char *name)
{
	struct binding b = {.id = uid};
	int err = ept_path(b.path, uid, name);

	return err ? err : binding_compose(&b, buf, len);
}
