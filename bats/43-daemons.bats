#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Programs that become daemons, or make daemons of others: they fork twice, leave the session, close every descriptor, and a program in them serves and asks over TCP.

load lib

setup_file() {
	file_begin
	head -c 30000000 /dev/urandom | base64 -w 60 >"$T/data"
	cat >"$T/daemon.py" <<-'PY'
		# daemon.py CMD...: by the book
		import os, sys
		if os.fork():
		    os._exit(0)
		os.setsid()
		if os.fork():
		    os._exit(0)
		os.closerange(0, 65536)
		os.open("/dev/null", os.O_RDWR)
		os.dup2(0, 1)
		os.dup2(0, 2)
		os.execvp(sys.argv[1], sys.argv[1:])
	PY
}

# inside NAME CMD...: CMD, which takes a program and its arguments and returns at once, with a server that writes what it is sent into a file; asked from outside
inside() {
	local name=$1
	shift
	need socat nc
	sides both
	PORT=$(free_port)
	client "$name" "$@" socat -u "TCP-LISTEN:$PORT,bind=127.0.0.1" "CREATE:$D/back"
	wait_for 60 listening "$PORT"
	client nc nc -N 127.0.0.1 "$PORT" < <(trickles "$T/data" "$PORT")
	wait_for 60 cmp -s "$T/data" "$D/back"
	wait_for 60 nobody
	paths "$name" nc
}

nobody() {
	ours
	[ ${#OURS[@]} -eq 0 ]
}

@test "a daemon by the book: two forks, setsid, every descriptor closed" { inside daemon "$PYTHON" "$T/daemon.py"; }
@test "setsid -f" { inside setsid setsid -f; }
@test "dtach" {
	need dtach
	inside dtach dtach -n "$D/socket"
}
@test "daemon" {
	[ -n "$(type -P daemon)" ] || skip "daemon is not installed"
	inside libslack daemon --noconfig -D "$D" --
}
@test "tmux: a server in one window is asked from another one" {
	need tmux socat nc
	sides both
	PORT=$(free_port)
	client tmux tmux -S "$D/socket" -f /dev/null new-session -d "exec socat -u TCP-LISTEN:$PORT,bind=127.0.0.1 CREATE:$D/back"
	wait_for 60 listening "$PORT"
	mkfifo "$D/pipe"
	client tmux tmux -S "$D/socket" -f /dev/null new-window -d "exec nc -N 127.0.0.1 $PORT <$D/pipe"
	trickles "$T/data" "$PORT" >"$D/pipe"
	wait_for 60 cmp -s "$T/data" "$D/back"
	wait_for 60 nobody # the last window takes the server with it
	[ "$(jq -s 'map(select(.comm == "socat" and .rx.shm_bytes > 0)) | length' "$D/tmux.stats")" -eq 1 ]
	[ "$(jq -s 'map(select(.comm == "nc" and .tx.shm_bytes > 0)) | length' "$D/tmux.stats")" -eq 1 ]
}
