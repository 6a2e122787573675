#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Clients that do a few calls and end, at random moments around their rendezvous, in each way in which a process can end: nothing of
# a rendezvous under way is left. A failed run prints SEED; SEED=n repeats its moments. SOAK=1: many more.

load lib

setup_file() {
	file_begin
	cc -std=gnu11 -D_GNU_SOURCE -O2 -o "$T/brief" "$PROGS/brief.c" -pthread
	TIMES=${TIMES:-$((${SOAK:-0} ? 5000 : 200))}
	SEED=${SEED:-$RANDOM}
	export TIMES SEED BATS_TEST_TIMEOUT=1200
}

# ends HOW [CMD...]: TIMES clients; CMD starts both sides
ends() {
	local how=$1
	shift
	sides both
	echo "SEED=$SEED"
	PORT=$(free_port)
	server server "$@" "$T/brief" serve "$PORT"
	up server
	LIMIT=1000 client client "$@" "$T/brief" clients "$PORT" "$TIMES" "$how" "$SEED"
	stop server
	[ "$how" = kill ] || paths client && paths server
}

one_core() {
	ends "$1" taskset -c "$(taskset -cp $$ | sed 's/.*[:,-] *//')"
}

@test "exit" { ends exit; }
@test "_exit, on one core" { one_core _exit; }
@test "quick_exit" { ends quick_exit; }
@test "SIGTERM" { ends term; }
@test "exec" { ends exec; }
@test "exec that fails, and exit" { ends noexec; }
@test "exit in another thread, on one core" { one_core thread; }
@test "fork, and exit of both" { ends fork; }

@test "kill -9: what is left then, the next one removes" {
	ends kill
	look
}

# loaded N: the clients have told so often that they got right answers
loaded() {
	[ "$(grep -c '^ok memcached' "$D/lines")" -ge "$1" ]
}

# memcached's main thread returns from main while its four others are in the middle of requests; nobody may see anything of that but the end.
@test "a server of several threads ends under load, again and again: no wrong answer before the end" {
	need memcached
	local i enough
	sides both
	PORT=$(free_port)
	touch "$D/lines"
	echo down >"$D/generation"
	for i in 1 2; do
		spawn client "client$i" "$PYTHON" "$PROGS/soak.py" memcached "$PORT" "$((SEED + i))" "$D/lines" "$D/generation"
	done
	for ((i = 0; i < (${SOAK:-0} ? 500 : 25); i++)); do
		server memcached memcached -u "$(id -un)" -t 4 -l 127.0.0.1 -p "$PORT" -U 0
		up memcached
		echo up >>"$D/generation"
		enough=$(($(grep -c '^ok memcached' "$D/lines" || :) + 4))
		wait_for 60 loaded "$enough"
		echo down >>"$D/generation"
		stop memcached
	done
	stop client1
	stop client2
	absent WRONG "$D/lines"
	grep -q '^ok memcached' "$D/lines"
	paths memcached
}
