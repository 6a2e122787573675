#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# The endpoint map: `shunt ep` lists it, `shunt gc` removes what the dead have left and nothing else.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
}

# ep JQ: is it true of the endpoint on PORT?
ep() {
	"$SHUNT" ep --json >"$D/ep.json"
	jq -e --arg at "tcp 127.0.0.1:$PORT" --argjson pid "${PIDS[echod]:-0}" "map(select(.endpoint == \$at)) | $1" "$D/ep.json" >/dev/null ||
		fail "not true of $(cat "$D/ep.json"): $1" || return
}

@test "shunt ep: an endpoint with its binding, tower, owner, process and associations; gone when its server has ended" {
	echo_server echod
	ep 'length == 1 and (.[0] | .state == "alive" and .proto == "tcp" and .pids == [$pid] and .associations == 0 and .dual == false)'
	ep ".[0].owner == $(id -u) and .[0].netns > 0"
	# what the binding says is what the tower says
	[ "$("$SHUNT" tower --decode "$(jq -r '.[0].tower' "$D/ep.json")" | head -n 1)" = "$(jq -r '.[0].binding' "$D/ep.json")" ]
	[ "$("$SHUNT" tower "$(jq -r '.[0].binding' "$D/ep.json")" | head -n 1)" = "$(jq -r '.[0].tower' "$D/ep.json")" ]
	holding_client waiter
	ep '.[0].associations == 1'
	"$SHUNT" ep >"$D/table"
	grep -qE "^tcp 127.0.0.1:$PORT +alive +$(id -un) +${PIDS[echod]} +1 ncadg_sm\[id=$(id -u),ftok=/" "$D/table"
	"$SHUNT" ep --long | grep -qE " $(jq -r '.[0].tower' "$D/ep.json")$"
	stop waiter
	stop echod INT
	ep 'length == 0'
}

@test "shunt ep: IPv6, UDP, and what several processes hold" {
	PORT=$(free_port)
	server echod "$PYTHON" -c '
import os, signal, socket, sys
port = int(sys.argv[1])
s = socket.create_server(("::1", port), family=socket.AF_INET6)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", port))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(6):
    c.sendto(b"x", ("127.0.0.1", port))
    u.recv(10)
child = os.fork()
signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
if child:
    print("child", child, flush=True)
signal.pause()' "$PORT"
	up echod child
	local child
	child=$(sed -n 's/^child //p' "$D/echod.out")
	"$SHUNT" ep --json >"$D/ep.json"
	jq -e --arg at "tcp [::1]:$PORT" --argjson a "${PIDS[echod]}" --argjson b "$child" \
		'map(select(.endpoint == $at)) | length == 1 and .[0].pids == ([$a, $b] | sort)' "$D/ep.json"
	jq -e --arg at "udp 127.0.0.1:$PORT" 'map(select(.endpoint == $at)) | length == 1 and .[0].proto == "udp"' "$D/ep.json"
	kill "$child"
	stop echod
}

@test "a listener that is closed after a while is off the map ten seconds later, though nothing else happens in its process" {
	PORT=$(free_port)
	server echod "$PYTHON" -c '
import signal, socket, sys, time
l = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
c, _ = l.accept()
class Enough(Exception):
    pass
def enough(*_):
    raise Enough
signal.signal(signal.SIGUSR1, enough)
try:
    while True:
        c.sendall(c.recv(65536))
except Enough:
    time.sleep(7)  # until there is nothing left to do for anybody
l.close()
print("closed", flush=True)
signal.pause()' "$PORT"
	up echod ready
	holding_client waiter
	ep '.[0].associations == 1'
	kill -USR1 "${PIDS[echod]}"
	wait_for 60 says echod closed
	wait_for 60 ep 'length == 0'
	end_held_pair
}

@test "what a killed server left is stale; gc -n says so and leaves it, gc removes it, and says so" {
	echo_server echod
	kill -9 "${PIDS[echod]}"
	done_by 60 echod
	ep 'length == 1 and .[0].state == "stale" and .[0].pids == []'
	run "$SHUNT" gc -n
	[ "$status" -eq 0 ]
	[[ $output =~ ^"would remove endpoint $(id -u)/tcp-"[0-9]+"-127.0.0.1-$PORT"$ ]]
	ep 'length == 1'
	run "$SHUNT" gc
	[ "$status" -eq 0 ]
	[[ $output =~ ^"removed endpoint $(id -u)/tcp-"[0-9]+"-127.0.0.1-$PORT"$ ]]
	ep 'length == 0'
	nothing_left
	run "$SHUNT" gc
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "gc removes nothing that lives, nor files that are not ours" {
	echo_server echod
	touch "$SHUNT_MAP/$(id -u)/keep"
	run "$SHUNT" gc
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	ep '.[0].state == "alive"'
	[ -e "$SHUNT_MAP/$(id -u)/keep" ]
	rm "$SHUNT_MAP/$(id -u)/keep"
	[ "$(client echo "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop echod INT
	paths echod echo
}

@test "a user sees and removes only the own; root everybody's" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	local as=(setpriv --reuid daemon --regid daemon --clear-groups)
	echo_server echod
	kill -9 "${PIDS[echod]}"
	done_by 60 echod
	[ "$("${as[@]}" "$SHUNT" ep --json)" = "[]" ]
	run "${as[@]}" "$SHUNT" gc
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	ep '.[0].state == "stale"'
	"$SHUNT" gc
	RUN_AS=daemon echo_server other
	kill -9 "${PIDS[other]}"
	done_by 60 other
	ep ".[0].state == \"stale\" and .[0].owner == $(id -u daemon)"
	run "${as[@]}" "$SHUNT" gc -n
	[ "${#lines[@]}" -eq 1 ]
	[[ $("$SHUNT" gc) == "removed endpoint $(id -u daemon)/tcp-"* ]]
	[ "$("${as[@]}" "$SHUNT" ep --json)" = "[]" ]
}

@test "semaphores and segments of clients that died in their rendezvous are found, and go" {
	"$PYTHON" - <<-'PY'
		import ctypes, os
		libc = ctypes.CDLL(None, use_errno=True)
		if os.fork() == 0:
		    # as core/rdv.c makes them, and dies
		    sem = libc.semget(0, 3, 0o1000 | 0o2000 | 0o711)
		    assert sem >= 0
		    os._exit(0)
		os.wait()
	PY
	wait_for 60 would_remove_one
	[[ $("$SHUNT" gc) == "removed semaphores "* ]]
	[ -z "$("$SHUNT" gc -n)" ]
}

would_remove_one() {
	[[ $("$SHUNT" gc -n) == "would remove semaphores "*" of uid $(id -u)" ]]
}

@test "ep and gc: a wrong use is one line, status 125; help is a screen with an example" {
	local args
	for args in "ep x" "ep --none" "gc x" "gc --none"; do
		# shellcheck disable=SC2086 # words
		run "$SHUNT" $args
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
	done
	for args in ep gc; do
		run "$SHUNT" $args --help
		[ "$status" -eq 0 ]
		[ "${#lines[@]}" -le 24 ]
		[[ $output == *$'\n  shunt '$args* ]]
	done
}

@test "in 80 columns no line is longer, and none wraps" {
	need tmux
	echo_server echod
	tmux -S "$D/tmux" new-session -d -x 80 -y 24 "'$SHUNT' ep; echo end; sleep 60"
	wait_for 60 screen_has end
	tmux -S "$D/tmux" capture-pane -p >"$D/screen"
	tmux -S "$D/tmux" kill-server
	grep -qE "^tcp 127.0.0.1:$PORT +alive .*~$" "$D/screen"
	[ "$(grep -c . "$D/screen")" -eq 3 ] # head, endpoint, end
	stop echod INT
}

screen_has() {
	tmux -S "$D/tmux" capture-pane -p | grep -q "^$1"
}
