/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epset.h - an epoll instance that may hold upgraded sockets.
 *
 * The program's instance P keeps every member that cannot be upgraded, data untouched. Sockets that are, or may soon be, live in a private side instance S, exactly as
 * the program registered them, together with the set's bell; S is one member of P. So whatever waits on P (epoll_wait, poll, another epoll, a process that
 * inherited it) waits for all of them. What the kernel does not know is input in rings; for it each member is either
 *
 *     hot    looked at in every epoll_wait: at most N_HOT, those that were active last. Writers find `armed` 0 and do nothing more.
 *     cold   armed with the set's bell slot: its writer sets the channel's bit in the slot, and rings if the set sleeps. Before the set sleeps all hot members go cold.
 *
 * So waiting costs the same whatever the number of idle members.
 */
#ifndef SHUNT_EPSET_H
#define SHUNT_EPSET_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "sock.h"

struct epset;

static inline struct epset *fd_epset(int fd)
{
	uintptr_t v = fd_get(fd);
	return (v & FD_TAG) == FD_EPSET ? (struct epset *)(v & ~(uintptr_t)FD_TAG) : NULL;
}

/* epoll_create: note the new instance. Failure only means that its members stay in the kernel. */
void epset_new(int fd);
/* The number is closed, or leads elsewhere. */
void epset_forget(int fd);
void epset_dup(struct epset *e, int fd);
/* epoll_ctl, -errno. */
int epset_ctl(struct epset *e, int fd_ep, int op, int fd, struct epoll_event *ev);
/* epoll_wait; timeout_ns < 0: no limit. Number of events or -errno. */
int epset_wait(struct epset *e, int fd_ep, struct epoll_event *ev, int max, int64_t timeout_ns, const sigset_t *mask);
/* Somebody is about to wait for P by other means (poll, another epoll): make the kernel's readiness of P complete. */
void epset_expose(struct epset *e);
/* The socket is about to be connected to where shunt is: edge-triggered members become such that can be upgraded. Not under g_lock. */
void epset_connecting(struct sock *s);
/* A member has been linked to a channel. Under g_lock. */
void epset_linked(struct sock *s);
/* The same of a UDP socket, whose bell exists. */
void epset_dg_linked(struct sock *s);
/* The same, not under g_lock: a set of ours will watch the socket for as long as another process holds it, so its input has to come by the kernel. */
void epset_before_close(struct sock *s);
/* Number fd of the socket is about to close, in the table and then in the kernel. Under g_lock. */
void epset_number_closes(struct sock *s, int fd);
/* Is it a member of a set, as far as the program knows? Under g_lock. */
bool epset_watches(const struct sock *s);
/* A socket's last descriptor goes. Under g_lock. */
void epset_forget_sock(struct sock *s);
/* The process leaves shared memory (leave.h): the program's instances get all their members back. Under g_lock. */
void epset_leave(void);
/* This process is about to exec: instances that are inherited get all their members back. No lock held. */
void epset_before_exec(void);
/* It has failed. */
void epset_exec_failed(void);
void epset_fork_prepare(void);
void epset_fork_child(void);

#endif
