/* SPDX-License-Identifier: BSD-2-Clause */
#include "sys.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

long (*sys_fault)(long nr);
int (*sys_keep_fd)(int fd);

/*
 * The kernel's own calling convention, not libc's syscall(): that one sets errno, and programs under the interposer reach it
 * through a wrapper of ours.
 */
#if defined(__x86_64__)
static inline long raw_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long raw_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "no system call convention for this machine"
#endif

long sys_call(long nr, long a, long b, long c, long d, long e, long f)
{
	if (__builtin_expect(sys_fault != NULL, 0)) {
		long err = sys_fault(nr);

		if (err)
			return err;
	}
	return raw_call(nr, a, b, c, d, e, f);
}

uint64_t sys_now_ns(void)
{
	struct timespec ts;

	if (sys2(SYS_clock_gettime, CLOCK_MONOTONIC, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int sys_random(void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		long n = sys3(SYS_getrandom, (char *)buf + done, len - done, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int copy(long nr, void *ours, void *theirs, size_t len)
{
	struct iovec here = {ours, len}, there = {theirs, len};
	long r = len ? sys6(nr, sys0(SYS_getpid), &here, 1, &there, 1, 0) : 0;

	if (r == (long)len)
		return 0;
	if (r >= 0 || r == -EFAULT)
		return -EFAULT;
	if (nr == SYS_process_vm_readv)
		memcpy(ours, theirs, len);
	else
		memcpy(theirs, ours, len);
	return 0;
}

int sys_copy_in(void *dst, const void *theirs, size_t len)
{
	return copy(SYS_process_vm_readv, dst, (void *)(uintptr_t)theirs, len);
}

int sys_copy_out(void *theirs, const void *src, size_t len)
{
	return copy(SYS_process_vm_writev, (void *)(uintptr_t)src, theirs, len);
}

static int is_limited(void)
{
	struct rlimit64 l;

	return sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &l) == 0 && l.rlim_cur != RLIM64_INFINITY;
}

/* The signal is sent to the thread that makes the call. One that was waiting already is the program's. */
long sys_grow(long nr, int fd, long a, long b, long c)
{
	const uint64_t xfsz = UINT64_C(1) << (SIGXFSZ - 1);
	const struct timespec now = {0, 0};
	uint64_t was, waits = 0;
	long r;

	if (!is_limited())
		return sys4(nr, fd, a, b, c);
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &xfsz, &was, sizeof(was));
	sys2(SYS_rt_sigpending, &waits, sizeof(waits));
	r = sys4(nr, fd, a, b, c);
	if (r == -EFBIG && !(waits & xfsz))
		sys4(SYS_rt_sigtimedwait, &xfsz, NULL, &now, sizeof(xfsz));
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &was, NULL, sizeof(was));
	return r;
}

void (*sys_drop_fd)(int fd);

void sys_fd_close(int fd)
{
	if (fd < 0)
		return;
	if (sys_drop_fd)
		sys_drop_fd(fd);
	sys1(SYS_close, fd);
}

int sys_fd_keep(int fd)
{
	return fd >= 0 && sys_keep_fd ? sys_keep_fd(fd) : fd;
}
