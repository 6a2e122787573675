/* SPDX-License-Identifier: BSD-2-Clause */
/* ab_stats.c - what went through memory, from the lines that shunt run --stats has written: one for each process. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"

/* "no-endpoint (3)", each reason once; the first that fit. */
static void add_reasons(json_t *kernel, char *buf, size_t len)
{
	const char *why;
	json_t *n;

	json_object_foreach(kernel, why, n)
	{
		size_t at = strlen(buf);
		char one[64];
		if (strstr(buf, why))
			continue;
		snprintf(one, sizeof(one), "%s%s (%lld)", at ? ", " : "", why, (long long)json_integer_value(n));
		if (at + strlen(one) < len)
			memcpy(buf + at, one, strlen(one) + 1);
	}
}

int ab_stats_read(const char *path, struct ab_bytes *b)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t len = 0;

	*b = (struct ab_bytes){0};
	if (!f)
		return -errno;
	while (getline(&line, &len, f) > 0) {
		json_t *o = json_loads(line, 0, NULL), *rx = json_object_get(o, "rx");
		b->shm += (uint64_t)json_integer_value(json_object_get(rx, "shm_bytes"));
		b->kernel += (uint64_t)json_integer_value(json_object_get(rx, "kernel_bytes"));
		b->upgrades += (unsigned)json_integer_value(json_object_get(o, "upgrades"));
		add_reasons(json_object_get(o, "kernel"), b->why, sizeof(b->why));
		json_decref(o);
	}
	free(line);
	fclose(f);
	return 0;
}
