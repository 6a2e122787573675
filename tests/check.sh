#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# check.sh: everything that `make check` runs. Each part writes TAP, which is counted; a part that ends badly without having said what
# failed counts as one failure more, and so does one that promised more tests than it ran. Shown is what failed; all of it is in
# $B/check/. The last line is "N passed, N failed"; the status is 0 if nothing failed.
#
# SOAK=1: the long ones too. SAN=...: with a sanitizer only the parts that it can see into are run.
set -u
cd "$(dirname "$0")/.." || exit 1
exec </dev/null
B=${B:-build}
SAN=${SAN:-}
MAKE=${MAKE:-make}
export LC_ALL=C BUILD=$B SOAK=${SOAK:-}
unset LD_PRELOAD SHUNT_STATS SHUNT_LOG SHUNT_MAP MAKEFLAGS MFLAGS MAKELEVEL
jobs=$(nproc)
factor=1
[ -n "$SOAK" ] && factor=10
passed=0 failed=0 skipped=0
# What is held by those who are killed is no leak. Its own signal stack, freed by a cancelled thread, it takes for an error. Its handlers are not what a program finds without it.
asan=detect_leaks=0:use_sigaltstack=0:handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0
mkdir -p "$B/check" && rm -f "$B"/check/*

# tally NAME STATUS SECONDS: counts $B/check/NAME.tap.
tally() {
	local log=$B/check/$1.tap ok bad skip plan last
	skip=$(grep -ciE '^ok .*# *skip' "$log")
	ok=$(($(grep -c '^ok ' "$log") - skip))
	bad=$(grep -c '^not ok ' "$log")
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	if [ "$plan" -gt $((ok + bad + skip)) ]; then
		echo "not ok - $1: $((plan - ok - bad - skip)) tests of $plan did not run" >>"$log"
		bad=$((bad + 1))
	fi
	if [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then
		last=$(tail -n 20 "$log" | sed 's/^/# /')
		printf '%s\n' "not ok - $1: ended with status $2" "$last" >>"$log"
		bad=$((bad + 1))
	elif [ $((ok + bad + skip)) -eq 0 ]; then
		echo "not ok - $1: ran no test" >>"$log"
		bad=1
	fi
	printf '%-28s %4d passed, %d failed%s (%d s)\n' "$1" "$ok" "$bad" "$([ "$skip" -gt 0 ] && echo ", $skip skipped")" "$3"
	awk '/^not ok /{ on = 1; print "  " $0; next } /^(ok |1\.\.)/{ on = 0 } on && /^#/ && n++ < 200 { print "  " $0 }' "$log"
	grep -iE '^ok .*# *skip' "$log" | sed 's/^/  /'
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

# part NAME SECONDS COMMAND...: COMMAND writes TAP and may take that long.
part() {
	local name=$1 limit=$(($2 * factor)) begin=$SECONDS status
	shift 2
	if [ "$(type -t "$1")" = function ]; then
		"$@" >"$B/check/$name.tap" 2>&1
	else
		timeout -k 10 "$limit" "$@" >"$B/check/$name.tap" 2>&1
	fi
	status=$?
	[ $status -eq 124 ] && echo "not ok - $name: not done after $limit s" >>"$B/check/$name.tap"
	tally "$name" $status $((SECONDS - begin))
}

# say NAME COMMAND...: one test, which COMMAND decides; its output explains a failure.
say() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "ok - $name"
	else
		echo "not ok - $name"
		printf '%s\n' "$out" | tail -n 40 | sed 's/^/# /'
		return 1
	fi
}

# build SANITIZERS TARGET...
build() {
	say "make${1:+ SAN=$1}" "$MAKE" --no-print-directory -s -j"$jobs" SAN="$1" "${@:2}"
}

# What is needed, and everything built; once more with sanitizers, whose build of core the unit tests are run with too.
prepare() {
	say "what the tests need is installed" tests/setup.sh check
	build "$SAN" all progs unit
	[ -n "$SAN" ] || build address,undefined all unit ${SOAK:+progs}
	[ -n "$SAN" ] || say "make FAULTS=1" "$MAKE" --no-print-directory -s -j"$jobs" FAULTS=1 all mortal
}

# units FOLDER: cmocka's programs, each in a process of its own, with a limit, as many at a time as there are cores.
units() {
	export CMOCKA_MESSAGE_OUTPUT=TAP LIMIT=$((120 * factor))
	export -f one_unit
	# shellcheck disable=SC2016
	find "$1"/tests/unit -name 'test_*' -type f -perm -u+x | sort | xargs -r -P "$jobs" -n 1 "$BASH" -c 'one_unit "$1"' units
}

# one_unit PROGRAM: what it says comes out in one piece.
one_unit() {
	local out status=0
	out=$(timeout -k 5 "$LIMIT" "$1" 2>&1) || status=$?
	[ $status -le 1 ] || out+=$'\n'"not ok - ${1##*/}: crashed, hung, or was stopped by a sanitizer"
	awk -v OFS= '/^(not )?ok|^1\.\./{ print; next } { print "# ", $0 }' <<<"$out" | flock tests/check.sh cat
	[ $status -le 1 ]
}

# ---- what must not be left behind ----

# Every System V object, file in /dev/shm, file in the endpoint map and process under our interposer; one a line.
names() {
	local kind id f
	for kind in shm sem msg; do
		while read -r _ id _; do
			[[ $id == *id ]] || echo "$kind $id"
		done <"/proc/sysvipc/$kind"
	done
	find /dev/shm /run/shunt /tmp/.shunt -mindepth 1 ! -type d 2>/dev/null
	for f in /proc/[0-9]*; do
		grep -qs "$PWD/$B/libshunt.so" "$f/maps" && echo "process ${f#/proc/} $(tr '\0' ' ' <"$f/cmdline" 2>/dev/null)"
	done
	return 0
}

nothing_left() {
	local i left
	for ((i = 0; i < 50; i++)); do
		left=$(comm -13 "$B/check/before" <(names | sort))
		[ -z "$left" ] && return 0
		sleep 0.1
	done
	echo "$left"
	return 1
}

leaks() {
	say "no segment, semaphore, file, endpoint or process is left" nothing_left
	echo 1..1
}

# ---- all of it ----

if [ "$(id -u)" -eq 0 ] && [ -z "${CHECK_INSIDE:-}" ] && unshare -i true 2>/dev/null; then
	CHECK_INSIDE=1 exec unshare -i "$BASH" tests/check.sh # System V objects that are there now are all ours
fi

part prepare 600 prepare
names | sort >"$B/check/before"
part unit 600 units "$B"
if [ -z "$SAN" ]; then
	part unit-address-undefined 600 units build-address-undefined
	part fuzz 600 tests/fuzz/run build-address-undefined 4
	part lint 900 env CC="${CC:-cc}" "$MAKE" --no-print-directory -s lint
	part model 900 tests/model/run
	part oracle 1200 tests/run_oracle.sh -j "$jobs"
	part fault 900 tests/run_faults.sh -j "$jobs" ${SOAK:+--soak}
	part bats 1500 bats/run -j $((jobs + 1)) --tap # they wait most of the time
	# What of make conformance takes seconds.
	part conformance 300 env BUILD="$B" python3 -B tests/conformance/run --tap -j "$jobs" -w eager \
		test_httplib test_socketserver test_smtplib test_epoll test_poll test_select
	part random 600 tests/random/check $((jobs * 3)) # they wait most of the time: more lanes than cores
	[ -z "$SOAK" ] || BUILD=build-address-undefined ASAN_OPTIONS=$asan part oracle-address-undefined 900 tests/run_oracle.sh -m both
elif [ "$SAN" != thread ]; then
	ASAN_OPTIONS=$asan part oracle 900 tests/run_oracle.sh -m both
else
	# A report is a line of a transcript that the run without shunt does not have. The programs' own threads, and ours, meet in these.
	TSAN_OPTIONS="suppressions=$PWD/tests/tsan.txt history_size=4" part oracle-thread 600 tests/run_oracle.sh -m both \
		'^(epoll|epollset|poll|opt)/' '^thread/[^f]' '^(changing|crowded|nested)/'
fi
part leaks 30 leaks

[ $skipped -eq 0 ] || echo "$skipped skipped"
echo "$SECONDS s"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
