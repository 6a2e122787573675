/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock_lifeline.c - a child that was made with a full descriptor table has a connection together with its parent, a thread of which is in the middle of a send: it waits for a page of
 * what it sends.
 */
#include "oracle_talk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void is_killed(pid_t pid)
{
	MUST(kill(pid, SIGKILL));
	join_child(pid);
}

#define LATE 100

struct late_send {
	int fd, faults;
	struct uffdio_range page;
};

static void *sends_late(void *arg)
{
	const struct late_send *l = arg;

	send(l->fd, (void *)(uintptr_t)l->page.start, LATE, 0);
	return NULL;
}

static pthread_t start_late_send(struct late_send *l)
{
	struct uffdio_api api = {.api = UFFD_API};
	size_t len = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	l->page = (struct uffdio_range){(uintptr_t)page, len};
	l->faults = (int)MUST(syscall(SYS_userfaultfd, O_CLOEXEC));
	MUST(ioctl(l->faults, UFFDIO_API, &api));
	MUST(ioctl(l->faults, UFFDIO_REGISTER, &(struct uffdio_register){l->page, UFFDIO_REGISTER_MODE_MISSING, 0}));
	return start_thread(sends_late, l);
}

static int waits_for_page(void *pid)
{
	char path[64], text[64] = "";
	int found = 0;

	snprintf(path, sizeof path, "/proc/%d/task", *(pid_t *)pid);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		snprintf(path, sizeof path, "/proc/%d/task/%.16s/wchan", *(pid_t *)pid, e->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof text - 1);
		text[n > 0 ? n : 0] = 0;
		found |= !strcmp(text, "handle_userfault");
		close(fd);
	}
	if (d)
		closedir(d);
	return found;
}

/* The next descriptor is `next`, and there is none any more; until it is set to what is returned. */
static struct rlimit fill_table(int next)
{
	struct rlimit was, full;

	MUST(close(next));
	MUST(getrlimit(RLIMIT_NOFILE, &was));
	full = was;
	full.rlim_cur = (rlim_t)next;
	MUST(setrlimit(RLIMIT_NOFILE, &full));
	return was;
}

/* ---- the parent is killed in the middle of a send: nobody brings the page. Who tells of it is the parent's parent ---- */

static void busy_parent(int lfd, int to_child, int from_child)
{
	int fd = (int)MUST(accept(lfd, NULL, NULL)), next = dup(fd);
	struct late_send late = {.fd = fd};
	char c = 0;

	warm_up(fd);
	struct rlimit was = fill_table(next);
	if (MUST(fork()) == 0) {
		MUST(read(to_child, &c, 1));
		chat(fd);
		warm_up(fd);
		TRY(close(fd));
		MUST(write(from_child, &c, 1));
		exit(0);
	}
	MUST(setrlimit(RLIMIT_NOFILE, &was));
	start_late_send(&late);
	for (;;)
		pause();
}

static void busy_orphan_part(void)
{
	int port, lfd, to_child[2], from_child[2];
	char c = 0;

	if (!is_server) {
		int fd = connect_one();
		warm_up(fd);
		meet("alone");
		chat(fd);
		warm_up(fd);
		TRY(read(fd, &c, 1));
		TRY(close(fd));
		return;
	}
	MUST(pipe(to_child));
	MUST(pipe(from_child));
	lfd = listen_on("127.0.0.1", 1, &port);
	tell_number(port);
	pid_t parent = fork_part();
	if (parent == 0)
		busy_parent(lfd, to_child[0], from_child[1]);
	HOLDS(wait_until(waits_for_page, &parent));
	is_killed(parent);
	meet("alone");
	MUST(write(to_child[1], &c, 1));
	close(from_child[1]);
	TRY(read(from_child[0], &c, 1));
	TRY(close(lfd));
}

/*
 * ---- the child is its grandparent's; it sends while its parent is in the middle of that, and lives, and waits until that has been sent. (It shall be at it before the page comes; if it is
 * not, it comes second anyhow.) ----
 */
#define A_WHILE 300000 /* us */

struct sibling {
	int fd, go;
};

static int sends_behind(void *arg)
{
	const struct sibling *s = arg;
	char c;

	MUST(read(s->go, &c, 1));
	put(s->fd, LATE, 2, 0);
	return 0;
}

static void late_parent(int lfd, pid_t *sibling)
{
	static char stack[1 << 18];
	int go[2], fd = (int)MUST(accept(lfd, NULL, NULL));
	struct late_send late = {.fd = fd};
	pid_t me = getpid();

	warm_up(fd);
	MUST(pipe(go));
	struct sibling s = {fd, go[0]};
	struct rlimit was = fill_table(dup(fd));
	*sibling = (pid_t)MUST(clone(sends_behind, stack + sizeof stack, CLONE_PARENT | SIGCHLD, &s));
	MUST(setrlimit(RLIMIT_NOFILE, &was));
	pthread_t t = start_late_send(&late);
	HOLDS(wait_until(waits_for_page, &me));
	MUST(write(go[1], "g", 1));
	usleep(A_WHILE);
	MUST(ioctl(late.faults, UFFDIO_ZEROPAGE, &(struct uffdio_zeropage){.range = late.page}));
	pthread_join(t, NULL);
	exit(0);
}

static void sibling_part(void)
{
	char got[LATE], zero[LATE] = {0};

	if (!is_server) {
		int fd = connect_one();
		warm_up(fd);
		MUST(recv(fd, got, LATE, MSG_WAITALL));
		HOLDS(!memcmp(got, zero, LATE));
		get(fd, LATE, 2, 0);
		TRY(read(fd, got, 1));
		TRY(close(fd));
		return;
	}
	pid_t *sibling = mmap(NULL, sizeof *sibling, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int port, lfd = listen_on("127.0.0.1", 1, &port);
	MUST(sibling == MAP_FAILED ? -1 : 0);
	tell_number(port);
	pid_t parent = fork_part();
	if (parent == 0)
		late_parent(lfd, sibling);
	join_child(parent);
	join_child(*sibling);
	TRY(close(lfd));
}

const struct oracle_case oracle_cases[] = {
	{"busy_orphan", busy_orphan_part, busy_orphan_part, CASE_KILLED, NULL},
	{"sibling", sibling_part, sibling_part, 0, NULL},
	{NULL, NULL, NULL, 0, NULL},
};
