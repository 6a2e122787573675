/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sysv.h - the few System V calls that core makes, with their arguments spelled out. All: any thread, signal handlers, -errno.
 *
 * struct shmid_ds and struct semid_ds are the kernel's own on 64-bit machines.
 */
#ifndef SHUNT_SYSV_H
#define SHUNT_SYSV_H

#include <stdint.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "sys.h"

static inline int sysv_shm_stat(int id, struct shmid_ds *ds)
{
	return (int)sys3(SYS_shmctl, id, IPC_STAT, ds);
}
static inline int sysv_shm_rm(int id)
{
	return (int)sys3(SYS_shmctl, id, IPC_RMID, 0);
}
static inline int sysv_sem_stat(int id, struct semid_ds *ds)
{
	return (int)sys4(SYS_semctl, id, 0, IPC_STAT, ds);
}
static inline int sysv_sem_rm(int id)
{
	return (int)sys4(SYS_semctl, id, 0, IPC_RMID, 0);
}
/* GETVAL, GETPID: the value. */
static inline int sysv_sem_get(int id, int num, int what)
{
	return (int)sys4(SYS_semctl, id, num, what, 0);
}
static inline int sysv_sem_setval(int id, int num, int val)
{
	return (int)sys4(SYS_semctl, id, num, SETVAL, val);
}
static inline int sysv_sem_setall(int id, const unsigned short *val)
{
	return (int)sys4(SYS_semctl, id, 0, SETALL, val);
}

/* One semaphore operation. It waits at most wait_ns (0: not at all): -EAGAIN when that is over; -EINTR, -EIDRM, -EINVAL, ... */
int sysv_semop(int id, unsigned short num, short op, short flags, uint64_t wait_ns);

/*
 * Is this mapping of shared memory made of huge pages? Those that are not reserved fault with SIGBUS, at their creator's will.
 * The segment must be known to be at least two pages long (SM_MIN_LEN).
 */
int sysv_shm_is_huge(void *base);

#endif
