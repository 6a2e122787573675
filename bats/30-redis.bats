#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# redis-server, redis-cli, redis-benchmark: an event loop over epoll; pipelines; a client that sleeps in a blocking pop; a fork
# with live connections; threads that take turns on sockets; a server that is itself a client (replication).

load lib

# redis NAME [OPTION...]: a server in the background, on PORT
redis() {
	local name=$1
	shift
	need redis-server redis-cli redis-benchmark
	PORT=$(free_port)
	mkdir -p "$D/$name.d"
	server "$name" redis-server --port "$PORT" --bind 127.0.0.1 --save '' --appendonly no --dir "$D/$name.d" "$@"
	up "$name" 'Ready to accept connections'
}

cli() {
	client cli redis-cli -p "$PORT" "$@"
}

# end NAME: by SHUTDOWN, as the protocol has it
end() {
	cli shutdown nosave
	done_by 60 "$1"
	[ "$CODE" -eq 0 ]
}

protocol() {
	sides "$1"
	redis redis
	cat >"$D/in" <<-'IN'
		PING
		SET a 1
		INCRBY a 41
		APPEND a x
		GET a
		RPUSH l one two three
		LRANGE l 0 -1
		LPOP l
		HSET h f v g w
		HGETALL h
		MULTI
		SET t 5
		INCR t
		EXEC
		MULTI
		SET u 1
		DISCARD
		GET u
		WRONG
		GET l
		ZADD z 2 b 1 a
		ZRANGE z 0 -1 WITHSCORES
		EVAL "return {KEYS[1],ARGV[1],redis.call('GET','a')}" 1 k v
	IN
	cat >"$D/want" <<-'OUT'
		PONG
		OK
		42
		3
		42x
		3
		one
		two
		three
		one
		2
		f
		v
		g
		w
		OK
		QUEUED
		QUEUED
		OK
		6
		OK
		QUEUED
		OK

		ERR unknown command 'WRONG', with args beginning with: 

		WRONGTYPE Operation against a key holding the wrong kind of value

		2
		a
		1
		b
		2
		k
		v
		42x
	OUT
	cli < <(pings; cat "$D/in") >"$D/got" 2>"$D/err"
	awk '!(/^PONG$/ && n++)' "$D/got" | diff "$D/want" -
	[ ! -s "$D/err" ]
	end redis
	paths redis
}

# pings: until the connection goes through memory
pings() {
	[ "$SIDES" != both ] || [ -n "${SHUNT_NONE:-}" ] || wait_for 60 pinged
}
pinged() {
	echo PING
	in_memory redis
}

@test "the protocol's answers by redis-cli: both sides under shunt" { protocol both; }
@test "the protocol's answers by redis-cli: server only" { protocol server; }
@test "the protocol's answers by redis-cli: client only" { protocol client; }

big_value() {
	sides "$1"
	redis redis
	head -c 10485760 /dev/urandom >"$D/value"
	[ "$(cli -x set big <"$D/value")" = OK ]
	[ "$(cli strlen big)" = 10485760 ]
	cli get big >"$D/back"
	echo >>"$D/value" # redis-cli ends a line
	cmp "$D/value" "$D/back"
	end redis
	paths
}

@test "a value of 10 MB goes in and comes out: both sides under shunt" { big_value both; }
@test "a value of 10 MB goes in and comes out: server only" { big_value server; }
@test "a value of 10 MB goes in and comes out: client only" { big_value client; }

sleepers() {
	sides "$1"
	redis redis
	spawn client popper redis-cli -p "$PORT" blpop list 30
	wait_for 60 blocked
	spawn client subscriber redis-cli -p "$PORT" subscribe news
	up subscriber '^subscribe$'
	[ "$(cli publish news hello)" = 1 ]
	up subscriber '^hello$'
	[ "$(cli rpush list thing)" = 1 ]
	done_by 60 popper
	printf 'list\nthing\n' | diff - "$D/popper.out"
	[ "$(cli blpop list 0.2)" = "" ]
	stop subscriber INT
	unset "UNDER[subscriber]" # a line at an end by SIGINT is more than is promised
	end redis
	paths
}

blocked() {
	cli info clients | grep -q '^blocked_clients:1'
}

@test "a blocking pop and a subscriber wake up: both sides under shunt" { sleepers both; }
@test "a blocking pop and a subscriber wake up: server only" { sleepers server; }
@test "a blocking pop and a subscriber wake up: client only" { sleepers client; }

# benchmark TESTS N OPTION...
benchmark() {
	local t=$1 n=$2
	shift 2
	client bench redis-benchmark -p "$PORT" -t "$t" -n "$n" --csv "$@" >"$D/csv" 2>"$D/err"
	[ ! -s "$D/err" ]
	# at least a line per test (some need another one first), and a rate above 0 in each
	awk -F'"' -v n="$(tr , '\n' <<<"$t" | wc -l)" 'NR > 1 && !($4 > 0) { bad = 1 } END { exit bad || NR - 1 < n }' "$D/csv"
}

load_it() {
	sides "$1"
	redis redis
	benchmark get,set 5000 -c 1
	benchmark get,set 10000 -c 50 -r 1000
	benchmark get,set,lpush,lrange_100 10000 -c 8 -P 16
	benchmark set 2000 -c 4 -d 20000
	benchmark get,set 10000 -c 16 --threads 2
	end redis
	paths redis bench
	mostly bench
}

@test "redis-benchmark with 1 and 50 clients, pipelines, threads: both sides under shunt" { load_it both; }
@test "redis-benchmark with 1 and 50 clients, pipelines, threads: server only" { load_it server; }
@test "redis-benchmark with 1 and 50 clients, pipelines, threads: client only" { load_it client; }

@test "a server whose I/O threads read and write the sockets in turn" {
	sides both
	redis redis --io-threads 3 --io-threads-do-reads yes
	benchmark get,set 5000 -c 20 -P 8
	benchmark set 500 -c 10 -d 30000 -P 4
	end redis
	paths redis bench
}

@test "a server that forks to save, with live connections" {
	sides both
	redis redis
	spawn client bench redis-benchmark -p "$PORT" -t set,get -n 30000 -c 8 -r 100000 -d 100 -q
	[ "$(cli bgsave)" = "Background saving started" ]
	wait_for 60 saved
	done_by 60 bench
	[ "$CODE" -eq 0 ]
	end redis
	paths redis bench
	redis-check-rdb "$D/redis.d/dump.rdb" >"$D/check.out"
}

saved() {
	[ -s "$D/redis.d/dump.rdb" ] && cli info persistence | grep -q '^rdb_bgsave_in_progress:0'
}

@test "a replica gets 10 MB and what follows, and both have the same data" {
	sides both
	redis one --enable-debug-command yes --repl-diskless-sync-delay 0
	local one=$PORT
	head -c 10485760 /dev/urandom | cli -x set big
	redis two --enable-debug-command yes --replicaof "127.0.0.1 $one"
	wait_for 60 in_sync
	client bench redis-benchmark -p "$one" -t set,lpush -n 5000 -c 4 -r 1000 -q
	wait_for 60 same_data "$one"
	end two
	PORT=$one
	end one
	paths one two
}

in_sync() {
	cli info replication | grep -q '^master_link_status:up'
}

# same_data PORT: as the one at PORT
same_data() {
	[ "$(cli debug digest)" = "$(client cli redis-cli -p "$1" debug digest)" ]
}
