/* SPDX-License-Identifier: BSD-2-Clause */
/* startup.h - the start and the end of the interposer in a process. */
#ifndef SHUNT_STARTUP_H
#define SHUNT_STARTUP_H

#include <stdbool.h>
#include <stdint.h>

/* The process that the tables describe. */
extern uint32_t startup_pid;
/* The process is about to end, or to become another program: counters, and the names that we own. */
void startup_end(bool exec);
/* Where the name of this library ends in a value of LD_PRELOAD; NULL: it is not in it. */
const char *startup_find_in(const char *list);
/* That exec failed. */
void startup_goes_on(void);
/* What fork does with us, for a fork that pthread_atfork() does not see. */
enum startup_fork { STARTUP_PREPARE, STARTUP_PARENT, STARTUP_FAILED, STARTUP_CHILD };
void startup_fork(enum startup_fork stage);

#endif
