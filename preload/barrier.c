/* SPDX-License-Identifier: BSD-2-Clause */
#include "barrier.h"

#include <linux/membarrier.h>
#include <time.h>

#include "atomic.h"
#include "sys.h"

#define DRAIN_NS 1000000 /* store buffers drain in well under a microsecond; a processor that is interrupted drains its own */

bool barrier_ok;

void barrier_init(void)
{
	barrier_ok = sys3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void barrier_everywhere(void)
{
	struct timespec ts = {0, DRAIN_NS};
	fence_storeload();
	if (sys3(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0)
		return;
	barrier_ok = false;
	sys2(SYS_nanosleep, &ts, 0);
	fence_storeload();
}
