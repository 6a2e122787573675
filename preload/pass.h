/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pass.h - a socket leaves this family of processes: passed by SCM_RIGHTS, or inherited by another program.
 *
 * It is in the kernel, both directions, before a copy leaves, and stays there for as long as somebody of this family holds it; its channel, if it has one, stays too. The record
 * counts the copies that have left. When the last holder lets go and exactly one copy has left, whoever has that is the socket's only user, and may take over the channel, or make
 * one: the socket is marked so (mark.h). If more have left, or to a program that shunt cannot be in, which may hand it on unseen, it is marked never to be linked again.
 *
 * An exec by the only holder is the same in one step; the new program finds the socket at its start (adopt.h).
 */
#ifndef SHUNT_PASS_H
#define SHUNT_PASS_H

#include <stdbool.h>

#include "sock.h"

/* A copy is about to leave. known: to where shunt is, as far as can be told. Not under g_lock; waits for the peer as move_withdraw does. */
void pass_begin(struct sock *s, enum why why, bool known);
/* It has not left. */
void pass_undo(struct sock *s);
/* A descriptor is about to leave that is no socket of ours: if it is a stream socket, nobody can tell who uses it. */
void pass_unknown(int fd);
/* This process is about to exec, and s will be inherited. */
void pass_exec(struct sock *s, bool known);
/* The same, of a socket that it will close. */
void pass_exec_closed(struct sock *s);
/* It has failed, whatever has been done for it. */
void pass_exec_undo(struct sock *s);
/* The last holder lets go, and copies have left: the connection goes on elsewhere, if anywhere. Under g_lock, before the kernel's close. */
void pass_last(struct sock *s);

#endif
