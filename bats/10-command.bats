#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# The command: `shunt run` becomes the program and leaves no trace in what the program prints or returns; the line of statistics and
# the log; programs that cannot be interposed; `shunt ps`.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
}

@test "the exit status is the program's, as env(1) has it" {
	run "$SHUNT" run true
	[ "$status" -eq 0 ]
	run "$SHUNT" run -- sh -c 'exit 7'
	[ "$status" -eq 7 ]
	run -127 "$SHUNT" run "$D/none"
	run -127 "$SHUNT" run no-such-program-here
	touch "$D/plain"
	run "$SHUNT" run "$D/plain"
	[ "$status" -eq 126 ]
	run "$SHUNT" run "$D"
	[ "$status" -eq 126 ]
	run "$SHUNT" run sh -c 'kill -TERM $$'
	[ "$status" -eq 143 ]
	run "$SHUNT" run sh -c 'kill -KILL $$'
	[ "$status" -eq 137 ]
}

@test "a wrong use of the command says so in one line, status 125" {
	local args
	for args in "" "run" "run --stats" "run --none true" "run --stats $D/no/folder true" "ps something" "nonsense"; do
		# shellcheck disable=SC2086 # words
		run "$SHUNT" $args
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
	done
}

@test "options after the program are the program's" {
	run "$SHUNT" run printf '%s\n' --stats --help
	[ "$status" -eq 0 ]
	[ "$output" = $'--stats\n--help' ]
}

@test "shunt becomes the program: the same pid, descriptors, stdin, and nothing on stdout and stderr" {
	cat >"$D/who" <<-'SH'
		echo $$
		cat
		ls /proc/$$/fd
		echo err >&2
	SH
	echo input >"$D/input"
	"$SHUNT" run sh "$D/who" <"$D/input" >"$D/stdout" 2>"$D/stderr" 3>&- 4>&- &
	wait $!
	[ "$(head -1 "$D/stdout")" = $! ]
	[ "$(sed -n 2p "$D/stdout")" = input ]
	sh "$D/who" <"$D/input" 2>/dev/null 3>&- 4>&- | tail -n +2 | diff - <(tail -n +2 "$D/stdout")
	[ "$(cat "$D/stderr")" = err ]
}

# echo_pair: a server and a client of Python that move bytes through memory, on PORT
echo_pair() {
	echo_server echod
	[ "$(client echo "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
}

@test "--stats: a line of JSON for each process, whose counts are true" {
	echo_pair
	stop echod INT
	paths echod echo
	[ "$(wc -l <"$D/echo.stats")" -eq 1 ]
	jq -e '.comm == "python3" and .upgrades > 0 and .tx.shm_bytes + .tx.kernel_bytes == .rx.shm_bytes + .rx.kernel_bytes and
		.tx.shm_msgs > 0 and .tx.shm_bytes >= .tx.shm_msgs' "$D/echo.stats"
	# what the client sent is what the server received, and the reverse
	[ "$(sum echo .tx.shm_bytes)" -eq "$(sum echod .rx.shm_bytes)" ]
	[ "$(sum echo .rx.shm_bytes)" -eq "$(sum echod .tx.shm_bytes)" ]
	[ "$(sum echo .tx.kernel_bytes)" -eq "$(sum echod .rx.kernel_bytes)" ]
	[ "$(sum echo .rx.kernel_bytes)" -eq "$(sum echod .tx.kernel_bytes)" ]
}

@test "--stats: children have lines of their own" {
	PORT=$(free_port)
	server echod "$PYTHON" "$PROGS/pyserver.py" forking "$PORT"
	up echod ready
	[ "$(client echo "$PYTHON" "$PROGS/pyclient.py" threads "$PORT")" = ok ]
	local pid=${PIDS[echod]}
	stop echod INT
	[ "$(wc -l <"$D/echod.stats")" -eq 7 ]
	[ "$(jq -s 'map(.pid) | unique | length' "$D/echod.stats")" -eq 7 ]
	jq -es --argjson pid "$pid" 'any(.[]; .pid == $pid)' "$D/echod.stats"
}

@test "--spin and --spin-budget: what they allow, and what they refuse" {
	local how
	[ "$("$SHUNT" run --spin 30 --spin-budget 40 -- sh -c 'echo $SHUNT_SPIN $SHUNT_SPIN_BUDGET')" = "30 40" ]
	for how in SHUNT_SPIN=off SHUNT_SPIN=0 SHUNT_SPIN_BUDGET=0; do
		PORT=$(free_port)
		server echod env "$how" "$PYTHON" "$PROGS/pyserver.py" threading "$PORT"
		up echod ready
		[ "$(client echo env "$how" "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
		stop echod INT
		jq -es 'all(.[]; .spins == 0) and any(.[]; .rx.shm_bytes > 0 and .sleeps > 0)' "$D/echo.stats" "$D/echod.stats"
		rm -f "$D"/echo*.stats
	done
	for how in "--spin fast" "--spin -1" "--spin 1000001" "--spin 1.5" "--spin-budget all" "--spin-budget 50%"; do
		run "$SHUNT" run "${how% *}" "${how#* }" -- true
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
		[[ $output == "shunt run: $how: give "* ]]
	done
}

# waits_with BUDGET: may be called again: others beside. Each side on a CPU of its own, for who shares one with the other side does not look at all.
waits_with() {
	local share cpus
	cpus=$(taskset -cp $$ | sed 's/.*: *//')
	rm -f "$D"/*.stats
	PORT=$(free_port)
	server thinks taskset -c "${cpus%%[,-]*}" "$PYTHON" "$PROGS/waiter.py" server "$PORT" 300
	up thinks ready
	share=$(client waits taskset -c "${cpus##*[,-]}" env SHUNT_SPIN=2000 SHUNT_SPIN_BUDGET="$1" "$PYTHON" "$PROGS/waiter.py" client "$PORT" 1)
	echo "budget $1 %: $share % of a CPU"
	[ "$share" -le $(($1 + 35)) ] || return 1 # the program's own work, what the kernel's clock does not see, and others beside; without a budget it is all of it
	done_by 60 thinks || return 1
	LOOKED=$(jq -es 'any(.[]; .spins > 0)' "$D/waits.stats") || true # taskset and env have lines too
}

@test "--spin-budget bounds the CPU that looking takes" {
	[ "$(nproc)" -gt 1 ] || skip "needs two CPUs"
	local try
	for budget in 20 50; do
		LOOKED=false
		for ((try = 0; try < 10; try++)); do
			waits_with $budget
			[ "$LOOKED" != true ] || break
		done
		[ "$LOOKED" = true ]
	done
}

@test "--stats: a program that a signal ends has a line too" {
	PORT=$(free_port)
	server echod "$PYTHON" -c '
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
c, _ = s.accept()
while d := c.recv(65536):
    c.sendall(d)
c.close()
signal.pause()' "$PORT"
	up echod ready
	[ "$(client echo "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop echod
	[ "$CODE" -eq 143 ]
	paths echod echo
}

@test "--stats appends, and without it nothing is written" {
	echo '{"before":1}' >"$D/file"
	(cd "$D" && "$SHUNT" run --stats file sh -c 'cd / && exit 0')
	[ "$(head -1 "$D/file")" = '{"before":1}' ]
	[ "$(wc -l <"$D/file")" -eq 2 ]
	(cd "$D" && "$SHUNT" run true)
	[ "$(wc -l <"$D/file")" -eq 2 ]
}

@test "--log says which path each local connection took, and why" {
	echo_pair
	stop echod INT
	grep -q "$PORT" "$D/echo.log"
	grep -q "$PORT" "$D/echod.log"
	sides client
	echo_server plain
	[ "$(client alone "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop plain INT
	grep "$PORT" "$D/alone.log" | grep -q no-endpoint
	jq -e '.kernel["no-endpoint"] >= 1' "$D/alone.stats"
}

@test "a static program runs as it is, and the log says so" {
	cc -static -O2 -o "$D/static" "$PROGS/hello.c"
	run "$SHUNT" run --log "$D/log" "$D/static"
	[ "$status" -eq 3 ]
	[ "$output" = "hello from uid $(id -u)" ]
	grep -q "$D/static: runs without shunt: .*static" "$D/log"
}

@test "a setuid program runs as it is, and the log says so" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	findmnt -n -o OPTIONS -T "$D" | grep -q nosuid && skip "$D is on a file system without setuid"
	cc -O2 -o "$D/setuid" "$PROGS/hello.c"
	chown nobody "$D/setuid"
	chmod 4755 "$D/setuid"
	run "$SHUNT" run --log "$D/log" "$D/setuid"
	[ "$status" -eq 3 ]
	[ "$output" = "hello from uid $(id -u nobody)" ]
	grep -q "$D/setuid: runs without shunt: .*setuid" "$D/log"
}

@test "a program started by one under shunt is under shunt too; a static one in between is not in its way" {
	cc -static -O2 -o "$D/static" "$PROGS/hello.c"
	run "$SHUNT" run --stats "$D/s" sh -c "$D/static; sh -c 'exit 0'; echo \$?"
	[ "$output" = "hello from uid $(id -u)"$'\n0' ]
	[ "$(wc -l <"$D/s")" -ge 2 ]
}

@test "shunt ps --json lists a pair, with the path of each direction" {
	held_pair
	"$SHUNT" ps --json >"$D/json"
	local c=${PIDS[waiter]} s=${PIDS[echod]}
	jq -e --argjson c "$c" --argjson s "$s" --arg to "127.0.0.1:$PORT" --argjson sent $((10 * HELD_TURNS)) '
		(.[] | select(.pid == $c)) as $p | ($p.sockets[] | select(.peer == $to)) as $k |
		$p.comm == "python3" and $k.proto == "tcp" and $k.peer_pid == $s and ($k.fd >= 0) and
		$k.tx.path == "shm" and $k.rx.path == "shm" and $k.tx.shm_bytes > 1000 and
		$k.tx.shm_bytes + $k.tx.kernel_bytes == $sent' "$D/json"
	jq -e --argjson c "$c" --argjson s "$s" --arg at "127.0.0.1:$PORT" '
		(.[] | select(.pid == $s).sockets) as $all | ($all[] | select(.local == $at and (.listens | not))) as $k |
		any($all[]; .listens and .local == $at) and $k.peer_pid == $c and
		$k.tx.path == "shm" and $k.rx.path == "shm" and $k.rx.shm_bytes > 1000' "$D/json"
	end_held_pair
	"$SHUNT" ps --json | jq -e --argjson c "$c" --argjson s "$s" 'all(.[]; .pid != $c and .pid != $s)'
}

@test "shunt ps prints a line for each socket of a pair, and a reason where the kernel carries it" {
	held_pair
	"$SHUNT" ps >"$D/table"
	grep -E "^ *${PIDS[waiter]} python3 .* 127.0.0.1:$PORT ${PIDS[echod]}/python3 +shm .* shm " "$D/table"
	grep -E "^ *${PIDS[echod]} python3 .* 127.0.0.1:$PORT +127.0.0.1:[0-9]+ ${PIDS[waiter]}/python3 +shm .* shm " "$D/table"
	grep -E "^ *${PIDS[echod]} python3 .* 127.0.0.1:$PORT +\(listens\)" "$D/table"
	end_held_pair
	sides client
	echo_server plain
	holding_client alone 1
	"$SHUNT" ps | grep -E "^ *${PIDS[alone]} python3 .* 127.0.0.1:$PORT .*kernel no-endpoint .*kernel no-endpoint"
	stop alone
	stop plain INT
}

@test "a user sees only the own processes" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	held_pair
	"$SHUNT" ps | grep -q "${PIDS[waiter]} python3"
	run setpriv --reuid nobody --regid nogroup --clear-groups "$SHUNT" ps
	[ "$status" -eq 0 ]
	[[ $output != *"${PIDS[waiter]} python3"* ]]
	end_held_pair
}

# Started by a program that gives it an environment made from scratch, does another one run under shunt, and what does it see?
@test "shunt goes on in programs that are given an environment of their own, unseen; not where it has been taken out" {
	cat >"$D/start" <<-'EOT'
		import os, sys
		kind, how = sys.argv[1:3]
		env = {"A": "1"}
		if how == "empty":
		    env["LD_PRELOAD"] = ""
		if how == "unset":
		    del os.environ["LD_PRELOAD"]
		if how == "given":
		    env["SHUNT_RULES"] = "not port 1"
		if how == "gone":
		    os.unlink(os.environ["LD_PRELOAD"].split(":")[0])
		if how == "asan":
		    env["ASAN_OPTIONS"] = "verbosity=0"
		argv = ["/bin/sh", "-c", "/usr/bin/env; /bin/grep -cE 'r-x.*lib(shunt|resolv)' /proc/self/maps || :"]
		sys.stdout.flush()
		if kind == "spawn":
		    os.waitpid(os.posix_spawn(argv[0], argv, env), 0)
		else:
		    os.execve(argv[0], argv, env)
	EOT
	mkdir "$D/bin"
	local kind how want lib=${SHUNT%/*}/libshunt.so
	[ -e "$lib" ] || lib=${SHUNT%/*}/../lib/shunt/libshunt.so
	for kind in exec spawn; do
		for how in plain given empty unset gone asan; do
			cp "$SHUNT" "$lib" "$D/bin"
			case $how in plain | given) want=1 ;; *) want=0 ;; esac # and not what else has been loaded before it
			LD_PRELOAD=libresolv.so.2 "$D/bin/shunt" run -- "$PYTHON" "$D/start" $kind $how >"$D/seen" 2>"$D/said"
			[ ! -s "$D/said" ] || fail "$kind $how: $(cat "$D/said")" || return
			grep -E '^(LD_PRELOAD=.|SHUNT_|ASAN_)' "$D/seen" >"$D/ours" || :
			case $how in given) echo "SHUNT_RULES=not port 1" ;; asan) echo ASAN_OPTIONS=verbosity=0 ;; esac | diff - "$D/ours"
			[ "$(tail -n 1 "$D/seen")" -eq "$want" ] || fail "$kind $how: $(cat "$D/seen")" || return
		done
	done
	SHUNT_CARRY=0 "$SHUNT" run -- "$PYTHON" "$D/start" exec plain >"$D/seen"
	[ "$(tail -n 1 "$D/seen")" -eq 0 ]
	[ "$("$SHUNT" run -- env -i /bin/grep -c libshunt.so /proc/self/maps)" -eq 0 ]
	# where it cannot be, its environment is the program's own
	cc -static -O2 -o "$D/static" -x c - <<<'#include <stdio.h>
extern char **environ;
int main(void) { for (char **e = environ; *e; e++) puts(*e); }'
	[ "$("$SHUNT" run -- "$PYTHON" -c 'import os, sys; os.execve(sys.argv[1], ["static"], {"A": "1"})' "$D/static")" = A=1 ]
	# over more than one program, with a statistics line of each
	"$SHUNT" run --stats "$D/st" -- "$PYTHON" -c 'import os; os.execve("/bin/sh", ["sh", "-c", "exec /usr/bin/env -u A /bin/true"], {"A": "1"})'
	[ "$(wc -l <"$D/st")" -eq 4 ]
}
