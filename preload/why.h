/* SPDX-License-Identifier: BSD-2-Clause */
/* why.h - why a socket's direction is on the path it is on. One list: the word (in JSON and logs) and the sentence (for people). */
#ifndef SHUNT_WHY_H
#define SHUNT_WHY_H

#define WHY_LIST(X)                                                                                                            \
	X(NONE, "none", "not connected")                                                                                       \
	X(UP, "upgraded", "goes through shared memory")                                                                        \
	X(NEW, "new", "the connection is new; shared memory is not worth its set-up yet")                                      \
	X(NO_ENDPOINT, "no-endpoint", "the server does not run under shunt")                                                   \
	X(NO_OFFER, "no-offer", "the client does not run under shunt, or has offered nothing yet")                             \
	X(PEER, "peer", "the other side has not agreed (yet)")                                                                 \
	X(REMOTE, "remote", "the peer is on another machine")                                                                  \
	X(FULL, "full", "the ring was full: the kernel buffers until the reader catches up")                                   \
	X(STDIO, "stdio", "the descriptor is used by stdio (fdopen, or number 0, 1 or 2)")                                     \
	X(OOB, "urgent", "urgent data")                                                                                        \
	X(OPTION, "option", "a socket option that shared memory cannot imitate")                                               \
	X(SPLICE, "splice", "splice() moves kernel pages")                                                                     \
	X(EPOLL, "epoll", "registered with an epoll set before the upgrade in a way that cannot be moved")                     \
	X(EXEC, "exec", "inherited by another program")                                                                        \
	X(PROCESS, "process", "the process has other namespaces, two descriptor tables, an io_uring or a system call filter")  \
	X(PASSED, "passed", "the descriptor was passed to another process")                                                    \
	X(ARRIVED, "arrived", "came from another process, which may still use it")                                             \
	X(FORK, "fork", "several processes hold the socket")                                                                   \
	X(REUSE, "reuse", "other sockets may share the port (SO_REUSEADDR, SO_REUSEPORT)")                                     \
	X(SYSV, "sysv", "no System V segment could be made (limits, or another IPC namespace)")                                \
	X(FDS, "fds", "no descriptor or address space left for shunt's own use")                                               \
	X(REFUSED, "refused", "the rendezvous failed (no answer in time, or the peer is not who it says)")                     \
	X(BROKEN, "broken", "the peer wrote nonsense into the channel")                                                        \
	X(SLOWER, "slower",                                                                                                    \
		"shared memory has been slower than the kernel, or is being compared; it comes back after a while")            \
	X(CALL, "call", "a call that only the kernel can answer; it comes back with the next one")                             \
	X(CLOSED, "closed", "the connection is ending")                                                                        \
	X(RULE, "rule", "a rule says so (shunt.conf, --only, --not, SHUNT_RULES)")                                             \
	X(SHARE, "share", "the other side's user is not one that --share accepts")                                             \
	X(OFF, "off", "shunt is switched off")                                                                                 \
	X(AIO, "aio", "asynchronous I/O (io_submit, aio_read, aio_write, lio_listio)")                                         \
	X(THREAD, "thread", "no thread could be started for shunt's own use (RLIMIT_NPROC)")                                   \
	X(CHROOT, "chroot", "the root directory has changed, and the endpoint map is not below it")

enum why {
#define WHY_ENUM(id, word, text) WHY_##id,
	WHY_LIST (WHY_ENUM)
#undef WHY_ENUM
		WHY_N
};

static inline const char *why_word(unsigned w)
{
	static const char *const word[] = {
#define WHY_WORD(id, w_, text) w_,
		WHY_LIST (WHY_WORD)
#undef WHY_WORD
	};
	return w < WHY_N ? word[w] : "?";
}

static inline const char *why_text(unsigned w)
{
	static const char *const text[] = {
#define WHY_TEXT(id, w_, t) t,
		WHY_LIST (WHY_TEXT)
#undef WHY_TEXT
	};
	return w < WHY_N ? text[w] : "?";
}

#endif
