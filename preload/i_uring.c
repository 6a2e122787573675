/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_uring.c - sockets that the kernel works on by itself, and asks nobody: they are put into the kernel before it can touch them, and stay there. All that a process has, once it
 * has an io_uring; those that are named in a control block of io_submit(). POSIX aio has threads of the C library's do it, with system calls that we do not see: the same. Seen are syscall() and what liburing and libaio export, whose own system calls are
 * instructions in the middle of them; not such instructions in a program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdint.h>

#include "i_raw.h"
#include "i_uring.h"
#include "leave.h"
#include "move.h"
#include "ucopy.h"
#include "wrap.h"

/* r: of the call that has made a ring, or not. It is not the program's yet. */
static long ring_made(long r)
{
	if (r >= 0 && !leave_done() && wrap_own_process()) {
		int e = errno;
		leave(false, "it has an io_uring, through which the kernel can use its sockets by itself");
		errno = e;
	}
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
	static int (*_Atomic submit)(void *, long, struct iocb **);
	int (*f)(void *, long, struct iocb **) = load_acquire(&submit);
	if (!f) {
		*(void **)&f = find("io_submit", __builtin_return_address(0));
		if (!f)
			return -ENOSYS;
		store_release(&submit, f);
	}
	pin_submitted(n, list);
	return f(ctx, n, list);
}

#define URING(name, params, args)                                                                                              \
	EXPORT int name params                                                                                                 \
	{                                                                                                                      \
		int(*f) params = NULL;                                                                                         \
		*(void **)&f = find(#name, __builtin_return_address(0));                                                       \
		return f ? (int)ring_made(f args) : -ENOSYS;                                                                   \
	}
URING(io_uring_queue_init, (unsigned entries, void *ring, unsigned flags), (entries, ring, flags))
URING(io_uring_queue_init_params, (unsigned entries, void *ring, void *p), (entries, ring, p))
URING(io_uring_queue_init_mem, (unsigned entries, void *ring, void *p, void *buf, size_t len), (entries, ring, p, buf, len))
URING(io_uring_queue_init_try_nosqarr, (unsigned entries, void *ring, unsigned flags), (entries, ring, flags))
URING(io_uring_queue_mmap, (int fd, void *p, void *ring), (fd, p, ring))
URING(io_uring_setup, (unsigned entries, void *p), (entries, p))

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
