/* SPDX-License-Identifier: BSD-2-Clause */
#include "api_pair.h"

#include <pthread.h>
#include <unistd.h>

#include "scratch.h"

char api_binding[NCADG_SM_BINDING_LEN];

struct ncadg_sm_listener *api_listen(const char *name)
{
	struct ncadg_sm_listener *l;

	assert_true(ncadg_sm_compose(api_binding, sizeof(api_binding), geteuid(), name) > 0);
	assert_int_equal(ncadg_sm_listen(&l, api_binding), 0);
	return l;
}

void *api_connect(void *arg)
{
	struct ncadg_sm *c;

	*(int *)arg = ncadg_sm_connect(&c, api_binding, LIMIT);
	return c;
}

void pair_open(struct pair *p)
{
	pthread_t t;
	void *c;
	int err;

	p->l = api_listen("test");
	assert_int_equal(pthread_create(&t, NULL, api_connect, &err), 0);
	assert_int_equal(ncadg_sm_accept(p->l, &p->s, LIMIT), 0);
	pthread_join(t, &c);
	assert_int_equal(err, 0);
	p->c = c;
}

void pair_close(struct pair *p)
{
	ncadg_sm_close(p->c);
	ncadg_sm_close(p->s);
	ncadg_sm_listener_close(p->l);
}
