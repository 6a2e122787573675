#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# make demo, as somebody runs it who has just got the sources.

load lib

@test "make demo builds what it needs in a fresh copy of the sources, and prints a table in which each row went through memory" {
	need gcc
	mkdir "$D/copy"
	tar -C "$ROOT" --exclude='./build*' --exclude=./.git -cf - . | tar -C "$D/copy" -xf -
	DEMO_MS=200 make -C "$D/copy" -s -j2 CFLAGS=-O2 demo >"$D/table" 2>"$D/said" || fail "$(cat "$D/table" "$D/said")" || return
	cat "$D/table"
	grep -qE '^per second +kernel +shunt +ratio +MB in memory +MB by kernel$' "$D/table"
	[ "$(grep -cE '^(64 B|stream).* [0-9]+ +[0-9]+ +[0-9.]+x +[0-9.]+ +[0-9.]+$' "$D/table")" -eq 4 ]
	if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
		[ "$(grep -cE '^redis GET.* [0-9]+ +[0-9]+ +[0-9.]+x +[0-9.]+ +[0-9.]+$' "$D/table")" -eq 2 ]
	fi
	[ ! -s "$D/said" ]
}
