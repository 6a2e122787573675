/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An endpoint at a path that its binding tells, not found by way of a socket.
 *
 * In the map the folder's lock, which no stranger can take, lets one process at a time remove what is dead. Elsewhere: two servers may come at once, to a path where a dead one has left its file. Who gets the write lock on that very file may remove it, if it still is what
 * stands there: the path is looked up once more with the lock held, and nobody else removes a file without having its lock. Then the new file, locked
 * before it has its name, is renamed to a name that must be free.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ept_map.h"
#include "log.h"
#include "sys.h"

#define N_TRIES 16 /* each time somebody else was faster */

/* 1: the open file is what stands at the name. */
static int still_there(int dir_fd, const char *name, const struct ept_file *f)
{
	struct stat st;

	return sys4(SYS_newfstatat, dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == f->ino && st.st_dev == f->dev;
}

/* 0: the file has gone, by us or not. -EADDRINUSE, -EEXIST. */
static int remove_dead(int fd, int dir_fd, const char *name, uint32_t uid)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct ept_file f;
	long err = sys3(SYS_fcntl, fd, F_OFD_SETLK, &fl);

	if (err) /* a stranger's read lock keeps us out as well: outside of the map he can cost us the name */
		return err == -EAGAIN || err == -EACCES ? -EADDRINUSE : (int)err;
	if (ept_file_read(fd, &f))
		return -EEXIST; /* not an endpoint's: somebody's own */
	if (!still_there(dir_fd, name, &f))
		return 0;
	ept_file_gc_objects(&f, uid);
	err = sys3(SYS_unlinkat, dir_fd, name, 0);
	return err == -ENOENT ? 0 : (int)err;
}

static int clear_the_way(int dir_fd, const char *name, uint32_t uid)
{
	for (int i = 0; i < N_TRIES; i++) {
		int err, fd = ept_file_open_rw(dir_fd, name, uid);
		struct stat st;

		if (fd == -ENOENT && sys4(SYS_newfstatat, dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT)
			return 0;
		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return fd == -EPERM || fd == -EACCES || fd == -EISDIR ? -EEXIST : fd;
		err = remove_dead(fd, dir_fd, name, uid);
		sys1(SYS_close, fd);
		if (err)
			return err;
	}
	return -EBUSY;
}

int ept_path(char path[BINDING_PATH_LEN], uint32_t uid, const char *name)
{
	char map[MAP_PATH_LEN];
	size_t len = strlen(name);
	int n;

	if (!len || len > 64 || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len)
		return -EINVAL;
	n = map_path(map);
	if (n < 0)
		return n;
	n = fmt_buf(path, BINDING_PATH_LEN, "%s/%u/sm-%s", map, uid, name);
	return n < BINDING_PATH_LEN - 1 ? 0 : -ENAMETOOLONG;
}

/* Is this our own folder in the map? Then it is made if need be, and locked against ept_gc(). */
static int open_in_map(const char *dir, uint32_t uid)
{
	char map[MAP_PATH_LEN], own[BINDING_PATH_LEN];
	int err = map_path(map);

	if (err < 0)
		return -ENOENT;
	fmt_buf(own, sizeof(own), "%s/%u", map, uid);
	if (strcmp(dir, own))
		return -ENOENT;
	return map_own_open(map, uid);
}

static int publish_in(struct ept *e, int dir_fd, const char *name, int in_map)
{
	int err;

	if (in_map && strncmp(name, "sm-", 3))
		return -EINVAL;
	if (in_map)
		err = ept_clear_the_way(dir_fd, name, e->binding.id);
	else
		err = clear_the_way(dir_fd, name, e->binding.id);
	if (err)
		return in_map && err == -EEXIST ? -EADDRINUSE : err;
	err = ept_make(e, dir_fd, name);
	return err == -EEXIST ? -EADDRINUSE : err; /* another one was faster */
}

int ept_publish_at(struct ept *e, const struct binding *b)
{
	uint32_t uid = (uint32_t)sys0(SYS_geteuid);
	char dir[BINDING_PATH_LEN];
	const char *name = strrchr(b->path, '/');
	int err, dir_fd, in_map = 1;

	ept_init(e);
	if (uid == SYS_UID_UNKNOWN || b->id != uid)
		return -EPERM;
	if (!name || !name[1] || strlen(name) >= EPT_NAME_LEN || !strcmp(name, "/.") || !strcmp(name, "/.."))
		return -EINVAL;
	e->binding = *b;
	fmt_buf(dir, sizeof(dir), "%s", b->path);
	dir[name == b->path ? 1 : name - b->path] = '\0';
	name++;
	dir_fd = open_in_map(dir, uid);
	if (dir_fd == -ENOENT) {
		in_map = 0;
		dir_fd = (int)sys4(SYS_openat, AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	}
	if (dir_fd < 0)
		return dir_fd;
	err = publish_in(e, dir_fd, name, in_map);
	if (in_map)
		map_user_unlock(dir_fd);
	sys1(SYS_close, dir_fd);
	if (err)
		ept_drop(e);
	return err;
}
