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
/* Will the interposer be asked for, in a program that it can be in? */
bool nextenv_has_us(char *const envp[]);
/* The same of an environment that nothing is added to. */
bool nextenv_names_us(char *const envp[]);
/* Are we to be added to it? */
bool nextenv_carries(char *const envp[]);

/* nextenv_len: octets of room that nextenv_make needs; 0: envp is as it should be. Too long ones are left as they are. `add`: us. */
size_t nextenv_len(char *const envp[], bool add);
char *const *nextenv_make(char *const envp[], bool add, char **room);
#define NEXT_ENV(envp, add)                                                                                                    \
	__extension__({                                                                                                        \
		bool add_ = (add);                                                                                             \
		size_t len_ = nextenv_len(envp, add_);                                                                         \
		len_ ? nextenv_make(envp, add_, alloca(len_)) : (envp);                                                        \
	})
/* For what libc takes from `environ` itself: SHUNT_OFF alone. */
void nextenv_set(void);

#endif
