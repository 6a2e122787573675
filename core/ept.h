/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ept.h - the endpoint map: who listens where, and the server's half of an endpoint (file, semaphores, message area, bell).
 *
 * The map is a folder, MAP/<uid>/<endpoint>. MAP is $SHUNT_MAP (an absolute path; not for setuid programs), or /run/shunt where that
 * is a folder of root's with the sticky bit that anybody may write, else /tmp/.shunt (made on demand, mode 1777). MAP/<uid> has
 * mode 0711: others can open a name in it that they know, but neither list nor lock it. A file is believed only if it is owned by
 * <uid>, and is a regular file with one link in a folder of <uid>'s that nobody else may write. Its name holds the network
 * namespace's cookie, address and port; its text is the string binding, the endpoint's nonce and the ids of its IPC objects.
 *
 * Lifeline: every process that may accept on the endpoint holds the file open with an F_OFD_SETLK write lock on one octet of it: who published it on the first, who got the listener
 * otherwise than by fork (ept_join) on another; over fork the lock is inherited, and gone with the last who has it. Only the file's owner could take such a lock (the file is 0644), so
 * "no write lock" proves that the endpoint is stale, whatever read locks strangers hold. The lock is taken before the file has its name. Each holder has a bell of its own; all are rung.
 *
 * Nobody who runs as uid 65534 can publish: that is also what users look like who have no name in a user namespace.
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
	uint8_t dual;	     /* published by an AF_INET6 wildcard socket without IPV6_V6ONLY */
	uint8_t udp;	     /* a UDP socket; else a TCP listener */
};

/* Use this folder as MAP from now on (NULL: the default), whatever the environment says. Before other threads. -ENAMETOOLONG, -EINVAL. */
int ept_map_set(const char *path);
/* Does the folder lead anywhere, in the root directory that counts now? */
int ept_map_is_there(void);

/* So many may hold one endpoint, each with its children. */
#define EPT_N_HOLDER 16
/* The name of the bell of who holds the endpoint by `slot`: its nonce with another last octet. */
void ept_bell_name(uint8_t name[16], const uint8_t nonce[16], int slot);

/* A published endpoint, as its server holds it. */
struct ept {
	struct ept_key key;
	uint32_t owner_pid; /* only the process that published, or joined, removes the named things */
	int lock_fd;	    /* the endpoint's file, write-locked: the lifeline */
	int bell_fd; /* AF_UNIX datagram socket "\0shunt/<name in hex>" (ept_bell_name): rung when a message or an offer waits */
	int slot;    /* which octet is locked, and which bell is ours: 0: of who published it */
	int semid, shmid;
	struct sm_area *area;
	struct binding binding;
	uint8_t nonce[16];
	uint64_t
		left_nonce; /* the last message that was for a process of another user than ours, as whom we were `left_uid` (rdv_answer) */
	uint32_t left_uid;
};

/*
 * Publish. `id`: the uid whose processes will accept. All descriptors are close-on-exec and have been shown to sys_keep_fd.
 * 0, or -errno and nothing is left: -EEXIST if a live endpoint of this uid has that key (another listener of this process, or of
 * another process, with SO_REUSEPORT), -EPERM (uid 65534, or the folder under our name is somebody else's), -EBUSY (keys squatted, or the
 * folder's lock), -EACCES, -ENOSPC (limits), ... Stale things of our own uid are removed, at most once a second.
 */
int ept_publish(struct ept *e, const struct ept_key *key, uint32_t id);
/*
 * `e` is an endpoint that another process of our uid has published, or holds: key, nonce, semid, shmid and area are known. From now on we hold it too: it is there for as long as one of us
 * is, and the last one removes it. 0; -ENOENT: there is no such endpoint of ours (any more); -EBUSY: too many hold it already, or a stranger's lock or sockets, or another build's, are in the way; -errno.
 * lock_fd and bell_fd are not looked at, and not closed.
 */
int ept_join(struct ept *e);
/*
 * Close and unmap; and, if this process published or joined and no other holds it (those who got it from us by fork do not count), remove the file, the semaphores and the area. Again, or in a
 * child: ept_drop().
 */
void ept_retract(struct ept *e);
/* Another process's listener left; drop our hold of the objects without removing their names (child that closes a listener). */
void ept_drop(struct ept *e);

/* A published endpoint, as a client finds it. */
struct ept_ref {
	struct ept_key key;
	struct binding binding;
	uint8_t nonce[16];
	uint64_t file_ino; /* with file_mtime_ns tells whether it is still the same endpoint */
	uint64_t file_mtime_ns;
	int semid, shmid;
	uint32_t owner;	      /* uid of the file, and of the listening socket */
	uint32_t gid;	      /* group of who published, by the kernel's word; where the area is mapped */
	struct sm_area *area; /* mapped; NULL in ept_each() */
};

/*
 * Is anything published for connections to `to` in namespace `netns`? Asks sock_diag which socket listens there and how it is
 * bound, and looks for exactly that endpoint among its owner's. Verifies the area and the semaphores: made by the owner of the
 * file, right size, magic, nonce.
 * 0; -ENOENT: nothing published (the usual case: two system calls when the map does not exist, one netlink question more when it does);
 * -ECONNREFUSED: nor does anybody listen there (not asked when the map does not exist), or who published has died: his socket may end after his file's lock;
 * -EPERM: something is there but not to be believed (`why` in the log); -ENXIO: its semaphores are not in this IPC namespace, or
 * it is going away; or another -errno.
 */
int ept_lookup(struct ept_ref *r, const struct diag_addr *to, uint64_t netns);
/* The same for datagrams. */
int ept_lookup_udp(struct ept_ref *r, const struct diag_addr *to, uint64_t netns);
/* 1: `r` still names the living endpoint (the file is the same and locked); 0: it is gone or another. Four short system calls. */
int ept_ref_is_current(const struct ept_ref *r);
void ept_ref_drop(struct ept_ref *r);

/*
 * The same without a socket: the endpoint is at the PATH of the binding, wherever that is, and `id` is our own effective user. What stands between
 * client and server is the file system alone, and that the file is the user's whom the binding names. In the folder of the map the last part
 * of the PATH must begin with "sm-", so that ept_gc() finds what is left behind; elsewhere only the next publication does.
 *
 * ept_publish_at: 0 or -errno, and nothing is left: -EPERM (id), -EADDRINUSE (a live endpoint), -EEXIST (something else: it is left alone), -EINVAL
 * (PATH ends in `/`, or its last part is too long), the folder's.
 * ept_lookup_at: as ept_lookup(), -EPERM if PATH is not that user's alone, or its text tells another binding.
 */
int ept_publish_at(struct ept *e, const struct binding *b);
int ept_lookup_at(struct ept_ref *r, const struct binding *b);
/* The PATH for `name` in the map, MAP/<uid>/sm-<name>. 0; -EINVAL: no such name (letters, digits, - _ ., 1 to 64); -ENAMETOOLONG. */
int ept_path(char path[BINDING_PATH_LEN], uint32_t uid, const char *name);

/*
 * Remove what dead processes left: of `uid`, or everybody's if uid is (uint32_t)-1 and we are root. Endpoints of servers, and the
 * unnamed semaphores and segments of clients that were killed in the middle of a rendezvous. Number of things removed, or -errno.
 */
int ept_gc(uint32_t uid);
/* The same for people: fn (may be NULL) hears of each thing. `only_look`: nothing is removed, the number is of what would be. */
enum ept_gc_kind { EPT_GC_ENDPOINT, EPT_GC_SEM, EPT_GC_SEG };
struct ept_gc_thing {
	enum ept_gc_kind kind;
	uint32_t uid;	  /* whose */
	const char *name; /* of the endpoint's file in MAP/<uid>; else NULL */
	int id;		  /* of the semaphores or the segment; else -1 */
};
typedef void ept_gc_fn(const struct ept_gc_thing *t, void *arg);
int ept_gc_each(uint32_t uid, int only_look, ept_gc_fn *fn, void *arg);
/*
 * Calls fn for every endpoint in the map whose folder we may list (our own; all for root), for people to see; stops and returns its value when that is
 * not 0. A program's own ("sm-NAME", ept_publish_at) have no socket: key.at.family is 0.
 */
int ept_each(int (*fn)(const struct ept_ref *r, uint32_t owner_uid, int alive, void *arg), void *arg);

/*
 * How many associations the endpoint that ept_each() has found has, as its message area lists them, without those whose segments are gone; -errno if the
 * area cannot be looked at, or is not its owner's. *maker: pid of who published, 0 if it is not of our pid namespace. For people: the list is anybody's
 * to write.
 */
int ept_count_assocs(const struct ept_ref *r, uint32_t *maker);

#endif
