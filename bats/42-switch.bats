#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# `shunt off`, `shunt on`, `shunt run --start-off`: connections of running processes move between memory and kernel, in the middle of the stream, as often as an operator likes. bats/progs/torrent.c
# compares every octet meanwhile, bats/progs/flip.c is an operator who speaks a thousand times a second. SOAK=1: a GiB each way, and longer.

load lib

setup_file() {
	file_begin
	[ -z "${SHUNT_NONE:-}" ] || return 0
	[ "${SOAK:-0}" = 0 ] || export BATS_TEST_TIMEOUT=1800
	cc -std=gnu11 -D_GNU_SOURCE -O2 -o "$T/torrent" "$PROGS/torrent.c" -pthread
	cc -std=gnu11 -D_GNU_SOURCE -O2 -I"$ROOT/include" -iquote "$ROOT/core" -iquote "$ROOT/preload" -iquote "$ROOT/preload/cmd" -o "$T/flip" \
		"$PROGS/flip.c" "$ROOT/preload/cmd/poke.c" "$ROOT/build/libncadg_sm.a"
	# One octet at a time, both ways: a server that echoes, and a client that is told on its standard input how often.
	cat >"$T/ask.py" <<-'PY'
		import socket, sys
		if sys.argv[1] == "serve":
		    l = socket.create_server(("127.0.0.1", int(sys.argv[2])))
		    print("ready", flush=True)
		    s = l.accept()[0]
		    while d := s.recv(1):
		        s.sendall(d)
		else:
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
		    for line in sys.stdin:
		        for i in range(int(line)):
		            s.sendall(b"x")
		            assert s.recv(1) == b"x"
		        print("done", flush=True)
	PY
}

setup() {
	about_shunt
	SERVE_OPTS=() ASK_OPTS=()
}

# pair [OPTION...]: PIDS[serve] and PIDS[ask], both run with OPTION..., and have connected
pair() {
	PORT=$(free_port)
	local name
	for name in serve ask; do
		: >"$D/$name.out"
	done
	mkfifo "$D/in"
	exec 7<>"$D/in" # a FIFO that is opened for one direction waits for the other
	begin serve serve "$@" "${SERVE_OPTS[@]}" </dev/null
	up serve ready
	begin ask connect "$@" "${ASK_OPTS[@]}" <"$D/in"
	N_ASKED=0
}

# begin NAME ROLE [OPTION...]: in the background, in $D, where end_all finds it
begin() {
	local name=$1 role=$2
	shift 2
	(cd "$D" && exec "$SHUNT" run "$@" --log "$D/$name.log" "$PYTHON" "$T/ask.py" "$role" "$PORT") >"$D/$name.out" 2>&1 <&0 3>&- 7>&- &
	PIDS[$name]=$!
}

# ask N: so many questions, and their answers
ask() {
	echo "$1" >&7
	N_ASKED=$((N_ASKED + 1))
	wait_for 60 answered
}
answered() { [ "$(wc -l <"$D/ask.out")" -eq "$N_ASKED" ]; }

# paths_of NAME...: what shunt ps says of their connections, each once
paths_of() {
	local name
	"$SHUNT" ps --json >"$D/ps"
	for name; do
		jq -r --argjson pid "${PIDS[$name]}" '.[] | select(.pid == $pid) | .sockets[] | select(.listens | not) |
			"\(.tx.path) \(.tx.why) \(.rx.path) \(.rx.why)"' "$D/ps"
	done | sort -u
}

# goes_by WORDS: both sides say so, at once
goes_by() {
	[ "$(paths_of serve ask)" = "$1" ] || fail "not $1: $(paths_of serve ask)"
}
UP="shm upgraded shm upgraded" OFF="kernel off kernel off"

# off NAME...: and both sides say so. Who has not followed within the time that the command waits for him, on a busy machine, does so with his next call (switch.h): hence once more.
off() {
	local name pids=()
	for name; do
		pids+=("${PIDS[$name]}")
	done
	wait_for 60 off_and_gone "${pids[@]}" || fail "still $(paths_of serve ask)"
}
off_and_gone() {
	"$SHUNT" off "$@"
	[ "$(paths_of serve ask)" = "$OFF" ]
}

# goes_up: with a few questions
goes_up() {
	wait_for 60 asked_and_up || fail "still $(paths_of serve ask)"
}
asked_and_up() {
	ask 100
	[ "$(paths_of serve ask)" = "$UP" ]
}

leave() {
	exec 7>&-
	local name
	for name in ask serve; do
		done_by 60 $name
		[ "$CODE" -eq 0 ]
	done
}

@test "off, on: both directions of an idle connection move although nobody makes a call, and again; either side's word is enough" {
	local who
	pair
	goes_up
	for who in serve ask serve; do
		off "$who"
		ask 100
		goes_by "$OFF"
		"$SHUNT" on "${PIDS[$who]}"
		goes_up
	done
	off serve ask
	"$SHUNT" on "${PIDS[ask]}"
	ask 100
	goes_by "$OFF"
	"$SHUNT" on "${PIDS[serve]}"
	goes_up
	"$SHUNT" on "${PIDS[serve]}" # once more is no error
	leave
	grep -q "switched off" "$D/serve.log"
}

# quick PID: in one of twenty measurements; others compute meanwhile
quick() {
	local i us
	for ((i = 0; i < 20; i++)); do
		us=$("$T/flip" 20000 measure "$1") || continue
		echo "median $us us"
		[ "$us" -gt 10000 ] || return 0
	done
	return 1
}

@test "a connection has moved 10 ms after the word, idle and busy" {
	pair
	goes_up
	quick "${PIDS[serve]}"
	goes_up
	echo 20000000 >&7
	quick "${PIDS[ask]}"
	kill -9 "${PIDS[ask]}" # in the middle
	wait "${PIDS[ask]}" || :
	unset "PIDS[ask]"
	exec 7>&-
	done_by 60 serve
	look
}

@test "--start-off: in the kernel, without a thread of ours, until shunt on; connections that are there go up then" {
	pair --start-off
	ask 100
	goes_by "$OFF"
	[ "$(ls "/proc/${PIDS[serve]}/task" | wc -l)" -eq 1 ]
	[ "$(ls "/proc/${PIDS[ask]}/task" | wc -l)" -eq 1 ]
	"$SHUNT" on "${PIDS[ask]}" # the server is off still: nobody waits for it
	ask 200
	goes_by "$OFF"
	"$SHUNT" on "${PIDS[serve]}"
	goes_up
	leave
	grep -q ' shm (channel' "$D/serve.log"
}

@test "--start-off on one side: the other side's connection goes up in mid-stream when that is switched on" {
	local first
	for first in serve ask; do
		[ $first = serve ] && SERVE_OPTS=(--start-off) ASK_OPTS=() || SERVE_OPTS=() ASK_OPTS=(--start-off)
		pair
		ask 300
		[[ $(paths_of $first) == "$OFF" ]]
		"$SHUNT" on "${PIDS[$first]}"
		goes_up
		leave
		rm "$D/in"
		SERVE_OPTS=() ASK_OPTS=()
	done
}

@test "a process that was switched off has its new connections in the kernel, and children that are off" {
	echo_server echod
	"$SHUNT" off "${PIDS[echod]}"
	[ "$(UNTIL_UP='' client echo "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	jq -es 'all(.[]; .tx.shm_bytes + .rx.shm_bytes == 0)' "$D/echo.stats"
	"$SHUNT" on "${PIDS[echod]}"
	[ "$(client echo "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop echod INT
	[ "$(shm_bytes echo)" -gt 0 ]
	paths echod

	# by fork, by exec in all its forms, and not by a word that was taken back
	[ "$("$SHUNT" run --start-off sh -c 'sh -c "echo \$SHUNT_OFF"')" = 1 ]
	cat >"$D/say.py" <<-'PY'
		import os, subprocess, sys
		print("ready", flush=True)
		for how in sys.stdin:
		    if how.strip() == "system":
		        os.system("echo -$SHUNT_OFF")
		    elif how.strip() == "clean": # where it does not see it
		        subprocess.run(["/bin/sh", "-c", "echo -$SHUNT_OFF$(grep -zo '^SHUNT_OFF=1' /proc/self/environ | tr -dc 1)"], env={"A": "b"})
		    elif not os.fork():
		        os.execl("/bin/sh", "sh", "-c", "echo -$SHUNT_OFF")
		    else:
		        os.wait()
	PY
	mkfifo "$D/in"
	(cd "$D" && exec "$SHUNT" run "$PYTHON" "$D/say.py") <"$D/in" >"$D/said.out" 3>&- &
	PIDS[said]=$!
	exec 7>"$D/in"
	local word want=(ready)
	wait_for 60 said 1
	for word in on off on; do
		"$SHUNT" $word "${PIDS[said]}"
		printf 'fork\nclean\nsystem\n' >&7
		[ $word = on ] && want+=(- - -) || want+=(-1 -1 -1)
		wait_for 60 said "${#want[@]}"
	done
	exec 7>&-
	done_by 60 said
	diff <(printf '%s\n' "${want[@]}") "$D/said.out"
}
said() { [ "$(wc -l <"$D/said.out")" -eq "$1" ]; }

# Each save is a fork with all connections: while the child lives, parent and child hold them.
@test "redis under load while it is switched off and on, and saves by children again and again" {
	need redis-server redis-benchmark redis-cli
	PORT=$(free_port)
	server redis redis-server --port "$PORT" --bind 127.0.0.1 --save '' --appendonly no
	up redis 'Ready to accept connections'
	spawn client bench redis-benchmark -p "$PORT" -t set,get,lrange_100 -n 20000 -c 8 -r 1000 -P 4 -d 500 -q
	(cd "$D" && exec "$T/flip" 1000 random "${PIDS[redis]}" "${PIDS[bench]}") >"$D/flips" 3>&- &
	PIDS[flip]=$!
	local saves=0
	while running "${PIDS[bench]}"; do
		cli bgsave >>"$D/saves.out"
		wait_for 60 saved
		saves=$((saves + 1))
	done
	done_by 60 bench
	[ "$CODE" -eq 0 ]
	stop flip
	echo "switched $(cat "$D/flips") times, saved $saves times, $(sum bench .upgrades) up, $(sum bench .downgrades) down"
	[ "$(grep -c '^Background saving started' "$D/saves.out")" -eq "$saves" ]
	redis-check-rdb "$D/dump.rdb" >"$D/check.out"
	[ "$(cli llen mylist)" -ge 100 ]
	cli shutdown nosave
	done_by 60 redis
	paths redis bench
}

cli() {
	client cli redis-cli -p "$PORT" "$@"
}
saved() {
	[ "$(cli info persistence | grep -cE '^rdb_(bgsave_in_progress:0|last_bgsave_status:ok)')" -eq 2 ]
}

# torrent MODE AMOUNT PERIOD HOW WHO...  Its counters are added to those of the torrents before: on a busy machine a single one may be over between two words to go on.
torrent() {
	local mode=$1 amount=$2 period=$3 how=$4 who pids=()
	shift 4
	server serve "$T/torrent" serve "$mode" "$amount"
	up serve '^[0-9]+$'
	spawn client connect "$T/torrent" connect "$mode" "$amount" "$(head -n 1 "$D/serve.out")"
	for who; do
		pids+=("${PIDS[$who]}")
	done
	(cd "$D" && exec "$T/flip" "$period" "$how" "${pids[@]}") >"$D/flips" 3>&- &
	PIDS[flip]=$!
	done_by "${LIMIT:-60}" connect
	[ "$CODE" -eq 0 ]
	done_by 60 serve
	[ "$CODE" -eq 0 ]
	kill "${PIDS[flip]}" 2>/dev/null || :
	done_by 60 flip
	echo "$mode: $(tail -n 1 "$D/connect.out"), switched $(cat "$D/flips") times, $(sum connect .upgrades) up, $(sum connect .downgrades) down"
	rm -f "$D/serve.out" "$D/connect.out"
}

MIB=100 SECS=3
[ "${SOAK:-0}" = 0 ] || MIB=1024 SECS=20 LIMIT=600

# moved_often TORRENT...: the statistics agree that the connections of a test have moved again and again. A hundred MiB may be over between two words: only where it is a GiB; and that takes
# half a second on some machines, so that another one may have to follow.
moved_often() {
	local try
	[ "${SOAK:-0}" = 0 ] && return
	for try in 1 2 3; do
		[ "$(sum connect .downgrades)" -lt 100 ] || return 0
		echo "moved $(sum connect .downgrades) times: once more ($try)"
		"$@"
	done
	[ "$(sum connect .downgrades)" -ge 100 ] || fail "moved only $(sum connect .downgrades) times" || return
}

@test "as much as goes, both ways at once, while it is switched every millisecond: blocking" {
	torrent blocking $MIB 1000 together serve connect
	torrent blocking $MIB 3000 random serve connect
	paths serve connect
	moved_often torrent blocking $MIB 1000 together serve connect
}
@test "as much as goes, both ways at once, while it is switched every millisecond: epoll" {
	torrent level $MIB 1000 together serve
	torrent edge $MIB 2000 random connect serve
	paths serve connect
	moved_often torrent level $MIB 1000 together serve
}
@test "as much as goes, both ways at once, while it is switched every millisecond: threads that take turns" {
	torrent turns $MIB 1000 together connect
	torrent turns $MIB 5000 random connect serve
	paths serve connect
	moved_often torrent turns $MIB 1000 together connect
}
@test "request and response while either side is switched at random" {
	torrent rr $SECS 1000 random serve connect
	torrent rrpoll $SECS 3000 random serve connect
	paths serve connect
}
@test "datagrams, in turn and as a stream, while either side is switched at random: none is lost, none overtakes another" {
	torrent udp $SECS 2000 random serve connect
	torrent udpstream $SECS 5000 random serve connect
	paths serve connect
}

@test "everybody at once: --all, in a process namespace of our own" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	cat >"$D/all" <<-'SH'
		mount -t proc proc /proc
		"$SHUNT" run sleep 100 &
		"$SHUNT" run --start-off sleep 100 &
		sleep 100 &
		until [ "$("$SHUNT" ps | grep -c sleep)" -eq 2 ]; do sleep 0.02; done
		"$SHUNT" off --all && echo off
		"$SHUNT" on --all && echo on
		kill %1 %2 %3
		wait
	SH
	SHUNT=$SHUNT timeout 20 unshare -pmf --kill-child bash "$D/all" >"$D/all.out" 2>"$D/all.err" 3>&-
	printf 'off\non\n' | diff - "$D/all.out"
	absent . "$D/all.err"
}

@test "what cannot be switched is said in one line, with what to do; status 125" {
	local args
	for args in "" "--all 1" "--none" "x" "0" "99999999999"; do
		# shellcheck disable=SC2086 # words
		run "$SHUNT" off $args
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
		[[ $output == "shunt off: "*"; "* ]] || [[ $output == "shunt off: "*"see"* ]]
	done
	run "$SHUNT" on 4194304
	[ "$status" -eq 125 ]
	[[ $output == "shunt on: 4194304: no such process; "* ]]
	run "$SHUNT" off $$
	[ "$status" -eq 125 ]
	[[ $output == "shunt off: $$: does not run under shunt; start it by "* ]]
	pair
	goes_up
	if [ "$(id -u)" -eq 0 ]; then
		run setpriv --reuid nobody --regid nogroup --clear-groups "$SHUNT" off "${PIDS[serve]}"
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
		[[ $output == "shunt off: ${PIDS[serve]}: is another user's"*root* ]]
		goes_by "$UP"
	fi
	# one of several: the others are switched all the same
	run "$SHUNT" off 4194304 "${PIDS[serve]}"
	[ "$status" -eq 125 ]
	ask 100
	goes_by "$OFF"
	leave
}

@test "a stopped process is switched when it runs again; its peer goes on meanwhile" {
	pair
	goes_up
	kill -STOP "${PIDS[serve]}"
	run "$SHUNT" off "${PIDS[serve]}"
	[ "$status" -eq 0 ]
	[[ $output == *"${PIDS[serve]} does not answer"* ]]
	kill -CONT "${PIDS[serve]}"
	wait_for 60 goes_by "$OFF"
	kill -STOP "${PIDS[ask]}" # the peer of one that is switched
	"$SHUNT" on "${PIDS[serve]}"
	kill -CONT "${PIDS[ask]}"
	goes_up
	kill -STOP "${PIDS[ask]}"
	"$SHUNT" off "${PIDS[serve]}"
	kill -CONT "${PIDS[ask]}"
	wait_for 60 goes_by "$OFF"
	leave
}
