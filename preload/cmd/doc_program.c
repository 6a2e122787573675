/* SPDX-License-Identifier: BSD-2-Clause */
/* doc_program.c - a program before it starts, or a process that runs: what shunt cannot do for it. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "doctor.h"
#include "exe.h"
#include "scan.h"

#define MIN_FILES 256		   /* descriptors */
#define MAX_ENV 8		   /* scripts that env starts for one another */
#define MIN_AS (UINT64_C(1) << 30) /* address space */

static const char dynamic[] = "Use a dynamically linked build of the program, of this machine's C library, and let it get its "
			      "rights by another way than setuid (a "
			      "systemd unit, sudo before `shunt run`).";

/* The file at `path`, for which the kernel executes the one at `real`. */
static int check_file(struct report *r, const char *path, const char *real, const char *name)
{
	const char *why = elf_why_not(path, "/proc/self/exe");

	if (why) {
		report(r, STATE_NO, "program", dynamic, "%s: %s", name, why);
		return 0;
	}
	if (elf_is_go(real)) {
		report(r, STATE_NO, "go", "Nothing to do: programs of the Go compiler make their system calls themselves.",
			"%s: a Go program; its sockets do not pass the C library", name);
		return 0;
	}
	report(r, STATE_OK, "program", NULL, "%s: can be interposed", name);
	return 1;
}

/* The libraries that its dynamic linker would load: "\tNAME => PATH (ADDRESS)". It maps them, and runs nothing of theirs. */
static void check_libraries(struct report *r, const char *path)
{
	char linker[256], line[PATH_MAX + 64], lib[PATH_MAX];
	int pipes[2];
	FILE *f;

	if (elf_linker(path, linker, sizeof(linker)) || pipe(pipes))
		return;
	if (fork() == 0) {
		dup2(pipes[1], 1);
		if (!freopen("/dev/null", "w", stderr))
			_exit(127);
		unsetenv("LD_PRELOAD");
		execl(linker, linker, "--list", path, (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	f = fdopen(pipes[0], "r");
	while (f && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, " => /");

		if (at && sscanf(at + 4, "%4095s", lib) == 1)
			check_imports(r, lib, strrchr(lib, '/') + 1);
	}
	if (f)
		fclose(f);
	else
		close(pipes[0]);
	wait(NULL);
}

static void check_limits(struct report *r, uint64_t files, uint64_t as)
{
	if (files < MIN_FILES)
		report(r, STATE_LIMIT, "nofile",
			"ulimit -n, or LimitNOFILE= in a unit: shunt needs some descriptors of its own.",
			"limits: %llu descriptors", (unsigned long long)files);
	if (as < MIN_AS)
		report(r, STATE_LIMIT, "as",
			"ulimit -v, or LimitAS= in a unit: each pair of programs maps 128 MiB, nearly all of it untouched.",
			"limits: %llu MiB of address space", (unsigned long long)as >> 20);
}

void check_program(struct report *r, const char *path)
{
	struct rlimit files = {0}, as = {0};
	char file[PATH_MAX], real[PATH_MAX], argument[EXE_LINE_LEN], name[EXE_LINE_LEN];

	snprintf(file, sizeof(file), "%s", path);
	for (int i = 0; i < MAX_ENV; i++) {
		script_interpreter(file, real, argument);
		if (!check_file(r, file, real, file))
			return;
		if (!script_env(real, argument, name))
			break;
		cmd_resolve(name, file);
		if (!*file) {
			report(r, STATE_NO, "program", "Install it, or call `shunt doctor` with the PATH that it will have.",
				"%s: is not found in PATH by env, which a script starts it with", name);
			return;
		}
	}
	check_imports(r, real, real);
	check_libraries(r, real);
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_AS, &as);
	check_limits(r, files.rlim_cur, as.rlim_cur);
}

/* ---- a process ---- */

static void check_namespaces(struct report *r, uint32_t pid)
{
	static const struct {
		const char *name;
		const char *text;
	} ns[] = {{"net", "network"}, {"ipc", "IPC"}};
	char path[64];
	struct stat own, its;

	for (size_t i = 0; i < sizeof(ns) / sizeof(*ns); i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", ns[i].name);
		if (stat(path, &own))
			continue;
		snprintf(path, sizeof(path), "/proc/%u/ns/%s", pid, ns[i].name);
		if (stat(path, &its) == 0 && its.st_ino != own.st_ino)
			report(r, STATE_LIMIT, ns[i].name,
				"Its peers must be in the same namespace; containers can share it (podman and docker: "
				"--network and --ipc "
				"container:NAME; a unit: PrivateIPC=no, PrivateNetwork=no, JoinsNamespaceOf=).",
				"process: another %s namespace than this shell's", ns[i].text);
	}
}

/* The number that a line of /proc/PID/status begins with; 0: no such line. */
static unsigned status_number(const char *pid, const char *word)
{
	char path[64], line[256];
	size_t len = strlen(word);
	unsigned v = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, word, len) && line[len] == ':')
			v = (unsigned)strtoul(line + len + 1, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

/* A filter that is on us too has let us try everything that check_machine() tries. */
static void check_seccomp(struct report *r, const char *pid)
{
	if (!status_number(pid, "Seccomp") || status_number(pid, "Seccomp_filters") == status_number("self", "Seccomp_filters"))
		return;
	report(r, STATE_LIMIT, "seccomp",
		"Let the filter permit what shunt needs (System V segments and semaphores, memfd_create, pidfd_open, "
		"membarrier, netlink sockets, a thread), and install it before the program starts; in a unit: "
		"SystemCallFilter=@system-service.",
		"process: it has a filter of system calls (seccomp)");
}

static void check_identity(struct report *r, const char *pid)
{
	char path[64], line[256];
	unsigned ruid, euid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Uid: %u %u", &ruid, &euid) == 2 && ruid != euid)
			report(r, STATE_LIMIT, "setuid", "Start it as the user that it becomes.",
				"process: its real and effective user differ (%u, %u)", ruid, euid);
	if (f)
		fclose(f);
}

static void check_fds(struct report *r, uint32_t pid)
{
	char path[64], link[256];
	struct dirent *d;
	int rings = 0, stdio = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	if (!dir) {
		report(r, STATE_LIMIT, "access", "Run `shunt doctor` as the process's user, or as root.",
			"process: its descriptors cannot be looked at: %s", strerror(errno));
		return;
	}
	while ((d = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);

		link[n < 0 ? 0 : n] = 0;
		rings += !strcmp(link, "anon_inode:[io_uring]");
		stdio += !strncmp(link, "socket:", 7) && strlen(d->d_name) == 1 && d->d_name[0] <= '2' && d->d_name[0] >= '0';
	}
	closedir(dir);
	if (rings)
		report(r, STATE_LIMIT, "io_uring",
			"Nothing to do if it is for files alone, as databases have it. Else switch it off in the program "
			"(node: UV_USE_IO_URING=0; others have an option for the event "
			"loop): sockets that it uses so do not pass the C library.",
			"process: it uses io_uring");
	if (stdio)
		report(r, STATE_LIMIT, "stdio", "Let it listen itself instead of being started by a super-server.",
			"process: %d of its descriptors 0 to 2 are sockets; those stay in the kernel", stdio);
}

static void check_process_limits(struct report *r, uint32_t pid)
{
	struct rlimit files = {RLIM_INFINITY, 0}, as = {RLIM_INFINITY, 0};

	if (prlimit((pid_t)pid, RLIMIT_NOFILE, NULL, &files) == 0 && prlimit((pid_t)pid, RLIMIT_AS, NULL, &as) == 0)
		check_limits(r, files.rlim_cur, as.rlim_cur);
}

/* Every file that it has mapped to execute. */
static void check_mapped(struct report *r, uint32_t pid)
{
	char path[64], line[PATH_MAX + 256], last[PATH_MAX] = "", file[PATH_MAX], root[PATH_MAX + 64], perms[8];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %7s %*s %*s %*s %4095s", perms, file) != 2 || file[0] != '/' || !strchr(perms, 'x') ||
			!strcmp(file, last) || strstr(file, "/libshunt.so"))
			continue;
		snprintf(last, sizeof(last), "%s", file);
		snprintf(root, sizeof(root), "/proc/%u/root%s", pid, file); /* it may see other files under that path */
		check_imports(r, root, strrchr(file, '/') + 1);
	}
	if (f)
		fclose(f);
}

void check_process(struct report *r, uint32_t pid)
{
	char exe[64], name[PATH_MAX], number[16];
	ssize_t n;

	snprintf(number, sizeof(number), "%u", pid);
	snprintf(exe, sizeof(exe), "/proc/%u/exe", pid);
	n = readlink(exe, name, sizeof(name) - 1);
	name[n < 0 ? 0 : n] = 0;
	if (n < 0)
		report(r, STATE_LIMIT, "access", "Run `shunt doctor` as the process's user, or as root.",
			"process: its program cannot be looked at: %s", strerror(errno));
	else if (!check_file(r, exe, exe, name))
		return;
	if (scan_is_under_shunt(pid))
		report(r, STATE_OK, "runs", NULL, "process: it runs under shunt; `shunt ps --why` tells of its sockets");
	else
		report(r, STATE_LIMIT, "runs", "Start it again by `shunt run`; of a service: `shunt unit NAME.service`.",
			"process: it does not run under shunt");
	check_seccomp(r, number);
	check_identity(r, number);
	check_namespaces(r, pid);
	check_fds(r, pid);
	check_process_limits(r, pid);
	check_mapped(r, pid);
}
