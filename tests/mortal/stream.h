/* SPDX-License-Identifier: BSD-2-Clause */
/* stream.h - the connection of the present conversation, and the way out of it. */
#ifndef STREAM_H
#define STREAM_H

#include <setjmp.h>

extern int stream_fd;
extern jmp_buf stream_over;

#endif
