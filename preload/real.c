/* SPDX-License-Identifier: BSD-2-Clause */
#include "real.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

#include "atomic.h"

static _Atomic int bound;

/* clang-format off */
/* Each stub is what its pointer leads to until real_bind() has run: it binds, then goes where the pointer leads now. */
#define X(ret, name, params, args) static ret early_##name params { real_bind(); return real.name args; }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include "syscalls.def"
#pragma GCC diagnostic pop
#undef X

struct real real = {
#define X(ret, name, params, args) .name = early_##name,
#include "syscalls.def"
#undef X
};
/* clang-format on */

/*
 * dlsym() of glibc allocates only to report a failure, and every name here exists since glibc 2.35 (close_range, closefrom,
 * epoll_pwait2 are the youngest). Two threads may bind at once: they write the same values.
 */
void real_bind(void)
{
	if (load_acquire(&bound))
		return;
		/* clang-format off */
#define X(ret, name, params, args)                                                                                               \
	{                                                                                                                        \
		void *p = dlsym(RTLD_NEXT, #name);                                                                               \
		if (p)                                                                                                           \
			*(void **)&real.name = p;                                                                                \
		else                                                                                                             \
			abort();                                                                                                 \
	}
#include "syscalls.def"
#undef X
	/* clang-format on */
	store_release(&bound, 1);
}
