/* SPDX-License-Identifier: BSD-2-Clause */
/* json.c - what --json prints, by libjansson; a build without it says so. */
#include <stdio.h>
#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "cmd.h"

int json_missing(void)
{
	return complain(EXIT_SHUNT, "--json: this build has no JSON library; install libjansson-dev and build again");
}

#ifdef HAVE_JANSSON
int json_out(json_t *value)
{
	int err = json_dumpf(value, stdout, JSON_INDENT(2));

	putchar('\n');
	json_decref(value);
	return err ? complain(EXIT_SHUNT, "--json: out of memory, or the output is closed") : 0;
}
#endif
