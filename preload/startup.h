/* SPDX-License-Identifier: BSD-2-Clause */
/* startup.h - the start and the end of the interposer in a process. */
#ifndef SHUNT_STARTUP_H
#define SHUNT_STARTUP_H

#include <stdbool.h>
#include <stdint.h>

/* The process that the tables describe. */
extern uint32_t startup_pid;
/* There is something to leave behind: a default-action signal shall not end the process without startup_end(). */
void signal_guard(void);
void signal_unguard(void); /* what is to be left behind has been */
/* The process is about to end, or to become another program: counters, and the names that we own. */
void startup_end(bool exec);

#endif
