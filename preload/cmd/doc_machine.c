/* SPDX-License-Identifier: BSD-2-Clause */
/* doc_machine.c - what this machine, and this user on it, can do. What can be tried is tried, and undone. */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "doctor.h"
#include "ept_map.h"
#include "ncadg_sm_abi.h"
#include "rules.h"
#include "sys.h"

static void check_library(struct report *r)
{
	char lib[PATH_MAX];
	int err = cmd_find_lib(lib);

	if (err)
		report(r, STATE_NO, "library", "Install it beside the command or in ../lib/shunt, as `make install` does.",
			"libshunt.so: %s", strerror(-err));
	else if (strpbrk(lib, ": "))
		report(r, STATE_NO, "library", "Install it elsewhere: LD_PRELOAD cannot hold a path with a space or a colon.",
			"%s", lib);
	else
		report(r, STATE_OK, "library", NULL, "library: %s", lib);
}

static void check_segments(struct report *r)
{
	static const char raise[] = "As root: sysctl -w kernel.shmmax=18446744073692774399 kernel.shmall=18446744073692774399 "
				    "kernel.shmmni=4096 (and in /etc/sysctl.d). `shunt gc` removes what killed programs left.";
	struct shm_info used = {0};
	struct shminfo max = {0};
	int id = shmget(IPC_PRIVATE, SM_SEG_LEN, IPC_CREAT | SHM_NORESERVE | 0600), err = errno;

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
	shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used);
	shmctl(0, IPC_INFO, (struct shmid_ds *)(void *)&max);
	if (id < 0)
		report(r, STATE_NO, "shm", raise, "System V: a segment of %llu MiB cannot be made: %s",
			(unsigned long long)SM_SEG_LEN >> 20, strerror(err));
	else if ((unsigned long)used.used_ids + 64 > max.shmmni)
		report(r, STATE_LIMIT, "shm", raise, "System V: %d of %lu segments are used; each pair of programs needs one",
			used.used_ids, max.shmmni);
	else
		report(r, STATE_OK, "shm", NULL, "System V: a segment of %llu MiB can be made; %d of %lu are used",
			(unsigned long long)SM_SEG_LEN >> 20, used.used_ids, max.shmmni);
}

static void check_semaphores(struct report *r)
{
	static const char raise[] = "As root: sysctl -w kernel.sem=\"32000 1024000000 500 32000\" (and in /etc/sysctl.d).";
	struct seminfo used = {0}, max = {0};
	int id = semget(IPC_PRIVATE, SM_N_CSEM, IPC_CREAT | 0600), err = errno;

	if (id >= 0)
		semctl(id, 0, IPC_RMID);
	semctl(0, 0, SEM_INFO, &used);
	semctl(0, 0, IPC_INFO, &max);
	if (id < 0)
		report(r, STATE_NO, "sem", raise, "System V: no semaphores can be made: %s", strerror(err));
	else if (used.semusz + 64 > max.semmni)
		report(r, STATE_LIMIT, "sem", raise, "System V: %d of %d semaphore sets are used; each listener needs one",
			used.semusz, max.semmni);
	else
		report(r, STATE_OK, "sem", NULL, "System V: semaphores can be made; %d of %d sets are used", used.semusz,
			max.semmni);
}

/* Our folder in the map, made if need be, and taken away again if nobody has used it meanwhile. 0 or -errno. */
static int try_map(const char *map)
{
	char own[MAP_PATH_LEN + 16];
	struct stat st;
	int had_map = stat(map, &st) == 0, had_own, dir_fd;

	snprintf(own, sizeof(own), "%s/%u", map, geteuid());
	had_own = stat(own, &st) == 0;
	dir_fd = map_own_open(map, geteuid());
	if (dir_fd >= 0)
		map_own_close(dir_fd);
	if (!had_own)
		rmdir(own);
	if (!had_map)
		rmdir(map);
	return dir_fd < 0 ? dir_fd : 0;
}

static void check_map(struct report *r)
{
	static const char where[] = "Set SHUNT_MAP to a folder that you may write (the same for all programs), or as root make "
				    "/run/shunt with mode 1777 (tmpfiles.d does it at boot).";
	char map[MAP_PATH_LEN];
	int err;

	if (map_path(map) < 0) {
		report(r, STATE_NO, "map", where, "endpoint map: the path in SHUNT_MAP is too long");
		return;
	}
	if (geteuid() == SYS_UID_UNKNOWN) {
		report(r, STATE_NO, "map", "Run as another user: this one may be anybody who has no name here.",
			"endpoint map: uid %u can publish nothing", SYS_UID_UNKNOWN);
		return;
	}
	err = try_map(map);
	if (err)
		report(r, STATE_NO, "map", where, "endpoint map: %s: %s", map, strerror(-err));
	else
		report(r, STATE_OK, "map", NULL, "endpoint map: %s", map);
}

static void ask_diag(struct report *r, int fd, const struct sockaddr_in *sa)
{
	struct diag_sock d;
	struct diag_addr at;
	int err = diag_addr_from(&at, (const struct sockaddr *)sa, sizeof(*sa));

	err = err ? err : diag_listener(&at, &d);
	if (err)
		report(r, STATE_NO, "diag",
			"Load the module (modprobe tcp_diag inet_diag), or let the sandbox permit AF_NETLINK sockets "
			"(RestrictAddressFamilies= in a unit, seccomp in a container).",
			"kernel: sock_diag does not say who has a socket: %s", strerror(-err));
	else
		report(r, STATE_OK, "diag", NULL, "kernel: sock_diag says who has a socket");
	if (!diag_netns(fd))
		report(r, STATE_LIMIT, "netns-cookie", "Use Linux 5.14 or later, if network namespaces share the endpoint map.",
			"kernel: SO_NETNS_COOKIE is missing");
}

/* A listener of our own on the loopback address: can it be reached, and does the kernel tell who has it? */
static void check_loopback(struct report *r)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || to < 0 || bind(fd, (struct sockaddr *)&sa, len) || listen(fd, 1) ||
		getsockname(fd, (struct sockaddr *)&sa, &len) || connect(to, (struct sockaddr *)&sa, len))
		report(r, STATE_NO, "loopback", "Bring the loopback interface up: ip link set lo up.", "loopback: %s",
			strerror(errno));
	else
		ask_diag(r, fd, &sa);
	if (fd >= 0)
		close(fd);
	if (to >= 0)
		close(to);
}

static void check_kernel(struct report *r)
{
	int fd = memfd_create("shunt-doctor", MFD_CLOEXEC);
	long cmds = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	if (fd < 0)
		report(r, STATE_NO, "memfd", "Let the sandbox permit memfd_create(2).", "kernel: memfd_create: %s",
			strerror(errno));
	else
		close(fd);
	if (cmds < 0 || !(cmds & MEMBARRIER_CMD_GLOBAL_EXPEDITED))
		report(r, STATE_LIMIT, "membarrier",
			"Let the sandbox permit membarrier(2): each message then costs a fence less.",
			"kernel: no membarrier(2)");
	fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (fd < 0)
		report(r, STATE_LIMIT, "pidfd",
			"Use Linux 5.3 or later, or let the sandbox permit pidfd_open(2): UDP needs it.",
			"kernel: no pidfd_open(2)");
	else
		close(fd);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		report(r, STATE_LIMIT, "cpus", "Nothing to do: answers have to be slept for, as in the kernel, so less is won.",
			"one CPU");
}

static void check_rules(struct report *r)
{
	static struct rule_set set;
	struct rule_opts none = {0};

	if (rules_load(&set, &none))
		report(r, STATE_NO, "rules",
			"Put the mistake right that stands above: no program starts under shunt until then.",
			"rules: there is a mistake");
	else if (set.rules.n || set.rules.share != SHARE_ALL)
		report(r, STATE_LIMIT, "rules",
			"`shunt rules` prints them, `shunt rules --explain 'SOCKET'` says what they do.",
			"rules: %u, in %u lists; shared with %s", set.rules.n, set.rules.n_lists,
			rule_share_word(set.rules.share));
	else
		report(r, STATE_OK, "rules", NULL, "rules: none, all that can be is upgraded");
}

void check_machine(struct report *r)
{
	check_library(r);
	check_segments(r);
	check_semaphores(r);
	check_map(r);
	check_loopback(r);
	check_kernel(r);
	check_rules(r);
}
