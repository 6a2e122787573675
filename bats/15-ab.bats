#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# `shunt ab`: what it finds, what it leaves out and says so, and what it looks like. How often its interval holds the truth is measured in
# tests/unit/test_ab.c.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
	! "$SHUNT" ab true 2>&1 | grep -q 'built without it' || skip "built without libgsl or jansson"
	B=$ROOT/build/tests/bench
	PAIR=(--server "$B/rr_server -p {port} -n 1" --client "$B/rr_client -p {port} -t 150")
}

# What is faster, memory or the kernel, is the machine's to say, and not at every moment the same. Where a test is about what is made of it, a program knows
# better: `slowly` prints a rate that is a tenth when shunt is not there.
slowly() {
	# shellcheck disable=SC2016
	printf '#!/bin/sh\nif [ "$LD_PRELOAD" ]; then f=1; else f=10; fi\n"$@" | awk -v f=$f '"'"'{ print $1, $2 / f }'"'"'\n' >"$D/slowly"
	chmod 755 "$D/slowly"
	SLOWLY=(--server "$B/rr_server -p {port} -n 1" --client "$D/slowly $B/rr_client -p {port} -t 150")
}

# field FILTER: of the JSON report in $D/json
field() {
	jq -r "$1" "$D/json"
}

@test "a pair of programs is found faster, by a figure in its output, and all of it went through memory" {
	slowly
	"$SHUNT" ab "${SLOWLY[@]}" --metric 'rate ([0-9.e+]+)' --rounds 8 --json >"$D/json" 2>"$D/err"
	[ ! -s "$D/err" ] # no progress where no terminal is
	[ "$(field .rounds)" = 8 ] && [ "$(field '.kernel.figures | length')" = 8 ] && [ "$(field .failed)" = 0 ]
	[ "$(field '.ratio.low > 1 and .ratio.low <= .ratio.value and .ratio.value <= .ratio.high')" = true ]
	[ "$(field '(.with_shunt.median / .kernel.median / .ratio.value - 1) | fabs < 0.000001')" = true ]
	[ "$(field '.with_shunt.shm_share > 0.5 and .kernel.shm_share == null')" = true ]
	[ "$(field '.kernel.cpu_s.server > 0 and .with_shunt.cpu_s.client > 0 and .kernel.context_switches.client > 0')" = true ]
	[[ $(field .verdict) =~ ^[0-9.]+' times faster, 95 % interval '[0-9.]+-[0-9.]+,.*CPU$ ]]
	[ "$(field .machine.cores)" = "$(getconf _NPROCESSORS_ONLN)" ]
}

@test "a command alone is judged by its time; a figure of which less is better turns the ratio" {
	cat >"$D/both" <<-'EOT'
		#!/usr/bin/python3
		import os, socket, sys, time
		if not os.environ.get("LD_PRELOAD"):
		    time.sleep(1)
		s = socket.create_server(("127.0.0.1", 0))
		if not os.fork():
		    c = s.accept()[0]
		    while d := c.recv(64):
		        c.sendall(d)
		    os._exit(0)
		c = socket.create_connection(s.getsockname())
		for _ in range(1000):
		    c.sendall(b"x" * 64)
		    c.recv(64)
		c.close()
		os.wait()
		print("took", sys.argv[1])
	EOT
	chmod 755 "$D/both"
	"$SHUNT" ab --rounds 6 --json -- "$D/both" 1 >"$D/json"
	[ "$(field .metric.name)" = "wall time" ] && [ "$(field '.kernel.median > .with_shunt.median and .ratio.value > 1')" = true ]
	"$SHUNT" ab --rounds 6 --json --metric 'took ([0-9]+)' --lower-better -- "$D/both" 5 >"$D/json"
	[ "$(field '.kernel.median == 5 and .ratio.value == 1 and .ratio.high == 1')" = true ]
	[[ $(field .verdict) == "no difference that this many runs could show"* ]]
}

# An interval that holds the truth 95 times of 100 misses it three times of 20 now and then (1 time in 13): then 40 more tries decide.
@test "against itself it finds no difference, in 18 of 20 tries at least" {
	local i held=0
	for ((i = 0; i < 60 && (i != 20 || held < 18); i++)); do
		"$SHUNT" ab --against-itself --rounds 12 --json true >"$D/json"
		[ "$(field '.ratio.low <= 1 and .ratio.high >= 1')" = false ] || held=$((held + 1))
	done
	[ $((10 * held)) -ge $((i == 20 ? 180 : 510)) ] || fail "$held of $i" || return
}

@test "a run that fails, and one in which nothing goes through memory, is said so, with why, and never counted" {
	run -1 "$SHUNT" ab --rounds 2 -- sh -c 'echo no luck; exit 3'
	[ "${lines[0]}" = "1 round left out, failed: ${lines[0]#*failed: }" ] && [[ ${lines[0]} == *"the command ended with status 3: no luck" ]]
	[ "${lines[1]}" = "no result: no round could be counted" ]
	run -1 "$SHUNT" ab --rounds 2 true
	[[ ${lines[0]} == "1 round left out, nothing went through memory: it had no local TCP or UDP traffic"* ]]
	run -1 "$SHUNT" ab --rounds 2 --server "env -u LD_PRELOAD $B/rr_server -p {port} -n 1" --client "$B/rr_client -p {port} -t 100"
	[[ ${lines[0]} == *"nothing went through memory: sockets stayed in the kernel, by reason: no-endpoint (1)"* ]]
	run -1 "$SHUNT" ab --rounds 2 --run-limit 0.3 sleep 20
	[[ ${lines[0]} == *"it has not ended after 0 s; see --run-limit"* ]] || [[ ${lines[0]} == *"it has not ended after 0.3 s; see --run-limit"* ]]
	run -1 "$SHUNT" ab --rounds 2 --server 'false {port}' --client true
	[[ ${lines[0]} == *"the server ended with status 1" ]]
	run -1 "$SHUNT" ab --rounds 2 --metric 'x=([0-9]+)' --server "$B/rr_server -p {port} -n 1" --client "$B/rr_client -p {port} -t 100"
	[[ ${lines[0]} == *"its output has no figure: nothing matches 'x=([0-9]+)'; it ends in: rate "* ]]
	# one bad round of several is left out, the others count
	cat >"$D/now_and_then" <<-EOT
		#!/bin/sh
		echo >>$D/count
		[ "\$(wc -l <$D/count)" -ne 9 ]
	EOT
	chmod 755 "$D/now_and_then"
	"$SHUNT" ab --against-itself --rounds 6 --json "$D/now_and_then" >"$D/json"
	[ "$(field '.rounds == 6 and .failed == 1')" = true ] && [[ $(field .why_failed) == *"the command ended with status 1" ]]
}

@test "what is wrong with an option is said in one line that names the remedy, status 125" {
	local args want
	while IFS="|" read -r args want; do
		# shellcheck disable=SC2086 # words
		run -125 "$SHUNT" ab $args
		[ "${#lines[@]}" -eq 1 ]
		[[ $output == "shunt ab: "*"$want"* ]] || fail "$args: $output" || return
	done <<-'EOT'
		|give a command, or --server and --client
		--server x{port}|belong together
		--server x --client y|put {port} into both commands, or add --ready
		--server x{port} --client y z|give a command, or --server and --client
		--precision 0 true|give a number from 0.1 to 100
		--rounds x true|give a number
		--metric ( true|Unmatched
		--none true|no such option
		--rounds|its value is missing
	EOT
	LD_PRELOAD=${SHUNT%/*}/libshunt.so run -125 "$SHUNT" ab true
	[[ $output == *"it runs under shunt itself"* ]]
	run -1 "$SHUNT" ab --server 'x {port} | cat' --client true
	[[ ${lines[0]} == *"needs a shell: give sh -c '...'" ]]
}

@test "a server without {port} is waited for at its port, or until a command succeeds" {
	local port
	port=$(free_port)
	"$SHUNT" ab --rounds 6 --json --ready "$port" --server "$B/rr_server -p $port -n 1" --client "$B/rr_client -p $port -t 150" >"$D/json"
	[ "$(field .rounds)" = 6 ]
	"$SHUNT" ab --rounds 6 --json --ready "grep -q ':$(printf %04X "$port") 0*:0000 0A' /proc/net/tcp" --server "$B/rr_server -p $port -n 1" --client "$B/rr_client -p $port -t 150" >"$D/json"
	[ "$(field .rounds)" = 6 ]
}

# redis_by HOW OPTION...: the report in $D/HOW
redis_by() {
	local how=$1 n=10000
	shift
	[ "$how" != live ] || n=1000000000
	"$SHUNT" ab --json "$@" --server 'redis-server --port {port} --save "" --dir '"$D" \
		--client "redis-benchmark -p {port} -t get -n $n -q -c 4" >"$D/$how"
}

# The machine's load is another one for each of the three, and their intervals know nothing of that: hence a tenth on either side, and
# more than one try. What counts something else never agrees.
@test "redis by the built-in reader, by a regex and live: the intervals meet; live, each figure is of the same connections" {
	need redis-server redis-benchmark
	local i all=("$D/reader" "$D/regex" "$D/live")
	for ((i = 0; i < 3; i++)); do
		redis_by reader --rounds 8 && redis_by regex --rounds 8 --metric '([0-9.]+) requests per second' && redis_by live --live 6 || continue
		jq -se 'map(.ratio) | (map(.low) | max) <= 1.2 * (map(.high) | min)' "${all[@]}" && break
	done
	[ $i -lt 3 ] || fail "they do not: $(jq -c .ratio "${all[@]}")" || return
	[ "$(jq -r .metric.name "$D/reader")" = requests/s ]
	jq -e '.live and .metric.name == "carried" and .rounds >= 6 and .ratio.low > 0' "$D/live"
}

@test "live: a pair that has no connection to compare" {
	run -1 "$SHUNT" ab --live 1 sleep 0.1
	[[ ${lines[0]} == *"the client has no connection that shunt follows"* ]]
}

@test "in a terminal of 80 columns: progress while it runs, then a table that fits" {
	need tmux
	local s=$D/tmux
	slowly
	tmux -S "$s" -f /dev/null new-session -d -x 80 -y 40 "stty -echo; '$SHUNT' ab --rounds 20 --server '$B/rr_server -p {port} -n 1' --client '$D/slowly $B/rr_client -p {port} -t 150' --metric 'rate ([0-9.e+]+)'; echo END; exec sleep 60"
	seen() { tmux -S "$s" capture-pane -p >"$D/screen" && grep -qE "$1" "$D/screen"; }
	wait_for 60 seen '^round [0-9]+: kernel [0-9.]+k?, shunt '
	wait_for 60 seen '^END'
	tmux -S "$s" kill-server
	absent '^round [0-9]+:' "$D/screen"
	grep -qE '^20 rounds in [0-9.]+ s; medians' "$D/screen"
	grep -qE '^figure \(more is better\) +[0-9.]+k? +[0-9.]+[kM]? +[0-9.]+ times \([0-9.]+-[0-9.]+\)$' "$D/screen"
	grep -qE '^[0-9.]+ times faster, 95 % interval ' "$D/screen"
	grep -qE '^ *shunt .*s' "$D/screen" || ! command -v gnuplot
}

@test "interrupted, it ends what it has started, and reports what it has" {
	printf '#!/bin/sh\necho >>%s/runs\nexec %s/rr_client "$@"\n' "$D" "$B" >"$D/counted"
	chmod 755 "$D/counted"
	"$SHUNT" ab --json --max-time 60 --rounds 500 "${PAIR[@]:0:2}" --client "$D/counted -p {port} -t 150" >"$D/json" 2>"$D/err" &
	local pid=$!
	some_rounds() { [ "$(wc -l <"$D/runs")" -gt 10 ]; } 2>/dev/null
	wait_for 30 some_rounds
	kill -INT $pid
	wait $pid || true
	[ "$(field '.rounds > 2 and .rounds < 500')" = true ]
	wait_for 60 nothing_left
}

@test "the page opens in a browser with nothing to complain about, and needs nothing from elsewhere" {
	slowly
	"$SHUNT" ab --rounds 6 --html "$D/page.html" "${SLOWLY[@]}" --metric 'rate ([0-9.e+]+)' >"$D/text"
	grep -q '<h1>[0-9.]* times faster' "$D/page.html"
	absent '(src|href)="?https?:' "$D/page.html"
	need chromium gnuplot
	[ "$(grep -c '<svg' "$D/page.html")" = 2 ]
	HOME=$D chromium --headless --no-sandbox --disable-gpu --user-data-dir="$D/chromium" --enable-logging=stderr --window-size=900,1250 \
		--screenshot="$D/page.png" "file://$D/page.html" >"$D/console" 2>&1
	absent 'CONSOLE' "$D/console"
	[ -s "$D/page.png" ]
}
