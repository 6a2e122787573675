/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i_proc.c - the names that make processes, or make this one another. What a new program inherits without us must be in the kernel
 * before it can touch it.
 */
#include <alloca.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "assoc.h"
#include "epset.h"
#include "exe.h"
#include "hold.h"
#include "link.h"
#include "log.h"
#include "ns.h"
#include "nextenv.h"
#include "pass.h"
#include "startup.h"
#include "stats.h"
#include "sys.h"
#include "wrap.h"

#define PATH_LEN 4096

extern char **environ;

/* What is about to be executed, and whether shunt will be in it: looked for when something is inherited at all. */
struct program {
	const char *path; /* as given; NULL: a descriptor, in `at` */
	int at;
	bool search; /* along PATH, unless there is a slash in it */
	char *const *envp;
	bool as_is;   /* libc takes it to the program without us */
	bool becomes; /* this process does; else a child */
	enum { UNKNOWN, SERVED, FOREIGN } is;
	enum { NOT_ASKED, CARRIED, NOT_CARRIED } carry;
};

/* The first file of that name along PATH that could be executed. */
static bool find_program(const char *name, char path[PATH_LEN])
{
	const char *dir = getenv("PATH"), *end;
	for (dir = dir ? dir : "/bin:/usr/bin"; dir; dir = *end ? end + 1 : NULL) {
		end = strchrnul(dir, ':');
		size_t n = (size_t)(end - dir), len = strlen(name) + 1;
		if (n + 1 + len > PATH_LEN)
			continue;
		memcpy(path, dir, n);
		if (n)
			path[n++] = '/';
		memcpy(path + n, name, len);
		if (exe_is_file(path) && sys3(SYS_faccessat, AT_FDCWD, path, X_OK) == 0)
			return true;
	}
	return false;
}

static bool can_be_interposed(const struct program *p)
{
	char path[PATH_LEN];
	if (p->path && (uintptr_t)p->path < 4096)
		return false;
	if (!p->path || (p->at != AT_FDCWD && p->path[0] != '/')) {
		int n = fmt_buf(path, sizeof(path), "/proc/self/fd/%d", p->at);
		if (p->path && p->path[0])
			fmt_buf(path + n, sizeof(path) - (size_t)n, "/%s", p->path);
		return !elf_why_not(path, "/proc/self/exe");
	}
	if (!p->search || strchr(p->path, '/'))
		return !elf_why_not(p->path, "/proc/self/exe");
	return find_program(p->path, path) && !elf_why_not(path, "/proc/self/exe");
}

/* Asked once: what is done with the sockets, and with the environment, follows from the same answer. */
static bool wants_us_added(struct program *p)
{
	if (p->carry == NOT_ASKED)
		p->carry = nextenv_carries(p->envp) ? CARRIED : NOT_CARRIED;
	return p->carry == CARRIED;
}

static bool is_served(struct program *p)
{
	return (nextenv_names_us(p->envp) || (!p->as_is && wants_us_added(p))) && can_be_interposed(p);
}

/* Its environment says nothing of us: do we say it? */
static bool is_carried_to(struct program *p)
{
	return wants_us_added(p) && (p->is == UNKNOWN ? can_be_interposed(p) : p->is == SERVED);
}

static void leave_to(struct sock *s, struct program *p)
{
	if (sock_flags(s) & FAM_LISTEN && !(p->becomes && wrap_own_process()))
		return;
	if (p->is == UNKNOWN)
		p->is = is_served(p) ? SERVED : FOREIGN;
	if (p->becomes && wrap_own_process())
		pass_exec(s, p->is == SERVED);
	else
		pass_begin(s, WHY_EXEC, p->is == SERVED);
}

static void leave_if_inherited(struct sock *s, void *arg)
{
	if (!(sock_flags(s) & (FAM_CONNECTED | FAM_DGRAM | FAM_LISTEN)))
		return;
	uint32_t left = load_relaxed(&s->open);
	for (int fd = 0; left && fd < (int)fdtab_len; fd++) {
		if (fd_any_sock(fd) != s)
			continue;
		left--;
		int fl = real.fcntl(fd, F_GETFD, 0);
		if (fl >= 0 && !(fl & FD_CLOEXEC)) {
			leave_to(s, arg);
			return;
		}
	}
}

static void before_exec(struct program *p)
{
	int e = errno;
	if (fdtab_len)
		sock_each(leave_if_inherited, p);
	errno = e;
}

/* Closed by the exec, all its descriptors: this process does not hold it any more. Or inherited, and nothing has been done for that: not connected, say. */
static void let_go_if_closed(struct sock *s, void *arg)
{
	bool all = !s->exec_left;
	uint32_t left = load_relaxed(&s->open);
	(void)arg;
	for (int fd = 0; left && fd < (int)fdtab_len && all; fd++) {
		if (fd_any_sock(fd) != s)
			continue;
		left--;
		all = real.fcntl(fd, F_GETFD, 0) == FD_CLOEXEC;
	}
	if (all)
		pass_exec_closed(s);
	else if (!s->exec_left)
		hold_outlives(s);
}

/* In a child of vfork the tables are the parent's: the sockets go down all the same, since the new program will hold them. */
static void before_own_exec(struct program *p)
{
	p->becomes = true;
	before_exec(p);
	if (!wrap_own_process())
		return;
	startup_end(
		true); /* a listener that is inherited is unknown to the new program until it accepts there, and publishes it anew */
	if (fdtab_len) {
		epset_before_exec();
		sock_each(let_go_if_closed, NULL);
	}
}

static void exec_undone(struct sock *s, void *arg)
{
	(void)arg;
	pass_exec_undo(s);
}

static int exec_failed(int r)
{
	int e = errno;
	if (wrap_own_process()) {
		startup_goes_on();
		if (fdtab_len) {
			sock_each(exec_undone, NULL);
			epset_exec_failed();
		}
	}
	errno = e;
	return r;
}

/* It forks, and puts /dev/null in the place of 0, 1 and 2, where none of its calls can be seen. */
EXPORT int daemon(int nochdir, int noclose)
{
	long pid = sys0(SYS_getpid);
	int r = real.daemon(nochdir, noclose);
	if (sys0(SYS_getpid) == pid)
		return r;
	for (int fd = 0; r == 0 && !noclose && fd <= 2; fd++) {
		int e = errno;
		fd_forget(fd);
		errno = e;
	}
	return r;
}

EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	struct program p = {.path = path, .at = AT_FDCWD, .envp = envp};
	if (!nextenv_is_there(envp))
		return real.execve(path, argv, envp);
	before_own_exec(&p);
	return exec_failed(real.execve(path, argv, NEXT_ENV(p.envp, is_carried_to(&p))));
}

EXPORT int execv(const char *path, char *const argv[])
{
	struct program p = {.path = path, .at = AT_FDCWD, .envp = environ};
	before_own_exec(&p);
	return exec_failed(real.execve(path, argv, NEXT_ENV(p.envp, is_carried_to(&p))));
}

EXPORT int execvp(const char *path, char *const argv[])
{
	struct program p = {.path = path, .at = AT_FDCWD, .search = true, .envp = environ};
	before_own_exec(&p);
	return exec_failed(real.execvpe(path, argv, NEXT_ENV(p.envp, is_carried_to(&p))));
}

EXPORT int execvpe(const char *path, char *const argv[], char *const envp[])
{
	struct program p = {.path = path, .at = AT_FDCWD, .search = true, .envp = envp};
	if (!nextenv_is_there(envp))
		return real.execvpe(path, argv, envp);
	before_own_exec(&p);
	return exec_failed(real.execvpe(path, argv, NEXT_ENV(p.envp, is_carried_to(&p))));
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
	struct program p = {.at = fd, .envp = envp};
	if (!nextenv_is_there(envp))
		return real.fexecve(fd, argv, envp);
	before_own_exec(&p);
	return exec_failed(real.fexecve(fd, argv, NEXT_ENV(p.envp, is_carried_to(&p))));
}

EXPORT int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	struct program p = {.path = path, .at = dir, .envp = envp};
	if (!nextenv_is_there(envp))
		return real.execveat(dir, path, argv, envp, flags);
	before_own_exec(&p);
	return exec_failed(real.execveat(dir, path, argv, NEXT_ENV(p.envp, is_carried_to(&p)), flags));
}

/* The execl family: the arguments become an array, on the stack since a child of vfork may call it. */
static size_t count_args(va_list ap)
{
	size_t n = 1;
	while (va_arg(ap, char *))
		n++;
	return n + 1;
}

#define EXECL(name, TAIL, CALL)                                                                                                \
	EXPORT int name(const char *path, const char *arg, ...)                                                                \
	{                                                                                                                      \
		va_list ap;                                                                                                    \
		va_start(ap, arg);                                                                                             \
		size_t n = count_args(ap);                                                                                     \
		va_end(ap);                                                                                                    \
		char **argv = alloca(n * sizeof(*argv));                                                                       \
		va_start(ap, arg);                                                                                             \
		argv[0] = (char *)(uintptr_t)arg;                                                                              \
		for (size_t i = 1; i < n; i++)                                                                                 \
			argv[i] = va_arg(ap, char *);                                                                          \
		TAIL;                                                                                                          \
		va_end(ap);                                                                                                    \
		return CALL;                                                                                                   \
	}
EXECL(execl, (void)0, execve(path, argv, environ))
EXECL(execlp, (void)0, execvp(path, argv))
EXECL(execle, char *const *envp = va_arg(ap, char *const *), execve(path, argv, envp))

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *at,
	char *const argv[], char *const envp[])
{
	struct program p = {.path = path, .at = AT_FDCWD, .envp = envp};
	if (!nextenv_is_there(envp))
		return real.posix_spawn(pid, path, fa, at, argv, envp);
	before_exec(&p);
	return real.posix_spawn(pid, path, fa, at, argv, NEXT_ENV(p.envp, is_carried_to(&p)));
}

EXPORT int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *at,
	char *const argv[], char *const envp[])
{
	struct program p = {.path = path, .at = AT_FDCWD, .search = true, .envp = envp};
	if (!nextenv_is_there(envp))
		return real.posix_spawnp(pid, path, fa, at, argv, envp);
	before_exec(&p);
	return real.posix_spawnp(pid, path, fa, at, argv, NEXT_ENV(p.envp, is_carried_to(&p)));
}

EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *fa, int fd, int to)
{
	struct sock *s = fd_any_sock(fd);
	if (s && sock_flags(s) & (FAM_CONNECTED | FAM_DGRAM))
		pass_begin(s, WHY_EXEC, false);
	return real.posix_spawn_file_actions_adddup2(fa, fd, to);
}

EXPORT int system(const char *cmd)
{
	if (cmd) {
		before_exec(&(struct program){.path = "/bin/sh", .at = AT_FDCWD, .envp = environ, .as_is = true});
		nextenv_set();
	}
	return real.system(cmd);
}

EXPORT FILE *popen(const char *cmd, const char *mode)
{
	before_exec(&(struct program){.path = "/bin/sh", .at = AT_FDCWD, .envp = environ, .as_is = true});
	nextenv_set();
	return real.popen(cmd, mode);
}

EXPORT FILE *_IO_popen(const char *cmd, const char *mode)
{
	return popen(cmd, mode);
}

EXPORT void _exit(int status)
{
	startup_end(false);
	real._exit(status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status)
{
	_exit(status);
}

/* Until the first one no call has to look whether it is to end. */
EXPORT int pthread_cancel(pthread_t t)
{
	store_relaxed(&cancels, true);
	return real.pthread_cancel(t);
}
