/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_pair.h - what the tests of the library stand on: a listener, and both ends of an association in one process.
 */
#ifndef TESTS_API_PAIR_H
#define TESTS_API_PAIR_H

#include "ncadg_sm.h"

#define LIMIT 10000 /* ms, of every wait that should not need one */

extern char api_binding[NCADG_SM_BINDING_LEN]; /* of api_listen() */

struct ncadg_sm_listener *api_listen(const char *name);
/* There. Its error goes to *arg, an int. */
void *api_connect(void *arg);

/* Its two threads were server and client. */
struct pair {
	struct ncadg_sm_listener *l;
	struct ncadg_sm *s, *c;
};

void pair_open(struct pair *p);
void pair_close(struct pair *p);

#endif
