/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's half: find an endpoint, and believe it or not. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "atomic.h"
#include "ept.h"
#include "ept_map.h"
#include "log.h"
#include "sysv.h"

static int disbelieve(const struct ept_ref *r, const char *why)
{
	char name[EPT_NAME_LEN];

	ept_name(name, &r->key);
	if (r->key.at.family)
		log_line("endpoint %u/%s is not believed: %s", r->owner, name, why);
	else
		log_line("endpoint %s is not believed: %s", r->binding.path, why);
	return -EPERM;
}

static int check_sem(struct ept_ref *r, const struct ept_file *f)
{
	int id = (int)sys3(SYS_semget, ept_file_key(f), 0, 0);
	struct semid_ds ds;

	if (id < 0)
		return id == -ENOENT ? -ENXIO : id;
	if (id != f->semid)
		return disbelieve(r, "its key finds other semaphores");
	if (sysv_sem_stat(id, &ds))
		return -ENXIO;
	if (ds.sem_perm.cuid != r->owner || ds.sem_nsems != SM_N_SEM)
		return disbelieve(r, "the semaphores are somebody else's");
	r->semid = id;
	return 0;
}

/* Attached first, asked about afterwards: ids are reused. */
static int check_area(struct ept_ref *r, const struct sm_area *area)
{
	const volatile struct sm_area *a = area;
	struct shmid_ds ds;

	if (sysv_shm_stat(r->shmid, &ds))
		return -ENXIO;
	if (ds.shm_perm.cuid != r->owner || ds.shm_segsz != SM_AREA_LEN)
		return disbelieve(r, "the message area is somebody else's");
	r->gid = ds.shm_perm.cgid;
	if (sysv_shm_is_huge((void *)(uintptr_t)area))
		return disbelieve(r, "the message area has huge pages");
	if (a->magic != SM_AREA_MAGIC || a->version != SM_VERSION || a->area_len != SM_AREA_LEN)
		return disbelieve(r, "the message area is of another build");
	for (unsigned i = 0; i < sizeof(r->nonce); i++)
		if (a->nonce[i] != r->nonce[i])
			return disbelieve(r, "the message area is another endpoint's");
	return 0;
}

static int attach_area(struct ept_ref *r, const struct ept_file *f)
{
	int id = (int)sys3(SYS_shmget, ept_file_key(f), 0, 0);
	long base;
	int err;

	if (id < 0)
		return id == -ENOENT ? -ENXIO : id;
	if (id != f->shmid)
		return disbelieve(r, "its key finds another message area");
	base = sys3(SYS_shmat, id, 0, 0);
	if (sys_is_err(base))
		return base == -EINVAL || base == -EIDRM ? -ENXIO : (int)base;
	r->shmid = id;
	err = check_area(r, (const struct sm_area *)base);
	if (err) {
		sys1(SYS_shmdt, base);
		return err;
	}
	sys3(SYS_madvise, base, SM_AREA_LEN, MADV_DONTDUMP);
	r->area = (struct sm_area *)base;
	return 0;
}

/* The file is open and is the owner's. */
int ept_lookup_in_file(struct ept_ref *r, int fd)
{
	int alive = ept_file_alive(fd);
	struct ept_file f;
	int err;

	if (alive <= 0)
		return alive ? alive : -ECONNREFUSED;
	err = ept_file_read(fd, &f);
	if (err)
		return err == -EINVAL ? disbelieve(r, "its text is not ours") : err;
	if (f.binding.id == SYS_UID_UNKNOWN)
		return disbelieve(r, "its user may be anybody");
	r->binding = f.binding;
	memcpy(r->nonce, f.nonce, sizeof(r->nonce));
	r->file_ino = f.ino;
	r->file_mtime_ns = f.mtime_ns;
	if (f.ipcns && f.ipcns != ept_ipcns())
		return -ENXIO;
	err = check_sem(r, &f);
	return err ? err : attach_area(r, &f);
}

/* -EPERM from below: the folder or the file is not the owner's alone. */
static int lookup_in_map(struct ept_ref *r, int map_fd)
{
	char name[EPT_NAME_LEN];
	int fd, err, dir_fd = map_user_open(map_fd, r->owner, O_PATH, 0);

	if (dir_fd < 0)
		return dir_fd == -EPERM ? disbelieve(r, "the folder is not its user's alone") : dir_fd;
	ept_name(name, &r->key);
	fd = ept_file_open(dir_fd, name, r->owner);
	sys1(SYS_close, dir_fd);
	if (fd < 0)
		return fd == -EPERM ? disbelieve(r, "the file is not its user's alone") : fd;
	err = ept_lookup_in_file(r, fd);
	sys1(SYS_close, fd);
	return err;
}

static int lookup(struct ept_ref *r, const struct diag_addr *to, uint64_t netns, int udp)
{
	struct diag_addr anybody = {.family = to->family};
	char map[MAP_PATH_LEN];
	struct diag_sock listener;
	int map_fd, err = map_path(map);

	memset(r, 0, sizeof(*r));
	r->semid = r->shmid = -1;
	if (err < 0)
		return err;
	map_fd = map_open(map, 0);
	if (map_fd < 0)
		return map_fd;
	err = udp ? diag_udp(to, &anybody, &listener) : diag_listener(to, &listener);
	if (err == -ENOENT)
		err = -ECONNREFUSED;
	if (!err && listener.uid == SYS_UID_UNKNOWN)
		err = -EPERM;
	if (!err) {
		r->key.at = listener.own;
		r->key.netns = netns;
		r->key.udp = (uint8_t)udp;
		r->key.dual = listener.dual && diag_addr_is_any(&listener.own);
		r->owner = listener.uid;
		err = lookup_in_map(r, map_fd);
	}
	sys1(SYS_close, map_fd);
	return err;
}

int ept_lookup_at(struct ept_ref *r, const struct binding *b)
{
	int fd, err;

	memset(r, 0, sizeof(*r));
	r->semid = r->shmid = -1;
	r->owner = b->id;
	r->binding = *b;
	if (b->id == SYS_UID_UNKNOWN)
		return -EPERM;
	fd = ept_file_open(AT_FDCWD, b->path, b->id);
	if (fd < 0)
		return fd == -EPERM ? disbelieve(r, "the file is not its user's alone") : fd;
	err = ept_lookup_in_file(r, fd);
	sys1(SYS_close, fd);
	if (!err && (r->binding.id != b->id || strcmp(r->binding.path, b->path))) {
		ept_ref_drop(r);
		r->binding = *b;
		err = disbelieve(r, "it is another binding's");
	}
	return err;
}

int ept_lookup(struct ept_ref *r, const struct diag_addr *to, uint64_t netns)
{
	return lookup(r, to, netns, 0);
}

int ept_lookup_udp(struct ept_ref *r, const struct diag_addr *to, uint64_t netns)
{
	return lookup(r, to, netns, 1);
}

static int is_live_segment(uint32_t entry)
{
	struct shmid_ds ds;
	int err = entry ? sysv_shm_stat((int)(entry - 1), &ds) : -EINVAL;

	return err == 0 || err == -EACCES; /* others' may not be asked about, but are there */
}

int ept_count_assocs(const struct ept_ref *r, uint32_t *maker)
{
	struct ept_ref own = *r;
	struct shmid_ds ds;
	int n = 0, err;
	long base = sys3(SYS_shmat, r->shmid, 0, SHM_RDONLY);

	*maker = 0;
	if (sys_is_err(base))
		return (int)base;
	err = check_area(&own, (const struct sm_area *)base);
	if (!err && sysv_shm_stat(r->shmid, &ds) == 0)
		*maker = (uint32_t)ds.shm_cpid;
	for (unsigned i = 0; !err && i < SM_N_ASSOC; i++)
		n += is_live_segment(load_relaxed(&((struct sm_area *)base)->assoc[i]));
	sys1(SYS_shmdt, base);
	return err ? err : n;
}

int ept_ref_is_current(const struct ept_ref *r)
{
	long fd = sys4(SYS_openat, AT_FDCWD, r->binding.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	struct stat st;
	int same;

	if (fd < 0)
		return 0;
	same = sys2(SYS_fstat, fd, &st) == 0 && st.st_ino == r->file_ino &&
	       (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec == r->file_mtime_ns &&
	       ept_file_alive((int)fd) == 1;
	sys1(SYS_close, fd);
	return same;
}

void ept_ref_drop(struct ept_ref *r)
{
	if (r->area)
		sys1(SYS_shmdt, r->area);
	r->area = NULL;
}
