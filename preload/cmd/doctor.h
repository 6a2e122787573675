/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor.h - what `shunt doctor` has found: checks, each with a state, a sentence, and what to do. */
#ifndef SHUNT_DOCTOR_H
#define SHUNT_DOCTOR_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "exe.h"

enum state {
	STATE_OK,    /* as it should be */
	STATE_LIMIT, /* works, for less than all */
	STATE_NO,    /* nothing can be upgraded */
};

struct check {
	enum state state;
	const char *id; /* for scripts */
	char text[256];
	const char *advice; /* what to do; NULL: nothing */
};

#define MAX_CHECKS 128
struct report {
	struct check check[MAX_CHECKS];
	size_t n;
};

/* One more. Static strings but the text; beyond MAX_CHECKS they are dropped. */
void report(struct report *r, enum state state, const char *id, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* doc_machine.c: this machine, for this user. */
void check_machine(struct report *r);
/* doc_program.c: the program at `path`, which a shell would run by `name`; a process. */
void check_program(struct report *r, const char *path);
void check_process(struct report *r, uint32_t pid);

/*
 * doc_script.c: the program that the kernel executes for the file at `path`: itself, or for a script the last interpreter, with the argument that the "#!" line gives it ("":
 * none). Where that is env, script_env() tells by which name it looks for the program that it starts: 1, or 0. `argument` is cut up.
 */
void script_interpreter(const char *path, char real[PATH_MAX], char argument[EXE_LINE_LEN]);
int script_env(const char *real, char argument[EXE_LINE_LEN], char name[EXE_LINE_LEN]);

/* doc_elf.c: what it imports that shunt does not replace. `name` is for people. */
void check_imports(struct report *r, const char *path, const char *name);
/* Is it made by the Go compiler? */
int elf_is_go(const char *path);
/* The program's dynamic linker, of its PT_INTERP; 0 or -1. */
int elf_linker(const char *path, char *buf, size_t len);

#endif
