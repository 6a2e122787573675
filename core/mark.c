/* SPDX-License-Identifier: BSD-2-Clause */
#include "mark.h"

#include <fcntl.h>

#include "sys.h"

/* Far beyond what a program would lock that takes the socket for a file. */
#define REGION_LEN (INT64_C(1) << 48)
enum region { NEVER = 0x1000, EXEC, READY, CLOSING };

static int64_t place(enum region r, int64_t value)
{
	return (int64_t)r * REGION_LEN + value;
}

static bool lock(int fd, int cmd, short type, int64_t at, int64_t len)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = len};

	return sys3(SYS_fcntl, fd, cmd, &fl) == 0;
}

static bool set(int fd, short type, int64_t at, int64_t len)
{
	return lock(fd, F_OFD_SETLK, type, at, len);
}

/* The value that is locked in a region; -1: none. */
static int64_t get(int fd, enum region r)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = place(r, 0), .l_len = REGION_LEN};

	if (sys3(SYS_fcntl, fd, F_GETLK, &fl) < 0 || fl.l_type == F_UNLCK || fl.l_start < place(r, 0))
		return -1;
	return fl.l_start - place(r, 0);
}

bool mark_ready(int fd, const struct mark *m)
{
	int64_t v = m->side | m->linked << 1 | (int64_t)m->chan << 2 | (int64_t)(uint32_t)m->shmid << 10;

	return set(fd, F_WRLCK, place(READY, v), 1);
}

bool mark_look(int fd, struct mark *m)
{
	int64_t v = get(fd, READY);

	if (v < 0 || get(fd, NEVER) >= 0 || get(fd, EXEC) >= 0 || get(fd, CLOSING) >= 0)
		return false;
	m->side = v & 1;
	m->linked = v >> 1 & 1;
	m->chan = (uint8_t)(v >> 2);
	m->shmid = (int)(v >> 10);
	return true;
}

void mark_unready(int fd)
{
	set(fd, F_UNLCK, place(READY, 0), REGION_LEN);
}

void mark_never(int fd)
{
	set(fd, F_WRLCK, place(NEVER, 0), 1);
}

bool mark_exec(int fd, uint32_t pid)
{
	return set(fd, F_WRLCK, place(EXEC, pid), 1);
}

bool mark_closing(int fd, bool on)
{
	return lock(fd, F_SETLK, on ? F_WRLCK : F_UNLCK, place(CLOSING, 0), 1);
}

bool mark_exec_end(int fd, uint32_t pid)
{
	return get(fd, EXEC) == (int64_t)pid && set(fd, F_UNLCK, place(EXEC, 0), REGION_LEN);
}
