#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# demo.sh - plain programs that talk TCP, first as they are, then under `shunt run`; prints both rates, the ratio, and how many bytes
# went through shared memory by the counters that each process leaves at its end. Needs nothing but what `make` built; with
# redis-server and redis-benchmark installed it shows them too.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
bin=$B/tests/bench
ms=${DEMO_MS:-1500}
tmp=$(mktemp -d) || exit 1
server=
trap 'stop_server; rm -rf "$tmp"' EXIT

stop_server() {
	[ -n "$server" ] || return 0
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}

# wait_for COMMAND...: until it succeeds; not longer than 5 s.
wait_for() {
	local i
	for ((i = 0; i < 250; i++)); do
		"$@" && return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.02
	done
	echo "demo: the server did not start" >&2
	exit 1
}

has_port() {
	port=$(sed -n 's/^port //p' "$tmp/out")
	[ -n "$port" ]
}

# Of all processes that left a line in $tmp/stats: bytes received by shared memory, and by the kernel.
count_bytes() {
	awk '{
		if (match($0, /"rx":\{[^}]*\}/)) {
			rx = substr($0, RSTART, RLENGTH)
			if (match(rx, /"shm_bytes":[0-9]+/)) shm += substr(rx, RSTART + 12, RLENGTH - 12)
			if (match(rx, /"kernel_bytes":[0-9]+/)) kernel += substr(rx, RSTART + 15, RLENGTH - 15)
		}
	} END { printf "%.0f %.0f\n", shm, kernel }' "$tmp/stats"
}

# serve PROGRAM ARGUMENT...: started by way of $with; its port into $port.
serve() {
	: >"$tmp/out" # a port from before must not be taken for the new one
	"${with[@]}" "$bin/$1" "${@:2}" >"$tmp/out" &
	server=$!
	wait_for has_port
}

# The bundled servers leave when their connections have ended.
end_server() {
	[ -n "$rate" ] || stop_server
	wait "$server" 2>/dev/null
	server=
}

# rr SERVER-MODE CONNECTIONS CLIENT-MODE: round trips a second, into $rate.
rr() {
	serve rr_server -m "$1" -n "$2"
	rate=$("${with[@]}" "$bin"/rr_client -p "$port" -t "$ms" -c "$2" -m "$3" | awk '{ print $2 }')
	end_server
}

stream() {
	serve stream_server -r "$1" -n 1
	rate=$("${with[@]}" "$bin"/stream_client -p "$port" -t "$ms" -w "$1" | awk '{ print $2 }')
	end_server
}

redis_answers() {
	redis-cli -p "$port" set key:__rand_int__ "$(printf 'x%.0s' {1..64})" >/dev/null 2>&1
}

# redis CLIENTS REQUESTS-WITHOUT REQUESTS-WITH
redis() {
	local n=$2
	[ ${#with[@]} -gt 0 ] && n=$3
	n=$((n * ms / 1500))
	port=$((20000 + RANDOM % 10000))
	"${with[@]}" redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no --dir "$tmp" >/dev/null &
	server=$!
	wait_for redis_answers
	rate=$("${with[@]}" redis-benchmark -p "$port" -t get -d 64 -c "$1" -n "$n" --csv 2>/dev/null | awk -F'"' '$2 == "GET" { print $4 }')
	stop_server
}

failed=0
row() {
	local name=$1 kernel shm by_kernel
	shift
	with=() && "$@"
	kernel=$rate
	: >"$tmp/stats"
	with=("$B/shunt" run --stats "$tmp/stats" --) && "$@"
	read -r shm by_kernel < <(count_bytes)
	awk -v name="$name" -v k="$kernel" -v s="$rate" -v shm="$shm" -v bk="$by_kernel" 'BEGIN {
		printf "%-36s %12.0f %12.0f %7.1fx %14.1f %14.1f\n", name, k, s, k ? s / k : 0, shm / 1e6, bk / 1e6
		exit !(k && s && shm)
	}' || failed=1
}

printf '%-36s %12s %12s %8s %14s %14s\n' "per second" "kernel" "shunt" "ratio" "MB in memory" "MB by kernel"
row "64 B request/response" rr serial 1 blocking
row "64 B request/response, epoll, 10" rr epoll 10 epoll
row "stream, writes of 64 B" stream 64
row "stream, writes of 64 KiB" stream 65536
if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null && command -v redis-cli >/dev/null; then
	row "redis GET, 1 client" redis 1 20000 300000
	row "redis GET, 50 clients" redis 50 100000 600000
else
	echo "(redis-server and redis-benchmark are not installed: the demo shows them too where they are)"
fi
[ $failed = 0 ] || echo "demo: a row has no rate, or no byte went through shared memory" >&2
exit $failed
