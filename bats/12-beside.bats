#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Other libraries that stand between a program and libc, before us and behind us: an allocator, one that tells another time, sanitizers.

load lib

JEMALLOC=libjemalloc.so.2
FAKETIME=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)

# there LIBRARY: it can be preloaded here
there() {
	env LD_PRELOAD="$1" true 2>&1 | grep -q . && skip "$1 is not installed"
	return 0
}

# beside FRONT BEHIND [VARIABLE=VALUE]...: a server and a client that move bytes through memory; FRONT is loaded before libshunt.so, and BEHIND after it
beside() {
	local front=$1 behind=$2 kind
	shift 2
	cat >"$D/start" <<-'SH'
		[ -z "$FRONT" ] || LD_PRELOAD="$FRONT:$LD_PRELOAD"
		exec "$@"
	SH
	sides both
	for kind in "threading serial" "epoll threads" "asyncio asyncio" "forking serial"; do
		PORT=$(free_port)
		export LD_PRELOAD=$behind FRONT=$front
		[ -n "$behind" ] || unset LD_PRELOAD
		server "${kind% *}" env "$@" sh "$D/start" "$PYTHON" "$PROGS/pyserver.py" "${kind% *}" "$PORT"
		unset LD_PRELOAD
		up "${kind% *}" ready
		loaded "${PIDS[${kind% *}]}" "$front$behind"
		[ -z "$behind" ] || export LD_PRELOAD=$behind
		[ "$(client "${kind#* }-$PORT" env "$@" sh "$D/start" "$PYTHON" "$PROGS/pyclient.py" "${kind#* }" "$PORT")" = ok ]
		unset LD_PRELOAD
		stop "${kind% *}" INT
		paths "${kind% *}" "${kind#* }-$PORT"
	done
	rm -f /dev/shm/{,sem.}faketime_* # it often leaves these behind, also without shunt
}

# loaded PID LIBRARY: both it and ours are in the process
loaded() {
	grep -q "/${2##*/}" "/proc/$1/maps" && grep -q /libshunt.so "/proc/$1/maps"
}

@test "jemalloc behind shunt" { there "$JEMALLOC" && beside "" "$JEMALLOC"; }
@test "jemalloc in front of shunt" { there "$JEMALLOC" && beside "$JEMALLOC" ""; }
@test "libfaketime behind shunt" { there "$FAKETIME" && beside "" "$FAKETIME" FAKETIME=+1y; }
@test "libfaketime in front of shunt" { there "$FAKETIME" && beside "$FAKETIME" "" FAKETIME=+1y; }

@test "redis-server with jemalloc by preload, and its clients" {
	need redis-server redis-benchmark
	there "$JEMALLOC"
	sides both
	PORT=$(free_port)
	export LD_PRELOAD=$JEMALLOC
	server redis redis-server --port "$PORT" --bind 127.0.0.1 --save "" --io-threads 2
	unset LD_PRELOAD
	up redis
	client bench redis-benchmark -p "$PORT" -t set,get -d 64 -n 20000 -c 20 -q
	stop redis
	paths redis bench
}

# sanitized OPTION: programs that were built so start under shunt, talk through memory, and have nothing to complain of
sanitized() {
	local with=$1
	echo 'int main(void) { return 0; }' >"$D/empty.c"
	cc "$with" -o "$D/empty" "$D/empty.c" 2>/dev/null || skip "no $with here"
	cc "$with" -std=gnu11 -D_GNU_SOURCE -O1 -g -pthread -o "$D/rr_server" "$ROOT/tests/bench/rr_server.c"
	cc "$with" -std=gnu11 -D_GNU_SOURCE -O1 -g -pthread -o "$D/rr_client" "$ROOT/tests/bench/rr_client.c"
	sides both
	server rr "$D/rr_server" -m epoll -n 4
	up rr '^port '
	PORT=$(sed -n 's/^port //p' "$D/rr.out")
	client ask "$D/rr_client" -p "$PORT" -t 300 -c 4 -m epoll
	done_by 60 rr
	[ "$CODE" -eq 0 ]
	absent 'ERROR|WARNING|runtime error' "$D/rr.out"
	paths rr ask
}

@test "a program built with AddressSanitizer" { sanitized -fsanitize=address; }
@test "a program built with ThreadSanitizer" { sanitized -fsanitize=thread; }
@test "a program built with UndefinedBehaviorSanitizer" { sanitized -fsanitize=undefined; }

@test "ASAN_OPTIONS that are set stay set" {
	[ "$(ASAN_OPTIONS=halt_on_error=1 "$SHUNT" run printenv ASAN_OPTIONS)" = halt_on_error=1:verify_asan_link_order=0 ]
	[ "$(ASAN_OPTIONS=verify_asan_link_order=1 "$SHUNT" run printenv ASAN_OPTIONS)" = verify_asan_link_order=1 ]
}
