/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_ns.c - with live connections: other namespaces, credentials, filters and descriptor tables; threads that end before the process. */
#include "oracle_talk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int capset(struct __user_cap_header_struct *hdr, const struct __user_cap_data_struct *data);

static void start(void)
{
	talk_first(serve_warm());
}

/* The client of all that follow. */
static void talking_client(void)
{
	talk_as_told(connect_warm());
}

static void unshare_server(void)
{
	start();
	TRY(unshare(*(const int *)the_case->arg));
	talk_again();
	TRY(unshare(CLONE_FS));
	talk_again();
	talk_end();
}

/* It has left memory already, for another reason: the descriptor is of no ring. */
static void unshare_later_server(void)
{
	start();
	TRY(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
	talk_again();
	TRY(unshare(CLONE_NEWUSER));
	talk_again();
	talk_end();
}

/* A new set, and one that had the connection before. */
static void unshare_set_server(void)
{
	int ep = new_set();

	start();
	set_add(ep, talk_fd, EPOLLIN, 7);
	set_says(ep, 0);
	TRY(unshare(*(const int *)the_case->arg));
	talk_again();
	set_says(ep, 0);
	set_mod(ep, talk_fd, EPOLLIN | EPOLLOUT, 8);
	set_says(ep, SOON);
	set_del(ep, talk_fd);
	set_add(ep, talk_fd, EPOLLIN | EPOLLRDHUP, 9);
	talk_end();
}

static void unshare_ready_server(void)
{
	int ep = new_set();
	char buf[10];

	start();
	set_add(ep, talk_fd, EPOLLIN, 7);
	TRY(unshare(*(const int *)the_case->arg));
	tell_number(2);
	poll_is(talk_fd, POLLIN, POLLIN);
	set_says(ep, SOON);
	TRY(recv(talk_fd, buf, 10, MSG_WAITALL));
	set_says(ep, 0);
	TRY(close(talk_fd));
}

static void unshare_ready_client(void)
{
	char c;

	talk_first(connect_warm());
	await_number();
	usleep(20000); /* the other side may well be asleep by then; nothing depends on it */
	put(talk_fd, 10, 1, 0);
	TRY(read(talk_fd, &c, 1));
	TRY(close(talk_fd));
}

static void setns_server(void)
{
	int own = (int)MUST(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));

	start();
	TRY(unshare(CLONE_NEWNET));
	talk_again();
	TRY(setns(own, 0));
	talk_again();
	TRY(setns(own, CLONE_NEWNET));
	TRY(setns(own, CLONE_NEWUSER));
	TRY(setns(talk_fd, 0));
	talk_again();
	talk_end();
}

/* Joining a child's user namespace is allowed to a process with one thread. */
static void setns_user_server(void)
{
	int go[2], up[2], user;
	char path[64], c = 'x';

	start();
	MUST(pipe2(go, O_CLOEXEC));
	MUST(pipe2(up, O_CLOEXEC));
	pid_t pid = fork_part();
	if (!pid) {
		c = unshare(CLONE_NEWUSER) ? 'n' : 'y';
		MUST(write(up[1], &c, 1));
		MUST(read(go[0], &c, 1));
		_exit(0);
	}
	MUST(read(up[0], &c, 1));
	say("the child: %c", c);
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
	user = (int)MUST(open(path, O_RDONLY | O_CLOEXEC));
	TRY(setns(user, CLONE_NEWUSER));
	talk_again();
	MUST(write(go[1], &c, 1));
	join_child(pid);
	talk_end();
}

/* How many different lines that begin with `key` do our threads have in their status? */
static int differing(const char *key)
{
	DIR *d = opendir("/proc/self/task");
	char first[128] = "", line[128], path[300];
	int n = 0;

	for (struct dirent *e; d && (e = readdir(d));) {
		snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (f && fgets(line, sizeof line, f)) {
			if (strncmp(line, key, strlen(key)) != 0 || (n && !strcmp(line, first)))
				continue;
			n++;
			strcpy(first, line);
		}
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return n;
}

static void uid_server(void)
{
	start();
	TRY(setresgid(-1, 1000, -1));
	TRY(setresuid(-1, 1000, -1));
	HOLDS(differing("Uid:") == 1);
	talk_again();
	TRY(seteuid(0));
	TRY(setegid(0));
	HOLDS(differing("Uid:") == 1);
	talk_again();
	talk_end();
}

static void caps_server(void)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	start();
	MUST(syscall(SYS_capget, &hdr, data));
	data[0].effective &= ~(1u << CAP_CHOWN);
	data[0].permitted &= ~(1u << CAP_CHOWN);
	TRY(capset(&hdr, data));
	HOLDS(differing("CapEff:") == 1);
	talk_again();
	data[0].effective &= ~(1u << CAP_KILL);
	TRY(syscall(SYS_capset, &hdr, data));
	HOLDS(differing("CapEff:") == 1);
	TRY(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0));
	HOLDS(differing("CapBnd:") == 1);
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	HOLDS(differing("NoNewPrivs:") == 1);
	talk_again();
	talk_end();
}

/* In no thread of ours is a fault's signal blocked (all are, for some microseconds, in one that is just coming up). */
static int faults_come(void *arg)
{
	uint64_t faults = UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1), held = 0;
	char line[128], path[300];
	DIR *d = opendir("/proc/self/task");

	(void)arg;
	for (struct dirent *e; d && (e = readdir(d));) {
		snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (f && fgets(line, sizeof line, f))
			if (!strncmp(line, "SigBlk:", 7))
				held |= strtoull(line + 7, NULL, 16);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return !(held & faults);
}

static void faults_server(void)
{
	start();
	HOLDS(wait_until(faults_come, NULL));
	TRY(unshare(CLONE_FS));
	talk_again();
	HOLDS(wait_until(faults_come, NULL));
	talk_end();
}

/* A server, which stops when it has taken a connection from us: fd. */
static pid_t stopped_server(int *fd)
{
	int port, to_us[2], status;

	MUST(pipe(to_us));
	pid_t pid = fork_part();
	if (pid == 0) {
		int l = listen_on("127.0.0.1", 1, &port);
		MUST(write(to_us[1], &port, sizeof port));
		MUST(accept(l, NULL, NULL));
		raise(SIGSTOP);
		exit(0);
	}
	MUST(read(to_us[0], &port, sizeof port));
	*fd = (int)MUST(connect_to("127.0.0.1", port));
	MUST(waitpid(pid, &status, WUNTRACED));
	close(to_us[0]);
	close(to_us[1]);
	return pid;
}

/* What a thread changes of itself need not wait for other processes. */
static void caps_meanwhile_server(void)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	int64_t longest = 0, until;
	int fd;

	start();
	pid_t pid = stopped_server(&fd);
	for (int i = 0; i < 4; i++)
		MUST(send(fd, "x", 1, 0));
	MUST(syscall(SYS_capget, &hdr, data));
	until = now_ms() + rare_ms(300);
	for (int64_t now = now_ms(), was = now; was < until; was = now) {
		MUST(capset(&hdr, data));
		now = now_ms();
		longest = now - was > longest ? now - was : longest;
	}
	HOLDS(longest < 400); /* a rendezvous waits half a second */
	kill(pid, SIGCONT);
	join_child(pid);
	talk_again();
	talk_end();
}

/* From here on read, write and the thread's own exit are all that there is. */
static void strict_server(void)
{
	char buf[TALK_LEN];
	bool ok = true;

	start();
	fill(buf, TALK_LEN, 1, 0);
	tell("strict");
	long r = prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	for (int i = 0; i < 30; i++) {
		ok &= write(talk_fd, buf, TALK_LEN) == TALK_LEN;
		ok &= read(talk_fd, buf, 1) == 1 && buf[0] == 'a';
		fill(buf, 1, 1, 0);
	}
	ok &= read(talk_fd, buf, 1) == 0;
	syscall(SYS_exit, r || !ok);
}

static void strict_client(void)
{
	char buf[TALK_LEN];

	talk_first(connect_warm());
	await("strict");
	for (int i = 0; i < 30; i++) {
		get(talk_fd, TALK_LEN, 1, 0);
		MUST(write(talk_fd, "a", 1));
	}
	TRY(shutdown(talk_fd, SHUT_WR));
	TRY(read(talk_fd, buf, 1));
	TRY(close(talk_fd));
}

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
static void filter_server(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_read),
		ALLOW(SYS_write),
		ALLOW(SYS_sendto),
		ALLOW(SYS_recvfrom),
		ALLOW(SYS_close),
		ALLOW(SYS_exit_group),
		ALLOW(SYS_rt_sigreturn),
#ifdef __SANITIZE_ADDRESS__
		ALLOW(SYS_sigaltstack), /* its runtime asks before each function that does not return */
#endif
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = {sizeof code / sizeof *code, code};

	start();
	TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	talk_again();
	tell_number(1);
	if (the_case->arg)
		TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
	else
		TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	talk();
	tell_number(0);
	TRY(close(talk_fd));
	_exit(0);
}

/* ---- two tables of descriptors */

static pthread_barrier_t bar;

static void *own_table(void *arg)
{
	(void)arg;
	if (the_case->arg)
		TRY(close_range(90, 95, CLOSE_RANGE_UNSHARE));
	else
		TRY(unshare(CLONE_FILES));
	/* The number leads elsewhere here, and to the connection there. */
	TRY(close(talk_fd));
	int other = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	MUST(dup2(other, talk_fd));
	TRY(send(talk_fd, "x", 1, MSG_NOSIGNAL));
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar);
	TRY(send(talk_fd, "x", 1, MSG_NOSIGNAL));
	return NULL;
}

static void two_tables_server(void)
{
	start();
	pthread_barrier_init(&bar, NULL, 2);
	pthread_t t = start_thread(own_table, NULL);
	pthread_barrier_wait(&bar);
	talk_again();
	pthread_barrier_wait(&bar);
	pthread_join(t, NULL);
	talk_again();
	talk_end();
}

/* ---- the main thread ends, the process goes on, and ends with the last thread */

static void last_words(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	say("last words; USR1 blocked: %d, TERM blocked: %d", sigismember(&now, SIGUSR1), sigismember(&now, SIGTERM));
}

static int one_is_zombie(void *arg)
{
	(void)arg;
	return task_state(getpid()) == 'Z';
}

static void *goes_on(void *arg)
{
	(void)arg;
	HOLDS(wait_until(one_is_zombie, NULL));
	talk_again();
	usleep(100000); /* long enough for somebody who looks too early whether all is over */
	talk_again();
	talk_end();
	return NULL;
}

static void main_first_server(void)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	atexit(last_words);
	start();
	pthread_sigmask(SIG_BLOCK, &one, NULL);
	start_thread(goes_on, NULL);
	pthread_exit(NULL);
}

/* Nothing has needed a second thread before the main thread ends. */
static void *begins(void *arg)
{
	(void)arg;
	HOLDS(wait_until(one_is_zombie, NULL));
	start();
	talk_end();
	return NULL;
}

static void main_before_server(void)
{
	atexit(last_words);
	start_thread(begins, NULL);
	pthread_exit(NULL);
}

static const int newuser = CLONE_NEWUSER, newnet = CLONE_NEWNET, newipc = CLONE_NEWIPC, newpid = CLONE_NEWPID,
		 files = CLONE_FILES, nothing = 0,
		 all = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS, bad = 0x40;

const struct oracle_case oracle_cases[] = {
	{"newuser", unshare_server, talking_client, 0, &newuser},
	{"newnet", unshare_server, talking_client, 0, &newnet},
	{"newipc", unshare_server, talking_client, 0, &newipc},
	{"newpid", unshare_server, talking_client, 0, &newpid},
	{"new_all", unshare_server, talking_client, 0, &all},
	{"files", unshare_server, talking_client, 0, &files},
	{"nothing", unshare_server, talking_client, 0, &nothing},
	{"bad", unshare_server, talking_client, 0, &bad},
	{"newuser_later", unshare_later_server, talking_client, 0, NULL},
	{"newnet_set", unshare_set_server, talking_client, 0, &newnet},
	{"newuser_set", unshare_set_server, talking_client, 0, &newuser},
	{"newnet_ready", unshare_ready_server, unshare_ready_client, 0, &newnet},
	{"newuser_ready", unshare_ready_server, unshare_ready_client, 0, &newuser},
	{"newipc_ready", unshare_ready_server, unshare_ready_client, 0, &newipc},
	{"setns", setns_server, talking_client, 0, NULL},
	{"setns_user", setns_user_server, talking_client, 0, NULL},
	{"uid", uid_server, talking_client, 0, NULL},
	{"caps", caps_server, talking_client, 0, NULL},
	{"faults", faults_server, talking_client, 0, NULL},
	{"caps_meanwhile", caps_meanwhile_server, talking_client, CASE_ALONE, NULL},
	{"strict", strict_server, strict_client, 0, NULL},
	{"filter", filter_server, talking_client, 0, NULL},
	{"filter_raw", filter_server, talking_client, 0, ""},
	{"two_tables", two_tables_server, talking_client, 0, NULL},
	{"two_tables_range", two_tables_server, talking_client, 0, ""},
	{"main_first", main_first_server, talking_client, 0, NULL},
	{"main_before", main_before_server, talking_client, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
