#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# `shunt ps` for people: in a terminal of 80 columns, and --why: what keeps a socket in the kernel, and what to do.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
}

@test "in 80 columns every line fits, and tells of both ends and both paths; in 200 nothing is cut" {
	need tmux
	held_pair
	local width
	for width in 80 200; do
		tmux -S "$D/tmux" new-session -d -x $width -y 200 "'$SHUNT' ps; echo end; sleep 60"
		wait_for 60 screen_has end
		tmux -S "$D/tmux" capture-pane -p >"$D/screen$width"
		tmux -S "$D/tmux" kill-server
		absent '^ *([^ 0-9Pe]|[0-9]+$)' "$D/screen$width" # each line begins with a pid, or is head or end: none has wrapped
		[ "$(grep -cE "^ *(${PIDS[waiter]}|${PIDS[echod]}) " "$D/screen$width")" -eq 3 ] # client, listener, accepted
	done
	grep -qE "^ *${PIDS[waiter]} python3 +[0-9]+ .*127.0.0.1:.* shm +shm" "$D/screen80"
	grep -qE "^ *${PIDS[echod]} .* \(listens\)" "$D/screen80"
	[ "$(head -1 "$D/screen80" | tr -s ' ' | sed 's/^ //')" = "PID COMM FD LOCAL PEER TX RX" ] ||
		[ "$(head -1 "$D/screen80" | tr -s ' ' | sed 's/^ //')" = "PID COMM FD PROTO LOCAL PEER TX RX" ]
	absent '~' "$D/screen200"
	grep -qE "^ *${PIDS[waiter]} python3 +[0-9]+ tcp .* 127.0.0.1:$PORT ${PIDS[echod]}/python3 +shm +[0-9]+/[0-9]+ +shm +[0-9]+/[0-9]+$" "$D/screen200"
	end_held_pair
}

screen_has() {
	tmux -S "$D/tmux" capture-pane -p | grep -q "^$1"
}

@test "--why: each path through the kernel in words, with what to do" {
	sides client
	echo_server plain
	holding_client alone 9
	"$SHUNT" ps --why >"$D/why"
	grep -q '^no-endpoint: the server does not run under shunt$' "$D/why"
	grep -qE '^    Start the server by `shunt run` too' "$D/why"
	grep -qE "^  ${PIDS[alone]} python3 fd [0-9]+ tcp 127.0.0.1:[0-9]+ 127.0.0.1:$PORT: sending, receiving$" "$D/why"
	[ "$(awk 'length > 100' "$D/why" | wc -l)" -eq 0 ]
	stop alone
	stop plain INT
}

@test "every reason that there is has a meaning and an advice" {
	local word
	"$SHUNT" ps --reasons >"$D/reasons"
	# the words in why.h, without the two that are none
	sed -n 's/^\tX([A-Z_]*, "\([a-z-]*\)".*/\1/p' "$ROOT/preload/why.h" | grep -vxE 'none|upgraded' >"$D/words"
	[ "$(wc -l <"$D/words")" -ge 26 ]
	while read -r word; do
		grep -A 2 "^$word: ...." "$D/reasons" | grep -qE '^    [A-Z`].{10,}' || fail "$word has no advice" || return
	done <"$D/words"
	[ "$(grep -c '^[a-z]' "$D/reasons")" -eq "$(wc -l <"$D/words")" ]
	absent '\?' "$D/reasons"
}

@test "ps: help, and a wrong use is one line" {
	run "$SHUNT" ps --help
	[ "${#lines[@]}" -le 24 ]
	[[ $output == *$'\n  shunt ps'* ]]
	run "$SHUNT" ps --why --json
	[ "$status" -eq 125 ]
	[ "${#lines[@]}" -eq 1 ]
	run "$SHUNT" ps --none
	[ "$status" -eq 125 ]
	[ "${#lines[@]}" -eq 1 ]
}
