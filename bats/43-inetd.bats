#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Servers that others start: xinetd (a connection on 0, 1 and 2, or the listening socket on 0), systemd-socket-activate (LISTEN_FDS), ncat. A connection
# that is standard input stays in the kernel, and only the answer counts; one that is accepted from an inherited listening socket, or inherited under another number, goes up.

load lib

setup_file() {
	file_begin
	head -c 30000000 /dev/urandom | base64 -w 60 >"$T/data"
	cat >"$T/activated.py" <<-'PY'
		# activated.py listener FD | connection FD: echoes; a listener's connections one after the other, until SIGTERM
		import signal, socket, sys
		def echo(s):
		    while d := s.recv(65536):
		        s.sendall(d)
		    s.shutdown(socket.SHUT_WR)
		s = socket.socket(fileno=int(sys.argv[2]))
		if sys.argv[1] == "connection":
		    echo(s)
		    sys.exit(0)
		signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
		while True:
		    with s.accept()[0] as c:
		        echo(c)
	PY
}

# served CMD...: SERVED, the words for CMD under shunt where the environment is a new one, as xinetd and systemd-socket-activate give it. It works in $D, where it is found.
served() {
	SERVED=(/usr/bin/env -C "$D")
	[ -n "${SHUNT_NONE:-}" ] || SERVED+=("SHUNT_MAP=$SHUNT_MAP" "$SHUNT" run --stats "$D/activated.stats" --)
	SERVED+=("$@")
}

# echoes N [NAME]: the data go there and back so often
echoes() {
	for _ in $(seq "$1"); do
		client "${2:-nc}" nc -N 127.0.0.1 "$PORT" <"$T/data" >"$D/back"
		cmp "$T/data" "$D/back"
	done
}

# xinetd WAIT SERVER [ARG...]: in the background, on PORT
xinetd_with() {
	local args="${*:3}"
	need xinetd nc
	PORT=$(free_port)
	cat >"$D/xinetd.conf" <<-CONF
		service echo_here
		{
			type = UNLISTED
			port = $PORT
			bind = 127.0.0.1
			socket_type = stream
			protocol = tcp
			wait = $1
			user = $(id -un)
			server = $2
			${args:+server_args = $args}
			instances = 20
			cps = 1000 1
		}
	CONF
	server xinetd setsid xinetd -dontfork -f "$D/xinetd.conf" -pidfile "$D/xinetd.pid" -filelog "$D/xinetd.txt"
	up xinetd
}

@test "xinetd: a connection on 0, 1 and 2 of cat: both sides under shunt" {
	sides both
	xinetd_with no /bin/cat
	echoes 2
	stop xinetd
	[ "$CODE" -eq 0 ]
	paths
}

@test "xinetd: a listening socket on 0 of a server that accepts: both sides under shunt" {
	sides both
	served "$PYTHON" "$T/activated.py" listener 0
	xinetd_with yes "${SERVED[@]}"
	echoes 2
	stop xinetd
	ours # the server stays, and listens where xinetd did: on the map again from the next connection on
	[ ${#OURS[@]} -eq 1 ]
	# shellcheck disable=SC2034,SC2154 # for lib.bash; a name
	PIDS[activated]=${OURS[0]}
	echoes 2 after
	stop activated
	paths activated nc after
}

# alone NAME: the kernel has carried all
alone() {
	SIDES=one paths "$1"
}

activate() {
	need nc
	[ -n "$(type -P systemd-socket-activate)" ] || skip "systemd-socket-activate is not installed"
	PORT=$(free_port)
	server activate systemd-socket-activate -l "127.0.0.1:$PORT" "$@"
	up activate
}

@test "systemd-socket-activate: a program that inherits the listening socket: both sides under shunt" {
	sides both
	served "$PYTHON" "$T/activated.py" listener 3
	activate "${SERVED[@]}"
	echoes 2
	stop activate
	paths activated nc
}
@test "systemd-socket-activate: a program that inherits the listening socket, and an environment without us: both sides under shunt" {
	sides both
	activate "$PYTHON" "$T/activated.py" listener 3
	echoes 2
	stop activate
	paths activate nc
}
@test "systemd-socket-activate: a program that inherits the listening socket, and is kept out of shunt on purpose" {
	sides both
	activate --setenv=LD_PRELOAD= "$PYTHON" "$T/activated.py" listener 3
	echoes 2
	stop activate
	alone nc
}
@test "systemd-socket-activate: a program for each connection" {
	sides both
	served "$PYTHON" "$T/activated.py" connection 3
	activate --accept "${SERVED[@]}"
	echoes 2
	stop activate
	paths activated nc
}

@test "ncat: the program of a connection sits behind pipes, and inherits the connection without knowing" {
	need ncat
	sides both
	PORT=$(free_port)
	server ncat ncat -l 127.0.0.1 "$PORT" --keep-open --sh-exec "head -c $(wc -c <"$T/data") | sha256sum"
	up ncat
	for _ in 1 2; do
		client nc nc 127.0.0.1 "$PORT" <"$T/data" >"$D/back" # it takes an end of file for the end of both directions
		sha256sum <"$T/data" | diff - "$D/back"
	done
	stop ncat
	paths
}
