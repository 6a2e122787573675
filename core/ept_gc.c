/* SPDX-License-Identifier: BSD-2-Clause */
/* What the dead left behind, and what the living have published. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "ept.h"
#include "ept_map.h"
#include "fault.h"
#include "log.h"
#include "sysv.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#define GC_AGE_S 60   /* older than any wait of ours: whoever made it is dead, whatever his pid says now */
#define GC_UNBORN_S 1 /* not given its values yet: the next call of its maker, if he lives, would have done so */

struct dirent64_raw {
	uint64_t ino, off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* Calls fn for each name in the folder until it returns non-zero. That, 0, or -errno. */
static int each_name(int dir_fd, int (*fn)(int dir_fd, const char *name, void *arg), void *arg)
{
	_Alignas(8) char buf[2048];
	int err;

	for (;;) {
		long n = sys3(SYS_getdents64, dir_fd, buf, sizeof(buf));

		if (n <= 0)
			return (int)n;
		for (long at = 0; at < n;) {
			struct dirent64_raw *d = (struct dirent64_raw *)(buf + at);

			err = d->name[0] == '.' && (!d->name[1] || (d->name[1] == '.' && !d->name[2]))
				      ? 0
				      : fn(dir_fd, d->name, arg);
			if (err)
				return err;
			at += d->reclen;
		}
	}
}

struct gc_run {
	uint32_t uid; /* UINT32_MAX: of anybody */
	int n, only_look;
	ept_gc_fn *fn; /* NULL: nobody wants to know */
	void *arg;
};

static void count(struct gc_run *run, enum ept_gc_kind kind, uint32_t uid, const char *name, int id)
{
	struct ept_gc_thing t = {kind, uid, name, id};

	run->n++;
	if (run->fn)
		run->fn(&t, run->arg);
}

static int gc_name(int dir_fd, const char *name, void *arg)
{
	struct gc_run *run = arg;

	if (strncmp(name, "tcp-", 4) && strncmp(name, "udp-", 4) && strncmp(name, "sm-", 3) && strncmp(name, ".new-", 5))
		return 0;
	if ((run->only_look ? ept_file_is_stale : ept_file_gc)(dir_fd, name, run->uid) > 0)
		count(run, EPT_GC_ENDPOINT, run->uid, name, -1);
	return 0;
}

int ept_dir_gc(int dir_fd, uint32_t uid)
{
	struct gc_run run = {.uid = uid};
	int err = each_name(dir_fd, gc_name, &run);

	return err ? err : run.n;
}

/* The folder of one user; what is found is added to run->n. 0 or -errno. */
static int gc_user(int map_fd, uint32_t uid, struct gc_run *run)
{
	struct gc_run own = *run;
	int err, dir_fd = map_user_open(map_fd, uid, O_RDONLY, 0);

	if (dir_fd < 0)
		return dir_fd == -ENOENT ? 0 : dir_fd;
	own.uid = uid;
	err = map_user_lock(dir_fd);
	if (!err) {
		err = each_name(dir_fd, gc_name, &own);
		map_user_unlock(dir_fd);
	}
	sys1(SYS_close, dir_fd);
	run->n = own.n;
	return err;
}

static int parse_uid(uint32_t *uid, const char *name)
{
	uint64_t v = 0;

	for (const char *p = name; *p; p++) {
		if (*p < '0' || *p > '9' || (v = v * 10 + (uint64_t)(*p - '0')) >= UINT32_MAX)
			return 0;
	}
	*uid = (uint32_t)v;
	return *name != '\0';
}

static int gc_user_name(int map_fd, const char *name, void *arg)
{
	uint32_t uid;

	if (parse_uid(&uid, name))
		gc_user(map_fd, uid, arg); /* one folder that cannot be read is no reason to leave the others */
	return 0;
}

/* A process of ours is gone: its number is free, or (it was of another pid namespace, or has been reused) the thing is old. */
static int maker_is_dead(int pid, time_t made, time_t now)
{
	if (pid > 0 && sys2(SYS_kill, pid, 0) == -ESRCH)
		return 1;
	return now - made > GC_AGE_S;
}

/*
 * A client creates its semaphores, and for an instant its segment, without a name by which the map could find them. They are known
 * by what no other program has: for the semaphores key, number, mode and marks; a segment of exactly our size that nobody has
 * attached, before any header was written into it.
 */
static void gc_csem(int index, struct gc_run *run, time_t now)
{
	struct semid_ds ds;
	int mark0, mark1, id = (int)sys4(SYS_semctl, index, 0, SEM_STAT_ANY, &ds);

	if (id < 0 || (run->uid != UINT32_MAX && ds.sem_perm.cuid != run->uid) || ds.sem_perm.__key != IPC_PRIVATE)
		return;
	if (ds.sem_nsems != SM_N_CSEM || (ds.sem_perm.mode & 0777) != SM_CSEM_MODE)
		return;
	mark0 = sysv_sem_get(id, SM_CSEM_MARK0, GETVAL);
	mark1 = sysv_sem_get(id, SM_CSEM_MARK1, GETVAL);
	if (mark0 == 0 && mark1 == 0 && ds.sem_otime == 0) {
		if (now - ds.sem_ctime <= GC_UNBORN_S)
			return;
	} else if (mark0 != SM_CSEM_MARK0_VAL || mark1 != SM_CSEM_MARK1_VAL ||
		   !maker_is_dead(sysv_sem_get(id, SM_CSEM_MARK0, GETPID), ds.sem_ctime, now)) {
		return;
	}
	FAULT_POINT("gc: semaphores of a dead client, before removal");
	if (run->only_look || sysv_sem_rm(id) == 0)
		count(run, EPT_GC_SEM, ds.sem_perm.cuid, NULL, id);
}

static void gc_segment(int index, struct gc_run *run, time_t now)
{
	struct shmid_ds ds;
	int id = (int)sys3(SYS_shmctl, index, SHM_STAT_ANY, &ds);

	if (id < 0 || (run->uid != UINT32_MAX && ds.shm_perm.cuid != run->uid) || ds.shm_perm.__key != IPC_PRIVATE)
		return;
	if (ds.shm_segsz != SM_SEG_LEN || ds.shm_nattch != 0 || (ds.shm_perm.mode & 0777) != 0600)
		return;
	if (!maker_is_dead(ds.shm_cpid, ds.shm_ctime, now))
		return;
	FAULT_POINT("gc: segment of a dead client, before removal");
	if (run->only_look || sysv_shm_rm(id) == 0)
		count(run, EPT_GC_SEG, ds.shm_perm.cuid, NULL, id);
}

static void gc_nameless(struct gc_run *run)
{
	struct timespec now;
	struct seminfo si;
	struct shm_info hi;
	int max;

	if (sys2(SYS_clock_gettime, CLOCK_REALTIME, &now))
		return;
	max = (int)sys4(SYS_semctl, 0, 0, SEM_INFO, &si);
	for (int i = 0; i <= max; i++)
		gc_csem(i, run, now.tv_sec);
	max = (int)sys3(SYS_shmctl, 0, SHM_INFO, &hi);
	for (int i = 0; i <= max; i++)
		gc_segment(i, run, now.tv_sec);
}

int ept_gc_nameless(uint32_t uid)
{
	struct gc_run run = {.uid = uid};

	gc_nameless(&run);
	return run.n;
}

/* A descriptor of the map that can be listed: its O_PATH one cannot. */
static int map_list(const char *path)
{
	int map_fd = map_open(path, 0);
	long fd;

	if (map_fd < 0)
		return map_fd;
	fd = sys4(SYS_openat, map_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	sys1(SYS_close, map_fd);
	return (int)fd;
}

int ept_gc_each(uint32_t uid, int only_look, ept_gc_fn *fn, void *arg)
{
	struct gc_run run = {uid, 0, only_look, fn, arg};
	char map[MAP_PATH_LEN];
	int map_fd, err = map_path(map);

	if (err < 0)
		return err;
	if (uid == UINT32_MAX && sys0(SYS_geteuid) != 0)
		return -EPERM;
	map_fd = uid == UINT32_MAX ? map_list(map) : map_open(map, 0);
	if (map_fd < 0 && map_fd != -ENOENT)
		return map_fd;
	if (map_fd >= 0) {
		err = uid == UINT32_MAX ? each_name(map_fd, gc_user_name, &run) : gc_user(map_fd, uid, &run);
		sys1(SYS_close, map_fd);
		if (err < 0)
			return err;
	}
	gc_nameless(&run);
	return run.n;
}

int ept_gc(uint32_t uid)
{
	return ept_gc_each(uid, 0, NULL, NULL);
}

struct each_run {
	int (*fn)(const struct ept_ref *r, uint32_t owner_uid, int alive, void *arg);
	void *arg;
	uint32_t uid;
};

static int each_file(int dir_fd, const char *name, void *arg)
{
	struct each_run *run = arg;
	struct ept_ref r;
	struct ept_file f;
	int fd, alive, err;

	memset(&r, 0, sizeof(r));
	if (ept_name_parse(&r.key, name) && strncmp(name, "sm-", 3)) /* of a program's own: no socket, family 0 */
		return 0;
	fd = ept_file_open(dir_fd, name, run->uid);
	if (fd < 0)
		return 0;
	alive = ept_file_alive(fd);
	err = ept_file_read(fd, &f);
	sys1(SYS_close, fd);
	if (err || alive < 0)
		return 0;
	r.key.dual = f.dual != 0;
	r.binding = f.binding;
	memcpy(r.nonce, f.nonce, sizeof(r.nonce));
	r.file_ino = f.ino;
	r.file_mtime_ns = f.mtime_ns;
	r.semid = f.semid;
	r.shmid = f.shmid;
	r.owner = run->uid;
	return run->fn(&r, run->uid, alive, run->arg);
}

static int each_user(int map_fd, const char *name, void *arg)
{
	struct each_run *run = arg;
	int err, dir_fd;

	if (!parse_uid(&run->uid, name))
		return 0;
	dir_fd = map_user_open(map_fd, run->uid, O_RDONLY, 0);
	if (dir_fd < 0)
		return 0;
	err = each_name(dir_fd, each_file, run);
	sys1(SYS_close, dir_fd);
	return err;
}

int ept_each(int (*fn)(const struct ept_ref *r, uint32_t owner_uid, int alive, void *arg), void *arg)
{
	struct each_run run = {fn, arg, 0};
	char map[MAP_PATH_LEN];
	int map_fd, err = map_path(map);

	if (err < 0)
		return err;
	map_fd = map_list(map);
	if (map_fd < 0)
		return map_fd == -ENOENT ? 0 : map_fd;
	err = each_name(map_fd, each_user, &run);
	sys1(SYS_close, map_fd);
	return err;
}
