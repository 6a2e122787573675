/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nextenv.h - the environment of the next program: with SHUNT_CARRY in ours, shunt goes on in it, unless the program does not want that.
 *
 * (Not without: a listener that is inherited over such an exec by `shunt run` and on is not served yet where it arrives.)
 *
 * Who makes an environment from scratch for another program does not mean us: what `shunt run` has put into ours (LD_PRELOAD and SHUNT_*) is added to it, and SHUNT_CARRIED. By that the interposer
 * over there knows that the program is not to see any of them: they are taken out of `environ` before main(). Who means us can say so:
 *
 *   - LD_PRELOAD in the new environment stands as it is, whatever its value; an empty one means none of us;
 *   - who has taken it out of his own `environ` (unsetenv, clearenv, env -i) has taken it out of the next ones' too. (Not where it had been hidden.)
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
/* Will the interposer be asked for? */
bool nextenv_has_us(char *const envp[]);
/* The same of an environment that nothing is added to. */
bool nextenv_names_us(char *const envp[]);

/* nextenv_len: octets of room that nextenv_make needs; 0: envp is as it should be. Too long ones are left as they are. */
size_t nextenv_len(char *const envp[]);
char *const *nextenv_make(char *const envp[], char **room);
#define NEXT_ENV(envp)                                                                                                         \
	__extension__({                                                                                                        \
		size_t len_ = nextenv_len(envp);                                                                               \
		len_ ? nextenv_make(envp, alloca(len_)) : (envp);                                                              \
	})
/* For what libc takes from `environ` itself: SHUNT_OFF alone. */
void nextenv_set(void);

#endif
