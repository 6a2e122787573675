/* SPDX-License-Identifier: BSD-2-Clause */
#include "scratch.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys.h"

#define WAIT_MS 10000
#define RUN_S 240 /* the whole program */

char scratch_map[64];
static uint64_t fds_before[16]; /* bit per descriptor below 1024 */

static void open_fds(uint64_t set[16])
{
	memset(set, 0, 16 * sizeof(*set));
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			set[fd / 64] |= UINT64_C(1) << (fd % 64);
}

static int mine(const struct ipc_perm *p)
{
	return geteuid() == 0 || p->cuid == geteuid();
}

void scratch_same_endpoint(const struct ept *e, const struct ept_ref *r)
{
	assert_memory_equal(e->nonce, r->nonce, 16);
	assert_int_equal(e->semid, r->semid);
	assert_int_equal(e->shmid, r->shmid);
	assert_string_equal(e->binding.path, r->binding.path);
	assert_int_equal(e->binding.id, r->binding.id);
	assert_true(diag_addr_eq(&e->key.at, &r->key.at));
	assert_int_equal(e->key.dual, r->key.dual);
	assert_non_null(r->area);
}

void scratch_is_found(const struct ept *e)
{
	struct ept_ref r;

	assert_int_equal(ept_lookup(&r, &e->key.at, e->key.netns), 0);
	scratch_same_endpoint(e, &r);
	ept_ref_drop(&r);
}

int scratch_publish(struct ept *e, struct ept_key *key)
{
	int fd = scratch_listen("127.0.0.1", 0, key);

	assert_int_equal(ept_publish(e, key, geteuid()), 0);
	return fd;
}

int scratch_publish_and_die(void *arg)
{
	struct ept e;

	EXPECT(ept_publish(&e, arg, geteuid()) == 0);
	kill(getpid(), SIGKILL);
	return 1;
}

int scratch_n_shm(void)
{
	struct shm_info info;
	struct shmid_ds ds;
	int n = 0, max = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);

	for (int i = 0; i <= max; i++)
		n += shmctl(i, SHM_STAT, &ds) >= 0 && mine(&ds.shm_perm) && !(ds.shm_perm.mode & SHM_DEST);
	return n;
}

int scratch_n_sem(void)
{
	struct seminfo info;
	struct semid_ds ds;
	int n = 0, max = semctl(0, 0, SEM_INFO, &info);

	for (int i = 0; i <= max; i++)
		n += semctl(i, 0, SEM_STAT, &ds) >= 0 && mine(&ds.sem_perm);
	return n;
}

/* Counts what is not a folder, or removes everything. */
static int walk(const char *path, int remove_too)
{
	DIR *d = opendir(path);
	struct dirent *de;
	char sub[512];
	int n = 0;

	while (d && (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, de->d_name);
		if (de->d_type == DT_DIR)
			n += walk(sub, remove_too);
		else
			n++;
		if (remove_too)
			remove(sub);
	}
	if (d)
		closedir(d);
	return n;
}

int scratch_n_files(void)
{
	return walk(scratch_map, 0);
}

int scratch_setup(void **state)
{
	(void)state;
	open_fds(fds_before);
	strcpy(scratch_map, "/tmp/shunt-unit-XXXXXX");
	if (!mkdtemp(scratch_map) || chmod(scratch_map, 01777))
		return -1;
	return ept_map_set(scratch_map);
}

int scratch_teardown(void **state)
{
	uint64_t now[16];
	int files, shm = scratch_n_shm(), sem = scratch_n_sem(), fds = 0, child;

	(void)state;
	scratch_fault_off();
	diag_fork_child();
	open_fds(now);
	for (int i = 0; i < 16; i++)
		fds += __builtin_popcountll(now[i] & ~fds_before[i]);
	files = walk(scratch_map, 1);
	remove(scratch_map);
	child = waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD;
	if (files || shm || sem || fds || child)
		print_error("left behind: %d files, %d segments, %d semaphores, %d descriptors, %d children\n", files, shm, sem,
			fds, child);
	return files || shm || sem || fds || child ? -1 : 0;
}

int scratch_run(const char *name, const struct CMUnitTest *tests, size_t n)
{
	umask(077); /* the worst that core can meet */
	signal(SIGPIPE, SIG_IGN);
	alarm(RUN_S);
	if (geteuid() == 0 && unshare(CLONE_NEWIPC))
		print_message("no IPC namespace of our own: others' objects may be counted\n");
	return _cmocka_run_group_tests(name, tests, n, NULL, NULL);
}

void scratch_need_root(void)
{
	if (geteuid() != 0)
		skip();
}

pid_t scratch_fork(uint32_t uid, int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	diag_fork_child();
	if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(2);
	_exit(fn(arg));
}

int scratch_wait(pid_t pid)
{
	struct pollfd p = {.events = POLLIN};
	int status, late;

	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(p.fd >= 0);
	late = poll(&p, 1, WAIT_MS) != 1;
	close(p.fd);
	if (late)
		kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(late);
	return status;
}

void scratch_wait_ok(pid_t pid)
{
	assert_int_equal(scratch_wait(pid), 0);
}

void scratch_pair(int sp[2])
{
	struct timeval tv = {.tv_sec = WAIT_MS / 1000};

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(setsockopt(sp[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
}

struct diag_addr scratch_addr(const char *addr, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct diag_addr a;

	if (inet_pton(AF_INET, addr, &in.sin_addr) == 1) {
		assert_int_equal(diag_addr_from(&a, (struct sockaddr *)&in, sizeof(in)), 0);
	} else {
		assert_int_equal(inet_pton(AF_INET6, addr, &in6.sin6_addr), 1);
		assert_int_equal(diag_addr_from(&a, (struct sockaddr *)&in6, sizeof(in6)), 0);
	}
	return a;
}

int scratch_listen(const char *addr, int v6only, struct ept_key *key)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u;
	socklen_t len = strchr(addr, ':') ? sizeof(u.in6) : sizeof(u.in);
	int fd;

	memset(&u, 0, sizeof(u));
	u.sa.sa_family = strchr(addr, ':') ? AF_INET6 : AF_INET;
	assert_int_equal(
		inet_pton(u.sa.sa_family, addr, u.sa.sa_family == AF_INET ? (void *)&u.in.sin_addr : (void *)&u.in6.sin6_addr),
		1);
	fd = socket(u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (u.sa.sa_family == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)), 0);
	assert_int_equal(bind(fd, &u.sa, len), 0);
	assert_int_equal(listen(fd, 16), 0);
	len = sizeof(u);
	assert_int_equal(getsockname(fd, &u.sa, &len), 0);
	memset(key, 0, sizeof(*key));
	assert_int_equal(diag_addr_from(&key->at, &u.sa, len), 0);
	key->netns = diag_netns(fd);
	key->dual = u.sa.sa_family == AF_INET6 && !v6only && diag_addr_is_any(&key->at);
	return fd;
}

static struct {
	int count, at, left;
	long nr, err;
} fault;

static int only_tidies(long nr)
{
	return nr == SYS_close || nr == SYS_unlinkat || nr == SYS_flock || nr == SYS_shmdt || nr == SYS_munmap ||
	       nr == SYS_shmctl || nr == SYS_semctl || nr == SYS_madvise || nr == SYS_clock_gettime || nr == SYS_getpid ||
	       nr == SYS_geteuid || nr == SYS_rt_sigprocmask;
}

static long fail_at(long nr)
{
	if (only_tidies(nr))
		return 0;
	return fault.count++ == fault.at ? fault.err : 0;
}

static long fail_nr(long nr)
{
	fault.count++;
	return nr == fault.nr && fault.left-- > 0 ? fault.err : 0;
}

static long kill_at(long nr)
{
	(void)nr;
	if (fault.count++ == fault.at)
		kill(getpid(), SIGKILL);
	return 0;
}

static long just_count(long nr)
{
	(void)nr;
	fault.count++;
	return 0;
}

static void fault_set(long (*fn)(long nr), int at, long nr, int left, long err)
{
	fault.count = 0;
	fault.at = at;
	fault.nr = nr;
	fault.left = left;
	fault.err = err;
	sys_fault = fn;
}

void scratch_fault_at(int n, long err)
{
	fault_set(fail_at, n, 0, 0, err);
}

void scratch_fault_nr(long nr, int n, long err)
{
	fault_set(fail_nr, 0, nr, n, err);
}

void scratch_kill_at(int n)
{
	fault_set(kill_at, n, 0, 0, 0);
}

void scratch_count(void)
{
	fault_set(just_count, 0, 0, 0, 0);
}

int scratch_fault_off(void)
{
	sys_fault = NULL;
	return fault.count;
}
