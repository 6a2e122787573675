#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# memcached with 4 threads: one accepts, the others serve; each watches its own sockets with libevent.

load lib

# memcached_as USER: in the background, on PORT
memcached_as() {
	need memcached
	PORT=$(free_port)
	server memcached memcached -u "$1" -t 4 -l 127.0.0.1 -p "$PORT" -U 0 -m 200 -I 8m
	up memcached
}

protocol() {
	sides "$1"
	memcached_as "${2:-$(id -un)}"
	run client python "$PYTHON" "$PROGS/memcached.py" "$PORT"
	echo "$output"
	[ "$output" = ok ]
	[ "$status" -eq 0 ]
	stop memcached
	paths memcached python
}

@test "eight clients and four threads: both sides under shunt" { protocol both; }
@test "eight clients and four threads: server only" { protocol server; }
@test "eight clients and four threads: client only" { protocol client; }

@test "a server that gave up root serves root's client" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	protocol both memcache # of the package; nobody (65534) is what any unmapped user looks like, and is not believed
}

tools() {
	need memcslap memccp memccat memcstat
	sides "$1"
	memcached_as "$(id -un)"
	client slap memcslap --servers=127.0.0.1:"$PORT" --concurrency=8 --execute-number=500 --test=set >"$D/slap.out"
	grep -q 'seconds' "$D/slap.out"
	client slap memcslap --servers=127.0.0.1:"$PORT" --concurrency=4 --execute-number=500 --test=get --initial-load=500 >"$D/slap.out"
	head -c 500000 /dev/urandom | base64 >"$D/file"
	client copy memccp --servers=127.0.0.1:"$PORT" "$D/file"
	client copy memccat --servers=127.0.0.1:"$PORT" --file="$D/back" file
	cmp -n "$(stat -c %s "$D/file")" "$D/file" "$D/back"
	client copy memcstat --servers=127.0.0.1:"$PORT" >"$D/stat.out"
	grep -qE 'cmd_set: [1-9][0-9]{3}' "$D/stat.out"
	stop memcached
	paths memcached slap
}

@test "memcslap, memccp and memccat: both sides under shunt" { tools both; }
@test "memcslap, memccp and memccat: server only" { tools server; }
@test "memcslap, memccp and memccat: client only" { tools client; }
