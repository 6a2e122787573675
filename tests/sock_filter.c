/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_filter.c - a program that is born under a seccomp filter, as a service manager gives it one. What the filter forbids, the program does not do.
 */
#include "oracle_heir.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct forbids {
	long nr[2];
	unsigned answer;
};

static void forbid(const struct forbids *f)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)f->nr[0], 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)f->nr[1], 0, 1),
		BPF_STMT(BPF_RET | BPF_K, f->answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof code / sizeof *code, code};

	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

/* The program itself, once more, under the filter. */
static void be_born(void)
{
	if (heir())
		return;
	forbid(the_case->arg);
	MUST(setenv("HEIR", "is filtered", 1));
	execl("/proc/self/exe", "heir", the_case->name, is_server ? "server" : "client", (char *)NULL);
	_exit(127);
}

static void server(void)
{
	be_born();
	int fd = serve_warm();
	answer(fd, TURNS, 0);
	TRY(read(fd, (char[1]){0}, 1));
	TRY(close(fd));
	/* It has no child that it does not know. */
	TRY(waitpid(-1, NULL, __WALL | WNOHANG));
}

static void client(void)
{
	int fd = connect_warm();
	ask(fd, TURNS, 0);
	TRY(close(fd));
}

static void client_too(void)
{
	be_born();
	client();
}

static const struct forbids segments = {{SYS_shmget, SYS_shmat}, SECCOMP_RET_KILL_PROCESS},
			    semaphores = {{SYS_semget, SYS_semtimedop}, SECCOMP_RET_KILL_PROCESS},
			    family = {{SYS_memfd_create, SYS_memfd_create}, SECCOMP_RET_KILL_THREAD},
			    traps = {{SYS_shmget, SYS_shmdt}, SECCOMP_RET_TRAP},
			    refuses = {{SYS_shmget, SYS_semget}, SECCOMP_RET_ERRNO | EPERM},
			    other = {{SYS_acct, SYS_reboot}, SECCOMP_RET_KILL_PROCESS};

const struct oracle_case oracle_cases[] = {
	{"segments", server, client, CASE_KERNEL, &segments},
	{"segments_both", server, client_too, CASE_KERNEL, &segments},
	{"semaphores", server, client_too, CASE_KERNEL, &semaphores},
	{"family", server, client, CASE_KERNEL, &family},
	{"traps", server, client, CASE_KERNEL, &traps},
	{"refuses", server, client_too, CASE_KERNEL, &refuses},
	{"other", server, client_too, 0, &other},
	{NULL, NULL, NULL, 0, NULL},
};
