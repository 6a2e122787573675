/* SPDX-License-Identifier: BSD-2-Clause */
#include "spin_opt.h"

#include <string.h>

static int64_t number(const char *text, int64_t hi)
{
	int64_t v = 0;
	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || (v = v * 10 + (*text - '0')) > hi)
			return -1;
	}
	return v;
}

int64_t spin_parse_limit(const char *text)
{
	if (strcmp(text, "auto") == 0)
		return SPIN_AUTO;
	return strcmp(text, "off") == 0 ? 0 : number(text, SPIN_LIMIT_MAX_US);
}

int64_t spin_parse_budget(const char *text)
{
	return number(text, SPIN_BUDGET_MAX);
}
