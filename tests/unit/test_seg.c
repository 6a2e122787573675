/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "scratch.h"
#include "seg.h"
#include "sys.h"

/* Segments that live, marked for removal or not. */
static int n_live(void)
{
	struct shm_info info;
	struct shmid_ds ds;
	int n = 0, max = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);

	for (int i = 0; i <= max; i++)
		n += shmctl(i, SHM_STAT, &ds) >= 0 && ds.shm_segsz == SM_SEG_LEN && ds.shm_perm.cuid == geteuid();
	return n;
}

static void a_segment_has_no_name_and_dies_with_its_last_user(void **state)
{
	struct seg a, b;
	int before = n_live();

	(void)state;
	assert_int_equal(seg_create(&a, geteuid()), 0);
	assert_int_equal(scratch_n_shm(), 0); /* marked for removal already */
	assert_int_equal(seg_attach(&b, a.shmid, a.nonce), 0);
	assert_true(b.nonce == a.nonce && b.cuid == geteuid() && b.hdr != a.hdr);
	assert_int_equal(seg_peers(&a), 2);
	seg_chan(&a, 255)->client_port = 4711;
	assert_int_equal(seg_chan(&b, 255)->client_port, 4711);
	seg_ring(&a, 255, SM_SERVER)[SM_RING_LEN - 1] = 'z';
	assert_int_equal(seg_ring(&b, 255, SM_SERVER)[SM_RING_LEN - 1], 'z');
	seg_detach(&a);
	assert_int_equal(seg_peers(&b), 1);
	assert_int_equal(n_live(), before + 1);
	seg_detach(&b);
	seg_detach(&b); /* nothing to do */
	assert_int_equal(n_live(), before);
}

static void a_stale_pointer_reads_zeros_and_never_faults(void **state)
{
	struct seg s;
	uint8_t *ring;

	(void)state;
	assert_int_equal(seg_create(&s, geteuid()), 0);
	ring = seg_ring(&s, 200, SM_CLIENT);
	memset(ring, 'x', SM_RING_LEN);
	seg_detach(&s);
	assert_int_equal(ring[0], 0);
	assert_int_equal(ring[SM_RING_LEN - 1], 0);
	ring[5] = 'y'; /* as one who still believes that he holds a token */
	assert_int_equal(seg_create(&s, geteuid()), 0);
	assert_ptr_equal(seg_ring(&s, 200, SM_CLIENT), ring); /* the same range again */
	assert_int_equal(ring[5], 0);
	seg_detach(&s);
}

static void address_space_does_not_grow_with_the_number_of_segments(void **state)
{
	struct seg a, b;
	struct sm_hdr *where[2];

	(void)state;
	assert_int_equal(seg_create(&a, geteuid()), 0);
	assert_int_equal(seg_attach(&b, a.shmid, 0), 0);
	where[0] = a.hdr;
	where[1] = b.hdr;
	for (int i = 0; i < 50; i++) {
		seg_detach(&a);
		seg_detach(&b);
		assert_int_equal(seg_create(&a, geteuid()), 0);
		assert_int_equal(seg_attach(&b, a.shmid, a.nonce), 0);
		assert_true((a.hdr == where[0] && b.hdr == where[1]) || (a.hdr == where[1] && b.hdr == where[0]));
	}
	seg_detach(&a);
	seg_detach(&b);
}

static void a_header_that_is_not_ours_is_refused(void **state)
{
	struct seg s, t;
	struct sm_hdr good;

	(void)state;
	assert_int_equal(seg_create(&s, geteuid()), 0);
	memcpy(&good, s.hdr, sizeof(good));
#define REFUSED(field)                                                                                                         \
	do {                                                                                                                   \
		s.hdr->field++;                                                                                                \
		assert_int_equal(seg_attach(&t, s.shmid, 0), -EPERM);                                                          \
		assert_null(t.hdr);                                                                                            \
		s.hdr->field = good.field;                                                                                     \
	} while (0)
	REFUSED(magic);
	REFUSED(version);
	REFUSED(hdr_len);
	REFUSED(seg_len);
	REFUSED(n_chan);
	REFUSED(ring_len);
	REFUSED(n_bell);
	REFUSED(chan_len);
	assert_int_equal(seg_attach(&t, s.shmid, s.nonce + 1), -EPERM);
	s.hdr->nonce = 0;
	assert_int_equal(seg_attach(&t, s.shmid, 0), -EPERM);
	s.hdr->nonce = good.nonce;
	assert_int_equal(seg_peers(&s), 1);
	assert_int_equal(seg_attach(&t, s.shmid, s.nonce), 0);
	seg_detach(&t);
	seg_detach(&s);
}

static void refuse_raw(size_t len, int mode, int want)
{
	int id = shmget(IPC_PRIVATE, len, IPC_CREAT | SHM_NORESERVE | mode);
	struct shmid_ds ds;
	struct seg s;

	assert_true(id >= 0);
	assert_int_equal(seg_attach(&s, id, 0), want);
	assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.shm_nattch, 0);
	assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
}

static void a_segment_of_another_size_or_open_to_others_is_refused(void **state)
{
	struct seg s;

	(void)state;
	refuse_raw(4096, 0600, -EPERM);
	refuse_raw(SM_SEG_LEN - 1, 0600, -EPERM);
	refuse_raw(2 * SM_SEG_LEN, 0600, -EPERM);
	refuse_raw(SM_SEG_LEN, 0640, -EPERM);
	refuse_raw(SM_SEG_LEN, 0602, -EPERM);
	refuse_raw(SM_SEG_LEN, 0600, -EPERM); /* no header */
	assert_int_equal(seg_attach(&s, -1, 0), -EINVAL);
}

static void huge_pages_are_recognised_without_touching_them(void **state)
{
	int id;
	struct seg s;

	(void)state;
	scratch_need_root();
	id = shmget(IPC_PRIVATE, SM_SEG_LEN, IPC_CREAT | SHM_HUGETLB | SHM_NORESERVE | 0600);
	if (id < 0)
		skip(); /* a kernel without them */
	assert_int_equal(seg_attach(&s, id, 0), -EPERM);
	assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
}

static int attach_with_locked_memory(void *arg)
{
	struct seg *s = arg, t;
	int id = shmget(IPC_PRIVATE, SM_SEG_LEN, IPC_CREAT | SHM_HUGETLB | SHM_NORESERVE | 0600);

	EXPECT(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0);
	EXPECT(seg_attach(&t, s->shmid, s->nonce) == 0);
	if (id >= 0) {
		EXPECT(seg_attach(&t, id, 0) == -EPERM);
		EXPECT(shmctl(id, IPC_RMID, NULL) == 0);
	}
	return 0;
}

static void locked_memory_is_not_taken_for_huge_pages(void **state)
{
	struct seg s;

	(void)state;
	scratch_need_root();
	assert_int_equal(seg_create(&s, geteuid()), 0);
	scratch_wait_ok(scratch_fork(0, attach_with_locked_memory, &s));
	seg_detach(&s);
}

static int attach_given(void *arg)
{
	struct seg *s = arg, t;

	EXPECT(seg_attach(&t, s->shmid, s->nonce) == 0);
	EXPECT(t.cuid == 0);
	seg_detach(&t);
	return 0;
}

static int attach_not_given(void *arg)
{
	struct seg *s = arg, t;

	EXPECT(seg_attach(&t, s->shmid, s->nonce) == -EACCES);
	return 0;
}

static int create_for_root(void *arg)
{
	int *sp = arg;
	struct seg s;
	char c;

	EXPECT(seg_create(&s, BOB) == 0);
	EXPECT(write(sp[1], &s, sizeof(s)) == sizeof(s));
	EXPECT(read(sp[1], &c, 1) == 1);
	return 0;
}

static void exactly_two_users_have_it(void **state)
{
	struct seg s, t;
	int sp[2];
	pid_t pid;

	(void)state;
	scratch_need_root();
	assert_int_equal(seg_create(&s, ALICE), 0);
	scratch_wait_ok(scratch_fork(ALICE, attach_given, &s));
	scratch_wait_ok(scratch_fork(BOB, attach_not_given, &s));
	assert_int_equal(seg_attach(&t, s.shmid, 0), 0); /* the creator */
	seg_detach(&t);
	seg_detach(&s);
	/* root may attach everything, and must take nothing that is not meant for it */
	scratch_pair(sp);
	pid = scratch_fork(ALICE, create_for_root, sp);
	assert_int_equal(read(sp[0], &s, sizeof(s)), sizeof(s));
	assert_int_equal(seg_attach(&t, s.shmid, s.nonce), -EACCES);
	assert_int_equal(write(sp[0], "x", 1), 1);
	scratch_wait_ok(pid);
	close(sp[0]);
	close(sp[1]);
}

static int nobody_creates(void *arg)
{
	struct seg s, t;

	(void)arg;
	EXPECT(seg_create(&s, SYS_UID_UNKNOWN) == 0);
	EXPECT(seg_attach(&t, s.shmid, s.nonce) == -EPERM);
	seg_detach(&s);
	return 0;
}

static void a_creator_who_may_be_anybody_is_refused(void **state)
{
	(void)state;
	scratch_need_root();
	scratch_wait_ok(scratch_fork(SYS_UID_UNKNOWN, nobody_creates, NULL));
}

static void channels_are_given_out_once_and_clean(void **state)
{
	struct seg s;
	uint8_t seen[SM_N_CHAN] = {0};
	static const struct sm_chan clean;

	(void)state;
	assert_int_equal(seg_create(&s, geteuid()), 0);
	for (unsigned i = 0; i < SM_N_CHAN; i++) {
		int c = seg_chan_alloc(&s);

		assert_true(c >= 0 && c < (int)SM_N_CHAN && !seen[c]);
		seen[c] = 1;
	}
	assert_int_equal(seg_chan_alloc(&s), -ENOSPC);
	seg_chan(&s, 77)->client_port = 1;
	store_relaxed(&seg_chan(&s, 77)->end[1].tx_tail, 99);
	seg_chan_free(&s, 77);
	assert_int_equal(seg_chan_alloc(&s), 77);
	assert_memory_equal(seg_chan(&s, 77), &clean, sizeof(clean));
	seg_detach(&s);
}

static void a_peer_that_scribbles_over_the_bitmaps_gets_no_index_out_of_range(void **state)
{
	struct seg s;

	(void)state;
	assert_int_equal(seg_create(&s, geteuid()), 0);
	for (int round = 0; round < 8; round++) {
		memset(&s.hdr->used, round * 37, sizeof(s.hdr->used));
		memset(&s.hdr->bell_used, round * 37, sizeof(s.hdr->bell_used));
		for (int c, n = 0; n < 300 && (c = seg_chan_alloc(&s)) >= 0; n++)
			assert_true(c < (int)SM_N_CHAN);
		for (int b, n = 0; n < 70 && (b = seg_bell_alloc(&s, SM_SERVER, (uint8_t[16]){1})) >= 0; n++)
			assert_true(b < (int)SM_N_BELL);
	}
	seg_detach(&s);
}

static void bell_slots_belong_to_a_side(void **state)
{
	static const uint8_t name[16] = "0123456789abcde";
	struct seg s;

	(void)state;
	assert_int_equal(seg_create(&s, geteuid()), 0);
	for (unsigned i = 0; i < SM_N_BELL; i++)
		assert_int_equal(seg_bell_alloc(&s, SM_CLIENT, name), i);
	assert_int_equal(seg_bell_alloc(&s, SM_CLIENT, name), -ENOSPC);
	assert_int_equal(seg_bell_alloc(&s, SM_SERVER, name), 0);
	assert_memory_equal(seg_bell(&s, SM_SERVER, 0)->name, name, 16);
	store_relaxed(&seg_bell(&s, SM_CLIENT, 7)->sleeping, 1);
	store_relaxed(&seg_bell(&s, SM_CLIENT, 7)->ready[3], 5);
	seg_bell_free(&s, SM_CLIENT, 7);
	assert_int_equal(seg_bell_alloc(&s, SM_CLIENT, name), 7);
	assert_int_equal(load_relaxed(&seg_bell(&s, SM_CLIENT, 7)->sleeping), 0);
	assert_int_equal(load_relaxed(&seg_bell(&s, SM_CLIENT, 7)->ready[3]), 0);
	seg_detach(&s);
}

static void *alloc_and_free(void *arg)
{
	struct seg *s = arg;

	for (int i = 0; i < 2000; i++) {
		int c = seg_chan_alloc(s);

		if (c < 0)
			continue;
		seg_chan(s, (uint32_t)c)->client_cookie = (uint64_t)pthread_self();
		if (seg_chan(s, (uint32_t)c)->client_cookie != (uint64_t)pthread_self())
			return arg;
		seg_chan_free(s, (uint32_t)c);
	}
	return NULL;
}

static void threads_never_get_the_same_channel(void **state)
{
	pthread_t t[3];
	struct seg s;

	(void)state;
	assert_int_equal(seg_create(&s, geteuid()), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, alloc_and_free, &s), 0);
	for (int i = 0; i < 3; i++) {
		void *bad;

		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	seg_detach(&s);
}

static void a_creation_that_fails_anywhere_leaves_nothing(void **state)
{
	static const long nr[] = {SYS_getrandom, SYS_shmget, SYS_shmat, SYS_shmctl};
	int before = n_live();
	struct seg s;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		scratch_fault_nr(nr[i], 1, -ENOSPC);
		assert_int_equal(seg_create(&s, geteuid()), -ENOSPC);
		scratch_fault_off();
		assert_null(s.hdr);
		assert_int_equal(n_live(), before);
	}
	/* attaching: no room to move it to a kept range is no failure, and no range is lost for good */
	assert_int_equal(seg_create(&s, geteuid()), 0);
	seg_detach(&s);
	assert_int_equal(seg_create(&s, geteuid()), 0);
	scratch_fault_nr(SYS_mremap, 1, -ENOMEM);
	{
		struct seg t;

		assert_int_equal(seg_attach(&t, s.shmid, s.nonce), 0);
		scratch_fault_off();
		assert_int_equal(seg_peers(&s), 2);
		seg_detach(&t);
	}
	seg_detach(&s);
	assert_int_equal(n_live(), before);
}

static int create_and_die(void *arg)
{
	struct seg s;

	scratch_kill_at(*(int *)arg);
	return seg_create(&s, geteuid()) ? 1 : 0;
}

static void a_creator_killed_anywhere_leaves_nothing_after_gc(void **state)
{
	int n, status = SIGKILL, before = n_live();

	(void)state;
	for (n = 0; status == SIGKILL && n < 100; n++) {
		status = scratch_wait(scratch_fork(0, create_and_die, &n));
		assert_true(ept_gc(geteuid()) >= 0);
		assert_int_equal(n_live(), before);
	}
	assert_int_equal(status, 0);
	assert_true(n > 7);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_segment_has_no_name_and_dies_with_its_last_user),
		TEST(a_stale_pointer_reads_zeros_and_never_faults),
		TEST(address_space_does_not_grow_with_the_number_of_segments),
		TEST(a_header_that_is_not_ours_is_refused),
		TEST(a_segment_of_another_size_or_open_to_others_is_refused),
		TEST(huge_pages_are_recognised_without_touching_them),
		TEST(locked_memory_is_not_taken_for_huge_pages),
		TEST(exactly_two_users_have_it),
		TEST(a_creator_who_may_be_anybody_is_refused),
		TEST(channels_are_given_out_once_and_clean),
		TEST(a_peer_that_scribbles_over_the_bitmaps_gets_no_index_out_of_range),
		TEST(bell_slots_belong_to_a_side),
		TEST(threads_never_get_the_same_channel),
		TEST(a_creation_that_fails_anywhere_leaves_nothing),
		TEST(a_creator_killed_anywhere_leaves_nothing_after_gc),
	};

	return scratch_run("seg", tests, sizeof(tests) / sizeof(tests[0]));
}
