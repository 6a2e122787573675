#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# The guard (preload/trial.h): where waking by way of memory is slow a connection goes to the kernel and stays there for a while. build/slow is the library with such a fault
# (tests/faults/slow.c): each ring takes longer, as long as the file $SLOW is there. Nobody spins, and between two questions there is a pause, so that both sides
# sleep for each other: who meets his peer awake does not ring, is fast whatever a ring takes, and rightly so.

load lib

BENCH=$ROOT/build/tests/bench

setup_file() {
	file_begin
	export BATS_TEST_TIMEOUT=600
}

setup() {
	about_shunt
	SLOW=$D/slow
	export SHUNT_SPIN=off SHUNT_TEST_BELL_US=300 SHUNT_TEST_BELL_FILE=$SLOW
}

# hold MODE [WORDS]: rr_server, and a hold_client that is told by `ask`; both started by WORDS
hold() {
	local SHUNT=${SHUNT%/*}/slow/shunt how=${2:-}
	# shellcheck disable=SC2086 # words
	server rr $how "$BENCH/rr_server" -m "$([ "$1" = epoll ] && echo epoll || echo serial)" -n 1
	up rr port
	PORT=$(sed -n 's/^port //p' "$D/rr.out")
	mkfifo "$D/in"
	# shellcheck disable=SC2086
	"$SHUNT" run --stats "$D/hold.stats" -- $how "$BENCH/hold_client" -p "$PORT" -m "$1" <"$D/in" >"$D/hold.out" 2>"$D/hold.log" 3>&- &
	PIDS[hold]=$!
	exec 7>"$D/in"
	N_ASKED=0
	ask "open 1"
}

# ask LINE: waits for the answer
ask() {
	echo "$1" >&7
	N_ASKED=$((N_ASKED + 1))
	wait_for 60 answered
}
answered() { [ "$(wc -l <"$D/hold.out")" -eq "$N_ASKED" ]; }

# path: what shunt ps says of both directions of the client's socket
path() {
	"$SHUNT" ps --json | jq -r --argjson pid "${PIDS[hold]}" '.[] | select(.pid == $pid) | .sockets[0] | "\(.tx.path) \(.tx.why) \(.rx.path) \(.rx.why)"'
}
# is_on PATH [N]: behind N answers
is_on() {
	ask "every 3000 ${2:-100}"
	[ "$(path)" = "$1" ]
}
# rests: judged, and not only in a kernel's turn of a trial: that is over behind some fifty answers at most, and until the next one two dozen go through memory
rests() {
	local n
	for n in 100 12 12 12 12 12 12; do
		is_on "kernel slower kernel slower" $n || return
	done
}

leave() {
	local name
	exec 7>&-
	for name in hold rr; do
		done_by 60 $name
		[ "$CODE" -eq 0 ]
	done
}

slower() {
	# Neither way is faster by less than a factor: the kernel's is slower than sound memory's, and much faster than that of memory with the fault.
	export SHUNT_TEST_BELL_US=1000 SHUNT_TEST_KERNEL_US=300
	hold "$1"
	wait_for 60 is_on "shm upgraded shm upgraded"
	touch "$SLOW"
	wait_for 200 rests
	rm "$SLOW"
	wait_for 200 is_on "shm upgraded shm upgraded" # the rests become longer each time, up to a minute
	ask "every 500 1000" # as fast as ever: no reason to go, but for a trial
	wait_for 60 is_on "shm upgraded shm upgraded"
	leave
	jq -e '.slower >= 1 and .trials >= .slower' "$D/hold.stats"
}

@test "slower through memory: down, as shunt ps says, and up again when it is over: blocking" { slower blocking; }
@test "slower through memory: down, as shunt ps says, and up again when it is over: epoll" { slower epoll; }

@test "a rest begins, ends and begins again: not an octet is missing" {
	touch "$SLOW"
	run env TURNS_MS=3500 ORACLE_SHUNT="${SHUNT%/*}/slow/shunt" "$ROOT/tests/run_oracle.sh" -m both '^turns/'
	echo "$output"
	[ "$status" -eq 0 ]
}

# Which way is faster on this machine, at this moment, is not for a test to say: so the kernel's is made slower beyond doubt, and memory's so slow that an answer is slept for.
@test "nobody is judged wrongly: tried, and no rest where the kernel is slower, on one core and on two" {
	local how mode
	export SHUNT_TEST_KERNEL_US=20000
	touch "$SLOW"
	for how in "" "taskset -c 0"; do
		for mode in blocking epoll; do
			rm -f "$D/hold.stats" "$D/in"
			hold $mode "$how"
			ask "every 1000 1000"
			leave
			jq -es 'map(.slower) | add == 0' "$D/hold.stats"
			jq -es 'map(.trials) | add >= 1' "$D/hold.stats"
		done
	done
}
