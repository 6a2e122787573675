/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "log.h"
#include "sock.h"
#include "sys.h"

struct stats stats;
static char path[PATH_MAX];
static _Atomic uint32_t written;
static _Atomic int held = -1; /* the file, hidden, where its name leads elsewhere */

void stats_init(const char *file)
{
	size_t n = strlen(file);
	if (n < sizeof(path))
		memcpy(path, file, n + 1);
}

void stats_fork_child(void)
{
	memset((void *)&stats, 0, sizeof(stats));
	store_relaxed(&written, 0);
}

static long open_file(void)
{
	return sys4(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

void stats_hold(void)
{
	if (!path[0] || load_acquire(&held) >= 0 || !fdtab_init())
		return;
	int fd = fdtab_hide((int)open_file());
	if (fd >= 0 && !cas_acqrel(&held, -1, fd))
		fdtab_close_hidden(fd);
}

static void add_way(_Atomic uint64_t *to, const struct count *shm, const struct count *kernel)
{
	add_relaxed(&to[0], shm->bytes);
	add_relaxed(&to[1], shm->msgs);
	add_relaxed(&to[2], kernel->bytes);
	add_relaxed(&to[3], kernel->msgs);
}

void stats_sock(struct sock *s)
{
	add_way(&stats.tx_shm_bytes, &s->tx_shm, &s->tx_kernel);
	add_way(&stats.rx_shm_bytes, &s->rx_shm, &s->rx_kernel);
	bool used = sock_is_dgram(s) ? s->tx_kernel.msgs + s->rx_kernel.msgs > 0 : sock_flags(s) & FAM_CONNECTED;
	if (!used)
		return;
	uint32_t why = load_relaxed(&s->f->tx_why);
	if (!load_relaxed(&s->f->ups) && why != WHY_UP && why < WHY_N)
		add_relaxed(&stats.kernel[why], 1u);
}

static void add_live(struct sock *s, void *arg)
{
	(void)arg;
	stats_sock(s);
}

static int put_way(char *b, size_t len, const char *name, const _Atomic uint64_t *v)
{
	return fmt_buf(b, len, ",\"%s\":{\"shm_bytes\":%llu,\"shm_msgs\":%llu,\"kernel_bytes\":%llu,\"kernel_msgs\":%llu}",
		name, (unsigned long long)load_relaxed(&v[0]), (unsigned long long)load_relaxed(&v[1]),
		(unsigned long long)load_relaxed(&v[2]), (unsigned long long)load_relaxed(&v[3]));
}

/* The program's name, as JSON allows it: it may hold any octet. */
static void own_name(char *out, size_t len)
{
	char raw[32] = "";
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? 0 : sys3(SYS_read, fd, raw, sizeof(raw) - 1);
	if (fd >= 0)
		sys1(SYS_close, fd);
	size_t o = 0;
	for (long i = 0; i < n && raw[i] != '\n' && o + 1 < len; i++)
		out[o++] = raw[i] < ' ' || raw[i] == '"' || raw[i] == '\\' ? '_' : raw[i];
	out[o] = 0;
}

void stats_write(void)
{
	char b[2048], comm[32];
	size_t n = 0;
	if (!path[0] || !cas_acqrel(&written, 0u, 1u))
		return;
	sock_each(add_live, NULL);
	own_name(comm, sizeof(comm));
	n += (size_t)fmt_buf(b + n, sizeof(b) - n,
		"{\"pid\":%d,\"comm\":\"%s\",\"channels\":%llu,\"upgrades\":%llu,\"downgrades\":%llu,\"kernel\":{",
		(int)sys0(SYS_getpid), comm, (unsigned long long)load_relaxed(&stats.links),
		(unsigned long long)load_relaxed(&stats.ups), (unsigned long long)load_relaxed(&stats.downs));
	const char *sep = "";
	for (unsigned w = 0; w < WHY_N; w++) {
		if (!load_relaxed(&stats.kernel[w]))
			continue;
		n += (size_t)fmt_buf(b + n, sizeof(b) - n, "%s\"%s\":%u", sep, why_word(w), load_relaxed(&stats.kernel[w]));
		sep = ",";
	}
	n += (size_t)fmt_buf(b + n, sizeof(b) - n, "}");
	n += (size_t)put_way(b + n, sizeof(b) - n, "tx", &stats.tx_shm_bytes);
	n += (size_t)put_way(b + n, sizeof(b) - n, "rx", &stats.rx_shm_bytes);
	n += (size_t)fmt_buf(b + n, sizeof(b) - n,
		",\"sleeps\":%llu,\"bells\":%llu,\"spins\":%llu,\"trials\":%llu,\"slower\":%llu}\n",
		(unsigned long long)load_relaxed(&stats.sleeps), (unsigned long long)load_relaxed(&stats.bells),
		(unsigned long long)load_relaxed(&stats.spins), (unsigned long long)load_relaxed(&stats.trials),
		(unsigned long long)load_relaxed(&stats.slower));
	long own = load_acquire(&held), fd = own < 0 ? open_file() : own;
	if (fd < 0)
		return;
	sys_grow(SYS_write, (int)fd, SYS_ARG(b), (long)n, 0);
	if (own < 0)
		sys1(SYS_close, fd);
}
