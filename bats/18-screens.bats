#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Every command as an ordinary user meets it: in a terminal of 80 columns, where no line is longer than that, and piped, where there is nothing but the
# text; its help; its exit status. What the commands say is tested in files of their own. (`shunt ab` in a terminal: 15-ab.bats.)

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
	export RUN_AS=daemon # who is root here becomes that one
	user_words
	chmod 777 "$D"
	no_settings
	PATH=/usr/local/bin:/usr/bin:/bin # root's may hold folders that others may not look into
	SCREENS=0
	COMMANDS=$("$SHUNT" --help | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep -vx shunt)
}

teardown() {
	# shellcheck disable=SC2317
	local s
	# shellcheck disable=SC2317
	for s in "$D"/tmux.*; do
		[ ! -S "$s" ] || tmux -S "$s" kill-server 2>/dev/null || :
	done
	test_end
}

# on_screen STATUS ARG...: what `shunt ARG...` shows in a terminal of 80 columns, into D/screen; no line has wrapped, and it ends with STATUS.
# -J joins what the terminal has wrapped: a line that was too long is then seen in one piece. (A complaint is one line, whatever it takes;
# and a path is as long as it is: those of this build and of the test's folder count as ones of an ordinary length.)
on_screen() {
	local status=$1 lines s=$D/tmux.$((SCREENS += 1)) # a server of its own: one that ends still listens for a moment
	shift
	rm -f "$D/status"
	echo "cd '$D'; ${AS[*]} '$SHUNT' ${*@Q}; echo \$? >status; exec sleep 60" >"$D/typed"
	tmux -S "$s" -f /dev/null new-session -d -x 80 -y 200 "sh '$D/typed'"
	wait_for 60 test -s "$D/status" || fail "$*: does not end" || return
	tmux -S "$s" capture-pane -pJ | sed 's/ *$//' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$D/screen"
	tmux -S "$s" kill-server
	[ "$(cat "$D/status")" -eq "$status" ] || fail "$*: status $(cat "$D/status"): $(cat "$D/screen")" || return
	lines=$(sed "s|$ROOT/build|/usr/lib/shunt|g; s|$D|/home/me|g" "$D/screen" | awk 'length > 80 && !/^shunt [a-z]+: /')
	[ -z "$lines" ] || fail "$*: longer than 80 columns: $lines" || return
}

# piped STATUS ARG...: the same into D/piped and D/err: printing letters and line ends alone, no errors
piped() {
	local status=$1 got=0
	shift
	(cd "$D" && "${AS[@]}" "$SHUNT" "$@" >piped 2>err </dev/null 3>&- 4>&-) || got=$?
	[ "$got" -eq "$status" ] || fail "$*: status $got: $(cat "$D/err")" || return
	LC_ALL=C absent '[^ -~]' "$D/piped" || return
	sed -i '/^shunt: [0-9]* does not answer/d' "$D/err" # a busy machine's
	[ ! -s "$D/err" ] || fail "$*: $(cat "$D/err")" || return
}

both() {
	piped "$@" && on_screen "$@"
}

@test "help: of every command 24 lines of 80 columns at most, status 0, and an example at the end" {
	local cmd
	[ "$(wc -w <<<"$COMMANDS")" -ge 11 ]
	piped 0 --help
	cp "$D/piped" "$D/help"
	for cmd in $COMMANDS; do
		piped 0 "$cmd" --help
		[ "$(wc -l <"$D/piped")" -le 24 ] || fail "$cmd: $(wc -l <"$D/piped") lines" || return
		awk 'length > 80 { print FILENAME ": " $0; bad = 1 } END { exit bad }' "$D/piped" || fail "$cmd: too wide" || return
		grep '^  shunt' "$D/piped" | grep -q "^  shunt $cmd" || fail "$cmd: no example" || return
		tail -n 1 "$D/piped" | grep -q "^  shunt $cmd" || fail "$cmd: ends with no example" || return
		grep -qE '^(Exit s|S)tatus: ' "$D/piped" || fail "$cmd: no exit status" || return
		grep -qx "${cmd}" <(man_commands) || fail "$cmd: not in shunt(1)" || return
	done
	[ "$(wc -l <"$D/help")" -le 24 ]
	[ -z "$(awk 'length > 80' "$D/help")" ]
	grep -q '^  shunt run' "$D/help"
}

# man_commands: those that shunt(1) describes
man_commands() {
	sed -n 's/^\.It Cm \([a-z]*\) .*/\1/p' "$ROOT/docs/shunt.1" | sort -u
}

@test "a wrong option, of every command: one line, status 125" {
	local cmd
	for cmd in $COMMANDS; do
		run "${AS[@]}" "$SHUNT" "$cmd" --no-such-option
		[ "$status" -eq 125 ] || fail "$cmd: $status" || return
		[ "${#lines[@]}" -eq 1 ]
		[[ $output == "shunt $cmd: --no-such-option: "*"shunt $cmd --help"* ]] || fail "$output" || return
	done
}

@test "run, as an ordinary user: says nothing of its own" {
	both 0 run printf 'from the program\n'
	[ "$(cat "$D/screen")" = "from the program" ]
	[ "$(cat "$D/piped")" = "from the program" ]
	both 7 run sh -c 'exit 7'
	[ ! -s "$D/screen" ]
	on_screen 127 run no-such-program-here
	on_screen 126 run "$D"
}

@test "ps, off and on, as an ordinary user, with a pair of one's own" {
	held_pair
	local what
	for what in "" --why --reasons; do
		# shellcheck disable=SC2086 # none or one
		both 0 ps $what
	done
	piped 0 ps
	on_screen 0 ps
	grep -qE "^ *${PIDS[waiter]} .* (shm|kernel [a-z-]+)" "$D/screen"
	grep -qE "^ *${PIDS[waiter]} .* (shm|kernel [a-z-]+) +[0-9]+/[0-9]+ +(shm|kernel [a-z-]+) +[0-9]+/[0-9]+$" "$D/piped"
	both 0 off "${PIDS[waiter]}" "${PIDS[echod]}"
	piped 0 ps
	grep -E "^ *${PIDS[waiter]} .*:$PORT " "$D/piped" | grep -q 'kernel off'
	both 0 on --all
	[ ! -s "$D/piped" ]
	on_screen 125 off 4194304
	grep -qE '^shunt off: 4194304: no such process; ' "$D/screen"
	end_held_pair
}

@test "ep and gc, as an ordinary user, with an endpoint that is used and one whose server was killed" {
	held_pair
	local port=$PORT
	both 0 ep
	grep -qE "^tcp 127.0.0.1:$port +alive +daemon " "$D/piped" || [ "$(id -u)" -ne 0 ]
	both 0 ep --long
	both 0 gc -n
	[ ! -s "$D/piped" ]
	kill -9 "${PIDS[echod]}"
	wait "${PIDS[echod]}" || :
	unset "PIDS[echod]"
	piped 0 ep --long
	on_screen 0 ep --long
	grep -qE "^tcp 127.0.0.1:$port +stale .* 0400" "$D/piped"
	# the tower whole, below its row
	[ "$(awk '/^tcp/ { t = 1; next } t { printf "%s", $1 }' "$D/screen")" = "$(awk '/^tcp/ { print $NF }' "$D/piped")" ]
	both 0 gc -n
	grep -qE '^would remove endpoint ' "$D/piped"
	both 0 gc
	grep -qE '^removed endpoint ' "$D/piped"
	[ ! -s "$D/screen" ]
	stop waiter
}

@test "rules, as an ordinary user" {
	printf 'not port 22\nonly tcp\n' >"$D/good"
	printf 'only tpc\n' >"$D/bad"
	both 0 rules
	both 0 rules --check good
	both 0 rules --only 'tcp port 5432' --not 'by pg_dump'
	[ -s "$D/screen" ]
	both 0 rules --explain 'tcp connect 127.0.0.1:5432 by psql'
	both 1 rules --not 'port 5432' --explain 'tcp connect 127.0.0.1:5432 by psql'
	on_screen 1 rules --check bad
	on_screen 125 rules --check nothing-here
}

@test "doctor, as an ordinary user: of the machine, a program, a process of one's own and of root's" {
	held_pair
	local status=0 what
	for what in "" "$PYTHON" "${PIDS[waiter]}" 1 --json; do
		# shellcheck disable=SC2086 # none or one
		status=$("${AS[@]}" "$SHUNT" doctor $what >/dev/null; echo $?) || :
		[ "$status" -le 2 ]
		# shellcheck disable=SC2086
		piped "$status" doctor $what
		# shellcheck disable=SC2086
		[ "$what" = --json ] || on_screen "$status" doctor $what # JSON is not for the eye
	done
	on_screen 125 doctor no-such-program-here
	end_held_pair
}

@test "unit and tower, as an ordinary user" {
	both 0 unit my.service
	both 0 unit --user --enable my.service
	both 0 unit --user my.service
	on_screen 0 unit --user --disable my.service
	on_screen 125 unit --user --disable my.service
	both 0 tower --interface e1af8308-5d1f-11c9-91a4-08002b14a0fa:3.0 'ncacn_ip_tcp:127.0.0.1[135]'
	both 0 tower 'ncadg_sm[id=0,ftok=/tmp/a-path-that-is-long/enough-to-be-wrapped/more-than-once/for-its-tower-has-many-octets]'
	# nothing is lost by wrapping: blanks and line ends apart it is the same
	[ "$(tr -d ' \n' <"$D/screen")" = "$(tr -d ' \n' <"$D/piped")" ]
	both 0 tower --decode "$(head -n 1 "$D/piped")"
}

@test "ab, as an ordinary user: no escape sequence and no progress where no terminal is" {
	! "$SHUNT" ab true 2>&1 | grep -q 'built without it' || skip "built without libgsl or jansson"
	local B=$ROOT/build/tests/bench
	both 0 ab --rounds 6 --server "$B/rr_server -p {port} -n 1" --client "$B/rr_client -p {port} -t 300" --metric 'rate ([0-9.e+]+)'
	both 1 ab --rounds 1 true
	on_screen 1 ab --rounds 1 sh -c 'echo a program that fails and says why it does so in many words, more than a line can hold >&2; exit 9'
}
