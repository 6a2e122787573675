/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ept_map.h - inside of the endpoint map: folders, file names, file texts. Used by ept*.c alone; see ept.h for the model.
 *
 * Name of a file: tcp-NETNS-ADDRESS-PORT or udp-... (IPv4 dotted, IPv6 as eight hex groups). While it is being made: .new-PID-RANDOM.
 * Names that begin with "sm-" are a program's own (ept_publish_at).
 * Its text, each number written anew before the object that it tells of can exist without it:
 *
 *   nonce=32 hex digits
 *   proj=N semid=N shmid=N dual=N ipcns=N  (-1: not made yet)
 *   tower=the same binding as a protocol tower (twr.h), in hexadecimal digits; missing in files of builds before towers
 *   ncadg_sm[id=UID,ftok=PATH]
 *
 * The binding comes last because a PATH may hold any octet.
 */
#ifndef SHUNT_EPT_MAP_H
#define SHUNT_EPT_MAP_H

#include "ept.h"

#define MAP_PATH_LEN 160		      /* of the folder MAP, with its NUL */
#define EPT_NAME_LEN 96			      /* of a file, with its NUL */
#define EPT_TEXT_LEN (BINDING_STR_LEN + 1024) /* of a file's text, with its NUL: 160, and the tower, at most 341 octets */
#define EPT_N_PROJ 16			      /* ftok() project ids to try: 1 .. N */

struct ept_file {
	uint8_t nonce[16];
	int proj, semid, shmid, dual;
	uint64_t ipcns; /* inode of the IPC namespace that the ids belong to; 0: not known (no /proc) */
	struct binding binding;
	uint64_t ino, dev, mtime_ns; /* of the open file, from the kernel */
};

/* The folder that counts now; may not exist. Its length, or -ENAMETOOLONG. */
int map_path(char buf[MAP_PATH_LEN]);
/* Descriptor (O_PATH) of the folder, or -errno. `make`: creates it, for everybody. */
int map_open(const char *path, int make);
/*
 * Descriptor of MAP/<uid>, verified: <uid>'s own folder, not writable by others; else -EPERM. -ENOENT. `flags`: O_PATH to look
 * names up, O_RDONLY to list and lock. `make`: creates it (uid is ours).
 */
int map_user_open(int map_fd, uint32_t uid, int flags, int make);
/* Serialise those who change a user's folder: the user himself and root, since nobody else can open it for reading (0711).
   Bounded: -EBUSY after 100 ms. */
int map_user_lock(int dir_fd);
void map_user_unlock(int dir_fd);
/* Our own folder MAP/<uid>, made if need be, open for reading and locked: map_own_close() ends both. Descriptor or -errno. */
int map_own_open(const char *map, uint32_t uid);
void map_own_close(int dir_fd);

/* File name of a key (the flag `dual` is not part of it). */
void ept_name(char buf[EPT_NAME_LEN], const struct ept_key *key);
/* The reverse. 0 or -EINVAL. */
int ept_name_parse(struct ept_key *key, const char *name);

/* A number (base 10 or 16) up to `max` that is followed by `end`: the place behind that (a NUL is not passed), or NULL. */
const char *ept_parse_num(uint64_t *out, const char *p, unsigned base, uint64_t max, char end);

/* Open the file `name`. Descriptor; -EPERM if it is not a regular file of `uid`'s with one link that only he may write; -errno. */
int ept_file_open(int dir_fd, const char *name, uint32_t uid);
/* One that can be locked: the other cannot, it is for looking. -ENOENT too if another one has come meanwhile: look again. */
int ept_file_open_rw(int dir_fd, const char *name, uint32_t uid);
/* What the open file says. 0, -EINVAL (not such a text), -errno. f's ino, dev, mtime are always filled on 0 and -EINVAL. */
int ept_file_read(int fd, struct ept_file *f);
int ept_file_write(int fd, const struct ept_file *f);
/* 1 if a process holds a write lock (only the owner's could), 0 if none, -errno. */
int ept_file_alive(int fd);
/* Hold the file, open for writing, by the octet `slot`. 0; -EAGAIN, -EACCES: somebody else does, or a stranger's read lock is there; -errno. */
int ept_file_hold(int fd, int slot);
/* Of the octets from 1 on, hold those below `slot` no more. */
void ept_file_unhold_below(int fd, int slot);
/* Hold it no more. 1: nor does anybody else now, and nobody can from now on until it is closed (but for strangers' read locks: then he could). 0: others do. */
int ept_file_release(int fd, int slot);
/* The IPC namespace we are in, as in ept_file.ipcns. */
uint64_t ept_ipcns(void);
/* The ftok() key of the open file. */
int32_t ept_file_key(const struct ept_file *f);

/* With the folder locked: what is dead there goes. -EEXIST: it lives. -EPERM: it is not that user's alone. */
int ept_clear_the_way(int dir_fd, const char *name, uint32_t uid);
/* The server's half, once nothing of that name is in the way: file, objects, bell, all in `e`, whose binding is told. -EEXIST: something is. */
int ept_make(struct ept *e, int dir_fd, const char *name);
void ept_init(struct ept *e); /* nothing yet, of this process */
/* The client's half: the open file, which is the owner's (r->owner), and what it leads to. As ept_lookup(). */
int ept_lookup_in_file(struct ept_ref *r, int fd);

/* Remove the objects that a stale file of uid's names, if they are the ones that it made. */
void ept_file_gc_objects(const struct ept_file *f, uint32_t uid);
/*
 * With the folder locked: remove the endpoint `name` if nobody holds it: 1 removed, 0 it lives (or is not there, or not ours), -errno.
 * One of another IPC namespace, whose objects we cannot remove, is left to the processes there for a day.
 */
int ept_file_gc(int dir_fd, const char *name, uint32_t uid);
/* The same question alone: 1: ept_file_gc() would remove it. */
int ept_file_is_stale(int dir_fd, const char *name, uint32_t uid);
/* With the folder locked: all of them. Number removed, or -errno. */
int ept_dir_gc(int dir_fd, uint32_t uid);
/* The nameless things of killed clients of `uid` (UINT32_MAX: of anybody). Number removed. */
int ept_gc_nameless(uint32_t uid);

#endif
