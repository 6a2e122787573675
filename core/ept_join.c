/* SPDX-License-Identifier: BSD-2-Clause */
/* One more who holds an endpoint that another process has published: it got the listener otherwise than by fork. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "bell.h"
#include "ept_map.h"
#include "fault.h"
#include "sys.h"

static void let_go(struct ept *e)
{
	if (e->lock_fd >= 0)
		sys_fd_close(e->lock_fd);
	e->lock_fd = e->bell_fd = -1;
}

/* Who retracted it has locked all of the file before that, and has unlinked it when he lets go. */
static int is_linked(int fd)
{
	struct stat st;

	return sys2(SYS_fstat, fd, &st) == 0 && st.st_nlink == 1;
}

/* By the octet e->slot, and with its bell. */
static int hold_one(struct ept *e)
{
	uint8_t bell[16];
	int err = ept_file_hold(e->lock_fd, e->slot);

	if (err)
		return err;
	FAULT_POINT("ept: joined, before bell");
	ept_bell_name(bell, e->nonce, e->slot);
	e->bell_fd = is_linked(e->lock_fd) ? bell_open(bell) : -ENOENT;
	return e->bell_fd < 0 ? e->bell_fd : 0;
}

/* The bells' names can be read by anybody, and bound by anybody. An octet whose bell is taken is held until we have another one: at no moment do we hold none. */
static int hold_any(struct ept *e)
{
	for (e->slot = 1; e->slot < EPT_N_HOLDER; e->slot++) {
		int err = hold_one(e);

		if (!err)
			ept_file_unhold_below(e->lock_fd, e->slot);
		if (err != -EAGAIN && err != -EACCES && err != -EADDRINUSE)
			return err;
	}
	return -EBUSY;
}

/* The folder is locked: nobody takes the endpoint for a dead one's meanwhile. */
static int join_in(struct ept *e, int dir_fd, uint32_t uid)
{
	char name[EPT_NAME_LEN];
	struct ept_file f;
	int fd, err;

	ept_name(name, &e->key);
	fd = ept_file_open_rw(dir_fd, name, uid);
	e->lock_fd = fd < 0 ? fd : sys_fd_keep(fd);
	if (e->lock_fd < 0)
		return e->lock_fd;
	err = ept_file_read(e->lock_fd, &f);
	if (!err && (memcmp(f.nonce, e->nonce, sizeof(f.nonce)) || ept_file_alive(e->lock_fd) != 1))
		err = -ENOENT;
	if (!err)
		err = hold_any(e);
	if (!err)
		e->binding = f.binding;
	return err;
}

int ept_join(struct ept *e)
{
	uint32_t uid = (uint32_t)sys0(SYS_geteuid);
	char map[MAP_PATH_LEN];
	int dir_fd, err = map_path(map);

	if (uid == SYS_UID_UNKNOWN)
		return -EPERM;
	if (err < 0)
		return err;
	dir_fd = map_own_open(map, uid);
	if (dir_fd < 0)
		return dir_fd;
	err = join_in(e, dir_fd, uid);
	map_own_close(dir_fd);
	e->owner_pid = (uint32_t)sys0(SYS_getpid);
	if (err)
		let_go(e);
	return err;
}
