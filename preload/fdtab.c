/* SPDX-License-Identifier: BSD-2-Clause */
/* fdtab.c - descriptor numbers: which are sockets of ours to serve, which are internal. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "sock.h"
#include "sys.h"

#define FDTAB_MAX (1u << 20) /* numbers beyond stay in the kernel */

_Atomic uintptr_t *fdtab;
unsigned fdtab_len;
_Atomic bool cancels; /* here, because every call has this line at hand */

/* Mapped, not static: a process without sockets pays nothing, and a fork copies only the touched pages. */
bool fdtab_init(void)
{
	if (fdtab_len)
		return true;
	struct rlimit rl;
	unsigned n = FDTAB_MAX;
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &rl) == 0 && rl.rlim_max < n)
		n = rl.rlim_max < 1024 ? 1024 : (unsigned)rl.rlim_max;
	long p = sys6(
		SYS_mmap, 0, n * sizeof(*fdtab), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p < 0 && p > -4096)
		return false;
	fdtab = (_Atomic uintptr_t *)(uintptr_t)p;
	fdtab_len = n;
	return true;
}

bool fdtab_set(int fd, uintptr_t v)
{
	if ((unsigned)fd >= fdtab_len)
		return false;
	store_release(&fdtab[fd], v);
	return true;
}

/*
 * Just under min(soft limit, 1024): out of the way of the numbers a program gets (lowest first), and low enough that fork, which copies
 * the kernel's table up to the highest number, does not pay for us.
 */
int fdtab_hide(int fd)
{
	struct rlimit rl;
	unsigned top = 1024;
	if (fd < 0)
		return fd;
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &rl) == 0 && rl.rlim_cur < top)
		top = (unsigned)rl.rlim_cur;
	for (unsigned room = 96; room >= 6; room /= 2) {
		unsigned from = top > 2 * room ? top - room : top / 2;
		long to = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, from);
		if (to < 0)
			continue;
		sys1(SYS_close, fd);
		fd = (int)to;
		break;
	}
	fdtab_set(fd, FD_INTERNAL);
	return fd;
}

void fdtab_unhide(int fd)
{
	if (fdtab_is_hidden(fd))
		fdtab_set(fd, 0);
}

void fdtab_close_hidden(int fd)
{
	if (fd < 0)
		return;
	fdtab_unhide(fd);
	sys1(SYS_close, fd);
}

bool fdtab_is_hidden(int fd)
{
	return fd_get(fd) == FD_INTERNAL;
}
