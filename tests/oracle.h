/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle.h - plain socket programs whose transcript must not depend on what carries the bytes. The kernel is the oracle.
 *
 * A test program is a table of cases. A case has a server's and a client's part, which run as two processes (tests/run_oracle.sh starts
 * them with and without shunt). Each part writes a transcript: calls, their results, errnos by name, checksums, events; never a time,
 * a pid, a port or anything else that two runs may disagree on. The programs know nothing of shunt.
 *
 * The two parts meet out of band, on two pipes (descriptors ORACLE_RD and ORACLE_WR): "the peer has closed" is a message there, not a delay.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ORACLE_RD 100  /* out-of-band pipe from the other part */
#define ORACLE_WR 101  /* ... and to it */
#define ORACLE_LOG 102 /* the transcript: the stdout that the program was started with, so that a case may use 0, 1 and 2 */
#define ORACLE_FIRST_FD ORACLE_RD /* cases that close whole ranges of descriptors stay below */

/* oracle_case.flags: what the runner must know; printed by --list */
#define CASE_KERNEL 0x01u /* stays in the kernel by design: no proof of shared memory wanted */
#define CASE_KILLED                                                                                                            \
	0x02u /* a process is killed: its counters are lost, its names may be left for the next shunt process to remove */
#define CASE_SELF 0x04u	  /* connects to itself: may be upgraded although only one part runs under shunt */
#define CASE_SLOW 0x08u	  /* 40 seconds instead of 10 */
#define CASE_NOWARM 0x10u /* starts on a fresh connection: whether it was upgraded in time is not certain, so no proof wanted */
#define CASE_DIFFERS                                                                                                           \
	0x20u /* with both sides under shunt it differs, and docs/COMPATIBILITY.md says so; reported as skipped while it does */
#define CASE_ALONE 0x40u /* measures time: runs beside no other case */
#define CASE_HEIR 0x80u /* changes hands on the server's side: two processes there have both sent and received through memory */
#define CASE_HEIR_CLIENT 0x100u /* the same, on the client's */

struct oracle_case {
	const char *name;
	void (*server)(void);
	void (*client)(void);
	unsigned flags;
	const void *arg; /* for the parts, by way of the_case */
};
extern const struct oracle_case oracle_cases[]; /* each program has one; the last entry has no name */
extern const struct oracle_case *the_case;	/* the one that runs */
extern int is_server;
/* The runner sets ORACLE_PATIENT where both parts are under shunt: then it is worth waiting for octets to leave the kernel. */
int is_patient(void);

/* ---- transcript ---- */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* TRY(call): makes the call, writes "call = result" (or -1 and errno's name), returns the result, leaves errno. */
#define TRY(call) say_result(#call, (errno = 0, (long)(call)))
long say_result(const char *what, long result);
/* HOLDS(condition): writes the condition and whether it is true; the runner fails a transcript in which one is FALSE. */
#define HOLDS(condition) say_holds(#condition, !!(condition))
int say_holds(const char *what, int is_true);
/* MUST(call): for scaffolding whose success is no part of the transcript; -1 ends the part. */
#define MUST(call) must(#call, (long)(call))
long must(const char *what, long result);
const char *event_names(unsigned poll_or_epoll_events); /* "IN|OUT|RDHUP"; a static buffer of the calling thread */

/* ---- out of band ---- */
void tell(const char *what);  /* at most 23 characters */
void await(const char *what); /* waits for exactly this message; anything else ends the part */
void tell_number(long n);
long await_number(void);
void meet(const char *where); /* both parts have come here */

/* ---- connections; sockets come back blocking ---- */
int listen_on(const char *ip, int backlog, int *port); /* any port; IPv6 wildcard "::" is dual-stack */
int connect_to(const char *ip, int port);	       /* -1, errno */
int serve_one(
	void); /* server: listens on 127.0.0.1, tells the port, accepts one connection; goes on listening, as servers do */
int connect_one(void); /* client: its counterpart */
int serve_warm(void);  /* the same, then warm_up() */
int connect_warm(void);
/* TCP_NODELAY: what was sent has arrived when send() returns. Otherwise a second small message may wait for an acknowledgement. */
void no_delay(int fd);
/* Ping-pong of small messages with pauses, long enough for anything that is done to a connection behind its back to be over
 * (oracle_warm.c). Both parts call it; nothing of it is in the transcript. */
void warm_up(int fd);
#define WARM_LEN 64
#define WARM_STREAM 77
unsigned warm_messages(void); /* each way; for a part that does its half by other calls */

/* ---- data; the byte at position p of stream s is fixed ---- */
void fill(void *buf, size_t len, unsigned stream, uint64_t pos);
uint64_t sum_bytes(uint64_t sum, const void *buf, size_t len); /* start with 0 */
void put(int fd, size_t len, unsigned stream, uint64_t pos);   /* blocking, all of it; any failure ends the part */
void get(int fd, size_t len, unsigned stream, uint64_t pos);   /* ... and every byte compared */
uint64_t get_to_eof(int fd, uint64_t *sum);		       /* how many came */

/* ---- conditions, waited for with a limit of 5 s, then written as they are ---- */
void poll_is(int fd, unsigned events, unsigned want); /* poll() reports `want` */
void epoll_is(int ep, unsigned want);		      /* epoll_wait() reports one member with `want`; 0: none, at once */
void unread_is(int fd, int want);		      /* FIONREAD */
int wait_until(int (*is_true)(void *), void *arg);    /* 1, or 0 after the limit */
int task_state(int tid); /* of a thread, or of a process's first one: the letter that ps shows; 0: there is none */
int64_t now_ms(void);
int64_t rare_ms(int64_t ms);	   /* how long to look for a rare moment: all of it only where both parts are under shunt */
void set_nonblock(int fd, int on); /* fcntl */

/* ---- epoll sets; a member is known by its tag ---- */
#define SOON 3000 /* ms that an event which must come may take */
int new_set(void);
void set_add(int ep, int fd, unsigned events, uint64_t tag);
void set_mod(int ep, int fd, unsigned events, uint64_t tag);
void set_del(int ep, int fd);
void set_says(int ep, int timeout); /* one epoll_wait(); writes its events, by tag */

/* ---- a client that does as it is told ---- */
void send_as_told(int fd); /* n bytes of stream 1 for each number; closes at 0 */
void sender_client(void);  /* a part: does so on a warm connection */
void send_me(long n);	   /* its counterpart: the bytes have arrived when it returns */
void close_yours(void);
/* On a warm connection: at "idle" 5 bytes of stream 1, and says "sent"; at "read" the end of file, and says "half"; waits for the other's. The socket. */
int run_through_stages(void);

/* ---- descriptors over a local socket (SCM_RIGHTS) ---- */
void pass_fd(int over, int fd);
int take_fd(int over); /* close-on-exec */
int peek_fd(int over); /* one more copy of what take_fd() will give */

/* ---- processes and threads ---- */
pthread_t start_thread(void *(*run)(void *), void *arg);
pid_t fork_part(void);	    /* fork(); the child has its own time limit */
void join_child(pid_t pid); /* waits, writes its exit status or signal */

#endif
