/* SPDX-License-Identifier: BSD-2-Clause */
/* exe.h - can a program be interposed? */
#ifndef SHUNT_EXE_H
#define SHUNT_EXE_H

#define EXE_LINE_LEN 256  /* of a script's first line, the kernel looks at less than so much */
#define EXE_MAX_SCRIPTS 5 /* scripts, each the interpreter of the one before, that it follows */

/*
 * Can the file at `path` be interposed when this process executes it? NULL: yes, or it cannot be opened (exec will say so); otherwise why
 * not, in words for people. Looks through "#!" lines at the interpreter, as the kernel does. `self` is a program known to be
 * interposable (/proc/self/exe): the file must have the same machine and the same dynamic linker. Any thread, a child of vfork too.
 */
const char *elf_why_not(const char *path, const char *self);

/* Is there a regular file? */
int exe_is_file(const char *path);
/* The "#!" line of a script: 1, and its interpreter, and the one argument that this is given first ("": none). 0: it is no script, or cannot be read. Any thread. */
int exe_script(const char *path, char interpreter[EXE_LINE_LEN], char argument[EXE_LINE_LEN]);

#endif
