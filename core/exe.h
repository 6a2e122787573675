/* SPDX-License-Identifier: BSD-2-Clause */
/* exe.h - can a program be interposed? */
#ifndef SHUNT_EXE_H
#define SHUNT_EXE_H

/*
 * Can the file at `path` be interposed when this process executes it? NULL: yes, or it cannot be opened (exec will say so); otherwise why
 * not, in words for people. Looks through "#!" lines at the interpreter, as the kernel does. `self` is a program known to be
 * interposable (/proc/self/exe): the file must have the same machine and the same dynamic linker. Any thread, a child of vfork too.
 */
const char *elf_why_not(const char *path, const char *self);

#endif
