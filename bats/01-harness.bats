#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# The checks that every other file relies on can fail.

# shellcheck disable=SC2034,SC2153,SC2154,SC2317 # variables and functions of lib.bash
load lib

# Runs the checks of a test's end in a process of its own, as if the test had gone well.
end_of_test() {
	(
		BATS_TEST_COMPLETED=1
		LEFT_LIMIT=-1
		test_end
	) 2>&1
}

@test "a semaphore set that a test leaves is seen" {
	id=$(ipcmk -S 1 | grep -oE '[0-9]+$')
	run end_of_test
	ipcrm -s "$id"
	[ "$status" -ne 0 ]
	[[ $output == *"semaphores $id"* ]]
}

@test "a segment that a test leaves is seen" {
	id=$(ipcmk -M 4096 | grep -oE '[0-9]+$')
	run end_of_test
	ipcrm -m "$id"
	[ "$status" -ne 0 ]
	[[ $output == *"segment $id"* ]]
}

@test "a file in the endpoint map or in /dev/shm is seen" {
	mkdir "$SHUNT_MAP/0"
	touch "$SHUNT_MAP/0/endpoint" "/dev/shm/shunt-bats.$$"
	run left
	rm -r "$SHUNT_MAP/0" "/dev/shm/shunt-bats.$$"
	[[ $output == *"$SHUNT_MAP/0/endpoint"* ]]
	[[ $output == *"/dev/shm/shunt-bats.$$"* ]]
}

@test "a process that a test leaves is seen, also the child of one that was stopped" {
	server parent sh -c 'sleep 1000 & echo $! >child; wait'
	wait_for 5 test -s "$D/child"
	kill -9 "${PIDS[parent]}"
	done_by 5 parent
	run end_of_test
	[ "$status" -ne 0 ]
	[[ $output == *"sleep 1000"* ]]
	not_running "$(cat "$D/child")"
}

@test "a server that the test forgot to stop is an error" {
	server forgotten sleep 1000
	run end_of_test
	[ "$status" -ne 0 ]
	[[ $output == *"forgotten was not stopped"* ]]
	wait "${PIDS[forgotten]}" || :
}

@test "a wait ends at its limit, and a program's status is its own" {
	run wait_for 1 false
	[ "$status" -eq 1 ]
	server seven sh -c 'exit 7'
	done_by 5 seven
	[ "$CODE" -eq 7 ]
	run client late sh -c 'exit 3'
	[ "$status" -eq 3 ]
	LIMIT=1 run client late sleep 100
	[ "$status" -eq 124 ]
}

line() {
	echo '{"pid":9,"comm":"x","channels":1,"upgrades":1,"downgrades":0,"kernel":{"new":1},"tx":{"shm_bytes":'"$1"',"shm_msgs":1,"kernel_bytes":'"$2"',"kernel_msgs":1},"rx":{"shm_bytes":0,"shm_msgs":0,"kernel_bytes":0,"kernel_msgs":0},"sleeps":0,"bells":0,"spins":0}'
}

@test "bytes on the wrong path, and lines that are not well formed, are errors" {
	[ -z "${SHUNT_NONE:-}" ] || skip "needs the check of the paths"
	sides both
	line 10 1 >"$D/good.stats"
	paths good
	mostly good
	line 0 11 >"$D/kernel.stats"
	run paths kernel
	[ "$status" -ne 0 ]
	line 10 11 >"$D/half.stats"
	run mostly half
	[ "$status" -ne 0 ]
	echo '{"pid":9}' >"$D/short.stats"
	run paths short
	[ "$status" -ne 0 ]
	: >"$D/empty.stats"
	run paths empty
	[ "$status" -ne 0 ]
	sides server
	UNDER[good]=1
	run paths
	[ "$status" -ne 0 ]
}
