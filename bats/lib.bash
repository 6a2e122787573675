# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# lib.bash - what every file here loads: start a program on one side of a connection with or without shunt, wait for a condition,
# stop it, read what it wrote at its end, and see after each test that nothing is left.
#
# A test says first which sides are under shunt (`sides both|server|client|none`), starts its programs by `server NAME CMD...` and
# `client NAME CMD...`, stops them, and ends with `paths NAME...`: those programs moved bytes through shared memory if both
# sides are under shunt, and nobody moved a single one otherwise.
#
#   T      the file's folder; removed at its end. Readable by all: servers give up root.
#   D      the test's folder below T and every program's working directory, which is how left-over processes are found
#   RUN    the words before a program that put it under shunt (set by `prefix`)
#   PIDS   pid of each program that runs in the background, by name
#   UNDER  names that ran under shunt

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
SHUNT=${SHUNT:-$ROOT/build/shunt} # or an installed one
# shellcheck disable=SC2034 # for the files
PROGS=$ROOT/bats/progs PYTHON=/usr/bin/python3
export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-300}

# ---- a file, a test ----

setup_file() { file_begin; }
teardown_file() { file_end; }
setup() { test_begin; }
teardown() { test_end; }

file_begin() {
	T=$(mktemp -d "${TMPDIR:-/tmp}/shunt-bats.XXXXXX")
	export T SHUNT_MAP=$T/map
	chmod 755 "$T"
	mkdir "$SHUNT_MAP"
	chmod 1777 "$SHUNT_MAP"
	[ -n "${SHUNT_NONE:-}" ] || [ -x "$SHUNT" ] || fail "there is no $SHUNT: run make first" || return
}

file_end() {
	rm -rf "$T"
}

test_begin() {
	D=$T/$BATS_TEST_NUMBER
	mkdir -m 755 "$D"
	declare -gA PIDS=() UNDER=()
	SIDES=none
	names
	BEFORE=("${NAMES[@]}")
}

# A test that failed says what its programs said; one that passed must have left nothing.
test_end() {
	local name
	if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
		logs
		end_all
		return
	fi
	for name in "${!PIDS[@]}"; do
		not_running "${PIDS[$name]}" || { end_all; fail "$name was not stopped" || return; }
	done
	wait_for "${LEFT_LIMIT:-30}" nothing_left || { left; logs; end_all; fail "something was left behind" || return; }
	rm -rf "$D"
}

# about_shunt: test_begin for a test of shunt itself, which has nothing to say without it; both sides are under shunt
about_shunt() {
	test_begin
	[ -z "${SHUNT_NONE:-}" ] || skip "is about shunt itself"
	sides both
}

# no_settings: no user's rules but those that the test writes itself, below D, its home
no_settings() {
	export HOME=$D
	unset XDG_CONFIG_HOME SHUNT_RULES
}

# Says why and fails; for checks that run where errexit is off, as `|| fail "..." || return`.
fail() {
	echo "$*"
	return 1
}

# absent REGEX FILE: no such line (`! grep` would not end a test)
absent() {
	if grep -E -- "$1" "$2"; then
		fail "$2 holds what it should not" || return
	fi
}

logs() {
	local name
	for name in "$D"/*.out "$D"/*.log "$D"/*.stats; do
		[ -s "$name" ] && tail -n 20 "$name" | sed "s|^|${name##*/}: |"
	done
	return 0
}

# need PROGRAM...: the test is about a program that is not everywhere
need() {
	local p
	for p; do
		command -v "$p" >/dev/null || skip "$p is not installed"
	done
}

# ---- waiting ----

# wait_for SECONDS CMD...: until CMD succeeds; fails when the time is over. That ends a test that hangs, and judges nothing: a busy machine has it, too.
wait_for() {
	local limit=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$limit" ] || return 1
		sleep 0.02
	done
}

# listening PORT: a TCP socket is in state LISTEN (0A) there. Looks and does not connect: the server would see it.
listening() {
	local hex
	printf -v hex %04X "$1"
	grep -qE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6
}

free_port() {
	local p hex
	while :; do
		p=$((20000 + RANDOM % 10000))
		printf -v hex %04X "$p"
		grep -qE ":$hex " /proc/net/tcp /proc/net/tcp6 || break
	done
	echo "$p"
}

# says NAME REGEX: the program has printed such a line
says() {
	grep -qE -- "$2" "$D/$1.out"
}

running() {
	local stat
	# shellcheck disable=SC2162
	{ read stat </proc/"$1"/stat; } 2>/dev/null && [[ ! $stat =~ \)\ [ZX]\  ]]
}

not_running() {
	! running "$1"
}

# ---- programs ----

# UNTIL_UP: some clients go on until they are upgraded (pyclient.py); how much is over before that is the machine's to say
sides() {
	SIDES=$1
	unset UNTIL_UP
	[ "$1" != both ] || [ -n "${SHUNT_NONE:-}" ] || export UNTIL_UP=1
}

# prefix SIDE NAME: RUN for a program on that side. The files are there before it: a program that gives up root writes them too.
prefix() {
	RUN=()
	[ "$SIDES" = both ] || [ "$SIDES" = "$1" ] || return 0
	[ -z "${SHUNT_NONE:-}" ] || return 0
	UNDER[$2]=1
	touch "$D/$2.stats" "$D/$2.log"
	chmod 666 "$D/$2.stats" "$D/$2.log"
	RUN=("$SHUNT" run --stats "$D/$2.stats" --log "$D/$2.log" --)
}

# as USER CMD...: AS for the next program
user_words() {
	AS=()
	[ -z "${RUN_AS:-}" ] || [ "$(id -u)" -ne 0 ] || AS=(setpriv --reuid "$RUN_AS" --regid "$RUN_AS" --init-groups)
}

# spawn SIDE NAME CMD...: in the background, its output in D/NAME.out. A shell's background job ignores SIGINT: not here.
# RUN_AS=USER before it: as that user, when we are root.
spawn() {
	local side=$1 name=$2
	shift 2
	prefix "$side" "$name"
	user_words
	: >"$D/$name.out"
	(cd "$D" && exec env --default-signal=INT,QUIT "${AS[@]}" "${RUN[@]}" "$@") >"$D/$name.out" 2>&1 </dev/null 3>&- 4>&- &
	PIDS[$name]=$!
}

server() {
	spawn server "$@"
}

# client NAME CMD...: to its end, at most LIMIT (120) seconds; stdin, stdout and status are its own
client() {
	local name=$1
	shift
	prefix client "$name"
	user_words
	(cd "$D" && exec timeout -k 5 "${LIMIT:-120}" "${AS[@]}" "${RUN[@]}" "$@") 3>&- 4>&-
}

# up NAME [REGEX]: wait until the server is ready: has printed such a line, or by default listens on PORT
up() {
	if [ $# -gt 1 ]; then
		wait_for 60 says_or_dead "$@"
		says "$@" || fail "$1 did not start" || return
	else
		wait_for 60 listening "$PORT" || fail "$1 does not listen" || return
	fi
}

says_or_dead() {
	says "$@" || not_running "${PIDS[$1]}"
}

# done_by SECONDS NAME: it ends by itself; its status is in CODE
done_by() {
	wait_for "$1" not_running "${PIDS[$2]}" || fail "$2 still runs after $1 s" || return
	# shellcheck disable=SC2034 # for the test
	CODE=0
	# shellcheck disable=SC2034
	wait "${PIDS[$2]}" || CODE=$?
	unset "PIDS[$2]"
}

# stop NAME [SIGNAL]
stop() {
	kill -"${2:-TERM}" "${PIDS[$1]}"
	done_by 60 "$1"
}

# echo_server NAME: Python's, a thread for each connection, on a PORT of its own; ends at SIGINT
echo_server() {
	PORT=$(free_port)
	server "$1" "$PYTHON" "$PROGS/pyserver.py" threading "$PORT"
	up "$1" ready
}

# holding_client NAME [TURNS]: has talked to the echo server and keeps its connection, silently. TURNS times; by default, if both sides are under shunt, until it is upgraded each way.
# HELD_TURNS of ten octets have gone each way.
holding_client() {
	HELD_TURNS=${2:-1000}
	spawn client "$1" "$PYTHON" "$PROGS/pyhold.py" "$PORT" "$HELD_TURNS"
	up "$1" waits
	[ "$SIDES" = both ] && [ $# -eq 1 ] || return 0
	wait_for 60 upgraded_or_talks "$1" || fail "$1 is not upgraded after $HELD_TURNS turns: $("$SHUNT" ps)" || return
}

# in_memory NAME: a connection of it goes through memory each way, as shunt ps says
in_memory() {
	"$SHUNT" ps --json | jq -e --argjson pid "${PIDS[$1]}" 'any(.[] | select(.pid == $pid).sockets[]; .tx.path == "shm" and .rx.path == "shm")' >/dev/null
}

# warm NAME: it talks until the file D/go is there, and then does what is counted. This comes when its connection goes through memory, if it shall: how long that takes is the machine's to say.
warm() {
	[ "$SIDES" != both ] || [ -n "${SHUNT_NONE:-}" ] || wait_for 60 in_memory "$1" || fail "$1 is not upgraded" || return
	touch "$D/go"
}

# trickles FILE PORT...: its octets, a few at a time until the connections to all these ports send through memory, if they shall; then the rest at once. For programs that
# send what they are given: forty MB may be over before the upgrade is.
trickles() {
	exec 8<"$1"
	shift
	[ "$SIDES" != both ] || [ -n "${SHUNT_NONE:-}" ] || wait_for 60 trickle "$@" || :
	cat <&8
}

trickle() {
	head -c 61 <&8
	"$SHUNT" ps --json | jq -e '[.[].sockets[] | select(.tx.path == "shm").peer] as $up |
		all($ARGS.positional[]; (":" + .) as $at | any($up[]; endswith($at)))' --args "$@" >/dev/null
}

# upgraded_or_talks NAME: both directions of a pyhold.py have carried something through memory, and do so still; else it talks once more
upgraded_or_talks() {
	local n
	"$SHUNT" ps --json | jq -e --argjson pid "${PIDS[$1]}" 'map(select(.pid == $pid).sockets[] | .tx, .rx) |
		length > 0 and all(.[]; .path == "shm" and .shm_bytes > 1000)' >/dev/null && return
	n=$(grep -c '^waits' "$D/$1.out")
	kill -USR1 "${PIDS[$1]}"
	wait_for 60 has_talked "$1" "$n"
	HELD_TURNS=$((HELD_TURNS + 1000))
	return 1
}

has_talked() {
	[ "$(grep -c '^waits' "$D/$1.out")" -gt "$2" ]
}

# held_pair: `echod` and `waiter`, in the middle of a connection
held_pair() {
	echo_server echod
	holding_client waiter
}

end_held_pair() {
	stop waiter
	stop echod INT
}

# Whatever of ours still runs, by pid. (A plain `wait` would wait for Bats' own clock too.)
end_all() {
	local pid
	ours
	for pid in "${OURS[@]}"; do
		kill -9 "$pid" 2>/dev/null || :
	done
	for pid in "${PIDS[@]}"; do
		wait "$pid" 2>/dev/null || :
	done
	[ -n "${SHUNT_NONE:-}" ] || "$SHUNT" ps >/dev/null 2>&1 || :
}

# ---- what they wrote at their end ----

# sum NAME JQ: over the lines of its processes
sum() {
	jq -s "map($2) | add // 0" "$D/$1.stats"
}

shm_bytes() {
	sum "$1" .tx.shm_bytes+.rx.shm_bytes
}

# well_formed NAME: at least one line, and each has all the fields
well_formed() {
	local n='def counts: [.shm_bytes, .shm_msgs, .kernel_bytes, .kernel_msgs] | all(type == "number" and . >= 0);'
	[ -s "$D/$1.stats" ] || fail "$1 wrote no line at its end" || return
	jq -es "$n all(.[]; (.pid > 1) and (.comm | type == \"string\") and (.kernel | type == \"object\") and (.tx | counts) and
		(.rx | counts) and ([.channels, .upgrades, .downgrades, .sleeps, .bells, .spins] | all(type == \"number\")))" \
		"$D/$1.stats" >/dev/null || fail "a line of $1 is not as it should be: $(cat "$D/$1.stats")" || return
}

# paths NAME...: see the top
paths() {
	local name n
	[ -z "${SHUNT_NONE:-}" ] || return 0
	if [ "$SIDES" = both ]; then
		for name; do
			well_formed "$name" || return
			n=$(shm_bytes "$name")
			[ "$n" -gt 0 ] || fail "$name moved nothing through shared memory: $(cat "$D/$name.stats")" || return
		done
		return
	fi
	for name in "${!UNDER[@]}"; do
		well_formed "$name" || return
		n=$(shm_bytes "$name")
		[ "$n" -eq 0 ] || fail "$name moved $n bytes through shared memory, alone" || return
	done
}

# together NAME...: as paths, for all of them as one. A process whose connection is over in some tens of milliseconds may not be upgraded in time on a busy machine.
together() {
	local name
	if [ "$SIDES" = both ] && [ -z "${SHUNT_NONE:-}" ]; then
		for name; do
			well_formed "$name" || return
			cat "$D/$name.stats"
		done >"$D/together.stats"
		set -- together
	fi
	paths "$@"
}

# mostly NAME: more than half of its bytes went through memory (if both sides are under shunt)
mostly() {
	local shm all
	[ "$SIDES" = both ] && [ -z "${SHUNT_NONE:-}" ] || return 0
	shm=$(shm_bytes "$1")
	all=$((shm + $(sum "$1" .tx.kernel_bytes+.rx.kernel_bytes)))
	[ $((2 * shm)) -gt "$all" ] || fail "$1: only $shm of $all bytes through shared memory: $(cat "$D/$1.stats")" || return
}

# ---- nothing is left ----

# In here a fork costs 20 ms: these are looked at before and after each test, and start one program.

# names: into NAMES, System V objects, files in /dev/shm, files in the endpoint map
names() {
	local id mode n uid f mine=$EUID
	[ -z "${SHUNT_BATS_NS:-}" ] || mine='*'
	NAMES=()
	# shellcheck disable=SC2053 # a pattern
	while read -r _ id mode n _ _ _ uid _; do
		[[ $uid != $mine || $id == shmid ]] || NAMES+=("segment $id of $uid mode $mode octets $n")
	done </proc/sysvipc/shm
	# shellcheck disable=SC2053
	while read -r _ id mode n uid _; do
		[[ $uid != $mine || $id == semid ]] || NAMES+=("semaphores $id of $uid mode $mode number $n")
	done </proc/sysvipc/sem
	shopt -s globstar dotglob nullglob
	for f in /dev/shm/** "$SHUNT_MAP"/**; do
		[[ $f == /dev/shm/ || (-d $f && $f != /dev/shm/*) ]] || NAMES+=("$f")
	done
	shopt -u globstar dotglob nullglob
}

# ours: into OURS, pids of the processes that work below T (so Bats itself, and what a file sets up, must not stay there)
ours() {
	local p
	OURS=()
	while read -r p; do
		not_running "${p#/proc/}" || OURS+=("${p#/proc/}")
	done < <(exec find /proc/[0-9]*/cwd -maxdepth 0 -lname "$T*" -printf '%h\n' 2>/dev/null)
}

# find_left: into LEFT, what was not there when the test began
find_left() {
	local name pid
	local -A before=()
	for name in "${BEFORE[@]}"; do
		before[$name]=1
	done
	LEFT=()
	names
	for name in "${NAMES[@]}"; do
		[ -n "${before[$name]:-}" ] || LEFT+=("$name")
	done
	ours
	for pid in "${OURS[@]}"; do
		LEFT+=("process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")")
	done
}

left() {
	find_left
	[ ${#LEFT[@]} -eq 0 ] || printf '%s\n' "${LEFT[@]}"
}

nothing_left() {
	find_left
	[ ${#LEFT[@]} -eq 0 ]
}

# The names of those that were killed go when the next shunt process looks. What had not even got its values is told by its age: hence
# more than one look, for a second or so.
look() {
	[ -n "${SHUNT_NONE:-}" ] || wait_for 30 nothing_left_after_a_look || { left; fail "a look has not removed it" || return; }
}

nothing_left_after_a_look() {
	"$SHUNT" ps >/dev/null
	nothing_left
}
