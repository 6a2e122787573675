/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ept.h - the endpoint map: who listens where, and the server's half of an endpoint (file, semaphores, message area, bell).
 *
 * The map is a folder, MAP/<uid>/<endpoint>. MAP is $SHUNT_MAP, or /run/shunt where that is a folder of root's with the sticky
 * bit that anybody may write, else /tmp/.shunt (made on demand, mode 1777). A file is believed only if it is owned by <uid>, and is a regular
 * file with one link in a folder of <uid>'s that nobody else may write. Its name holds the network namespace's cookie, address
 * and port; its text is the string binding and the endpoint's nonce.
 *
 * Lifeline: every process that may accept on the endpoint holds the file open with one and the same F_OFD_SETLK write lock
 * (inherited over fork, gone with the last of them). Only the file's owner could take such a lock (the file is 0644), so
 * "no write lock" proves that the endpoint is stale, whatever read locks strangers hold. The lock is taken before the file has its name.
 *
 * The functions may be called from any thread, one call at a time for one object; not from signal handlers.
 */
#ifndef SHUNT_EPT_H
#define SHUNT_EPT_H

#include <stdint.h>

#include "binding.h"
#include "diag.h"
#include "ncadg_sm_abi.h"

struct ept_key {
	struct diag_addr at; /* all-zero address: wildcard (and dual-stack, if AF_INET6: `dual`) */
	uint64_t netns;	     /* SO_NETNS_COOKIE */
	uint8_t dual;	     /* published by an AF_INET6 wildcard listener without IPV6_V6ONLY */
};

/* A published endpoint, as its server holds it. */
struct ept {
	struct ept_key key;
	uint32_t owner_pid;	/* only the process that published removes the named things */
	int lock_fd;		/* the endpoint's file, write-locked: the lifeline */
	int bell_fd;		/* AF_UNIX datagram socket "\0shunt/<nonce in hex>": rung when a message or an offer waits */
	int semid, shmid;
	struct sm_area *area;
	struct binding binding;
	uint8_t nonce[16];
};

/*
 * Publish. `id`: the uid whose processes will accept. All descriptors are close-on-exec; the caller may move them (ept_fds).
 * 0, or -errno: -EEXIST if a live endpoint of this uid has that key (another process of ours listens there with SO_REUSEPORT:
 * then `e` shares that endpoint: see ept_join), -EACCES / -ENOSPC (limits), ... Stale things of our own uid in the way are removed.
 */
int ept_publish(struct ept *e, const struct ept_key *key, uint32_t id);
/* Remove the file, the semaphores and the area (if this process published), close and unmap. */
void ept_retract(struct ept *e);
/* Another process's listener left; drop our hold of the objects without removing their names (child that closes a listener). */
void ept_drop(struct ept *e);

/* A published endpoint, as a client finds it. */
struct ept_ref {
	struct ept_key key;
	struct binding binding;
	uint8_t nonce[16];
	uint64_t file_ino;   /* with file_mtime_ns tells whether it is still the same endpoint */
	uint64_t file_mtime_ns;
	int semid, shmid;
	struct sm_area *area; /* mapped */
};

/*
 * Is anything published for connections to `to` in namespace `netns`? Looks for the exact address, then wildcards (own family,
 * then dual-stack). Asks sock_diag who owns the listening socket and believes only that uid's file. Verifies the area and the
 * semaphores: made by the owner of the file, right size, magic, nonce.
 * 0; -ENOENT: nothing published (the usual case: must be cheap, one system call when the map does not exist at all);
 * -EPERM: something is there but not to be believed (`why` in the log); or another -errno.
 */
int ept_lookup(struct ept_ref *r, const struct diag_addr *to, uint64_t netns);
/* 1: `r` still names the living endpoint (the file is the same and locked); 0: it is gone or another. One or two system calls. */
int ept_ref_is_current(const struct ept_ref *r);
void ept_ref_drop(struct ept_ref *r);

/* Remove what dead servers left: of `uid`, or everybody's if uid is (uint32_t)-1 and we are root. Number of endpoints removed, or -errno. */
int ept_gc(uint32_t uid);
/* Calls fn for every endpoint in the map (for people to see); stops and returns its value when that is not 0. */
int ept_each(int (*fn)(const struct ept_ref *r, uint32_t owner_uid, int alive, void *arg), void *arg);

#endif
