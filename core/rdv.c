/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "atomic.h"
#include "bell.h"
#include "fault.h"
#include "flight.h"
#include "log.h"
#include "sysv.h"

#define SLICE_NS UINT64_C(2000000)	 /* how long `serve` can be left alone */
#define LONG_SLICE_NS UINT64_C(50000000) /* without `serve`: how soon we notice that the endpoint is gone */
#define MAX_TIMEOUT_MS 30000u		 /* ept_gc() takes what is older than 60 s for left behind */

bool (*rdv_accepts)(uint32_t uid, uint32_t gid);

struct call {
	const struct ept_ref *r;
	struct seg *seg;
	uint64_t deadline_ns;
	int semid; /* our own set; -1: none */
	void (*serve)(void *);
	void *arg;
};

/* Each of its holders: whoever runs first answers. 0: one of them is there. */
static int ring_endpoint(const uint8_t nonce[16])
{
	long fd = sys3(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = -ECONNREFUSED;

	if (fd < 0)
		return (int)fd;
	for (int slot = 0; slot < EPT_N_HOLDER; slot++) {
		uint8_t name[BELL_NAME_LEN];

		ept_bell_name(name, nonce, slot);
		int e = bell_ring((int)fd, name);
		if (err && e != -ECONNREFUSED)
			err = e;
	}
	sys1(SYS_close, fd);
	return err;
}

/* One operation, waited for until the deadline, in slices between which we serve others. A handled signal is not an end. */
static int wait_sem(struct call *c, int semid, unsigned short num, short flags)
{
	for (;;) {
		uint64_t now = sys_now_ns(), slice = c->serve ? SLICE_NS : LONG_SLICE_NS;
		int err;

		if (c->serve)
			c->serve(c->arg);
		if (now < c->deadline_ns && c->deadline_ns - now < slice)
			slice = c->deadline_ns - now;
		err = sysv_semop(semid, num, -1, flags, now < c->deadline_ns ? slice : 0);
		if (err != -EAGAIN && err != -EINTR)
			return err;
		if (now >= c->deadline_ns)
			return -ETIMEDOUT;
		err = sysv_sem_get(c->r->semid, SM_SEM_LOCK, GETVAL);
		if (err < 0)
			return err;
	}
}

/*
 * Our semaphores, the server's to post on. IPC_SET also sets the mode, whose marks tell that they are ours (see the ABI header);
 * the creator keeps its rights, so whoever of us two lives can remove them.
 */
static int own_sem(struct call *c, uint32_t server_uid)
{
	unsigned short val[SM_N_CSEM] = {[SM_CSEM_MARK0] = SM_CSEM_MARK0_VAL, [SM_CSEM_MARK1] = SM_CSEM_MARK1_VAL};
	struct semid_ds ds;
	int err;

	c->semid = (int)sys3(SYS_semget, IPC_PRIVATE, SM_N_CSEM, IPC_CREAT | IPC_EXCL | SM_CSEM_MODE);
	if (c->semid < 0)
		return c->semid;
	FAULT_POINT("rdv: semaphores, before values");
	err = sysv_sem_setall(c->semid, val);
	if (!err)
		err = sysv_sem_stat(c->semid, &ds);
	if (err)
		return err;
	FAULT_POINT("rdv: values, before given");
	ds.sem_perm.uid = server_uid;
	return (int)sys4(SYS_semctl, c->semid, 0, IPC_SET, &ds);
}

/*
 * Under the lock. A client that died may have left its message: it is taken away first, so that no server claims it while we
 * write. One that has claimed it already sees msg_nonce change, or a nonce that does not fit the segment.
 */
static int send_message(const struct call *c)
{
	struct sm_area *a = c->r->area;
	FAULT_POINT("rdv: lock, before message");
	int err = sysv_sem_setval(c->r->semid, SM_SEM_MSG, 0);

	if (err)
		return err;
	store_relaxed(&a->msg_nonce, 0);
	fence_storeload(); /* the 0 before the rest; the reader's fence is between its two looks at msg_nonce */
	store_relaxed(&a->msg_shmid, (uint32_t)c->seg->shmid);
	store_relaxed(&a->msg_semid, (uint32_t)c->semid);
	store_relaxed(&a->msg_uid, c->seg->cuid);
	store_relaxed(&a->msg_pid, (uint32_t)sys0(SYS_getpid));
	FAULT_POINT("rdv: message, before its nonce");
	store_release(&a->msg_nonce, c->seg->nonce);
	FAULT_POINT("rdv: message, before signal");
	/* Set, not added: whatever a stranger left there, one message waits now. */
	err = sysv_sem_setval(c->r->semid, SM_SEM_MSG, 1);
	if (err)
		return err;
	FAULT_POINT("rdv: signal, before counted");
	rdv_offer(c->r, 0);
	FAULT_POINT("rdv: counted, before bell");
	return ring_endpoint(c->r->nonce);
}

/* The lock is ours. ECONNREFUSED of the bells means that no process has one of the endpoint's open any more. */
static int exchange(struct call *c)
{
	int err = send_message(c);
	FAULT_POINT("rdv: bell, before answer");

	if (err == -ECONNREFUSED)
		err = -EIDRM;
	if (!err)
		err = wait_sem(c, c->semid, SM_CSEM_ANSWER, 0);
	if (!err)
		return load_acquire(&c->seg->hdr->server_attached) ? 0 : -EPERM;
	sysv_semop(c->r->semid, SM_SEM_MSG, -1, 0, 0); /* nobody shall come for it later */
	return err;
}

static int locked_exchange(struct call *c)
{
	FAULT_POINT("rdv: names made, before lock");
	int err = wait_sem(c, c->r->semid, SM_SEM_LOCK, SEM_UNDO);

	if (err)
		return err;
	err = exchange(c);
	FAULT_POINT("rdv: answer, before unlocked");
	/* A lock that is not given back jams the endpoint for as long as this process lives: if not in one way, then in the other. */
	if (sysv_semop(c->r->semid, SM_SEM_LOCK, 1, SEM_UNDO, 0))
		sysv_sem_setval(c->r->semid, SM_SEM_LOCK, 1);
	return err;
}

/* All that has a name: the segment, until seg_create() has marked it for removal, and our semaphores. */
static int make_names(struct call *c, uint32_t server_uid, struct flight *f)
{
	int made, err = flight_begin(f);

	if (err)
		return err;
	err = seg_create(c->seg, server_uid);
	if (!err)
		err = own_sem(c, server_uid);
	made = flight_made(f, c->semid);
	return err ? err : made;
}

int rdv_call(
	struct seg *out, const struct ept_ref *r, uint32_t server_uid, uint32_t timeout_ms, void (*serve)(void *), void *arg)
{
	struct call c = {r, out, 0, -1, serve, arg};
	struct flight f;
	int err;

	out->hdr = NULL;
	c.deadline_ns = sys_now_ns() + (timeout_ms < MAX_TIMEOUT_MS ? timeout_ms : MAX_TIMEOUT_MS) * UINT64_C(1000000);
	err = make_names(&c, server_uid, &f);
	if (!out->hdr)
		return err;
	if (!err)
		err = locked_exchange(&c);
	FAULT_POINT("rdv: unlocked, before semaphores removed");
	flight_end(&f);
	if (!err)
		seg_note_peer(out);
	if (err) {
		/* A server that answers too late refuses a segment without magic; one that has attached it meanwhile sees it gone. */
		((volatile struct sm_hdr *)out->hdr)->magic = 0;
		seg_detach(out);
	}
	return err == -EINVAL ? -EIDRM : err; /* the endpoint's semaphores were removed before, not while, we asked */
}

struct message {
	int shmid, semid;
	uint64_t nonce;
};

/* What stands in the area is anybody's. A message that is being replaced while we read counts as none; its successor is signalled. */
static int read_message(struct sm_area *a, struct message *m)
{
	m->nonce = load_acquire(&a->msg_nonce);
	m->shmid = (int)load_relaxed(&a->msg_shmid);
	m->semid = (int)load_relaxed(&a->msg_semid);
	fence_storeload();
	return m->nonce && load_relaxed(&a->msg_nonce) == m->nonce;
}

/*
 * Post on the client's semaphore. Anybody can write any id into a message, also one of another program's semaphores that we may
 * change: only a set with our marks, made by `cuid` (NULL: not known) and given to us, is touched.
 */
static void answer(int semid, const uint32_t *cuid)
{
	struct semid_ds ds;

	if (sysv_sem_stat(semid, &ds) || ds.sem_perm.__key != IPC_PRIVATE || ds.sem_nsems != SM_N_CSEM)
		return;
	if ((ds.sem_perm.mode & 0777) != SM_CSEM_MODE || (cuid && ds.sem_perm.cuid != *cuid))
		return;
	if (ds.sem_perm.uid != (uint32_t)sys0(SYS_geteuid))
		return;
	sysv_semop(semid, SM_CSEM_ANSWER, 1, 0, 0);
}

static int is_gone(int shmid)
{
	struct shmid_ds ds;
	int err = sysv_shm_stat(shmid, &ds);

	return err == -EINVAL || err == -EIDRM;
}

static int list_in_free_slot(struct sm_area *a, uint32_t entry)
{
	for (unsigned i = 0; i < SM_N_ASSOC; i++)
		if (load_relaxed(&a->assoc[i]) == 0 && cas_acqrel(&a->assoc[i], 0u, entry))
			return 1;
	return 0;
}

/* A full list: what is gone leaves it. If all are alive the association works all the same, for this process. */
static void list_assoc(struct sm_area *a, int shmid)
{
	uint32_t entry = (uint32_t)shmid + 1;

	if (!list_in_free_slot(a, entry)) {
		for (unsigned i = 0; i < SM_N_ASSOC; i++) {
			uint32_t old = load_relaxed(&a->assoc[i]);

			if (old && is_gone((int)(old - 1)))
				cas_acqrel(&a->assoc[i], old, 0u);
		}
		if (!list_in_free_slot(a, entry))
			return;
	}
	add_acqrel(&a->assoc_seq, 1);
}

/* As seg_attach(); -EPERM also for a user whom we do not accept. */
static int attach(struct seg *out, int shmid, uint64_t nonce)
{
	int err = seg_attach(out, shmid, nonce);

	if (err || !rdv_accepts || rdv_accepts(out->cuid, out->cgid))
		return err;
	log_line("segment %d is of uid %u, gid %u: not shared with", shmid, out->cuid, out->cgid);
	seg_detach(out);
	return -EPERM;
}

static bool is_left(const struct ept *e, uint64_t nonce)
{
	return nonce && nonce == e->left_nonce && e->left_uid == (uint32_t)sys0(SYS_geteuid);
}

/*
 * We do not look at it again, unless we become another user. Nobody else may have seen it meanwhile, so all are told once more. If its client has given up
 * just now, and the next one is writing: who claims too early finds no nonce, and the client signals when it has written.
 */
static void leave_to_others(struct ept *e, uint64_t nonce)
{
	e->left_nonce = nonce;
	e->left_uid = (uint32_t)sys0(SYS_geteuid);
	if (load_acquire(&e->area->msg_nonce) != nonce)
		return;
	sysv_sem_setval(e->semid, SM_SEM_MSG, 1);
	add_acqrel(&e->area->offer_seq, 1);
	ring_endpoint(e->nonce);
}

int rdv_answer(struct ept *e, struct seg *out)
{
	struct message m;
	int err;

	out->hdr = NULL;
	if (is_left(e, load_relaxed(&e->area->msg_nonce)))
		return 0;
	err = sysv_semop(e->semid, SM_SEM_MSG, -1, 0, 0);
	if (err)
		return err == -EAGAIN || err == -EINTR ? 0 : err;
	FAULT_POINT("rdv: claimed, before read");
	if (!read_message(e->area, &m))
		return 0;
	err = attach(out, m.shmid, m.nonce);
	if (err == -EACCES) {
		leave_to_others(e, m.nonce);
		return 0;
	}
	if (err) {
		log_line("rendezvous: segment %d refused: error %d", m.shmid, -err);
		answer(m.semid, NULL);
		return err;
	}
	FAULT_POINT("rdv: attached, before listed");
	list_assoc(e->area, m.shmid);
	FAULT_POINT("rdv: listed, before attached flag");
	store_release(&out->hdr->server_attached, 1);
	FAULT_POINT("rdv: attached flag, before answer");
	answer(m.semid, &out->cuid);
	FAULT_POINT("rdv: answered, before known here");
	return 1;
}

int rdv_adopt(struct ept *e, struct seg *out, int (*known)(int shmid, void *arg), void *arg)
{
	struct sm_area *a = e->area;

	out->hdr = NULL;
	for (unsigned i = 0; i < SM_N_ASSOC; i++) {
		uint32_t entry = load_relaxed(&a->assoc[i]);
		int err, shmid = (int)(entry - 1);

		if (!entry || known(shmid, arg))
			continue;
		err = attach(out, shmid, 0);
		if (!err)
			return 1;
		/* Only what is gone leaves the list: a master that has not our rights must not strike out its workers' associations. */
		if (err == -EINVAL || err == -EIDRM)
			cas_acqrel(&a->assoc[i], entry, 0u);
	}
	return 0;
}

void rdv_offer(const struct ept_ref *r, int ring)
{
	add_acqrel(&r->area->offer_seq, 1);
	if (ring)
		ring_endpoint(r->nonce);
}
