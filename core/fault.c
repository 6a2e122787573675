/* SPDX-License-Identifier: BSD-2-Clause */
#include "fault.h"

#ifdef SHUNT_FAULTS

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "atomic.h"
#include "sys.h"

/* The linker's: the section's ends. */
extern const char __start_fault_points[], __stop_fault_points[];

static struct fault_board *board; /* NULL: nobody is interested */
static char wanted[128];
static uint32_t nth = 1;
static int action = SIGKILL; /* 0: a nap */

static void *map_board(const char *path, size_t len)
{
	long fd = path ? sys4(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	long p;

	if (fd >= 0)
		sys2(SYS_ftruncate, fd, len);
	p = sys6(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd < 0 ? -1 : fd,
		0);
	if (fd >= 0)
		sys1(SYS_close, fd);
	return sys_is_err(p) ? NULL : (void *)p;
}

void fault_init(const char *fault, const char *what, const char *path)
{
	size_t len = sizeof(*board) + (size_t)(__stop_fault_points - __start_fault_points) * sizeof(board->count[0]);
	const char *at = fault ? strrchr(fault, '@') : NULL;
	size_t n = !fault ? 0 : at ? (size_t)(at - fault) : strlen(fault);

	if (!fault && !path)
		return;
	if (n < sizeof(wanted))
		memcpy(wanted, fault ? fault : "", n);
	if (at)
		for (nth = 0; *++at >= '0' && *at <= '9';)
			nth = nth * 10 + (uint32_t)(*at - '0');
	if (what && !strcmp(what, "stop"))
		action = SIGSTOP;
	else if (what && !strcmp(what, "nap"))
		action = 0;
	board = map_board(path, len);
}

/* The first of all who get there; nobody a second time. */
static void strike(void)
{
	static const struct timespec nap = {.tv_nsec = 100000000};
	uint32_t none = 0, pid = (uint32_t)sys0(SYS_getpid);

	if (!cas_acqrel(&board->victim, none, pid))
		return;
	if (action)
		sys2(SYS_kill, pid, action);
	else
		sys2(SYS_nanosleep, &nap, 0);
}

void fault_reach(const char *point)
{
	if (!board)
		return;
	add_relaxed(&board->count[point - __start_fault_points], 1u);
	if (!strcmp(point, wanted) && add_acqrel(&board->reached, 1u) + 1 == nth)
		strike();
}

#endif
