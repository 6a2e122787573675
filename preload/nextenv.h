/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nextenv.h - the environment of the next program: shunt goes on in it, unless the program does not want that.
 *
 * Who makes an environment from scratch for another program does not mean us: what `shunt run` has put into ours (LD_PRELOAD, as far as it leads to us, SHUNT_* and a word for AddressSanitizer) is
 * added to it, where it is not there, and SHUNT_CARRIED, which holds the names of what has been added. By that the interposer over there knows what the program was not given, and is not to see: it is
 * taken out of `environ` before main(). What the program was given itself, SHUNT_* as well, it keeps. Nothing is added for a program that we cannot be in. Who means us can say so:
 *
 *   - LD_PRELOAD in the new environment stands as it is, whatever its value; an empty one means none of us;
 *   - who has taken it out of his own `environ` (unsetenv, clearenv, env -i) has taken it out of the next ones' too. (Not where it had been hidden.)
 *   - SHUNT_CARRY=0 in our environment: nothing is ever added.
 *
 * SHUNT_OFF is as the process is switched (switch.h), whatever the program says.
 *
 * Signal-safe, also in a child of vfork, but for nextenv_init and nextenv_set.
 */
#ifndef SHUNT_NEXTENV_H
#define SHUNT_NEXTENV_H

#include <alloca.h>
#include <stdbool.h>
#include <stddef.h>

/* At the start, before other threads. getenv() may not find our variables afterwards. */
void nextenv_init(void);
/*
 * Can it be looked at? Else the kernel says what is wrong, and none of the rest may be called. (What is `environ`, or behind a filter of system calls that might not let us ask, is taken to be
 * sound.)
 */
bool nextenv_is_there(char *const envp[]);
/* Does it ask for the interposer as it is? */
bool nextenv_names_us(char *const envp[]);
/* Are we to be added to it? A file is looked at: the answer may be another the next time. */
bool nextenv_carries(char *const envp[]);

/*
 * nextenv_len: octets of room that nextenv_make needs, and its entries; 0: envp is as it should be. Too long ones are left as they are. `add`: us. (Another thread may
 * lengthen `environ` meanwhile: no more than n entries are taken.)
 */
size_t nextenv_len(char *const envp[], bool add, size_t *n);
char *const *nextenv_make(char *const envp[], bool add, size_t n, char **room);
#define NEXT_ENV(envp, add)                                                                                                    \
	__extension__({                                                                                                        \
		char *const *env_ = (envp);                                                                                    \
		bool add_ = (add);                                                                                             \
		size_t n_, len_ = nextenv_len(env_, add_, &n_);                                                                \
		len_ ? nextenv_make(env_, add_, n_, alloca(len_)) : env_;                                                      \
	})
/* For what libc takes from `environ` itself: SHUNT_OFF alone. */
void nextenv_set(void);

#endif
