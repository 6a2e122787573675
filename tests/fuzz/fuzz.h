/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h - a fuzz target: one function that any octets are given to. Built with libFuzzer where clang has it, else with drive.c, which
 * changes the seeds by a fixed sequence of random numbers. Run by tests/fuzz/run, in `make check` for a few seconds.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Inputs to begin with, in hexadecimal digits; NULL at the end. */
extern const char *const fuzz_seeds[];

#define MUST(cond)                                                                                                             \
	do {                                                                                                                   \
		if (!(cond)) {                                                                                                 \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                                   \
			abort();                                                                                               \
		}                                                                                                              \
	} while (0)

#endif
