#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# kill -9 of either side at random moments: the survivor sees what the kernel would show it, and goes on; nothing is left.
# 50 rounds; 500 with SOAK=1. A failed run prints SEED; SEED=n repeats its moments.

load lib

setup_file() {
	file_begin
	cc -std=gnu11 -D_GNU_SOURCE -O2 -o "$T/pump" "$PROGS/pump.c"
	ROUNDS=${ROUNDS:-$((${SOAK:-0} ? 500 : 50))}
	SEED=${SEED:-$RANDOM}
	export ROUNDS SEED
}

start_server() {
	server server "$T/pump" server "$PORT" "$D/by-server" "$D/by-client"
	up server ready
}

start_client() {
	touch "$D/by-client"
	cp "$D/by-client" "$D/counted"
	spawn client client "$T/pump" client "$PORT" "$D/by-client" "$D/by-server"
}

# The client counts from the moment when it has connected.
connected() { ! cmp -s "$D/by-client" "$D/counted"; }
upgraded() {
	"$SHUNT" ps --json | jq -e --argjson pid "${PIDS[client]}" 'any(.[] | select(.pid == $pid).sockets[]; .tx.shm_bytes > 0)' >/dev/null
}

# a_moment [ROUND]: from 0 to 40 ms, within the start or the rendezvous. However long these take here: of three rounds one counts from the connection, and one from when it sends through memory.
a_moment() {
	local after=$((${1:-0} % 3))
	[ $after -eq 0 ] || wait_for 60 connected || fail "the client does not connect" || return
	[ $after -lt 2 ] || [ "$SIDES" != both ] || [ -n "${SHUNT_NONE:-}" ] || wait_for 60 upgraded || fail "the client is not upgraded" || return
	sleep "0.0$(printf %02d $((RANDOM % 40)))"
}

# murder NAME: and take it from the list
murder() {
	kill -9 "${PIDS[$1]}"
	done_by 60 "$1"
	[ "$CODE" -eq 137 ]
}

# One more conversation with this server, to its end.
still_serves() {
	client last "$T/pump" client "$PORT" "$D/by-client" "$D/by-server" 300000 >"$D/last.line"
	[ "$(cat "$D/last.line")" = "client eof 300000/300000 ok" ]
}

kill_clients() {
	local i
	sides "$1"
	echo "SEED=$SEED"
	RANDOM=$SEED
	PORT=$(free_port)
	start_server
	for ((i = 0; i < ROUNDS; i++)); do
		start_client
		a_moment $i
		murder client
		# the server sees the end of each; one that was killed before it connected is not among them
	done
	still_serves
	stop server
	[ "$CODE" -eq 0 ]
	absent 'WRONG|LOST' "$D/server.out"
	[ "$(grep -cvE '^(ready|server (eof|reset) [0-9]+/[0-9]+ ok)$' "$D/server.out")" -eq 0 ]
	[ "$(grep -c '^server ' "$D/server.out")" -gt $((ROUNDS / 3)) ]
	look
	paths server
}

@test "clients are killed, the server goes on: both sides under shunt" { kill_clients both; }
@test "clients are killed, the server goes on: server only" { ROUNDS=10 && kill_clients server; }

kill_servers() {
	local i
	sides "$1"
	echo "SEED=$SEED"
	RANDOM=$SEED
	PORT=$(free_port)
	for ((i = 0; i < ROUNDS; i++)); do
		start_server
		start_client
		a_moment $i
		murder server
		done_by 60 client
		[ "$CODE" -eq 0 ]
		cat "$D/client.out" >>"$D/clients.out"
	done
	look
	absent 'WRONG|LOST' "$D/clients.out"
	[ "$(grep -cvE '^client (eof [0-9]+/[0-9]+|reset [0-9]+/[0-9]+|Connection refused 0/0) ok$' "$D/clients.out")" -eq 0 ]
	[ "$(grep -cE '^client (eof|reset)' "$D/clients.out")" -gt $((ROUNDS / 3)) ]
	paths client
}

@test "servers are killed, the client sees the end: both sides under shunt" { kill_servers both; }
@test "servers are killed, the client sees the end: client only" { ROUNDS=10 && kill_servers client; }

@test "both are killed at once" {
	local i
	sides both
	echo "SEED=$SEED"
	RANDOM=$SEED
	PORT=$(free_port)
	for ((i = 0; i < ROUNDS / 5; i++)); do
		start_server
		start_client
		a_moment $i
		kill -9 "${PIDS[server]}" "${PIDS[client]}"
		done_by 60 server
		done_by 60 client
	done
	look
}

@test "redis under load is killed, its clients end; a new one at the same port serves" {
	need redis-server redis-benchmark
	local i
	sides both
	PORT=$(free_port)
	for ((i = 0; i < 5; i++)); do
		server redis redis-server --port "$PORT" --bind 127.0.0.1 --save '' --dir "$D"
		up redis 'Ready to accept connections'
		spawn client bench redis-benchmark -p "$PORT" -t set -n 100000000 -c 10 -q
		up bench rps= # one that never connected would try for ever, as without shunt
		a_moment
		murder redis
		done_by 60 bench
		[ "$CODE" -ne 0 ]
	done
	look
}

@test "clients of a redis that goes on are killed" {
	need redis-server redis-benchmark redis-cli
	local i
	sides both
	PORT=$(free_port)
	server redis redis-server --port "$PORT" --bind 127.0.0.1 --save '' --dir "$D"
	up redis 'Ready to accept connections'
	for ((i = 0; i < 10; i++)); do
		spawn client bench redis-benchmark -p "$PORT" -t set -n 100000000 -c 10 -P 4 -q
		a_moment
		murder bench
		wait_for 60 alone
	done
	client bench redis-benchmark -p "$PORT" -t set,get -n 2000 -c 10 -q >"$D/bench.last"
	client cli redis-cli -p "$PORT" shutdown nosave
	done_by 60 redis
	[ "$CODE" -eq 0 ]
	look
	paths redis bench
}

alone() {
	client cli redis-cli -p "$PORT" info clients | grep -q '^connected_clients:1'
}
