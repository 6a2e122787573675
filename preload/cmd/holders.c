/* SPDX-License-Identifier: BSD-2-Clause */
#include "holders.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int has_open(const char *pid, const struct stat *file)
{
	char path[64];
	struct dirent *d;
	struct stat st;
	int yes = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (!yes && (d = readdir(dir)))
		yes = isdigit((unsigned char)d->d_name[0]) && !fstatat(dirfd(dir), d->d_name, &st, 0) &&
		      st.st_ino == file->st_ino && st.st_dev == file->st_dev;
	closedir(dir);
	return yes;
}

static int by_value(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void holders_find(struct holders *h, const char *path)
{
	struct dirent *d;
	struct stat st;
	DIR *proc;

	h->n = 0;
	if (lstat(path, &st) || !(proc = opendir("/proc")))
		return;
	while (h->n < N_HOLDERS && (d = readdir(proc)))
		if (isdigit((unsigned char)d->d_name[0]) && has_open(d->d_name, &st))
			h->pid[h->n++] = (uint32_t)strtoul(d->d_name, NULL, 10);
	closedir(proc);
	if (h->n)
		qsort(h->pid, h->n, sizeof(*h->pid), by_value);
}
