/* SPDX-License-Identifier: BSD-2-Clause */
/* holders.h - which processes have a file open: those whose descriptors we may look at. */
#ifndef SHUNT_HOLDERS_H
#define SHUNT_HOLDERS_H

#include <stddef.h>
#include <stdint.h>

#define N_HOLDERS 64

struct holders {
	uint32_t pid[N_HOLDERS]; /* the lowest ones, rising */
	size_t n;
};

/* Of the file that is at `path` now. A look through /proc: a few milliseconds. */
void holders_find(struct holders *h, const char *path);

#endif
