/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "scratch.h"
#include "twr.h"

/*
 * Floors 1 and 2 of all: DRSUAPI 4.0, whose towers are in every capture of an Active Directory client, in NDR 2.0. The octets are counted out from C706, appendix
 * L; Samba's and Wireshark's parsers have a say in bats/12-tower.bats.
 */
#define DRSUAPI "e3514235-4b06-11d1-ab04-00c04fc2dcd2"
#define FLOORS12                                                                                                               \
	"13000d"                                                                                                               \
	"354251e3064bd111ab0400c04fc2dcd2"                                                                                     \
	"0400"                                                                                                                 \
	"0200"                                                                                                                 \
	"0000"                                                                                                                 \
	"13000d"                                                                                                               \
	"045d888aeb1cc9119fe808002b104860"                                                                                     \
	"0200"                                                                                                                 \
	"0200"                                                                                                                 \
	"0000"
#define SM_LHS                                                                                                                 \
	"13000d"                                                                                                               \
	"e23d21463bd9844b95eef5a802112a83"                                                                                     \
	"0100"

static const char *const known[][2] = {
	{"ncacn_ip_tcp:[135]", "0500" FLOORS12 "01000b"
			       "0200"
			       "0000"
			       "010007"
			       "0200"
			       "0087"
			       "010009"
			       "0400"
			       "00000000"},
	{"ncacn_ip_tcp:192.168.1.2[49664]", "0500" FLOORS12 "01000b"
					    "0200"
					    "0000"
					    "010007"
					    "0200"
					    "c200"
					    "010009"
					    "0400"
					    "c0a80102"},
	{"ncadg_ip_udp:10.1.2.3[135]", "0500" FLOORS12 "01000a"
				       "0200"
				       "0000"
				       "010008"
				       "0200"
				       "0087"
				       "010009"
				       "0400"
				       "0a010203"},
	{"ncalrpc:[EPMAPPER]", "0400" FLOORS12 "01000c"
			       "0200"
			       "0000"
			       "010010"
			       "0900"
			       "45504d415050455200"},
	{"ncalrpc:", "0400" FLOORS12 "01000c"
		     "0200"
		     "0000"
		     "010010"
		     "0100"
		     "00"},
	{"ncacn_np:\\\\PC[\\pipe\\lsass]", "0500" FLOORS12 "01000b"
					   "0200"
					   "0000"
					   "01000f"
					   "0c00"
					   "5c706970655c6c7361737300"
					   "010011"
					   "0500"
					   "5c5c504300"},
	{"ncadg_sm[id=66051,ftok=/t\\,m]", "0400" FLOORS12 "01000a"
					   "0200"
					   "0000" SM_LHS "0a00"
					   "0000"
					   "00010203"
					   "2f742c6d"},
};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

static size_t unhex(uint8_t *oct, const char *hex)
{
	size_t n = 0;
	unsigned v;

	for (; *hex; hex += 2) {
		assert_int_equal(sscanf(hex, "%2x", &v), 1);
		oct[n++] = (uint8_t)v;
	}
	return n;
}

static void drsuapi(struct twr *t, const char *binding)
{
	char why[TWR_WHY_LEN];

	memset(t, 0, sizeof(*t));
	t->xfer = twr_ndr;
	assert_int_equal(twr_syntax_parse(&t->iface, DRSUAPI ":4"), 0);
	assert_int_equal(strbnd_parse(&t->bnd, binding, why), 0);
}

static void known_bindings_have_the_known_octets_and_the_reverse(void **state)
{
	uint8_t want[TWR_LEN], got[TWR_LEN];
	char why[TWR_WHY_LEN], str[STRBND_LEN];
	struct twr t, back;

	(void)state;
	for (size_t i = 0; i < N_KNOWN; i++) {
		size_t n = unhex(want, known[i][1]);

		drsuapi(&t, known[i][0]);
		assert_int_equal(twr_compose(&t, got, sizeof(got)), (int)n);
		assert_memory_equal(got, want, n);
		assert_int_equal(twr_parse(&back, want, n, why), 0);
		assert_memory_equal(&back, &t, sizeof(t));
		assert_true(strbnd_compose(&back.bnd, str, sizeof(str)) > 0);
		assert_string_equal(str, known[i][0]);
		assert_int_equal(twr_compose(&t, got, n - 1), -ENOSPC);
		assert_int_equal(twr_compose(&t, got, n), (int)n);
	}
}

/* Its octets, whose tower is the same one. */
static void survives(const struct twr *t, uint8_t oct[TWR_LEN])
{
	char why[TWR_WHY_LEN];
	struct twr back;
	int n = twr_compose(t, oct, TWR_LEN);

	assert_true(n > 0);
	assert_int_equal(twr_parse(&back, oct, (size_t)n, why), 0);
	assert_memory_equal(&back, t, sizeof(*t));
}

static void versions_and_the_minor_version_of_rpc_survive(void **state)
{
	uint8_t oct[TWR_LEN];
	struct twr t;

	(void)state;
	drsuapi(&t, "ncacn_ip_tcp:1.2.3.4[5]");
	t.iface.major = 0x1234;
	t.iface.minor = 0xfffe;
	t.xfer.minor = 0x0102;
	t.rpc_minor = 0x0301;
	survives(&t, oct);
	assert_int_equal(oct[21], 0x34);
	assert_int_equal(oct[22], 0x12);
	assert_int_equal(oct[25], 0xfe); /* the minor version too is little endian */
	assert_int_equal(oct[26], 0xff);
}

static void every_octet_of_a_path_and_of_a_name_survives(void **state)
{
	uint8_t oct[TWR_LEN];
	struct twr t;

	(void)state;
	drsuapi(&t, "ncadg_sm[id=4294967294,ftok=/]");
	for (int c = 1; c < 255; c++)
		t.bnd.sm.path[c] = (char)c;
	for (int first = 0; first < 2; first++) {
		survives(&t, oct);
		t.bnd.sm.path[1] = (char)255;
	}
	drsuapi(&t, "ncalrpc:");
	for (int c = 1; c < 256; c++)
		t.bnd.name[c - 1] = (char)c;
	survives(&t, oct);
}

static void the_longest_tower_fits(void **state)
{
	uint8_t oct[TWR_LEN];
	struct twr t;

	(void)state;
	drsuapi(&t, "ncacn_np:[\\pipe\\x]");
	memset(t.bnd.host, 'h', STRBND_PART_LEN - 1);
	memset(t.bnd.name + 6, 'n', STRBND_PART_LEN - 1 - 6);
	survives(&t, oct);
}

static void what_has_no_tower_is_refused(void **state)
{
	uint8_t oct[TWR_LEN];
	struct twr t;

	(void)state;
	drsuapi(&t, "ncacn_ip_tcp:localhost[1]");
	assert_int_equal(twr_compose(&t, oct, sizeof(oct)), -EINVAL);
	drsuapi(&t, "ncacn_ip_tcp:::1[1]");
	assert_int_equal(twr_compose(&t, oct, sizeof(oct)), -EINVAL);
	drsuapi(&t, "ncadg_sm[id=1,ftok=/x]");
	t.bnd.sm.id = UINT32_MAX;
	assert_int_equal(twr_compose(&t, oct, sizeof(oct)), -EINVAL);
	t.bnd.sm.path[0] = 'x';
	assert_int_equal(twr_compose(&t, oct, sizeof(oct)), -EINVAL);
	t.bnd.protseq = PROTSEQ_N;
	assert_int_equal(twr_compose(&t, oct, sizeof(oct)), -EINVAL);
}

static void a_malformed_tower_is_refused_and_the_octet_is_named(void **state)
{
	static const char *const bad[][2] = {
		{"", "octet 0: the count"},
		{"05", "octet 1: the count"},
		{"0500", "octet 2, floor 1: the tower ends where the left"},
		{"0500"
		 "1300"
		 "0d",
			"octet 4, floor 1: the left side has 19 octets, but only 1 follow"},
		{"0500"
		 "0000"
		 "0000",
			"octet 4, floor 1: the left side is empty"},
		{"0500"
		 "0100"
		 "0d"
		 "0000",
			"octet 4, floor 1: a left side of a UUID and a version has 19 octets, this one 1"},
		{"0500"
		 "0100"
		 "07"
		 "0000",
			"octet 4, floor 1: protocol 0x7 where a UUID, 0xd, must be: the interface"},
		{"0500"
		 "0100"
		 "0d"
		 "02",
			"octet 5, floor 1: the tower ends where the right"},
		{"0500"
		 "0100"
		 "0d"
		 "0200"
		 "00",
			"octet 7, floor 1: the right side has 2 octets, but only 1 follow"},
		{"0500"
		 "13000d"
		 "354251e3064bd111ab0400c04fc2dcd2"
		 "0400"
		 "0400"
		 "00000000",
			"octet 25, floor 1: the right side, a minor version, has 4 octets, not 2"},
		{"0500" FLOORS12 "01000d"
		 "0200"
		 "0000",
			"octet 54, floor 3: protocol 0xd (1 octets) where RPC must be"},
		{"0500" FLOORS12 "02000a00"
		 "0200"
		 "0000",
			"octet 54, floor 3: protocol 0xa (2 octets) where RPC must be"},
		{"0500" FLOORS12 "01000b"
		 "0000",
			"octet 57, floor 3: the right side, a minor version, has 0 octets, not 2"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010008"
		 "0200"
		 "0087",
			"octet 61, floor 4: protocol 0x8 (1 octets) over RPC 0xb"},
		{"0500" FLOORS12 "01000a"
		 "0200"
		 "0000"
		 "020008ff"
		 "0200"
		 "0087",
			"octet 61, floor 4: protocol 0x8 (2 octets) over RPC 0xa"},
		{"0500" FLOORS12 "01000a"
		 "0200"
		 "0000"
		 "13000d"
		 "e23d21463bd9844b95eef5a802112a84"
		 "0100"
		 "0200"
		 "0000",
			"octet 61, floor 4: over RPC 0xa, a UUID that is not that of ncadg_sm"},
		{"0400" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0200"
		 "0087",
			"octet 0: 4 floors, but ncacn_ip_tcp has 5"},
		{"0600" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0200"
		 "0087",
			"octet 0: 6 floors, but ncacn_ip_tcp has 5"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0300"
		 "008700",
			"octet 64, floor 4: the right side, a port, has 3"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0200"
		 "0087",
			"octet 66, floor 5: the tower ends where the left"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0200"
		 "0087"
		 "010011"
		 "0400"
		 "00000000",
			"octet 68, floor 5: protocol 0x11 (1 octets), but ncacn_ip_tcp has 0x9 there"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0200"
		 "0087"
		 "010009"
		 "1000"
		 "00000000000000000000000000000001",
			"octet 71, floor 5: the right side, an IPv4 address, has 16 octets, not 4"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "010007"
		 "0200"
		 "0087"
		 "010009"
		 "0400"
		 "00000000"
		 "00",
			"octet 75, floor 5: 1 octets follow the last floor"},
		{"0400" FLOORS12 "01000c"
		 "0200"
		 "0000"
		 "010010"
		 "0200"
		 "4141",
			"octet 66, floor 4: the string on the right side has no NUL"},
		{"0400" FLOORS12 "01000c"
		 "0200"
		 "0000"
		 "010010"
		 "0000",
			"octet 64, floor 4: the string on the right side has no NUL"},
		{"0400" FLOORS12 "01000c"
		 "0200"
		 "0000"
		 "010010"
		 "0300"
		 "410000",
			"octet 65, floor 4: the string on the right side has a NUL"},
		{"0500" FLOORS12 "01000b"
		 "0200"
		 "0000"
		 "01000f"
		 "0200"
		 "4100"
		 "010011"
		 "0100"
		 "00",
			"octet 66, floor 5: its names cannot be written"}, /* not \pipe\ */
		{"0400" FLOORS12 "01000a"
		 "0200"
		 "0000" SM_LHS "0600"
		 "0000"
		 "00010203",
			"octet 82, floor 4: the right side has 6 octets"},
		{"0400" FLOORS12 "01000a"
		 "0200"
		 "0000" SM_LHS "0700"
		 "0000"
		 "ffffffff"
		 "2f",
			"octet 84, floor 4: the uid is 4294967295"},
		{"0400" FLOORS12 "01000a"
		 "0200"
		 "0000" SM_LHS "0700"
		 "0000"
		 "00010203"
		 "78",
			"octet 88, floor 4: the path is not absolute"},
		{"0400" FLOORS12 "01000a"
		 "0200"
		 "0000" SM_LHS "0800"
		 "0000"
		 "00010203"
		 "2f00",
			"octet 89, floor 4: the path holds a NUL"},
		{"0400" FLOORS12 "01000a"
		 "0200"
		 "0000" SM_LHS "0700"
		 "0100"
		 "00010203"
		 "2f",
			"octet 82, floor 4: ncadg_sm of version 1.1"},
		{"0400" FLOORS12 "01000a"
		 "0200"
		 "0000"
		 "13000d"
		 "e23d21463bd9844b95eef5a802112a83"
		 "0200"
		 "0700"
		 "0000"
		 "00010203"
		 "2f",
			"octet 78, floor 4: ncadg_sm of version 2, not 1"},
	};
	char why[TWR_WHY_LEN];
	uint8_t oct[TWR_LEN];
	struct twr t;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t n = unhex(oct, bad[i][0]);

		assert_int_equal(twr_parse(&t, oct, n, why), -EINVAL);
		if (strncmp(why, bad[i][1], strlen(bad[i][1])))
			print_error("%zu: %s\n", i, why);
		assert_memory_equal(why, bad[i][1], strlen(bad[i][1]));
	}
}

static void names_that_are_too_long_are_refused(void **state)
{
	static const char *const head[] = {"0400" FLOORS12 "01000c"
					   "0200"
					   "0000"
					   "010010",
		"0400" FLOORS12 "01000a"
		"0200"
		"0000" SM_LHS};
	static const int fixed[] = {0, 6};
	char why[TWR_WHY_LEN];
	uint8_t oct[2 * TWR_LEN];
	struct twr t;

	(void)state;
	for (int i = 0; i < 2; i++)
		for (int len = 255; len < 258; len++) {
			int rhs = fixed[i] + len + !i; /* a NUL in the first */
			size_t n = unhex(oct, head[i]);

			oct[n++] = (uint8_t)rhs;
			oct[n++] = (uint8_t)(rhs >> 8);
			memset(oct + n, 0, (size_t)rhs);
			memset(oct + n + fixed[i], '/', (size_t)len);
			assert_int_equal(twr_parse(&t, oct, n + (size_t)rhs, why), len > 255 ? -EINVAL : 0);
			assert_true(len == 255 || strstr(why, "more than 255"));
		}
}

/* The octets end where memory ends: one read too much is a fault. */
static void a_tower_that_is_cut_off_anywhere_is_refused_without_reading_on(void **state)
{
	uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), oct[TWR_LEN];
	char why[TWR_WHY_LEN];
	struct twr t;

	(void)state;
	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(mprotect(page + 4096, 4096, PROT_NONE), 0);
	for (size_t i = 0; i < N_KNOWN; i++) {
		size_t n = unhex(oct, known[i][1]);

		for (size_t len = 0; len <= n; len++) {
			memcpy(page + 4096 - len, oct, len);
			assert_int_equal(twr_parse(&t, page + 4096 - len, len, why), len < n ? -EINVAL : 0);
		}
	}
	munmap(page, 8192);
}

static void each_octet_that_changes_is_refused_or_composed_again(void **state)
{
	uint8_t oct[TWR_LEN], again[TWR_LEN];
	char why[TWR_WHY_LEN];
	struct twr t;

	(void)state;
	for (size_t i = 0; i < N_KNOWN; i++) {
		size_t n = unhex(oct, known[i][1]);

		for (size_t at = 0; at < n; at++) {
			uint8_t was = oct[at];

			for (unsigned v = 0; v < 256; v++) {
				oct[at] = (uint8_t)v;
				if (twr_parse(&t, oct, n, why))
					continue;
				assert_int_equal(twr_compose(&t, again, sizeof(again)), (int)n);
				assert_memory_equal(again, oct, n);
			}
			oct[at] = was;
		}
	}
}

static void floors_can_be_walked(void **state)
{
	uint8_t oct[TWR_LEN];
	char why[TWR_WHY_LEN];
	size_t n = unhex(oct, known[0][1]), at = 2;
	static const uint8_t lhs[] = {0x0d, 0x0d, 0x0b, 0x07, 0x09};
	static const size_t from[] = {2, 27, 52, 59, 66};
	struct twr_flr f;

	(void)state;
	assert_int_equal(twr_count(oct, n, why), 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(twr_flr_next(&f, i + 1, oct, n, &at, why), 0);
		assert_int_equal(f.lhs[0], lhs[i]);
		assert_int_equal(f.at, from[i]);
	}
	assert_int_equal(at, n);
	assert_int_equal(twr_flr_next(&f, 6, oct, n, &at, why), -EINVAL);
}

static void interfaces_are_read_and_written(void **state)
{
	static const char *const good[][2] = {
		{DRSUAPI, DRSUAPI ":0.0"},
		{DRSUAPI ":4", DRSUAPI ":4.0"},
		{"E3514235-4B06-11D1-AB04-00C04FC2DCD2:65535.65535", DRSUAPI ":65535.65535"},
		{"00000000-0000-0000-0000-000000000000:0.1", "00000000-0000-0000-0000-000000000000:0.1"},
	};
	static const char *const bad[] = {"", "e3514235", DRSUAPI ":", DRSUAPI ".1", DRSUAPI ":.1", DRSUAPI ":1.",
		DRSUAPI ":65536", DRSUAPI ":1.65536", DRSUAPI ":1.2.3", DRSUAPI ":-1", DRSUAPI " ", "{" DRSUAPI "}",
		"e3514235-4b06-11d1-ab04-00c04fc2dcdg", "e35142354b06-11d1-ab04-00c04fc2dcd2",
		"e3514235-4b06-11d1-ab04-00c04fc2dcd"};
	char buf[TWR_SYNTAX_STR_LEN];
	struct twr_syntax s;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(twr_syntax_parse(&s, good[i][0]), 0);
		twr_syntax_compose(&s, buf);
		assert_string_equal(buf, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(twr_syntax_parse(&s, bad[i]), -EINVAL);
	twr_syntax_compose(&twr_ndr, buf);
	assert_string_equal(buf, "8a885d04-1ceb-11c9-9fe8-08002b104860:2.0");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(known_bindings_have_the_known_octets_and_the_reverse),
		TEST(versions_and_the_minor_version_of_rpc_survive),
		TEST(every_octet_of_a_path_and_of_a_name_survives),
		TEST(the_longest_tower_fits),
		TEST(what_has_no_tower_is_refused),
		TEST(a_malformed_tower_is_refused_and_the_octet_is_named),
		TEST(names_that_are_too_long_are_refused),
		TEST(a_tower_that_is_cut_off_anywhere_is_refused_without_reading_on),
		TEST(each_octet_that_changes_is_refused_or_composed_again),
		TEST(floors_can_be_walked),
		TEST(interfaces_are_read_and_written),
	};

	return scratch_run("twr", tests, sizeof(tests) / sizeof(tests[0]));
}
