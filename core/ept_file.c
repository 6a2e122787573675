/* SPDX-License-Identifier: BSD-2-Clause */
/* One file of the endpoint map: whose it is, what it says, who holds it, and how it is removed. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ept_map.h"
#include "fault.h"
#include "log.h"
#include "sysv.h"
#include "twr.h"

#define GC_OTHERS_S 86400u

int ept_file_open(int dir_fd, const char *name, uint32_t uid)
{
	/* O_NONBLOCK: a FIFO of that name must not hold us. */
	long fd = sys4(SYS_openat, dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	struct stat st;
	long err;

	if (fd < 0)
		return fd == -ELOOP || fd == -ENXIO ? -EPERM : (int)fd;
	err = sys2(SYS_fstat, fd, &st);
	if (!err && st.st_nlink == 0)
		err = -ENOENT; /* retracted between the two calls */
	if (!err && (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != uid || (st.st_mode & 022)))
		err = -EPERM;
	if (!err)
		return (int)fd;
	sys1(SYS_close, fd);
	return (int)err;
}

int ept_file_open_rw(int dir_fd, const char *name, uint32_t uid)
{
	int look = ept_file_open(dir_fd, name, uid);
	struct stat a, b;
	long fd, err;

	if (look < 0)
		return look;
	fd = sys4(SYS_openat, dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	err = fd < 0 ? fd : sys2(SYS_fstat, fd, &a);
	if (!err)
		err = sys2(SYS_fstat, look, &b);
	sys1(SYS_close, look);
	if (!err && (a.st_ino != b.st_ino || a.st_dev != b.st_dev))
		err = -ENOENT;
	if (err && fd >= 0)
		sys1(SYS_close, fd);
	return err ? (int)err : (int)fd;
}

static const char *skip(const char *p, const char *word)
{
	size_t len = strlen(word);

	return p && !strncmp(p, word, len) ? p + len : NULL;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *parse_nonce(uint8_t nonce[16], const char *p)
{
	for (int i = 0; p && i < 16; i++, p += 2) {
		int hi = hex_digit(p[0]);
		int lo = hi < 0 ? -1 : hex_digit(p[1]);

		if (lo < 0)
			return NULL;
		nonce[i] = (uint8_t)(hi << 4 | lo);
	}
	return p;
}

static const char *parse_int(int *out, const char *p)
{
	long v = 0;
	int neg = p && *p == '-';

	if (!p)
		return NULL;
	for (p += neg; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (*p - '0');
		if (v > INT32_MAX)
			return NULL;
	}
	*out = (int)(neg ? -v : v);
	return p;
}

/*
 * The line "tower=HEX": the same binding as octets, for those who speak of endpoints in towers. Returns the place behind it, or NULL if it is not a
 * tower, or is that of another binding. Files of builds that knew no towers have no such line.
 */
static const char *parse_tower(struct strbnd *b, const char *p)
{
	uint8_t oct[TWR_LEN];
	char why[TWR_WHY_LEN];
	struct twr t;
	size_t n = 0;
	int hi, lo;

	for (; *p && *p != '\n'; p += 2) {
		hi = hex_digit(p[0]);
		lo = hi < 0 ? -1 : hex_digit(p[1]);
		if (lo < 0 || n == sizeof(oct))
			return NULL;
		oct[n++] = (uint8_t)(hi << 4 | lo);
	}
	if (*p != '\n' || twr_parse(&t, oct, n, why) || t.bnd.protseq != PROTSEQ_NCADG_SM)
		return NULL;
	*b = t.bnd;
	return p + 1;
}

/* The rest of the text: the tower, if there is one, and the string binding; they must say the same. */
static int parse_bindings(struct ept_file *f, const char *p)
{
	const char *hex = skip(p, "tower=");
	struct strbnd b;

	if (hex)
		p = parse_tower(&b, hex);
	if (!p || binding_parse(&f->binding, p))
		return -EINVAL;
	return hex && (b.sm.id != f->binding.id || strcmp(b.sm.path, f->binding.path)) ? -EINVAL : 0;
}

static int text_parse(struct ept_file *f, char *text)
{
	const char *p = parse_nonce(f->nonce, skip(text, "nonce="));
	size_t len;

	p = parse_int(&f->proj, skip(p, "\nproj="));
	p = parse_int(&f->semid, skip(p, " semid="));
	p = parse_int(&f->shmid, skip(p, " shmid="));
	p = skip(parse_int(&f->dual, skip(p, " dual=")), " ipcns=");
	p = p ? ept_parse_num(&f->ipcns, p, 10, UINT64_MAX, '\n') : NULL;
	len = strlen(text);
	if (!p || f->proj < 1 || f->proj > EPT_N_PROJ || text[len - 1] != '\n')
		return -EINVAL;
	text[len - 1] = '\0';
	return parse_bindings(f, p);
}

int ept_file_read(int fd, struct ept_file *f)
{
	char text[EPT_TEXT_LEN];
	struct stat st;
	long n = sys2(SYS_fstat, fd, &st);

	if (n)
		return (int)n;
	f->ino = st.st_ino;
	f->dev = st.st_dev;
	f->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	n = sys4(SYS_pread64, fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	if (n == 0 || strlen(text) != (size_t)n)
		return -EINVAL;
	return text_parse(f, text);
}

/* Of no interface (the map's key is a socket, whatever is spoken there), in NDR. */
static int put_tower(char *text, size_t len, const struct binding *b)
{
	struct twr t = {.xfer = twr_ndr, .bnd = {.protseq = PROTSEQ_NCADG_SM, .sm = *b}};
	uint8_t oct[TWR_LEN];
	int n = fmt_buf(text, len, "tower="), n_oct = twr_compose(&t, oct, sizeof(oct));

	if (n_oct < 0)
		return n_oct;
	for (int i = 0; i < n_oct; i++)
		n += fmt_buf(text + n, len - (size_t)n, "%x%x", oct[i] >> 4, oct[i] & 15);
	n += fmt_buf(text + n, len - (size_t)n, "\n");
	return n;
}

int ept_file_write(int fd, const struct ept_file *f)
{
	char text[EPT_TEXT_LEN] = "nonce=";
	int n = 6, len;
	long done;

	for (int i = 0; i < 16; i++)
		n += fmt_buf(text + n, 3, "%x%x", f->nonce[i] >> 4, f->nonce[i] & 15);
	n += fmt_buf(text + n, sizeof(text) - (unsigned)n, "\nproj=%d semid=%d shmid=%d dual=%d ipcns=%llu\n", f->proj,
		f->semid, f->shmid, f->dual, (unsigned long long)f->ipcns);
	len = put_tower(text + n, sizeof(text) - (unsigned)n, &f->binding);
	if (len < 0)
		return len;
	n += len;
	len = binding_compose(&f->binding, text + n, sizeof(text) - (unsigned)n - 1);
	if (len < 0)
		return len;
	n += len;
	text[n++] = '\n';
	done = sys_grow(SYS_pwrite64, fd, SYS_ARG(text), n, 0);
	if (done == n)
		done = sys_grow(SYS_ftruncate, fd, n, 0, 0); /* a shorter number than before */
	else if (done >= 0)
		done = -ENOSPC;
	return (int)done;
}

int ept_file_alive(int fd)
{
	/* What would stand in the way of a read lock? Only a write lock: strangers can hold read locks, and those say nothing. */
	struct flock fl = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	long err = sys3(SYS_fcntl, fd, F_OFD_GETLK, &fl);

	return err ? (int)err : fl.l_type == F_WRLCK;
}

int ept_file_hold(int fd, int slot)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};

	return (int)sys3(SYS_fcntl, fd, F_OFD_SETLK, &fl);
}

void ept_file_unhold_below(int fd, int slot)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = slot - 1};

	if (fl.l_len) /* 0 is the whole file */
		sys3(SYS_fcntl, fd, F_OFD_SETLK, &fl);
}

/* Who lets go first and then looks cannot miss that he is the last, whoever else does the same: one of them is, and finds it out. */
int ept_file_release(int fd, int slot)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	sys3(SYS_fcntl, fd, F_OFD_SETLK, &fl);
	FAULT_POINT("ept: let go, before look for others");
	return sys3(SYS_fcntl, fd, F_OFD_SETLK, &all) == 0 || ept_file_alive(fd) == 0;
}

void ept_bell_name(uint8_t name[16], const uint8_t nonce[16], int slot)
{
	memcpy(name, nonce, 16);
	name[15] ^= (uint8_t)slot;
}

uint64_t ept_ipcns(void)
{
	struct stat st;

	return sys4(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/ipc", &st, 0) == 0 ? st.st_ino : 0;
}

/* As glibc's ftok(), from the open file instead of a path: nobody can put another file between. */
int32_t ept_file_key(const struct ept_file *f)
{
	return (int32_t)((f->ino & 0xffff) | (f->dev & 0xff) << 16 | (uint64_t)(f->proj & 0xff) << 24);
}

/*
 * What lies under a stale file's key is removed only if the file's owner made it and it is the object that the file names; or, when the
 * owner died before he could write that down, if nobody has ever used it.
 */
static void gc_sem(const struct ept_file *f, uint32_t uid)
{
	int id = (int)sys3(SYS_semget, ept_file_key(f), 0, 0);
	struct semid_ds ds;

	if (id < 0 || sysv_sem_stat(id, &ds) || ds.sem_perm.cuid != uid || ds.sem_nsems != SM_N_SEM)
		return;
	if (id == f->semid || (f->semid == -1 && ds.sem_otime == 0 && !sysv_sem_get(id, SM_SEM_LOCK, GETVAL)))
		sysv_sem_rm(id);
}

static void gc_shm(const struct ept_file *f, uint32_t uid)
{
	int id = (int)sys3(SYS_shmget, ept_file_key(f), 0, 0);
	struct shmid_ds ds;

	if (id < 0 || sysv_shm_stat(id, &ds) || ds.shm_perm.cuid != uid || ds.shm_segsz != SM_AREA_LEN)
		return;
	if (id == f->shmid || (f->shmid == -1 && ds.shm_atime == 0))
		sysv_shm_rm(id);
}

void ept_file_gc_objects(const struct ept_file *f, uint32_t uid)
{
	gc_sem(f, uid);
	FAULT_POINT("gc: semaphores, before area");
	gc_shm(f, uid);
}

/* Its file is all that leads to an endpoint's objects; those of another IPC namespace only a process there can remove. */
static int is_left_to_others(const struct ept_file *f)
{
	uint64_t own = ept_ipcns();
	struct timespec now;

	if (!f->ipcns || !own || f->ipcns == own)
		return 0;
	/* That namespace may be gone, with all that was in it. */
	return sys2(SYS_clock_gettime, CLOCK_REALTIME, &now) == 0 &&
	       (uint64_t)now.tv_sec < f->mtime_ns / 1000000000u + GC_OTHERS_S;
}

/* 1: nobody holds it, and it is for us to remove; `remove`: its objects are gone then. 0: not; or -errno. */
static int is_stale(int dir_fd, const char *name, uint32_t uid, int remove)
{
	int fd = ept_file_open(dir_fd, name, uid), err;
	struct ept_file f;

	if (fd < 0)
		return fd == -ENOENT || fd == -EPERM ? 0 : fd;
	err = ept_file_alive(fd);
	if (!err && ept_file_read(fd, &f) == 0) {
		err = is_left_to_others(&f);
		if (!err && remove)
			ept_file_gc_objects(&f, uid);
	}
	sys1(SYS_close, fd);
	return err < 0 ? err : !err;
}

int ept_file_is_stale(int dir_fd, const char *name, uint32_t uid)
{
	return is_stale(dir_fd, name, uid, 0);
}

int ept_file_gc(int dir_fd, const char *name, uint32_t uid)
{
	long err = is_stale(dir_fd, name, uid, 1);

	if (err <= 0)
		return (int)err;
	FAULT_POINT("gc: objects, before file");
	err = sys3(SYS_unlinkat, dir_fd, name, 0);
	if (err)
		return err == -ENOENT ? 0 : (int)err; /* its server retracted it while we looked */
	log_line("removed the stale endpoint %u/%s", uid, name);
	return 1;
}
