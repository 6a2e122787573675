/* SPDX-License-Identifier: BSD-2-Clause */
/* The server's half: publish and retract. */
#include "ept.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/mman.h>

#include "atomic.h"
#include "bell.h"
#include "ept_map.h"
#include "fault.h"
#include "log.h"
#include "sysv.h"

/* One semaphore set and one message area under one key of the file, both new. -EEXIST: that key is taken. */
static int make_objects(struct ept *e, struct ept_file *f, int proj)
{
	long err;

	f->proj = proj;
	f->semid = f->shmid = -1;
	err = ept_file_write(e->lock_fd, f);
	if (err)
		return (int)err;
	FAULT_POINT("ept: text, before semaphores");
	e->semid = (int)sys3(SYS_semget, ept_file_key(f), SM_N_SEM, IPC_CREAT | IPC_EXCL | 0666);
	if (e->semid < 0)
		return e->semid;
	FAULT_POINT("ept: semaphores, before their id");
	f->semid = e->semid;
	err = ept_file_write(e->lock_fd, f);
	if (!err) {
		FAULT_POINT("ept: id of semaphores, before area");
		e->shmid = (int)sys3(SYS_shmget, ept_file_key(f), SM_AREA_LEN, IPC_CREAT | IPC_EXCL | SHM_NORESERVE | 0666);
		err = e->shmid < 0 ? e->shmid : 0;
	}
	if (err) {
		sysv_sem_rm(e->semid);
		e->semid = -1;
		return (int)err;
	}
	FAULT_POINT("ept: area, before its id");
	f->shmid = e->shmid;
	return ept_file_write(e->lock_fd, f);
}

static int init_objects(struct ept *e)
{
	unsigned short val[SM_N_SEM] = {[SM_SEM_LOCK] = 1, [SM_SEM_MSG] = 0};
	long base = sys3(SYS_shmat, e->shmid, 0, 0);

	if (sys_is_err(base))
		return (int)base;
	FAULT_POINT("ept: area attached, before its header");
	e->area = (struct sm_area *)base;
	sys3(SYS_madvise, base, SM_AREA_LEN, MADV_DONTDUMP);
	e->area->version = SM_VERSION;
	e->area->area_len = SM_AREA_LEN;
	memcpy(e->area->nonce, e->nonce, sizeof(e->nonce));
	FAULT_POINT("ept: header, before magic");
	e->area->magic = SM_AREA_MAGIC;
	FAULT_POINT("ept: header, before values of semaphores");
	return sysv_sem_setall(e->semid, val);
}

/* ftok() keeps 16 bits of the inode: a key may be taken by another endpoint, by another program, or by a squatter. */
static int make_rendezvous(struct ept *e, struct ept_file *f)
{
	int err = -EEXIST;

	for (int proj = 1; proj <= EPT_N_PROJ && err == -EEXIST; proj++)
		err = make_objects(e, f, proj);
	if (err)
		return err == -EEXIST ? -EBUSY : err;
	err = init_objects(e);
	if (err)
		return err;
	FAULT_POINT("ept: values of semaphores, before bell");
	e->bell_fd = bell_open(e->nonce);
	return e->bell_fd < 0 ? e->bell_fd : 0;
}

/* The lock comes before the name, and before anybody else may open the file: a stranger's read lock would keep ours out. */
static int make_file(struct ept *e, int dir_fd, char tmp[EPT_NAME_LEN])
{
	uint32_t r;
	long fd = sys_random(&r, sizeof(r));

	if (fd)
		return (int)fd;
	fmt_buf(tmp, EPT_NAME_LEN, ".new-%u-%x", e->owner_pid, r);
	fd = sys4(SYS_openat, dir_fd, tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return (int)fd;
	FAULT_POINT("ept: file, before lock");
	e->lock_fd = sys_fd_keep((int)fd);
	fd = e->lock_fd < 0 ? e->lock_fd : ept_file_hold(e->lock_fd, e->slot);
	if (!fd)
		return 0;
	sys3(SYS_unlinkat, dir_fd, tmp, 0);
	return (int)fd;
}

static int file_into_place(const struct ept *e, int dir_fd, const char *tmp, const char *name)
{
	FAULT_POINT("ept: all made, before mode");
	long err = sys2(SYS_fchmod, e->lock_fd, 0644);

	if (!err) {
		FAULT_POINT("ept: mode, before name");
		err = sys5(SYS_renameat2, dir_fd, tmp, dir_fd, name, RENAME_NOREPLACE);
	}
	if (err == -EINVAL ||
		err == -ENOSYS) { /* a file system without it; nobody else changes this folder, we hold its lock */
		err = sys5(SYS_linkat, dir_fd, tmp, dir_fd, name, 0);
		if (!err)
			err = sys3(SYS_unlinkat, dir_fd, tmp, 0);
	}
	return (int)err;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		sys_fd_close(*fd);
	*fd = -1;
}

/* Everything that has a name but the file. */
static void remove_objects(struct ept *e)
{
	if (e->semid >= 0)
		sysv_sem_rm(e->semid);
	FAULT_POINT("ept: semaphores removed, before area");
	if (e->shmid >= 0)
		sysv_shm_rm(e->shmid);
	e->semid = e->shmid = -1;
}

void ept_drop(struct ept *e)
{
	if (e->area)
		sys1(SYS_shmdt, e->area);
	e->area = NULL;
	close_fd(&e->bell_fd);
	close_fd(&e->lock_fd);
	e->semid = e->shmid = -1;
	e->owner_pid = 0;
}

/* At most once a second: a server that opens a thousand listeners shall not look a thousand times at a thousand files. */
static void gc_sometimes(int dir_fd, uint32_t uid)
{
	static _Atomic uint64_t last_s;
	uint64_t now_s = sys_now_ns() / 1000000000u + 1;

	if (load_relaxed(&last_s) == now_s)
		return;
	store_relaxed(&last_s, now_s);
	ept_dir_gc(dir_fd, uid);
	ept_gc_nameless(uid);
}

/* In the way: a live endpoint (-EEXIST), or a dead one, which goes. */
int ept_clear_the_way(int dir_fd, const char *name, uint32_t uid)
{
	int fd = ept_file_open(dir_fd, name, uid);
	int err;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	err = ept_file_alive(fd);
	sys1(SYS_close, fd);
	if (err)
		return err < 0 ? err : -EEXIST;
	err = ept_file_gc(dir_fd, name, uid);
	if (err)
		return err < 0 ? err : 0;
	/* Its objects are in another IPC namespace, out of our reach, but the name is ours now; or its server has just retracted it. */
	err = (int)sys3(SYS_unlinkat, dir_fd, name, 0);
	return err == -ENOENT ? 0 : err;
}

int ept_make(struct ept *e, int dir_fd, const char *name)
{
	char tmp[EPT_NAME_LEN];
	struct ept_file f;
	int err;

	err = make_file(e, dir_fd, tmp);
	if (err)
		return err;
	err = ept_file_read(e->lock_fd, &f); /* its inode, for the key; there is no text yet */
	if (err == -EINVAL)
		err = sys_random(e->nonce, sizeof(e->nonce));
	if (err)
		goto fail;
	memcpy(f.nonce, e->nonce, sizeof(f.nonce));
	f.binding = e->binding;
	f.dual = e->key.dual;
	f.ipcns = ept_ipcns();
	FAULT_POINT("ept: lock, before text");
	err = make_rendezvous(e, &f);
	if (!err)
		err = file_into_place(e, dir_fd, tmp, name);
	if (!err)
		return 0;
fail:
	remove_objects(e);
	sys3(SYS_unlinkat, dir_fd, tmp, 0);
	return err;
}

static int publish_in(struct ept *e, int dir_fd, uint32_t uid)
{
	char name[EPT_NAME_LEN];
	int err;

	ept_name(name, &e->key);
	err = ept_clear_the_way(dir_fd, name, uid);
	return err ? err : ept_make(e, dir_fd, name);
}

static int compose_path(char path[BINDING_PATH_LEN], const char *map, uint32_t uid, const struct ept_key *key)
{
	char name[EPT_NAME_LEN];
	int n;

	ept_name(name, key);
	n = fmt_buf(path, BINDING_PATH_LEN, "%s/%u/%s", map, uid, name);
	return n < BINDING_PATH_LEN - 1 ? 0 : -ENAMETOOLONG;
}

void ept_init(struct ept *e)
{
	memset(e, 0, sizeof(*e));
	e->lock_fd = e->bell_fd = e->semid = e->shmid = -1;
	e->owner_pid = (uint32_t)sys0(SYS_getpid);
}

int ept_publish(struct ept *e, const struct ept_key *key, uint32_t id)
{
	uint32_t uid = (uint32_t)sys0(SYS_geteuid);
	char map[MAP_PATH_LEN];
	int dir_fd, err;

	ept_init(e);
	if (uid == SYS_UID_UNKNOWN || id == SYS_UID_UNKNOWN)
		return -EPERM;
	e->key = *key;
	e->binding.id = id;
	err = map_path(map);
	if (err >= 0)
		err = compose_path(e->binding.path, map, uid, key);
	if (err < 0)
		return err;
	dir_fd = map_own_open(map, uid);
	if (dir_fd < 0)
		return dir_fd;
	gc_sometimes(dir_fd, uid);
	err = publish_in(e, dir_fd, uid);
	map_own_close(dir_fd);
	if (err)
		ept_drop(e);
	return err;
}

static void remove_all(struct ept *e)
{
	struct ept_file f, now;
	/* The name may be another endpoint's by now, if somebody took ours away. */
	int fd = (int)sys4(SYS_openat, AT_FDCWD, e->binding.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);

	/* Objects first: a file without them can be removed by anybody's gc, but not they without the file. */
	FAULT_POINT("ept: retracted, before objects removed");
	remove_objects(e);
	FAULT_POINT("ept: objects removed, before file");
	ept_file_read(e->lock_fd, &f);
	if (fd >= 0 && ept_file_read(fd, &now) == 0 && now.ino == f.ino && now.dev == f.dev)
		sys3(SYS_unlinkat, AT_FDCWD, e->binding.path, 0);
	close_fd(&fd);
}

void ept_retract(struct ept *e)
{
	if (e->lock_fd >= 0 && e->owner_pid == (uint32_t)sys0(SYS_getpid) && ept_file_release(e->lock_fd, e->slot))
		remove_all(e);
	ept_drop(e);
}
