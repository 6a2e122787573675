/* SPDX-License-Identifier: BSD-2-Clause */
/* spin_opt.h - what --spin and --spin-budget may say: checked by the command, obeyed by the interposer. No errno; any thread. */
#ifndef SHUNT_SPIN_OPT_H
#define SHUNT_SPIN_OPT_H

#include <stdint.h>

#define SPIN_AUTO INT64_C(-2)
#define SPIN_LIMIT_MAX_US 1000000
#define SPIN_BUDGET_MAX 100000 /* percent of one CPU */

/* "auto": SPIN_AUTO; "off": 0; microseconds. -1: none of these. */
int64_t spin_parse_limit(const char *text);
/* Percent. -1: not a number from 0 to SPIN_BUDGET_MAX. */
int64_t spin_parse_budget(const char *text);

#endif
