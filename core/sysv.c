/* SPDX-License-Identifier: BSD-2-Clause */
#include "sysv.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

int sysv_semop(int id, unsigned short num, short op, short flags, uint64_t wait_ns)
{
	struct sembuf sb = {num, op, flags};
	struct timespec ts = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};

	if (wait_ns == 0)
		sb.sem_flg |= IPC_NOWAIT;
	return (int)sys4(SYS_semtimedop, id, &sb, 1, wait_ns ? &ts : NULL);
}

/*
 * The kernel does not say which pages a segment has, but it refuses to drop, or to split off, a part of a huge page. Dropping is
 * cheap and tried first (on shared memory it only empties page tables); it also fails on memory locked by mlockall(), so the
 * answer is then asked from splitting.
 */
int sysv_shm_is_huge(void *base)
{
	unsigned long page = getauxval(AT_PAGESZ);
	char *part = (char *)base + page;

	if (sys3(SYS_madvise, part, page, MADV_DONTNEED) == 0)
		return 0;
	return sys3(SYS_madvise, part, page, MADV_DONTDUMP) != 0;
}
