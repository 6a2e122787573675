/* SPDX-License-Identifier: BSD-2-Clause */
/* threads.h - which threads the process has, as the kernel counts them. */
#ifndef SHUNT_THREADS_H
#define SHUNT_THREADS_H

#include <stdbool.h>

/* Is the caller the only thread of the process but for `ours` of ours? When that cannot be known (no /proc): no. */
bool threads_alone_but(unsigned ours);

#endif
