/* SPDX-License-Identifier: BSD-2-Clause */
#include "poke.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bell.h"

#define DATA_MAX (8u << 20) /* of libshunt.so's writable memory; it has some KiB */

/* Two ends of the line "start-end perms offset device inode path": writable memory of the interposer's file? */
static int is_ours(const char *line, uint64_t *from, uint64_t *to)
{
	unsigned long long a, b;
	char perms[5];
	const char *at = strstr(line, "/libshunt.so");

	if (!at || !strchr(" \n", at[strlen("/libshunt.so")]) || sscanf(line, "%llx-%llx %4s", &a, &b, perms) != 3)
		return 0;
	*from = a;
	*to = b;
	return perms[0] == 'r' && perms[1] == 'w' ? 2 : 1;
}

/* 1: the word is in p; 0: it is not there, or not in use; -EPROTO: it is, of another version. */
static int look_at(struct poke *p, uint64_t from, uint64_t to)
{
	size_t len = to - from < DATA_MAX ? (size_t)(to - from) : DATA_MAX;
	char *data = malloc(len);
	ssize_t n = data ? pread(p->mem, data, len, (off_t)from) : -1;
	int found = 0;

	for (size_t at = 0; !found && n > 0 && at + sizeof(p->w) <= (size_t)n; at += sizeof(p->w)) {
		if (memcmp(data + at, SWITCH_MAGIC, sizeof(SWITCH_MAGIC)) != 0)
			continue;
		memcpy((void *)&p->w, data + at, sizeof(p->w));
		p->at = from + at;
		if (p->w.version != SWITCH_VERSION || p->w.len != sizeof(p->w))
			found = -EPROTO;
		else
			found = (load_relaxed(&p->w.runs) & SWITCH_LOADED) != 0; /* else the file, as somebody reads it */
	}
	free(data);
	return found;
}

static int find(struct poke *p, FILE *maps)
{
	char line[8192];
	uint64_t from, to;
	int any = 0, under = 0, found = 0;

	while (found == 0 && fgets(line, sizeof(line), maps)) {
		int kind = is_ours(line, &from, &to);

		any = 1;
		under |= kind != 0;
		if (kind == 2)
			found = look_at(p, from, to);
	}
	if (found)
		return found < 0 ? found : 0;
	return under ? -EPROTO : any ? -ENOENT : -ESRCH; /* what has no memory has ended */
}

int poke_may(uint32_t pid)
{
	char path[64], line[8192];
	uint64_t from, to;
	int yes = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	maps = fopen(path, "re");
	while (maps && !yes && fgets(line, sizeof(line), maps))
		yes = is_ours(line, &from, &to);
	if (maps)
		fclose(maps);
	return yes;
}

int poke_open(struct poke *p, uint32_t pid)
{
	char path[64];
	FILE *maps;
	int r;

	*p = (struct poke){.pid = pid, .mem = -1};
	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT ? -ESRCH : errno == EPERM ? -EACCES : -errno;
	snprintf(path, sizeof(path), "/proc/%u/mem", pid);
	p->mem = open(path, O_RDWR | O_CLOEXEC);
	r = p->mem < 0 ? (errno == ENOENT ? -ESRCH : errno == EPERM ? -EACCES : -errno) : find(p, maps);
	fclose(maps);
	if (r < 0)
		poke_close(p);
	return r;
}

void poke_close(struct poke *p)
{
	if (p->mem >= 0)
		close(p->mem);
	p->mem = -1;
}

static int read_word(struct poke *p)
{
	return pread(p->mem, (void *)&p->w, sizeof(p->w), (off_t)p->at) == (ssize_t)sizeof(p->w) ? 0 : -ESRCH;
}

static int is_datagram(int fd)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_DGRAM;
}

/* From its own socket if that can be had: names of bells are those of a network namespace, which may not be ours. */
static void ring(const struct poke *p, int pidfd)
{
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, p->w.ring_fd, 0);

	if (fd >= 0 && (!is_datagram(fd) || bell_ring(fd, p->w.bell))) {
		close(fd);
		fd = -1;
	}
	if (fd < 0) {
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			bell_ring(fd, p->w.bell);
	}
	if (fd >= 0)
		close(fd);
}

int poke_switch(struct poke *p, int off)
{
	uint32_t wish;
	int pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0), r;

	if (read_word(p)) { /* the number is still its own, if it lives */
		if (pidfd >= 0)
			close(pidfd);
		return -ESRCH;
	}
	wish = (load_relaxed(&p->w.wish) | SWITCH_OFF) + 1 + (off ? SWITCH_OFF : 0);
	r = pwrite(p->mem, &wish, sizeof(wish), (off_t)(p->at + offsetof(struct switch_word, wish))) == (ssize_t)sizeof(wish)
		    ? read_word(p)
		    : -ESRCH;
	if (!r && load_relaxed(&p->w.runs) & SWITCH_RINGS)
		ring(p, pidfd);
	if (pidfd >= 0)
		close(pidfd);
	return r;
}

int poke_done(struct poke *p)
{
	uint32_t wish = load_relaxed(&p->w.wish);

	if (read_word(p))
		return -ESRCH;
	return load_relaxed(&p->w.done) == wish || load_relaxed(&p->w.wish) != wish; /* or another's word counts now */
}
