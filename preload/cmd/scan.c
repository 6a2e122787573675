/* SPDX-License-Identifier: BSD-2-Clause */
#include "scan.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic.h"
#include "fam.h"

#define RECORDS_AT_ONCE 64

/* What a process has open: its sockets, and its family memories. */
struct open_fd {
	int fd;
	uint32_t inode;
};
struct open_fds {
	struct open_fd *socks; /* in order of inode, then fd */
	size_t n;
	struct {
		int fd;
		ino_t ino;
	} fams[64];
	size_t n_fams;
};

/* Room for one more in an array that doubles: 0 or -ENOMEM. */
static int room(void **array, size_t n, size_t size)
{
	void *p;

	if (n & (n - 1) || (n && n < 8))
		return 0;
	p = realloc(*array, (n < 8 ? 8 : 2 * n) * size);
	if (!p)
		return -ENOMEM;
	*array = p;
	return 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct open_fd *x = a, *y = b;

	return x->inode != y->inode ? (x->inode < y->inode ? -1 : 1) : x->fd - y->fd;
}

static int by_fd(const void *a, const void *b)
{
	const struct scan_sock *x = a, *y = b;

	return x->fd - y->fd;
}

static int by_pid(const void *a, const void *b)
{
	const struct scan_proc *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int scan_is_under_shunt(uint32_t pid)
{
	char path[64], line[8192];
	int yes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (!yes && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, "/libshunt.so");

		yes = at && strchr(" \n", at[strlen("/libshunt.so")]);
	}
	fclose(f);
	return yes;
}

static int add_fd(struct open_fds *o, int fd, const char *link)
{
	unsigned inode;

	if (!strncmp(link, "/memfd:" FAM_MEMFD_NAME, strlen("/memfd:" FAM_MEMFD_NAME))) {
		if (o->n_fams < sizeof(o->fams) / sizeof(*o->fams))
			o->fams[o->n_fams++].fd = fd;
		return 0;
	}
	if (sscanf(link, "socket:[%u]", &inode) != 1)
		return 0;
	if (room((void **)&o->socks, o->n, sizeof(*o->socks)))
		return -ENOMEM;
	o->socks[o->n++] = (struct open_fd){fd, inode};
	return 0;
}

static int read_fds(uint32_t pid, struct open_fds *o)
{
	char path[64], link[256];
	struct dirent *d;
	int err = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOMEM ? -ENOMEM : 0;
	while (!err && (d = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = 0;
		err = add_fd(o, atoi(d->d_name), link);
	}
	closedir(dir);
	if (o->n)
		qsort(o->socks, o->n, sizeof(*o->socks), by_inode);
	return err;
}

static void copy_sock(struct scan_sock *s, const struct fam_sock *f)
{
	s->inode = f->inode;
	s->flags = load_relaxed(&f->flags);
	s->own = f->own;
	s->peer = f->peer;
	s->tx = (struct scan_dir){
		f->tx_epoch & 1, load_relaxed(&f->tx_why), load_relaxed(&f->tx_tail), load_relaxed(&f->tx_kernel_bytes)};
	s->rx = (struct scan_dir){load_relaxed(&f->rx_epoch) & 1, load_relaxed(&f->rx_why), load_relaxed(&f->rx_head),
		load_relaxed(&f->rx_kernel_bytes)};
	s->ups = load_relaxed(&f->ups);
	s->downs = load_relaxed(&f->downs);
}

/* One record: an entry for each descriptor of the process that refers to its socket (none: another process's, or an old record). */
static int take_record(struct scan_proc *p, const struct open_fds *o, const struct fam_sock *f)
{
	size_t lo = 0, hi = o->n;

	if (!(load_relaxed(&f->flags) & FAM_USED) || !f->inode)
		return 0;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (o->socks[mid].inode < f->inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < o->n && o->socks[lo].inode == f->inode; lo++) {
		if (room((void **)&p->socks, p->n_socks, sizeof(*p->socks)))
			return -ENOMEM;
		memset(&p->socks[p->n_socks], 0, sizeof(*p->socks));
		copy_sock(&p->socks[p->n_socks], f);
		p->socks[p->n_socks++].fd = o->socks[lo].fd;
	}
	return 0;
}

static int read_records(struct scan_proc *p, const struct open_fds *o, int fd)
{
	static struct fam_sock some[RECORDS_AT_ONCE];
	struct fam_hdr h;
	uint32_t i, n;
	int err = 0;

	if (pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || h.magic != FAM_MAGIC || h.version != FAM_VERSION ||
		h.sock_len != sizeof(struct fam_sock) || h.n_sock != FAM_N_SOCK)
		return 0; /* another build's, or not what its name says */
	n = load_relaxed(&h.high_water);
	if (n > FAM_N_SOCK)
		n = FAM_N_SOCK;
	for (i = 0; i < n && !err; i++) {
		if (i % RECORDS_AT_ONCE == 0 &&
			pread(fd, some, sizeof(some), (off_t)(FAM_SOCKS_OFF + i * sizeof(*some))) != (ssize_t)sizeof(some))
			return 0;
		err = take_record(p, o, &some[i % RECORDS_AT_ONCE]);
	}
	return err;
}
static_assert(FAM_N_SOCK % RECORDS_AT_ONCE == 0, "records are read in whole groups");

/* The i-th family memory, unless an earlier descriptor was for the same one. */
static int read_fam(struct scan_proc *p, struct open_fds *o, size_t i)
{
	char path[64];
	struct stat st;
	int fd, err = 0;
	size_t k;

	snprintf(path, sizeof(path), "/proc/%u/fd/%d", p->pid, o->fams[i].fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return 0;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode)) {
		o->fams[i].ino = st.st_ino;
		for (k = 0; k < i && o->fams[k].ino != st.st_ino; k++)
			;
		if (k == i)
			err = read_records(p, o, fd);
	}
	close(fd);
	return err;
}

static void describe(struct scan_proc *p)
{
	char path[64];
	struct stat st;
	size_t n = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u", p->pid);
	if (!stat(path, &st))
		p->uid = st.st_uid;
	snprintf(path, sizeof(path), "/proc/%u/ns/net", p->pid);
	if (!stat(path, &st))
		p->netns = st.st_ino;
	snprintf(path, sizeof(path), "/proc/%u/comm", p->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = read(fd, p->comm, sizeof(p->comm) - 1);
	close(fd);
	for (; got > 0 && n < (size_t)got && p->comm[n] != '\n'; n++)
		if (!isprint((unsigned char)p->comm[n]) || (unsigned char)p->comm[n] > 126)
			p->comm[n] = '?';
	p->comm[n] = 0;
}

static int scan_one(struct scan *s, uint32_t pid)
{
	struct open_fds o = {0};
	struct scan_proc *p;
	size_t i;
	int err;

	err = room((void **)&s->procs, s->n_procs, sizeof(*s->procs));
	if (err)
		return err;
	p = &s->procs[s->n_procs++];
	*p = (struct scan_proc){.pid = pid};
	describe(p);
	err = read_fds(pid, &o);
	for (i = 0; i < o.n_fams && !err; i++)
		err = read_fam(p, &o, i);
	free(o.socks);
	if (p->n_socks)
		qsort(p->socks, p->n_socks, sizeof(*p->socks), by_fd);
	return err;
}

/* A socket in the order by which its other end finds it: namespace, own address, peer's address. */
struct place {
	uint64_t netns;
	struct diag_addr own, peer;
	struct scan_sock *sock;
	uint32_t pid;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int d = memcmp(&x->own, &y->own, sizeof(x->own));

	if (x->netns != y->netns)
		return x->netns < y->netns ? -1 : 1;
	return d ? d : memcmp(&x->peer, &y->peer, sizeof(x->peer));
}

/* Who is at the other end of each connection. */
static int find_peers(struct scan *s)
{
	struct place *all = NULL, *p;
	size_t n = 0, i, j;

	for (i = 0; i < s->n_procs; i++)
		for (j = 0; j < s->procs[i].n_socks; j++) {
			struct scan_sock *sock = &s->procs[i].socks[j];

			if (!(sock->flags & FAM_CONNECTED))
				continue;
			if (room((void **)&all, n, sizeof(*all))) {
				free(all);
				return -ENOMEM;
			}
			all[n++] = (struct place){s->procs[i].netns, sock->own, sock->peer, sock, s->procs[i].pid};
		}
	if (n)
		qsort(all, n, sizeof(*all), by_place);
	for (i = 0; i < n; i++) {
		p = bsearch(&(struct place){.netns = all[i].netns, .own = all[i].peer, .peer = all[i].own}, all, n,
			sizeof(*all), by_place);
		all[i].sock->peer_pid = p ? p->pid : 0;
	}
	free(all);
	return 0;
}

int scan_init(struct scan *s)
{
	struct dirent *d;
	DIR *proc;
	int err = 0;

	*s = (struct scan){0};
	proc = opendir("/proc");
	if (!proc)
		return -errno;
	while (!err && (d = readdir(proc))) {
		char *end;
		unsigned long pid = strtoul(d->d_name, &end, 10);

		if (isdigit((unsigned char)d->d_name[0]) && !*end && scan_is_under_shunt((uint32_t)pid))
			err = scan_one(s, (uint32_t)pid);
	}
	closedir(proc);
	if (s->n_procs)
		qsort(s->procs, s->n_procs, sizeof(*s->procs), by_pid);
	return err ? err : find_peers(s);
}

void scan_fini(struct scan *s)
{
	size_t i;

	for (i = 0; i < s->n_procs; i++)
		free(s->procs[i].socks);
	free(s->procs);
	*s = (struct scan){0};
}

const struct scan_proc *scan_find(const struct scan *s, uint32_t pid)
{
	size_t i;

	for (i = 0; i < s->n_procs; i++)
		if (s->procs[i].pid == pid)
			return &s->procs[i];
	return NULL;
}
