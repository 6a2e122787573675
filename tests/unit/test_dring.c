/* SPDX-License-Identifier: BSD-2-Clause */
/* Datagrams in a ring: boundaries kept, also around its end; a reader believes no length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "dring.h"

static _Alignas(64) uint8_t ring[SM_RING_LEN];

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed * 31 + i * 7);
}

static uint64_t put(uint64_t at, size_t len, unsigned seed)
{
	static uint8_t buf[DRING_MAX];
	struct iovec iov[2] = {{buf, len / 3}, {buf + len / 3, len - len / 3}};
	fill(buf, len, seed);
	assert_int_equal(dring_put(ring, at, seed, iov, len), 0);
	return at + dring_size(len);
}

static uint64_t get(uint64_t at, uint64_t unread, size_t len, unsigned seed)
{
	static uint8_t buf[DRING_MAX], good[DRING_MAX];
	struct iovec iov[2] = {{buf, len / 2}, {buf + len / 2, len - len / 2}};
	fill(good, len, seed);
	assert_int_equal(dring_len(ring, at, unread), (int64_t)len);
	assert_true(dring_stamp(ring, at) == seed);
	assert_int_equal(dring_get(ring, at, iov, len), 0);
	assert_memory_equal(buf, good, len);
	return at + dring_size(len);
}

static void datagrams_come_out_as_they_went_in(void **state)
{
	static const size_t len[] = {0, 1, 15, 16, 17, 64, 1000, 9000, DRING_MAX};
	uint64_t tail = 0, head = 0;
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		size_t n = len[round % (sizeof(len) / sizeof(len[0]))];
		tail = put(tail, n, round);
		assert_true(tail % 16 == 0);
		if (round % 2) { /* two at a time */
			head = get(head, tail - head, len[(round - 1) % (sizeof(len) / sizeof(len[0]))], round - 1);
			head = get(head, tail - head, n, round);
			assert_true(head == tail);
		}
	}
	assert_true(tail > 50 * SM_RING_LEN); /* around the end in every way */
}

static void a_length_that_is_not_published_is_nonsense(void **state)
{
	uint64_t end;
	uint32_t evil[] = {DRING_MAX + 1, 0x7fffffff, 0xffffffff};
	(void)state;
	end = put(0, 100, 1);
	assert_int_equal(dring_len(ring, 0, end), 100);
	assert_int_equal(dring_len(ring, 0, end - 16), -1);
	assert_int_equal(dring_len(ring, 0, 0), -1);
	for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
		memcpy(ring, &evil[i], sizeof(evil[i]));
		assert_int_equal(dring_len(ring, 0, SM_RING_LEN), -1);
	}
	put(0, 100, 1);
	ring[4] ^= 1;
	assert_int_equal(dring_len(ring, 0, end), -1);
}

/* Behind the last ring of a segment there is nothing: a header that began in its last octets would be a fault. */
static void a_header_is_never_read_beyond_the_end(void **state)
{
	uint8_t *page = mmap(NULL, SM_RING_LEN + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)state;
	assert_true(page != MAP_FAILED);
	assert_int_equal(mprotect(page + SM_RING_LEN, 4096, PROT_NONE), 0);
	for (uint64_t at = SM_RING_LEN - 40; at < SM_RING_LEN + 40; at++) {
		assert_int_equal(dring_len(page, at, SM_RING_LEN), -1);
		assert_true(dring_stamp(page, at) == 0);
	}
	munmap(page, SM_RING_LEN + 4096);
}

static void a_buffer_that_is_nowhere_is_an_error(void **state)
{
	struct iovec iov = {(void *)16, 10};
	(void)state;
	assert_int_equal(dring_put(ring, 0, 0, &iov, 10), 1);
	put(0, 10, 1);
	assert_int_equal(dring_get(ring, 0, &iov, 10), 1);
}

/* As SO_MEMINFO tells of a queue with one datagram of so many octets; the smallest ones cost 832 in newer kernels. */
static void the_cost_is_the_kernels(void **state)
{
	(void)state;
	assert_int_equal(dring_cost(0), 768);
	assert_int_equal(dring_cost(64), 768);
	assert_int_equal(dring_cost(1000), 2304);
	assert_int_equal(dring_cost(DRING_MAX), DRING_MAX + 832);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_come_out_as_they_went_in),
		cmocka_unit_test(a_length_that_is_not_published_is_nonsense),
		cmocka_unit_test(a_header_is_never_read_beyond_the_end),
		cmocka_unit_test(a_buffer_that_is_nowhere_is_an_error),
		cmocka_unit_test(the_cost_is_the_kernels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
