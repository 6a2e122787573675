#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# System V limits: what finds no segment or no semaphores stays in the kernel, says why, and comes up when there is room again.

load lib

BENCH=$ROOT/build/tests/bench

setup() {
	about_shunt
	[ -n "${SHUNT_BATS_NS:-}" ] || skip "changes limits: needs an IPC namespace of its own (root)"
}

in_use() { # KIND
	tail -n +2 "/proc/sysvipc/$1" | wc -l
}

# limit KIND NUMBER: of System V objects
limit() {
	if [ "$1" = shm ]; then
		echo "$2" >/proc/sys/kernel/shmmni
	else
		echo "32000 1024000000 500 $2" >/proc/sys/kernel/sem
	fi
}

teardown() {
	limit shm 4096
	limit sem 32000
	test_end
}

ask() {
	echo "$1" >&7
	N_ASKED=$((N_ASKED + 1))
	wait_for 60 answered
}
answered() { [ "$(wc -l <"$D/hold.out")" -eq "$N_ASKED" ]; }

path_is() { # PATH AND REASON, both ways
	ask "use 50"
	[ "$("$SHUNT" ps --json | jq -r --argjson pid "${PIDS[hold]}" '.[] | select(.pid == $pid) | .sockets[0] | "\(.tx.path) \(.tx.why)"')" = "$1" ]
}

# at_limit KIND: the server is up, and there is no room for what its client needs
at_limit() {
	local name
	server rr "$BENCH/rr_server" -m serial -n 1
	up rr port
	limit "$1" "$(in_use "$1")"
	mkfifo "$D/in"
	"$SHUNT" run --stats "$D/hold.stats" -- "$BENCH/hold_client" -p "$(sed -n 's/^port //p' "$D/rr.out")" -m blocking \
		<"$D/in" >"$D/hold.out" 2>"$D/hold.log" 3>&- &
	PIDS[hold]=$!
	exec 7>"$D/in"
	N_ASKED=0
	ask "open 1"
	wait_for 60 path_is "kernel sysv"
	ask "use 500" # every answer is compared
	path_is "kernel sysv"
	limit "$1" 4000
	wait_for 60 path_is "shm upgraded"
	exec 7>&-
	for name in hold rr; do
		done_by 60 $name
		[ "$CODE" -eq 0 ]
	done
}

@test "no segment to be had (SHMMNI): the kernel, reason sysv; up when there is room" { at_limit shm; }
@test "no semaphores to be had (SEMMNI): the kernel, reason sysv; up when there is room" { at_limit sem; }

@test "a server that can publish nothing serves by the kernel" {
	local kind
	for kind in shm sem; do
		limit $kind "$(in_use $kind)"
		server rr "$BENCH/rr_server" -m serial -n 1
		up rr port
		client rrc "$BENCH/rr_client" -t 200 -p "$(sed -n 's/^port //p' "$D/rr.out")"
		done_by 60 rr
		[ "$CODE" -eq 0 ]
		grep -q "not published\|No space\|error 28" "$D/rr.log"
		jq -es 'all(.[]; .tx.shm_bytes == 0) and any(.[]; .kernel["no-endpoint"] == 1)' "$D/rrc.stats"
		rm -f "$D"/rr*.stats "$D"/rr*.log
		limit $kind 4000
	done
}
