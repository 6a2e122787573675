/* SPDX-License-Identifier: BSD-2-Clause */
#include "threads.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "svc.h"
#include "sys.h"

_Atomic uint32_t threads_main_gone;
static pthread_key_t
	key; /* has a value in the main thread alone: its destructor is that thread's end, in whatever way it comes */
static uint64_t main_mask;

/* Threads that the kernel counts, an ended main thread among them; 0: no /proc. */
static unsigned count(void)
{
	struct stat st;
	if (sys4(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &st, 0) < 0 || st.st_nlink < 3)
		return 0;
	return (unsigned)st.st_nlink - 2;
}

bool threads_alone(void)
{
	unsigned n = count();
	return n ? n == 1 : sys1(SYS_unshare, CLONE_THREAD) == 0; /* does nothing, if it can do that */
}

bool threads_alone_but(unsigned ours)
{
	return count() == 1 + ours;
}

/* "pid (name) state ...": the name may hold anything, but comes first and is short. */
static bool main_has_ended(void)
{
	char buf[128];
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? -1 : sys3(SYS_read, fd, buf, sizeof(buf));
	if (fd >= 0)
		sys1(SYS_close, fd);
	const char *p = n > 0 ? memrchr(buf, ')', (size_t)n) : NULL;
	return p && p + 2 < buf + n && p[2] == 'Z';
}

bool threads_ours_is_last(void)
{
	return count() == 2 && main_has_ended();
}

void threads_as_main(void)
{
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &main_mask, 0, 8);
}

/* With no other thread of the program left the C library ends the process in this one, if ours is gone. */
static void main_ends(void *arg)
{
	struct park p;
	(void)arg;
	if (sys0(SYS_gettid) != sys0(SYS_getpid))
		return;
	svc_park(&p);
	main_mask = p.mask;
	store_release(&threads_main_gone, 1);
	if (threads_alone())
		p.restart = false;
	svc_unpark(&p);
}

void threads_init(void)
{
	if (pthread_key_create(&key, main_ends) == 0)
		pthread_setspecific(key, &key);
}

/* Whoever forks is the child's main thread. */
void threads_fork_child(void)
{
	store_release(&threads_main_gone, 0);
	pthread_setspecific(key, &key);
}
