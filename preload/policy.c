/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy.h"

#include <fcntl.h>
#include <string.h>

#include "link.h"
#include "log.h"
#include "rdv.h"
#include "sock.h"
#include "sys.h"
#include "why.h"

#define EXE_LEN 1024

bool policy_has_rules;
static struct rules rules;
static bool broken; /* the text was: nothing may */
static char exe[EXE_LEN], comm[32];

/* A script's name is in `comm`, its interpreter's in `exe`. */
static void own_names(void)
{
	long n = sys4(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", exe, sizeof(exe) - 1);
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC, 0);

	exe[n < 0 ? 0 : n] = '\0';
	n = fd < 0 ? 0 : sys3(SYS_read, fd, comm, sizeof(comm) - 1);
	if (fd >= 0)
		sys1(SYS_close, fd);
	comm[n < 0 ? 0 : n] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
}

void policy_init(const char *text)
{
	struct rule_error err;

	if (!text)
		return;
	broken = rules_parse(&rules, text, strlen(text), NULL, &err) != 0;
	if (broken)
		log_line("SHUNT_RULES:%u:%u: %s: nothing is upgraded", err.line, err.col, err.why);
	policy_has_rules = broken || rules.n_lists;
	if (policy_has_rules)
		own_names();
	if (rules.share != SHARE_ALL)
		rdv_accepts = policy_accepts;
}

static void tell(const struct rule_sock *s, const struct rule_answer *a)
{
	char text[RULE_STR_LEN] = "no `only` is true of it", at[64];

	if (a->rule)
		rule_compose(a->rule, text, sizeof(text));
	log_line("%s %s %s: kernel (rule: %s)", s->proto == RULE_TCP ? "tcp" : "udp",
		s->side == RULE_LISTEN ? "listen" : "connect", addr_text(&s->at, at, sizeof(at)), broken ? "unreadable" : text);
}

bool policy_forbids_slow(uint8_t proto, uint8_t side, const struct diag_addr *at)
{
	struct rule_sock s = {proto, side, *at, exe, comm, (uint32_t)sys0(SYS_geteuid)};
	struct rule_answer a = {0};

	if (!broken)
		rules_ask(&rules, &s, &a);
	if (!a.may && log_fd >= 0)
		tell(&s, &a);
	return !a.may;
}

void policy_pin(struct sock *s)
{
	or_acqrel(&s->f->flags, FAM_PIN_RX | FAM_PIN_TX);
	store_relaxed(&s->f->tx_why, WHY_RULE);
	store_relaxed(&s->f->rx_why, WHY_RULE);
}

bool policy_accepts(uint32_t uid, uint32_t gid)
{
	return rules.share == SHARE_ALL || uid == (uint32_t)sys0(SYS_geteuid) ||
	       (rules.share == SHARE_GROUP && gid == (uint32_t)sys0(SYS_getegid));
}
