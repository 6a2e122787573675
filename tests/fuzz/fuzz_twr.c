/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Towers and string bindings. Whatever the octets are: nothing outside of them is read (they lie in memory of their exact length, which ASan watches);
 * what is taken for a tower is composed to the same octets again, and its string binding leads back to it; what is refused is explained.
 */
#include <string.h>

#include "fuzz.h"
#include "twr.h"

#define F12                                                                                                                    \
	"13000d354251e3064bd111ab0400c04fc2dcd20400020000001300"                                                               \
	"0d045d888aeb1cc9119fe808002b104860020002000000"

const char *const fuzz_seeds[] = {
	"0500" F12 "01000b02000000"
	"01000702000087"
	"01000904000a010203",
	"0500" F12 "01000a02000000"
	"01000802000087"
	"010009040000000000",
	"0400" F12 "01000c02000000"
	"010010090045504d415050455200",
	"0500" F12 "01000b02000000"
	"01000f0c005c706970655c6c7361737300"
	"01001105005c5c504300",
	"0400" F12 "01000a02000000"
	"13000de23d21463bd9844b95eef5a802112a8301000a00000000010203"
	"2f742c6d",
	"6e636163"
	"6e5f69705f7463703a312e322e332e345b3133355d", /* ncacn_ip_tcp:1.2.3.4[135] */
	"6e636164"
	"675f736d5b69643d312c66746f6b3d2f785c2c795d", /* ncadg_sm[id=1,ftok=/x\,y] */
	"6e63616c"
	"7270633a5b615c2c625d", /* ncalrpc:[a\,b] */
	"6e636163"
	"6e5f6e703a50435b5c706970655c785d", /* ncacn_np:PC[\pipe\x] */
	NULL,
};

static void as_string(const char *str)
{
	char why[STRBND_WHY_LEN], text[STRBND_LEN], again[STRBND_LEN];
	struct strbnd b, back;
	struct twr_syntax s, s_back;
	int n;

	if (twr_syntax_parse(&s, str) == 0) {
		char syntax[TWR_SYNTAX_STR_LEN];

		twr_syntax_compose(&s, syntax);
		MUST(twr_syntax_parse(&s_back, syntax) == 0 && !memcmp(&s, &s_back, sizeof(s)));
	}
	if (strbnd_parse(&b, str, why)) {
		MUST(why[0] && memchr(why, 0, sizeof(why)));
		return;
	}
	n = strbnd_compose(&b, text, sizeof(text));
	if (n < 0)
		return; /* a host with letters that the form has another use for */
	MUST((size_t)n == strlen(text));
	MUST(strbnd_parse(&back, text, why) == 0);
	MUST(strbnd_compose(&back, again, sizeof(again)) == n && !strcmp(text, again));
}

static void as_tower(const uint8_t *oct, size_t len)
{
	char why[TWR_WHY_LEN] = "", text[STRBND_LEN];
	uint8_t again[TWR_LEN];
	struct twr t, back;

	if (twr_parse(&t, oct, len, why)) {
		MUST(why[0] && memchr(why, 0, sizeof(why)));
		return;
	}
	MUST(twr_compose(&t, again, sizeof(again)) == (int)len && !memcmp(again, oct, len));
	MUST(strbnd_compose(&t.bnd, text, sizeof(text)) > 0);
	back = t;
	MUST(strbnd_parse(&back.bnd, text, why) == 0);
	MUST(twr_compose(&back, again, sizeof(again)) == (int)len && !memcmp(again, oct, len));
	as_string(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *oct = malloc(len ? len : 1);
	char *str = malloc(len + 1);

	if (oct && str) {
		memcpy(oct, data, len);
		memcpy(str, data, len);
		str[len] = '\0';
		as_tower(oct, len);
		as_string(str);
	}
	free(oct);
	free(str);
	return 0;
}
