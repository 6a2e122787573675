/* SPDX-License-Identifier: BSD-2-Clause */
/* stats.h - the process's counters, and the line of JSON that `shunt run --stats` appends when it ends. Any thread; signal-safe. */
#ifndef SHUNT_STATS_H
#define SHUNT_STATS_H

#include <stdint.h>

#include "atomic.h"
#include "probe.h"
#include "why.h"

struct stats {
	_Atomic uint64_t links, ups, downs, sleeps, bells, spins, trials, slower;
	_Atomic uint64_t tx_shm_bytes, tx_shm_msgs, tx_kernel_bytes,
		tx_kernel_msgs; /* of closed sockets; live ones are added at the end */
	_Atomic uint64_t rx_shm_bytes, rx_shm_msgs, rx_kernel_bytes, rx_kernel_msgs;
	_Atomic uint32_t kernel[WHY_N]; /* closed sockets by why they were in the kernel */
};
extern struct stats stats;

/* A socket, or a peer of a UDP socket, has got a channel. */
static inline void stats_link(void)
{
	add_relaxed(&stats.links, UINT64_C(1));
}
/* With the probes of libshunt(7). `fd`: one of the socket's numbers. */
static inline void stats_up(int fd)
{
	PROBE1(upgrade, fd);
	add_relaxed(&stats.ups, UINT64_C(1));
}
static inline void stats_down(int fd, enum why why)
{
	PROBE2(downgrade, fd, why_word(why));
	add_relaxed(&stats.downs, UINT64_C(1));
}
static inline void stats_sleep(void)
{
	PROBE0(sleep);
	add_relaxed(&stats.sleeps, UINT64_C(1));
}
static inline void stats_bells(void)
{
	PROBE0(wake);
	add_relaxed(&stats.bells, UINT64_C(1));
}
static inline void stats_trial(void)
{
	add_relaxed(&stats.trials, UINT64_C(1));
}
static inline void stats_slower(void)
{
	add_relaxed(&stats.slower, UINT64_C(1));
}
/* Not exact: no locked instruction in a wait that may last for less. */
static inline void stats_spin(void)
{
	store_relaxed(&stats.spins, load_relaxed(&stats.spins) + 1);
}

struct sock;
/* A socket ends (or the process does): add up what it carried. */
void stats_sock(struct sock *s);
/* Append the line, once per process image. */
void stats_write(void);
/* The root directory is about to change: the file is opened now, and the line goes there. */
void stats_hold(void);
void stats_init(const char *path);
void stats_fork_child(void);

#endif
