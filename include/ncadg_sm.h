/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ncadg_sm.h - datagrams between two processes of one machine through shared memory, for an RPC runtime to use as a transport.
 *
 *   struct ncadg_sm_listener *l;                      struct ncadg_sm *c;
 *   struct ncadg_sm *s;
 *   ncadg_sm_listen(&l, "ncadg_sm[id=1000,ftok=/run/user/1000/echo]");
 *   ncadg_sm_accept(l, &s, -1);                       ncadg_sm_connect(&c, "ncadg_sm[id=1000,ftok=/run/user/1000/echo]", 1000);
 *   n = ncadg_sm_recv(s, buf, sizeof(buf), -1);       ncadg_sm_send(c, "hello", 5, -1);
 *   ncadg_sm_send(s, buf, n, -1);                     n = ncadg_sm_recv(c, buf, sizeof(buf), -1);
 *   ncadg_sm_close(s); ncadg_sm_listener_close(l);    ncadg_sm_close(c);
 *
 * Link with libncadg_sm.a and -pthread. ncadg_sm(3) says the same at more length; docs/examples/ has a whole server and client.
 *
 * The datagrams of an association arrive as they were sent, each once, whole, and in order; none is lost while both sides live. (RPC over UDP expects
 * less; what repeats and acknowledges its packets may go on doing so.) Who sends faster than the other side receives waits, or is told -EAGAIN.
 *
 * Names.   A binding names the server's user and a file that the server makes. Client and server must have the file system, the IPC namespace
 *          and the network namespace in common. Their users may differ.
 * Errors.  Every function returns 0, or a number or a length that is not negative, or -errno; errno itself is not touched. Each function lists
 *          its own; beside them -ENOMEM, -EMFILE, -ENFILE, -ENOSPC (limits of System V IPC, or the disk is full) where something is made.
 * Units.   Lengths are octets. Times are milliseconds: 0 does not wait, -1 waits without limit. When a time is over the result is -EAGAIN from a
 *          function that was told 0, and -ETIMEDOUT from one that has waited. A wait during which the thread has handled a signal ends with -EINTR,
 *          whatever SA_RESTART says; nothing is lost, call again.
 * Threads. Any thread may call any function. One association may be used by several at once: each datagram goes to one receiver. Close it when nobody uses it.
 * Signals. Not to be called from signal handlers. SIGPIPE is never raised.
 * fork.    A listener may be used by all processes that inherit it (each accepts some of the associations). An association belongs to the process that made it:
 *          a child can only close it, which the other side does not notice; as long as a child has it open, the other side does not notice either that
 *          the process has died. All descriptors are close-on-exec.
 * exec, _exit, kill. The other side sees that an association has ended at once, always. A listener leaves its file, a set of semaphores and a page of memory behind if it
 *          is not closed; the next listener of that name removes them, and so does anything of shunt's that looks, if the name is ncadg_sm_compose()'s.
 * Trust.   A client believes a server only if the file and all that belongs to it is the user's whom the binding names. A server is told by the kernel which
 *          user a client is (ncadg_sm_peer). Neither can make the other read or write outside the memory that they share, or wait longer than it wanted;
 *          a peer that writes nonsense there ends its association (-EBADMSG). The memory they share is nobody else's.
 *
 * Costs. An association takes three descriptors or fewer, and 129 MiB of address space, of which the pages are real that have been used. Making one takes a
 * fraction of a millisecond: make one for each pair of processes and send all calls through it.
 */
#ifndef NCADG_SM_H
#define NCADG_SM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NCADG_SM_MAX_LEN 65507	  /* octets in a datagram, as over UDP; 0 is allowed */
#define NCADG_SM_BINDING_LEN 1024 /* enough for ncadg_sm_compose() */

struct ncadg_sm_listener; /* where associations come in */
struct ncadg_sm;	  /* an association: one end of it */

/*
 * The binding of a server of user `uid` under `name` in the endpoint map, a folder that every user can write to and in which nobody can take another's names
 * ($SHUNT_MAP, /run/shunt or /tmp/.shunt); for servers that have no better place. `name`: letters, digits, `-`, `_` and `.`, at most 64.
 * Length of the string in buf, or -EINVAL (name), -ENOSPC (len), -ENAMETOOLONG ($SHUNT_MAP).
 */
int ncadg_sm_compose(char *buf, size_t len, uid_t uid, const char *name);

/*
 * Listen on a binding: `ncadg_sm[id=UID,ftok=PATH]`, UID being our own effective user. PATH is made, and must not be there, unless it is what a listener of ours left behind.
 * -EINVAL      not such a binding (see ncadg_sm(3); tools: shunt tower)
 * -EPERM       UID is another user, or 65534, which may be anybody
 * -EADDRINUSE  somebody listens there
 * -EEXIST      PATH is something else
 * -ENOENT, -ENOTDIR, -EACCES, -EROFS, ...  the folder
 * -EBUSY       all keys of the file are taken, or the folder in the endpoint map is locked
 */
int ncadg_sm_listen(struct ncadg_sm_listener **out, const char *binding);

/*
 * Take the next association. Clients wait in ncadg_sm_connect() until this is called.
 * -EAGAIN, -ETIMEDOUT, -EINTR
 */
int ncadg_sm_accept(struct ncadg_sm_listener *l, struct ncadg_sm **out, int timeout_ms);

/* For poll, select, epoll: readable when ncadg_sm_accept() has something to do (it may find nothing all the same). Not to be read or closed. */
int ncadg_sm_listener_fd(const struct ncadg_sm_listener *l);

/* Stop listening, remove everything that has a name (if this process made it), free. Associations stay. NULL is allowed. */
void ncadg_sm_listener_close(struct ncadg_sm_listener *l);

/*
 * Connect to the server at a binding, whose process must be about to accept: a thread that both listens and connects to itself waits for itself.
 * timeout_ms: -1 counts as 30000, and 0 as 1.
 * -EINVAL        not such a binding
 * -ECONNREFUSED  nobody listens there
 * -EPERM         something is there, but it is not that user's alone, or he does not take us
 * -EPROTO        the server is of another build, or a program under `shunt run` and not one of this library
 * -ENXIO         the server is in another IPC or network namespace
 * -ETIMEDOUT     it did not accept in time; -EINTR
 */
int ncadg_sm_connect(struct ncadg_sm **out, const char *binding, int timeout_ms);

/*
 * Send one datagram. 0: it is where the other side will find it.
 * -EMSGSIZE    longer than NCADG_SM_MAX_LEN
 * -EAGAIN, -ETIMEDOUT, -EINTR  there is no room; not a part of it has been sent
 * -EPIPE       the other side has closed; -ECONNRESET: it has died; -EBADMSG: it has written nonsense
 */
int ncadg_sm_send(struct ncadg_sm *a, const void *buf, size_t len, int timeout_ms);
/* The same from `n` pieces, a header and a body for instance. -EINVAL: n < 0. */
int ncadg_sm_sendv(struct ncadg_sm *a, const struct iovec *iov, int n, int timeout_ms);

/*
 * Receive one datagram: its length, which may be 0. What the other side sent before it ended is received before the end is told.
 * -EMSGSIZE    it is longer than len; it stays (ncadg_sm_next_len() tells its length)
 * -EAGAIN, -ETIMEDOUT, -EINTR  there is none
 * -EPIPE       the other side has closed; -ECONNRESET: it has died; -EBADMSG: it has written nonsense
 */
ssize_t ncadg_sm_recv(struct ncadg_sm *a, void *buf, size_t len, int timeout_ms);
/* The length of the datagram that is next, or what ncadg_sm_recv() would say in its place if told not to wait. */
ssize_t ncadg_sm_next_len(struct ncadg_sm *a);

/*
 * For poll, select, epoll (level-triggered): becomes readable when there is news after a call that said -EAGAIN: a datagram after ncadg_sm_recv() or ncadg_sm_next_len(), room after
 * ncadg_sm_send(), and in any case the other side's end. So: call until -EAGAIN, then wait. It may become readable without need; it stays readable until the next -EAGAIN.
 * Who waits so in one thread must not wait inside of calls on the same association in another. Not to be read or closed.
 */
int ncadg_sm_fd(const struct ncadg_sm *a);

/* Who is at the other side, as the kernel tells: the process that accepted or connected, and its effective user at that time. */
struct ncadg_sm_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* 0: not of our PID namespace */
};
int ncadg_sm_peer(const struct ncadg_sm *a, struct ncadg_sm_peer *peer);

/* End the association and free it. The other side receives what was sent before, and then -EPIPE. NULL is allowed. */
void ncadg_sm_close(struct ncadg_sm *a);

#ifdef __cplusplus
}
#endif

#endif
