/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_uring.c - sockets that the kernel works on by itself, and asks nobody: they are put into the kernel before it can touch them, and stay there. All that a process has, once it
 * has an io_uring that is not of files alone (uring.h); those that are named in a control block of io_submit(). POSIX aio has threads of the C library's do it, with system calls that we do not see: the same. Seen are syscall() and what liburing and libaio export, whose own system calls are
 * instructions in the middle of them; not such instructions in a program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdint.h>

#include "i_raw.h"
#include "i_uring.h"
#include "leave.h"
#include "move.h"
#include "ucopy.h"
#include "uring.h"
#include "wrap.h"

static void leave_for_ring(void)
{
	int e = errno;
	leave(false, "it has an io_uring, through which the kernel can use its sockets by itself");
	errno = e;
}

/* r: of the call that has made a ring, or not. It is not the program's yet. */
static long ring_made(long r)
{
	if (r >= 0 && !leave_over() && wrap_own_process())
		leave_for_ring();
	return r;
}

bool raw_io_uring_setup(const long *a, long *r, long nr)
{
	*r = ring_made(real.syscall(nr, a[0], a[1], 0, 0, 0, 0));
	return true;
}

/* A ring that was made unseen, or came from elsewhere. */
bool raw_io_uring_enter(const long *a, long *r, long nr)
{
	(void)a;
	(void)r;
	(void)nr;
	ring_made(0);
	return false;
}

bool raw_io_uring_register(const long *a, long *r, long nr)
{
	return raw_io_uring_enter(a, r, nr);
}

/*
 * The library may have come by dlopen(), and not be in the search order: then it is what the caller sees. Unlike libc's names these need not exist: they are looked for
 * when they are called.
 */
static void *find(const char *name, const void *caller)
{
	void *f = dlsym(RTLD_NEXT, name), *of = NULL;
	Dl_info info;
	if (f || !dladdr(caller, &info) || !info.dli_fname)
		return f;
	of = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (!of)
		return NULL;
	f = dlsym(of, name);
	dlclose(of);
	return f;
}

/* As find(), once: programs call these often. */
static void *find_once(_Atomic(void *) *at, const char *name, const void *caller)
{
	void *f = load_acquire(at);
	Dl_info lib;
	if (f || !(f = find(name, caller)))
		return f;
	if (dladdr(f, &lib)) /* what we remember stays where it is */
		dlopen(lib.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	store_release(at, f);
	return f;
}

static void pin_number(int fd)
{
	struct sock *s = fd_any_sock(fd);
	if (s && sock_flags(s) & (FAM_CONNECTED | FAM_DGRAM)) {
		int e = errno;
		move_pin(s, WHY_AIO);
		errno = e;
	}
}

static void pin_submitted(long n, struct iocb *const *list)
{
	for (long i = 0; fdtab_len && i < n; i++) {
		struct iocb *one, copy;
		if (ucopy(&one, &list[i], sizeof(one)) || ucopy(&copy, one, sizeof(copy)))
			return; /* not there: so the kernel will say */
		pin_number((int)copy.aio_fildes);
	}
}

bool raw_io_submit(const long *a, long *r, long nr)
{
	(void)r;
	(void)nr;
	pin_submitted(a[1], (struct iocb *const *)(uintptr_t)a[2]);
	return false;
}

EXPORT int io_submit(void *ctx, long n, struct iocb **list)
{
	static _Atomic(void *) own;
	int (*f)(void *, long, struct iocb **) = NULL;
	*(void **)&f = find_once(&own, "io_submit", __builtin_return_address(0));
	if (!f)
		return -ENOSYS;
	pin_submitted(n, list);
	return f(ctx, n, list);
}

/* ---- liburing, whose own system calls are instructions */

/* The name as we replace it: BEFORE, and then AFTER of what the library's own returns. */
#define URING(name, params, args, BEFORE, AFTER)                                                                               \
	EXPORT int name params                                                                                                 \
	{                                                                                                                      \
		static _Atomic(void *) own;                                                                                    \
		int(*f) params = NULL;                                                                                         \
		*(void **)&f = find_once(&own, #name, __builtin_return_address(0));                                            \
		if (!f)                                                                                                        \
			return -ENOSYS;                                                                                        \
		BEFORE;                                                                                                        \
		int r = f args;                                                                                                \
		AFTER;                                                                                                         \
		return r;                                                                                                      \
	}

/* Those that make a ring. Libraries from 2.4 on, the first that tells its version, have more names that may hand entries over. */
static void made(int r, unsigned flags, const void *caller)
{
	if (r < 0 || (uring_can_be_watched(flags) && !find("io_uring_major_version", caller)))
		return;
	ring_made(r);
}

#define MAKES(name, params, args, flags)                                                                                       \
	URING(name, params, args, (void)0, made(r, r < 0 ? 0 : (flags), __builtin_return_address(0)))
MAKES(io_uring_queue_init, (unsigned entries, void *ring, unsigned flags), (entries, ring, flags), flags)
MAKES(io_uring_queue_init_params, (unsigned entries, void *ring, struct io_uring_params *p), (entries, ring, p), p->flags)

/* Those that hand entries over, or may. */
static void look_at(const void *ring)
{
	if (!leave_over() && wrap_own_process() && !uring_is_of_files(ring))
		leave_for_ring();
}

#define SUBMITS(name, params, args) URING(name, params, args, look_at(ring), (void)0)
SUBMITS(io_uring_submit, (void *ring), (ring))
SUBMITS(io_uring_submit_and_wait, (void *ring, unsigned n), (ring, n))
SUBMITS(io_uring_submit_and_get_events, (void *ring), (ring))
SUBMITS(io_uring_submit_and_wait_timeout, (void *ring, void *cqe, unsigned n, void *ts, void *mask), (ring, cqe, n, ts, mask))
SUBMITS(io_uring_wait_cqes, (void *ring, void *cqe, unsigned n, void *ts, void *mask), (ring, cqe, n, ts, mask))
SUBMITS(io_uring_wait_cqe_timeout, (void *ring, void *cqe, void *ts), (ring, cqe, ts))
SUBMITS(__io_uring_get_cqe, (void *ring, void *cqe, unsigned submit, unsigned n, void *mask), (ring, cqe, submit, n, mask))

/* Those that have the ring keep descriptors. */
static void keep(const int *fds, unsigned n)
{
	if (!leave_over() && wrap_own_process() && !uring_keeps_files(fds, n))
		leave_for_ring();
}

#define KEEPS(name, params, args) URING(name, params, args, keep(fds, n), (void)0)
KEEPS(io_uring_register_files, (void *ring, const int *fds, unsigned n), (ring, fds, n))
KEEPS(io_uring_register_files_tags, (void *ring, const int *fds, const void *tags, unsigned n), (ring, fds, tags, n))
KEEPS(io_uring_register_files_update, (void *ring, unsigned at, const int *fds, unsigned n), (ring, at, fds, n))
KEEPS(io_uring_register_files_update_tag, (void *ring, unsigned at, const int *fds, const void *tags, unsigned n),
	(ring, at, fds, tags, n))

/* What is left: a ring that is not watched. But the library calls its own names too, for others that are looked at. */
static bool is_by_library(const void *own, const void *caller)
{
	Dl_info a, b;
	return dladdr(own, &a) && dladdr(caller, &b) && a.dli_fbase == b.dli_fbase;
}

static void unseen(int r, const void *own, const void *caller)
{
	if (r >= 0 && !leave_over() && !is_by_library(own, caller))
		ring_made(r);
}

#define UNSEEN(name, params, args)                                                                                             \
	URING(name, params, args, (void)0, unseen(r, load_relaxed(&own), __builtin_return_address(0)))
UNSEEN(io_uring_queue_init_mem, (unsigned entries, void *ring, void *p, void *buf, size_t len), (entries, ring, p, buf, len))
UNSEEN(io_uring_queue_init_try_nosqarr, (unsigned entries, void *ring, unsigned flags), (entries, ring, flags))
UNSEEN(io_uring_queue_mmap, (int fd, void *p, void *ring), (fd, p, ring))
UNSEEN(io_uring_setup, (unsigned entries, void *p), (entries, p))

#define BY_NUMBER(name, params, args)                                                                                          \
	URING(name, params, args, unseen(0, load_relaxed(&own), __builtin_return_address(0)), (void)0)
BY_NUMBER(io_uring_enter, (unsigned fd, unsigned submit, unsigned n, unsigned flags, void *mask), (fd, submit, n, flags, mask))
BY_NUMBER(io_uring_enter2, (unsigned fd, unsigned submit, unsigned n, unsigned flags, void *arg, size_t len),
	(fd, submit, n, flags, arg, len))
BY_NUMBER(io_uring_register, (unsigned fd, unsigned op, void *arg, unsigned n), (fd, op, arg, n))

/* POSIX aio */
#define AIO(name, type)                                                                                                        \
	EXPORT int name(struct type *cb)                                                                                       \
	{                                                                                                                      \
		pin_number(cb->aio_fildes);                                                                                    \
		return real.name(cb);                                                                                          \
	}
AIO(aio_read, aiocb)
AIO(aio_read64, aiocb64)
AIO(aio_write, aiocb)
AIO(aio_write64, aiocb64)

#define LISTIO(name, type)                                                                                                     \
	EXPORT int name(int mode, struct type *const *list, int n, struct sigevent *sev)                                       \
	{                                                                                                                      \
		for (int i = 0; i < n; i++)                                                                                    \
			if (list[i] && list[i]->aio_lio_opcode != LIO_NOP)                                                     \
				pin_number(list[i]->aio_fildes);                                                               \
		return real.name(mode, list, n, sev);                                                                          \
	}
LISTIO(lio_listio, aiocb)
LISTIO(lio_listio64, aiocb64)
