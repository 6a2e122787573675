#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Python's own servers and clients: http.server, socketserver (a thread or a process for each connection), selectors over epoll,
# poll and select, asyncio, one socket in two threads, children that accept from one listening socket.

load lib

setup_file() {
	file_begin
	local size
	mkdir -m 755 "$T/www"
	for size in 0 1 5000 300000 10000000; do
		head -c "$size" /dev/urandom >"$T/www/$size"
	done
}

# echo_by SIDES SERVER_KIND CLIENT_KIND...
echo_by() {
	local kind=$2 c
	sides "$1"
	shift 2
	PORT=$(free_port)
	server "$kind" "$PYTHON" "$PROGS/pyserver.py" "$kind" "$PORT"
	up "$kind" ready
	for c; do
		run client "client-$c" "$PYTHON" "$PROGS/pyclient.py" "$c" "$PORT"
		echo "$c: $output"
		[ "$output" = ok ]
		[ "$status" -eq 0 ]
	done
	stop "$kind" INT
	[ "$CODE" -eq 0 ]
	[ "$(cat "$D/$kind.out")" = ready ]
	paths "$kind" "${@/#/client-}"
}

@test "socketserver, a thread for each connection" { echo_by both threading serial threads; }
@test "socketserver, a process for each connection" { echo_by both forking serial threads; }
@test "socketserver, buffered files" { echo_by both files serial threads; }
@test "three children accept from one socket" { echo_by both prefork serial threads; }
@test "one thread reads and another writes" { echo_by both threads serial threads; }
@test "asyncio on both sides" { echo_by both asyncio asyncio; }
@test "a selector over epoll" { echo_by both epoll epoll serial; }
@test "a selector over poll" { echo_by both poll poll serial; }
@test "a selector over select" { echo_by both select select serial; }

@test "every kind of server, alone under shunt" {
	for kind in threading forking files prefork threads asyncio epoll poll select; do
		echo_by server "$kind" serial
	done
}

@test "every kind of client, alone under shunt" { echo_by client threading serial threads asyncio epoll poll select; }

# churn SERVER_KIND CLIENT_KIND...: very many connections, short and long, that end in each way
churn() {
	local kind=$1 c seed=$((RANDOM * 100))
	shift
	sides both
	PORT=$(free_port)
	server "$kind" "$PYTHON" "$PROGS/pyserver.py" "$kind" "$PORT"
	up "$kind" ready
	for c; do
		run client "client-$c" "$PYTHON" "$PROGS/pychurn.py" "$c" "$PORT" "$seed" 60
		echo "$c, seed $seed: $output"
		[ "$output" = ok ]
	done
	stop "$kind" INT
	[ "$CODE" -eq 0 ]
	paths "$kind" "${@/#/client-}"
}

@test "connections that come and go, and a selector over epoll" { churn epoll serial threads epoll poll; }
@test "connections that come and go, and a selector over poll" { churn poll serial epoll; }
@test "connections that come and go, and a selector over select" { churn select threads select; }
@test "connections that come and go, and a thread for each" { churn threading threads epoll; }
@test "connections that come and go, and asyncio" { churn asyncio serial threads epoll; }

http() {
	sides "$1"
	PORT=$(free_port)
	server httpd "$PYTHON" -u -m http.server "$PORT" --bind 127.0.0.1 --directory "$T/www" --protocol HTTP/1.1
	up httpd '^Serving HTTP'
	[ "$(client urllib "$PYTHON" "$PROGS/pyhttp.py" "$PORT" "$T/www")" = ok ]
	stop httpd INT
	[ "$CODE" -eq 0 ]
	paths httpd urllib
}

@test "http.server, urllib and a kept connection: both sides under shunt" { http both; }
@test "http.server, urllib and a kept connection: server only" { http server; }
@test "http.server, urllib and a kept connection: client only" { http client; }
