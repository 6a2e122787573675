/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bell_bench - what it costs to wake a sleeper in another process, by each means that could serve as a bell.
 *
 * The sleeper waits as it would in real life: for the futex in FUTEX_WAIT, for the others in epoll_wait() with the bell in the set. It lies on
 * another CPU that is idle, on another CPU where a third process computes, or on the ringer's own CPU (the ringer goes to sleep after
 * ringing, as one who waits for an answer does). It has slept for a millisecond when the bell is rung. Printed are, in ns:
 *
 *   ring   how long the ringer is in its system call (median)
 *   runs   from the beginning of that call until the sleeper is back from its own (median; 90 and 99 of 100 are not longer)
 *   take   how long the sleeper then needs to make the bell silent (median)
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "net.h"

#define MAX_N 100000
#define PAUSE_NS 1000000

/* What both processes see. */
static struct shared {
	_Atomic uint32_t ready; /* the sleeper is about to sleep for this time */
	_Atomic uint32_t word;	/* the futex that is measured */
	_Atomic uint32_t done;	/* the sleeper has been woken so many times; the ringer sleeps on it where it must */
	uint64_t woken, taken;	/* when it was back; when the bell was silent */
} * sh;

static int rd = -1, wr = -1; /* the bell that is rung, for the sleeper and for the ringer */
static struct sockaddr_un addr;
static socklen_t addr_len;

static long futex(_Atomic uint32_t *word, int op, uint32_t val)
{
	return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity to CPU %d", cpu);
}

/* ---- the bells ---- */

static void futex_open(void)
{
}

static void futex_ring(void)
{
	atomic_fetch_add(&sh->word, 1);
	futex(&sh->word, FUTEX_WAKE, 1);
}

static void eventfd_open(void)
{
	rd = wr = eventfd(0, EFD_NONBLOCK);
}

static void eventfd_ring(void)
{
	uint64_t one = 1;

	if (write(wr, &one, sizeof(one)) < 0)
		die("eventfd");
}

static void eventfd_take(void)
{
	uint64_t n;

	if (read(rd, &n, sizeof(n)) < 0)
		die("eventfd");
}

static void pipe_open(void)
{
	int p[2];

	if (pipe2(p, O_NONBLOCK))
		die("pipe");
	rd = p[0];
	wr = p[1];
}

static void pipe_ring(void)
{
	if (write(wr, "", 1) < 0)
		die("pipe");
}

static void pipe_take(void)
{
	char buf[64];

	if (read(rd, buf, sizeof(buf)) < 0)
		die("pipe");
}

/* As core/bell.c: named by an abstract address, so that no descriptor needs to be passed. */
static void unix_open(void)
{
	rd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	wr = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	addr.sun_family = AF_UNIX;
	addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			       (size_t)snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "bell_bench/%d/%llu", getpid(),
				       (unsigned long long)now_ns()));
	if (rd < 0 || wr < 0 || bind(rd, (struct sockaddr *)&addr, addr_len))
		die("AF_UNIX");
}

static void unix_ring(void)
{
	if (sendto(wr, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&addr, addr_len) < 0)
		die("sendto");
}

static void unix_take(void)
{
	struct mmsghdr m[16] = {0};
	struct iovec iov[16];
	char buf[16];
	int i;

	for (i = 0; i < 16; i++) {
		iov[i] = (struct iovec){&buf[i], 1};
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	if (recvmmsg(rd, m, 16, MSG_DONTWAIT, NULL) < 1)
		die("recvmmsg");
}

static const struct bell {
	const char *name;
	void (*open)(void);
	void (*ring)(void);
	void (*take)(void); /* NULL: the sleeper is in FUTEX_WAIT, and there is nothing to take */
} bells[] = {
	{"futex", futex_open, futex_ring, NULL},
	{"eventfd", eventfd_open, eventfd_ring, eventfd_take},
	{"AF_UNIX datagram", unix_open, unix_ring, unix_take},
	{"pipe", pipe_open, pipe_ring, pipe_take},
};

/* ---- the three processes ---- */

static void sleeper(const struct bell *b)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = -1;
	uint32_t i;

	if (b->take) {
		ep = epoll_create1(0);
		if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, rd, &ev))
			die("epoll");
	}
	for (i = 1;; i++) {
		uint32_t seen = atomic_load(&sh->word);

		atomic_store(&sh->ready, i);
		if (!b->take)
			while (atomic_load(&sh->word) == seen)
				futex(&sh->word, FUTEX_WAIT, seen);
		else if (epoll_wait(ep, &ev, 1, -1) != 1)
			die("epoll_wait");
		sh->woken = now_ns();
		if (b->take)
			b->take();
		sh->taken = now_ns();
		atomic_store(&sh->done, i);
		futex(&sh->done, FUTEX_WAKE, 1);
	}
}

static _Noreturn void hog(void)
{
	volatile uint64_t n = 0;

	for (;;)
		n = n + 1;
}

static pid_t child(int cpu, const struct bell *b)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stay_on(cpu);
	if (b)
		sleeper(b);
	hog();
}

/* The sleeper must sleep, and have slept for a while. On our own CPU it can get there only while we sleep. */
static void let_it_sleep(uint32_t i, int same_cpu)
{
	struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint64_t t;

	if (same_cpu) {
		do
			nanosleep(&pause, NULL);
		while (atomic_load(&sh->ready) != i);
		return;
	}
	while (atomic_load(&sh->ready) != i)
		;
	for (t = now_ns(); now_ns() - t < PAUSE_NS;)
		;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static unsigned long long percentile(uint64_t *v, size_t n, unsigned p)
{
	qsort(v, n, sizeof(*v), by_value);
	return (unsigned long long)v[n * p / 100];
}

static void measure(const struct bell *b, const char *where, int own_cpu, int cpu, int with_hog, uint64_t ms)
{
	static uint64_t ring[MAX_N], runs[MAX_N], take[MAX_N];
	uint64_t end = now_ns() + ms * 1000000;
	pid_t s, h = 0;
	size_t n = 0;
	uint32_t i;

	memset(sh, 0, sizeof(*sh));
	b->open();
	s = child(cpu, b);
	if (with_hog)
		h = child(cpu, NULL);
	for (i = 1; n < MAX_N && (i < 20 || now_ns() < end); i++) {
		uint64_t t0, t1;

		let_it_sleep(i, own_cpu == cpu);
		t0 = now_ns();
		b->ring();
		t1 = now_ns();
		for (;;) {
			uint32_t done = atomic_load(&sh->done);

			if (done == i)
				break;
			if (own_cpu == cpu)
				futex(&sh->done, FUTEX_WAIT, done);
		}
		if (i <= 10)
			continue;
		ring[n] = t1 - t0;
		runs[n] = sh->woken - t0;
		take[n++] = sh->taken - sh->woken;
	}
	kill(s, SIGKILL);
	waitpid(s, NULL, 0);
	if (h) {
		kill(h, SIGKILL);
		waitpid(h, NULL, 0);
	}
	if (rd >= 0)
		close(rd);
	if (wr >= 0 && wr != rd)
		close(wr);
	rd = wr = -1;
	printf("%-17s %-15s %7llu %9llu %9llu %9llu %7llu\n", b->name, where, percentile(ring, n, 50), percentile(runs, n, 50),
		percentile(runs, n, 90), percentile(runs, n, 99), b->take ? percentile(take, n, 50) : 0);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned long ms = 500;
	int o, cpu, own = -1, other = -1;
	cpu_set_t set;
	size_t i;

	while ((o = getopt(argc, argv, "t:")) != -1) {
		if (o != 't') {
			fputs("usage: bell_bench [-t MILLISECONDS]      (for each line of the table)\n", stderr);
			return 2;
		}
		ms = number("-t", optarg, 1, 600000);
	}
	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	for (cpu = 0; cpu < CPU_SETSIZE && other < 0; cpu++)
		if (CPU_ISSET((size_t)cpu, &set))
			*(own < 0 ? &own : &other) = cpu;
	stay_on(own);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	printf("%-17s %-15s %7s %9s %9s %9s %7s\n", "ns", "sleeper on", "ring", "runs", "90 %", "99 %", "take");
	for (i = 0; i < sizeof(bells) / sizeof(*bells); i++) {
		if (other >= 0) {
			measure(&bells[i], "idle other CPU", own, other, 0, ms);
			measure(&bells[i], "busy other CPU", own, other, 1, ms);
		}
		measure(&bells[i], "same CPU", own, own, 0, ms);
	}
	if (other < 0)
		puts("there is no other CPU");
	return 0;
}
