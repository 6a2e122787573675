/* SPDX-License-Identifier: BSD-2-Clause */
#include "filter.h"

#include <errno.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "leave.h"
#include "log.h"
#include "sys.h"
#include "wrap.h"

#define N_WORD 3
#define NOBODY (-1L)

/* Each is refused for its words, or changes nothing but this child. */
static const struct {
	long nr, word[N_WORD];
} calls[] = {
	{SYS_prctl, {PR_SET_DUMPABLE, 0}}, /* no core, if one of the next is its end */
	{SYS_shmget, {IPC_PRIVATE, 0, 0}},
	{SYS_shmat, {NOBODY, 0, 0}},
	{SYS_shmctl, {NOBODY, IPC_STAT, 0}},
	{SYS_shmdt, {1}},
	{SYS_semget, {IPC_PRIVATE, 0, 0}},
	{SYS_semctl, {NOBODY, 0, IPC_STAT}},
	{SYS_semtimedop, {NOBODY, 0, 1}},
	{SYS_memfd_create, {0, 0}},
	{SYS_ftruncate, {NOBODY, 0}},
	{SYS_pidfd_open, {0, 0}},
	{SYS_clone3, {0, 0}},
	{SYS_epoll_create1, {NOBODY}},
	{SYS_epoll_ctl, {NOBODY, 0, 0}},
	{SYS_epoll_pwait, {NOBODY, 0, 0}},
	{SYS_tgkill, {NOBODY, 0, 0}},
	{SYS_flock, {NOBODY, 0}},
	{SYS_linkat, {NOBODY, 0, NOBODY}},
	{SYS_renameat2, {NOBODY, 0, NOBODY}},
	{SYS_unlinkat, {NOBODY, 0, 0}},
	{SYS_mkdirat, {NOBODY, 0, 0}},
	{SYS_fchmod, {NOBODY, 0}},
	{SYS_fchmodat, {NOBODY, 0, 0}},
	{SYS_fstatfs, {NOBODY, 0}},
	{SYS_fgetxattr, {NOBODY, 0, 0}},
	{SYS_getdents64, {NOBODY, 0, 0}},
	{SYS_pwrite64, {NOBODY, 0, 0}},
	{SYS_madvise, {1, 0, 0}},
	{SYS_mremap, {1, 0, 0}},
	{SYS_nanosleep, {0, 0}},
	{SYS_recvmmsg, {NOBODY, 0, 0}},
	{SYS_process_vm_readv, {NOBODY, 0, 0}},
	{SYS_process_vm_writev, {NOBODY, 0, 0}},
	{SYS_rt_tgsigqueueinfo, {NOBODY, 0, 0}},
	{SYS_rt_sigpending, {0, 0}},
	{SYS_kill, {INT_MIN, 0}},
	{SYS_getrusage, {99, 0}}, /* of nobody */
	{SYS_socket, {AF_NETLINK, NOBODY, 0}},
	{SYS_socket, {AF_UNIX, NOBODY, 0}},
};

static _Noreturn void make_calls(void)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		sys3(calls[i].nr, calls[i].word[0], calls[i].word[1], calls[i].word[2]);
	for (;;)
		sys1(SYS_exit_group, 0);
}

enum verdict { UNKNOWN, ALLOWS, FORBIDS };
static _Atomic uint32_t verdict;

static bool is_filtered(void)
{
	return sys5(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER;
}

/* The child is none of the program's: it tells nobody of its end, and only a wait() for all kinds could take it. */
static enum verdict ask_child(void)
{
	uint64_t all = ~UINT64_C(0), was;
	int status = 0;
	long taken = 0;
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &was, 8);
	long pid = sys5(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		make_calls();
	if (pid > 0)
		do
			taken = sys4(SYS_wait4, pid, &status, __WALL, 0);
		while (taken == -EINTR);
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &was, 0, 8);
	if (pid < 0 || taken != pid)
		return UNKNOWN;
	return status ? FORBIDS : ALLOWS;
}

bool filter_forbids(void)
{
	enum verdict v = load_acquire(&verdict);
	if (v != UNKNOWN ||
		!wrap_own_process()) /* a child of vfork may have a filter of its own, and has its parent's memory */
		return leave_done();
	v = is_filtered() ? ask_child() : ALLOWS;
	if (v == FORBIDS)
		leave(false, "a seccomp filter forbids what shared memory needs");
	store_release(&verdict, (uint32_t)v);
	return v != ALLOWS || leave_done();
}

bool filter_may_forbid(void)
{
	enum verdict v = load_acquire(&verdict);
	return v == FORBIDS || leave_sealed() || ((v == UNKNOWN || !wrap_own_process()) && is_filtered());
}
