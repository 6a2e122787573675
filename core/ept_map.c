/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "atomic.h"
#include "ept_map.h"
#include "log.h"
#include "sys.h"

#define MAP_SYSTEM "/run/shunt"
#define MAP_TMP "/tmp/.shunt"

/*
 * $SHUNT_MAP, read once: the program may change its environment while we run. The first to come copies it; who comes in that
 * moment reads the environment himself and does not wait.
 */
static char env_path[MAP_PATH_LEN];
static _Atomic int env_state; /* 0 not read, 1 being copied, 2 there */

static int env_read(char buf[MAP_PATH_LEN])
{
	const char *s = getauxval(AT_SECURE) ? NULL : getenv("SHUNT_MAP");
	size_t len = s ? strlen(s) : 0;

	if (len >= MAP_PATH_LEN)
		return -ENAMETOOLONG;
	if (len && s[0] != '/')
		len = 0;
	memcpy(buf, len ? s : "", len);
	buf[len] = '\0';
	return (int)len;
}

static int env_get(char buf[MAP_PATH_LEN])
{
	int len;

	if (load_acquire(&env_state) == 2) {
		memcpy(buf, env_path, MAP_PATH_LEN);
		return (int)strlen(buf);
	}
	len = env_read(buf);
	if (len >= 0 && cas_acquire(&env_state, 0, 1)) {
		memcpy(env_path, buf, (size_t)len + 1);
		store_release(&env_state, 2);
	}
	return len;
}

int ept_map_set(const char *path)
{
	size_t len = path ? strlen(path) : 0;

	if (len >= MAP_PATH_LEN)
		return -ENAMETOOLONG;
	if (len && path[0] != '/')
		return -EINVAL;
	memcpy(env_path, path ? path : "", len + 1);
	store_release(&env_state, 2);
	return 0;
}

/* A system-wide map is one that root made for everybody, and in which nobody can take away another's folder. */
static int is_system_map(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && st->st_uid == 0 && (st->st_mode & 01002) == 01002;
}

int map_path(char buf[MAP_PATH_LEN])
{
	struct stat st;
	int len = env_get(buf);

	if (len)
		return len;
	if (sys4(SYS_newfstatat, AT_FDCWD, MAP_SYSTEM, &st, 0) == 0 && is_system_map(&st))
		return fmt_buf(buf, MAP_PATH_LEN, "%s", MAP_SYSTEM);
	return fmt_buf(buf, MAP_PATH_LEN, "%s", MAP_TMP);
}

static void map_mend_mode(int fd, const char *path)
{
	struct stat st;

	/* fchmod() does not take an O_PATH descriptor; we made the folder, or own it, so its name is ours. */
	if (sys2(SYS_fstat, fd, &st) == 0 && st.st_uid == (uint32_t)sys0(SYS_geteuid) && (st.st_mode & 07777) != 01777)
		sys3(SYS_fchmodat, AT_FDCWD, path, 01777);
}

int map_open(const char *path, int make)
{
	int nofollow = strcmp(path, MAP_TMP) ? 0 : O_NOFOLLOW; /* in a folder where anybody can put a link */
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC | nofollow, 0);

	if (fd != -ENOENT || !make)
		return (int)fd;
	fd = sys3(SYS_mkdirat, AT_FDCWD, path, 01777);
	if (fd && fd != -EEXIST)
		return (int)fd;
	fd = sys4(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC | nofollow, 0);
	if (fd >= 0)
		map_mend_mode((int)fd, path); /* the umask took bits from it */
	return (int)fd;
}

int ept_map_is_there(void)
{
	char map[MAP_PATH_LEN];
	int fd = map_path(map) < 0 ? -ENAMETOOLONG : map_open(map, 0);

	if (fd < 0)
		return 0;
	sys1(SYS_close, fd);
	return 1;
}

int map_user_open(int map_fd, uint32_t uid, int flags, int make)
{
	char name[16];
	struct stat st;
	long fd, err;

	fmt_buf(name, sizeof(name), "%u", uid);
	if (make) {
		err = sys3(SYS_mkdirat, map_fd, name, 0711);
		if (err && err != -EEXIST)
			return (int)err;
	}
	fd = sys4(SYS_openat, map_fd, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -EPERM : (int)fd;
	err = sys2(SYS_fstat, fd, &st);
	if (!err && (st.st_uid != uid || (st.st_mode & 022)))
		err = -EPERM;
	if (!err && make && (st.st_mode & 0777) != 0711)
		err = sys2(SYS_fchmod, fd, 0711);
	if (!err)
		return (int)fd;
	sys1(SYS_close, fd);
	return (int)err;
}

int map_user_lock(int dir_fd)
{
	struct timespec ms = {0, 1000000};

	for (int i = 0; i < 100; i++) {
		long err = sys2(SYS_flock, dir_fd, LOCK_EX | LOCK_NB);

		if (err != -EAGAIN)
			return (int)err;
		sys2(SYS_nanosleep, &ms, NULL);
	}
	return -EBUSY;
}

void map_user_unlock(int dir_fd)
{
	sys2(SYS_flock, dir_fd, LOCK_UN);
}

int map_own_open(const char *map, uint32_t uid)
{
	int map_fd = map_open(map, 1), dir_fd, err;

	if (map_fd < 0)
		return map_fd;
	dir_fd = map_user_open(map_fd, uid, O_RDONLY, 1);
	sys1(SYS_close, map_fd);
	if (dir_fd < 0)
		return dir_fd;
	err = map_user_lock(dir_fd);
	if (!err)
		return dir_fd;
	sys1(SYS_close, dir_fd);
	return err;
}

void map_own_close(int dir_fd)
{
	map_user_unlock(dir_fd);
	sys1(SYS_close, dir_fd);
}

void ept_name(char buf[EPT_NAME_LEN], const struct ept_key *key)
{
	const uint8_t *a = key->at.addr;
	int n = fmt_buf(buf, EPT_NAME_LEN, "%s-%llu-", key->udp ? "udp" : "tcp", (unsigned long long)key->netns);

	if (key->at.family == AF_INET) {
		fmt_buf(buf + n, EPT_NAME_LEN - (unsigned)n, "%u.%u.%u.%u-%u", a[0], a[1], a[2], a[3], key->at.port);
		return;
	}
	for (int i = 0; i < 16; i += 2)
		n += fmt_buf(buf + n, EPT_NAME_LEN - (unsigned)n, i ? ":%x" : "%x", (unsigned)a[i] << 8 | a[i + 1]);
	fmt_buf(buf + n, EPT_NAME_LEN - (unsigned)n, "-%u", key->at.port);
}

const char *ept_parse_num(uint64_t *out, const char *p, unsigned base, uint64_t max, char end)
{
	uint64_t v = 0;
	const char *start = p;

	for (;; p++) {
		unsigned d;

		if (*p >= '0' && *p <= '9')
			d = (unsigned)(*p - '0');
		else if (base == 16 && *p >= 'a' && *p <= 'f')
			d = (unsigned)(*p - 'a') + 10;
		else
			break;
		if (v > (max - d) / base)
			return NULL;
		v = v * base + d;
	}
	*out = v;
	return p > start && *p == end ? p + (end != '\0') : NULL;
}

int ept_name_parse(struct ept_key *key, const char *name)
{
	const char *p = name;
	int v6;
	uint64_t v;

	memset(key, 0, sizeof(*key));
	key->udp = !strncmp(p, "udp-", 4);
	if (!key->udp && strncmp(p, "tcp-", 4))
		return -EINVAL;
	p = ept_parse_num(&key->netns, p + 4, 10, UINT64_MAX, '-');
	if (!p)
		return -EINVAL;
	v6 = strchr(p, ':') != NULL;
	key->at.family = v6 ? AF_INET6 : AF_INET;
	for (int i = 0, n = v6 ? 8 : 4; i < n; i++) {
		p = ept_parse_num(&v, p, v6 ? 16 : 10, v6 ? 0xffff : 0xff, i < n - 1 ? (v6 ? ':' : '.') : '-');
		if (!p)
			return -EINVAL;
		if (v6) {
			key->at.addr[2 * i] = (uint8_t)(v >> 8);
			key->at.addr[2 * i + 1] = (uint8_t)v;
		} else {
			key->at.addr[i] = (uint8_t)v;
		}
	}
	p = ept_parse_num(&v, p, 10, 0xffff, '\0');
	key->at.port = (uint16_t)v;
	return p ? 0 : -EINVAL;
}
