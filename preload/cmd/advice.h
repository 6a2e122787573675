/* SPDX-License-Identifier: BSD-2-Clause */
/* advice.h - what to do about a socket that is in the kernel: a sentence or two for each reason of why.h. */
#ifndef SHUNT_ADVICE_H
#define SHUNT_ADVICE_H

#include <stddef.h>

/* Any value: "?" for one that is no reason (another build's). */
const char *why_advice(unsigned why);
/* All reasons: word, what it means, what to do. */
void print_reasons(unsigned width);

#endif
