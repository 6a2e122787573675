/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * adopt.h - a connected socket that came from another process: by SCM_RIGHTS, or over an exec.
 *
 * It gets a sock like any other, `arrived`, which the kernel serves and whose calls are counted, so that it can be linked at any time. From its third call on, and then less and less
 * often, the socket is asked whether its former owner has let go (mark.h). Then it goes on in the channel that it had, from the octet where that was left; or, if it had none, it
 * is linked as a socket of this process's own would be: to the endpoint that published the address, as server, or that it is connected to, as client.
 */
#ifndef SHUNT_ADOPT_H
#define SHUNT_ADOPT_H

#include <stdbool.h>

#include "sock.h"

struct msghdr;
/* recvmsg has returned it. `peek`: the message is still there, and the descriptors in it a second time. */
void adopt_message(const struct msghdr *m, bool peek);
/* A listener that this process got by other ways than socket() and is about to accept from. Any thread; nothing if another has been quicker. */
void adopt_listener(int fd);
/* At the start of a program: what it has inherited. */
void adopt_inherited(void);

/* Is it time to ask whether s, arrived, may be linked? */
bool adopt_due(struct sock *s);
/* s, arrived, is about to be linked; under g_lock, f->link is 1. false: not yet, or never; then s->arrived tells. If s->linked is 0, its endpoint or server is known now. */
bool adopt_link(struct sock *s);
/* The same at once, from outside. true: it is this family's. */
bool adopt_now(struct sock *s);
/* Nobody is to link it any more. */
void adopt_never(struct sock *s);
/* s has been passed: another copy of it may come here. */
void adopt_note(struct sock *s);
/* An exec has failed, and others have ended s meanwhile: it has nothing of theirs any more, and may be linked if they have left it to be. Under g_lock. */
void adopt_again(struct sock *s);
/* s ends. */
void adopt_forget(struct sock *s);

/* A TCP socket that does not listen? */
bool adopt_is_stream(int fd);
/* Options as the kernel tells them, for a socket that somebody else had before. */
void adopt_options(struct sock *s);

#endif
