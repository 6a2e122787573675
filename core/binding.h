/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * binding.h - string bindings of the protocol sequence: ncadg_sm[id=UID,ftok=PATH].
 *
 * A PATH may hold any octet but NUL; in the string `,` `]` `=` and `\` inside it are written with a `\` before them. Both
 * `ncadg_sm[...]` and `ncadg_sm:[...]` (the form of the DCE reference grammar) are read; the first is written.
 * Pure functions: any thread, signal handlers too.
 */
#ifndef SHUNT_BINDING_H
#define SHUNT_BINDING_H

#include <stddef.h>
#include <stdint.h>

#define BINDING_PATH_LEN 256			    /* with its NUL */
#define BINDING_STR_LEN (2 * BINDING_PATH_LEN + 48) /* enough for any composed binding */

struct binding {
	uint32_t id;		     /* uid of the server's processes: who may attach a client's segment */
	char path[BINDING_PATH_LEN]; /* the file whose ftok() keys name the semaphores and the message area; absolute */
};

/* 0, or -EINVAL (not such a binding: unknown or missing or repeated option, bad number, relative or too long path). */
int binding_parse(struct binding *b, const char *str);
/* Length of the string written (without NUL), or -ENOSPC, -EINVAL (b->path is not absolute). */
int binding_compose(const struct binding *b, char *buf, size_t len);

#endif
