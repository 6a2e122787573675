/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scan.h - who runs under shunt, and which path each of their sockets is on: found in /proc and in each process's family memory
 * (preload/fam.h), without asking the process, which may be stopped.
 *
 * What a process wrote into its family memory is input: it is copied out by pread (never mapped: nobody can make us fault), and checked.
 */
#ifndef SHUNT_SCAN_H
#define SHUNT_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "diag.h"

struct scan_dir {
	int on_shm;
	unsigned why; /* enum why; any value: why_word() knows what to do */
	uint64_t shm_bytes, kernel_bytes;
};

struct scan_sock {
	int fd;
	uint32_t inode;
	uint32_t flags; /* FAM_* */
	struct diag_addr own, peer;
	struct scan_dir tx, rx;
	uint32_t ups, downs;
	uint32_t peer_pid; /* 0: not a process that we can see */
};

struct scan_proc {
	uint32_t pid, uid;
	uint64_t netns;		 /* inode of its network namespace */
	char comm[64];		 /* printable ASCII */
	struct scan_sock *socks; /* in order of fd */
	size_t n_socks;
};

struct scan {
	struct scan_proc *procs; /* in order of pid */
	size_t n_procs;
};

/*
 * All processes under shunt whose memory maps we may read: this user's, or everybody's for root. Processes that end meanwhile are left
 * out. 0 or -errno (-ENOMEM; what opening /proc says); scan_fini in any case.
 */
int scan_init(struct scan *s);
void scan_fini(struct scan *s);
/* Does the process have libshunt.so mapped? A deleted one counts: it was upgraded under a running program. */
int scan_is_under_shunt(uint32_t pid);
/* The process with that pid, or NULL. */
const struct scan_proc *scan_find(const struct scan *s, uint32_t pid);

#endif
