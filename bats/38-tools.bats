#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# nc, socat, curl: files of 10 and 64 MB through a connection; sockets that become a program's stdin and stdout (there only the answer
# counts: stdio's sockets are the kernel's); many short connections.

load lib

setup_file() {
	file_begin
	head -c 10485760 /dev/urandom >"$T/data"
	head -c 67108864 /dev/urandom >"$T/more"
	export DATA=$T/data MORE=$T/more
}

nc_sends() {
	need nc
	sides "$1"
	PORT=$(free_port)
	server ncd nc -l 127.0.0.1 "$PORT"
	up ncd
	client nc nc -N 127.0.0.1 "$PORT" < <(trickles "$MORE" "$PORT")
	done_by 60 ncd
	[ "$CODE" -eq 0 ]
	cmp "$MORE" "$D/ncd.out"
	paths ncd nc
}

@test "nc sends 64 MB to nc: both sides under shunt" { nc_sends both; }
@test "nc sends 64 MB to nc: server only" { nc_sends server; }
@test "nc sends 64 MB to nc: client only" { nc_sends client; }

socat_sends() {
	need socat
	sides "$1"
	PORT=$(free_port)
	server socatd socat -u "TCP-LISTEN:$PORT,bind=127.0.0.1" "CREATE:$D/back"
	up socatd
	client socat socat -u STDIN "TCP:127.0.0.1:$PORT" < <(trickles "$MORE" "$PORT")
	done_by 60 socatd
	[ "$CODE" -eq 0 ]
	cmp "$MORE" "$D/back"
	paths socatd socat
}

@test "socat sends 64 MB to socat: both sides under shunt" { socat_sends both; }
@test "socat sends 64 MB to socat: server only" { socat_sends server; }
@test "socat sends 64 MB to socat: client only" { socat_sends client; }

# A line now and then: the listener is closed long before there have been enough calls for a rendezvous.
slowly() {
	for i in $(seq 8); do
		echo "line $i"
		sleep 0.4
	done
}

@test "a slow client of a server that takes one connection and listens no more: through shared memory, too" {
	need socat
	sides both
	PORT=$(free_port)
	server socatd socat -u "TCP-LISTEN:$PORT,bind=127.0.0.1" "CREATE:$D/back"
	up socatd
	client socat socat -u STDIN "TCP:127.0.0.1:$PORT" < <(slowly)
	done_by 60 socatd
	[ "$CODE" -eq 0 ]
	[ "$(wc -l <"$D/back")" -eq 8 ]
	paths socatd socat
}

# The socket's other end is a pipe or a socketpair within socat; each connection is short.
words() {
	need socat
	sides "$1"
	PORT=$(free_port)
	server socatd socat "TCP-LISTEN:$PORT,bind=127.0.0.1,reuseaddr,fork,backlog=16" "$2"
	up socatd
	for i in $(seq 20); do
		[ "$(echo "hello $i" | client socat socat -t 20 - "TCP:127.0.0.1:$PORT")" = "hello $i" ]
	done
	stop socatd
	paths
}

@test "short words to a forking socat and back: both sides under shunt" { words both PIPE; }
@test "short words to a forking socat and back: server only" { words server PIPE; }
@test "short words to a forking socat and back: client only" { words client PIPE; }
@test "short words to a program behind a socat" { words both EXEC:cat; }

# As inetd does it: the socket is put on 0 and 1, and the program that reads there is another one.
inetd() {
	need socat nc
	sides "$1"
	shift
	PORT=$(free_port)
	printf '#!/bin/sh\n%s\n' "$1" >"$D/service"
	chmod 755 "$D/service"
	server socatd socat "TCP-LISTEN:$PORT,bind=127.0.0.1,reuseaddr,fork,backlog=16" "EXEC:$D/service,nofork"
	up socatd
	client nc nc -N 127.0.0.1 "$PORT" <"$DATA" >"$D/back"
	"$D/service" <"$DATA" | cmp - "$D/back"
	stop socatd
	paths
}

@test "a socket on stdin and stdout of another program: both sides under shunt" { inetd both 'exec cat'; }
@test "a socket on stdin and stdout of another program: server only" { inetd server 'exec cat'; }
@test "a socket on stdin and stdout of another program: client only" { inetd client 'exec cat'; }
@test "a socket on stdin and stdout of a program that buffers by stdio" { inetd both 'exec sha256sum'; }
@test "a socket on stdin and stdout of a shell that starts one program after the other" {
	inetd both 'head -c 1000; dd bs=1000 count=5 iflag=fullblock status=none; cat'
}

@test "curl gets 10 MB through socat as a relay" {
	need curl socat
	sides both
	PORT=$(free_port)
	server httpd "$PYTHON" -u -m http.server "$PORT" --bind 127.0.0.1 --directory "$T"
	up httpd '^Serving HTTP'
	local to=$PORT
	PORT=$(free_port)
	server relay socat "TCP-LISTEN:$PORT,bind=127.0.0.1,reuseaddr,fork" "TCP:127.0.0.1:$to"
	up relay
	client curl curl -sS -f -o "$D/back" "http://127.0.0.1:$PORT/data"
	cmp "$DATA" "$D/back"
	stop relay
	stop httpd INT
}

@test "over ::1, and by a wildcard listener that takes both families" {
	need nc
	listening_v6 || skip "no IPv6 here"
	sides both
	local to
	for to in ::1 127.0.0.1; do
		PORT=$(free_port)
		server ncd nc -l :: "$PORT"
		up ncd
		client nc nc -N "$to" "$PORT" < <(trickles "$DATA" "$PORT")
		done_by 60 ncd
		cmp "$DATA" "$D/ncd.out"
	done
	paths ncd nc
}

listening_v6() {
	grep -q 00000000000000000000000000000001 /proc/net/if_inet6
}
