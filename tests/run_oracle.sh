#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# run_oracle.sh - runs every case of build/tests/sock_* four ways (no shunt, server only, client only, both) and compares the
# transcripts: the kernel is the oracle. In the fourth way the counters must prove that bytes went through shared memory.
#
# usage: run_oracle.sh [-1] [-l] [-v] [-H] [-m MODES] [-n TIMES] [FILTER]...
#   -1  everything on one core            -l  list the cases that FILTERs select
#   -n  run each case TIMES times         -m  modes to run besides "none", of "server client both"; "" for none
#   -v  say for each case how many bytes went which way        -H  here: not in namespaces of its own
#   FILTER  a regular expression over PROGRAM/CASE
#
# It runs in a network and an IPC namespace of its own where that is possible: what is left there is ours.
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
SHUNT=${ORACLE_SHUNT:-$BUILD/shunt} # or one with a fault

TIMES=1 MODES="server client both" PIN=() LIST='' VERBOSE='' HERE=''
args=("$@")
while getopts 1lvHm:n: opt; do
	case $opt in
	1) PIN=(taskset -c 0) ;;
	l) LIST=1 ;;
	v) VERBOSE=1 ;;
	H) HERE=1 ;;
	m) MODES=$OPTARG ;;
	n) TIMES=$OPTARG ;;
	*) sed -n '3,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))

# ---- which cases ----

cases=() # "program case flags"
for prog in "$BUILD"/tests/sock_*; do
	[[ -x $prog && ! -d $prog && $prog != *.* ]] || continue
	while read -r name flags; do
		id=${prog##*/sock_}/$name
		for filter in "${@:-.}"; do
			if [[ $id =~ $filter ]]; then
				cases+=("$prog $name $flags")
				break
			fi
		done
	done < <("$prog" --list)
done
if [[ $LIST ]]; then
	for c in "${cases[@]}"; do
		read -r prog name _ <<<"$c"
		echo "${prog##*/sock_}/$name"
	done
	exit 0
fi
if ((${#cases[@]} == 0)); then
	echo "run_oracle: no such case (built?)" >&2
	exit 2
fi

# ---- where ----

if [[ ! $HERE && ! ${ORACLE_INSIDE:-} ]] && command -v unshare >/dev/null; then
	as_root=()
	((EUID)) && as_root=(-r)
	net=()
	command -v ip >/dev/null && unshare "${as_root[@]}" -n ip link set lo up 2>/dev/null && net=(-n)
	if unshare "${as_root[@]}" "${net[@]}" -i true 2>/dev/null; then
		ORACLE_INSIDE="yes ${net[*]}" exec unshare "${as_root[@]}" "${net[@]}" -i "$BASH" tests/run_oracle.sh "${args[@]}"
	fi
fi
unset ORACLE_OWN_ADDR
if [[ ${ORACLE_INSIDE:-} == *-n* ]]; then
	ip link set lo up && ip addr add 10.77.0.1/32 dev lo && export ORACLE_OWN_ADDR=10.77.0.1
	echo 3 2>/dev/null >/proc/sys/net/ipv4/tcp_fastopen # octets in the SYN, for those who ask
fi

if [[ ! -x $SHUNT || ! -e ${SHUNT%/*}/libshunt.so ]]; then
	echo "# $SHUNT or $BUILD/libshunt.so does not exist: the cases run without shunt only"
	MODES=
fi

DIR=$(mktemp -d "${TMPDIR:-/tmp}/oracle.XXXXXX") || exit 1
export SHUNT_MAP=$DIR/map ORACLE_RUN=oracle.$$.$RANDOM
mkdir "$SHUNT_MAP"
mkfifo "$DIR/ends"
exec {ends}<>"$DIR/ends"
trap 'rm -rf "$DIR"' EXIT
trap 'exit 130' INT TERM

# ---- what must not be left ----

names() # every System V object, file in /dev/shm and file in the endpoint map, one a line
{
	local kind id line
	for kind in shm sem msg; do
		while read -r _ id line; do
			[[ $id == *id ]] || echo "$kind $id"
		done <"/proc/sysvipc/$kind"
	done
	shopt -s globstar nullglob dotglob
	for line in /dev/shm/* "$SHUNT_MAP"/**; do
		[[ -d $line ]] || echo "$line"
	done
	shopt -u globstar nullglob dotglob
}

processes() # those that carry this run's mark in their environment, but not the runner itself
{
	local p
	for p in /proc/[0-9]*; do
		[[ ${p##*/} != "$$" && ${p##*/} != "$BASHPID" ]] || continue
		# a forked shell of the runner has the mark only from exec on, as everything else here
		if grep -qsa "ORACLE_RUN=$ORACLE_RUN" "$p/environ" && grep -qsav '^$' "$p/cmdline"; then
			echo "process ${p##*/} $(tr '\0' ' ' <"$p/cmdline" 2>/dev/null)"
		fi
	done
}

left() # $1: names before
{
	diff <(echo "$1") <(names) | sed -n 's/^> /left: /p'
}

# ---- one case, one way ----

pipe_pair() # makes a pipe and puts its ends into the variables named $1 (read) and $2 (write)
{
	local both
	mkfifo "$DIR/fifo"
	exec {both}<>"$DIR/fifo"
	eval "exec {$1}<\"$DIR/fifo\" {$2}>\"$DIR/fifo\" $both>&-"
	rm "$DIR/fifo"
}

run_side() # side limit out command...: runs it with the descriptors that the caller has given it; tells its end on $DIR/ends
{
	local side=$1 limit=$2 out=$3
	shift 3
	timeout -s KILL "$limit" "${PIN[@]}" "$@" </dev/null >>"$out.$side" 2>"$out.$side.err" {ends}>&- &
	echo $! >"$out.$side.pid"
	wait $! 2>/dev/null
	echo "$side $?" >&"$ends"
}

run_way() # way program case flags out: transcripts to $out.server, $out.client; counters to $out.server.stats, ...
{
	local way=$1 prog=$2 name=$3 flags=$4 out=$5 side code failed='' limit=15 srd swr crd cwr
	local -a wrap=()
	((flags & 8)) && limit=45
	rm -f "$out".*
	pipe_pair srd cwr
	pipe_pair crd swr
	for side in server client; do
		wrap=()
		[[ $way == "$side" || $way == both ]] && wrap=("$SHUNT" run --stats "$out.$side.stats" --)
		if [[ $side == server ]]; then
			run_side server $limit "$out" "${wrap[@]}" "$prog" "$name" server \
				100<&"$srd" 101>&"$swr" {srd}<&- {swr}>&- {crd}<&- {cwr}>&- &
		else
			run_side client $limit "$out" "${wrap[@]}" "$prog" "$name" client \
				100<&"$crd" 101>&"$cwr" {srd}<&- {swr}>&- {crd}<&- {cwr}>&- &
		fi
	done
	exec {srd}<&- {swr}>&- {crd}<&- {cwr}>&-
	for _ in server client; do
		# When one part has failed, the other one may wait for it in vain: a second is enough to say so.
		if ! read -r ${failed:+-t 1} side code <&"$ends"; then
			[[ $failed == server ]] && side=client || side=server
			kill -TERM "$(<"$out.$side.pid")" 2>/dev/null
			read -r side code <&"$ends"
		fi
		((code)) && failed=$side
		echo "exit $code" >>"$out.$side"
	done
	wait
	for side in server client; do
		sed 's/^/stderr: /' "$out.$side.err" >>"$out.$side"
	done
}

count() # $1 stats file, $2 tx or rx, $3 shm or kernel -> bytes, summed over the processes
{
	local sum=0 line
	[[ -e $1 ]] && while read -r line; do
		[[ $line =~ \"$2\":\ *\{[^}]*\"$3_bytes\":\ *([0-9]+) ]] && ((sum += BASH_REMATCH[1]))
	done <"$1"
	echo $sum
}

check_counters() # way flags out: says what is wrong
{
	local way=$1 flags=$2 out=$3 side dir n any=
	for side in server client; do
		[[ $way == "$side" || $way == both ]] || continue
		for dir in tx rx; do
			n=$(count "$out.$side.stats" $dir shm)
			((n)) && any=1
			if [[ $way != both ]]; then
				((n && !(flags & 4))) && echo "the $side alone: $dir.shm_bytes = $n"
			elif ((!n && !(flags & (1 | 2 | 4 | 16)))); then
				echo "the $side's $dir.shm_bytes is 0$(why_kernel "$out.$side.stats")"
			fi
		done
	done
	[[ $way == both && ! $any ]] && ((flags & (2 | 4) && !(flags & (1 | 16)))) && echo "neither side counted bytes in shared memory"
}

why_kernel() # $1 stats file
{
	[[ -e $1 ]] || { echo " (no counters were written)"; return; }
	grep -o '"kernel": *{[^}]*}' "$1" | head -n 1 | sed 's/^/ (/; s/$/)/'
}

case_is_right() # program case flags: 1 and complaints on stdout when not
{
	local prog=$1 name=$2 flags=$3 way side before wrong='' text differs=''
	before=$(names)
	for way in none $MODES; do
		run_way "$way" "$prog" "$name" "$flags" "$DIR/$way"
		for side in server client; do
			if [[ $way == none ]]; then
				text=$(grep -n -e FALSE -e '^exit [^0]' "$DIR/none.$side") && [[ $text != *"(expected)"* ]]
			else
				text=$(diff -u --label "$side, no shunt" --label "$side, shunt: $way" "$DIR/none.$side" "$DIR/$way.$side")
				[[ $text ]]
			fi && {
				((flags & 32)) && [[ $way == both ]] && { differs=1; continue; }
				wrong=1; echo "$way: the $side's transcript:"; echo "$text" | head -n 60
			}
		done
		if [[ $way != none ]]; then
			text=$( ((flags & 32)) || check_counters "$way" "$flags" "$DIR/$way")
			[[ $text ]] && { wrong=1; echo "$way: $text"; }
			text=$(left "$before")
			if [[ $text ]]; then
				((flags & 2)) || { wrong=1; echo "$way: $text"; }
				before=$(names) # complain once
			fi
		fi
	done
	if ((flags & 32)) && [[ $MODES == *both* && ! $differs ]]; then
		echo "both: does not differ from the kernel any more: take CASE_DIFFERS away, and the lines in docs/COMPATIBILITY.md"
		wrong=1
	fi
	[[ ! $wrong ]]
}

bytes_note()
{
	[[ $VERBOSE && -e $DIR/both.client.stats ]] || return
	printf ' # shm tx %s rx %s, kernel tx %s rx %s' "$(count "$DIR/both.client.stats" tx shm)" \
		"$(count "$DIR/both.client.stats" rx shm)" "$(count "$DIR/both.client.stats" tx kernel)" "$(count "$DIR/both.client.stats" rx kernel)"
}

# ---- all of them ----

passed=0 failed=0 number=0
report() # result name complaints [note]
{
	local line
	((++number))
	if [[ $1 == ok ]]; then
		[[ ${4:-} == *SKIP* ]] || ((++passed))
		echo "ok $number - $2${4:-}"
	else
		((++failed))
		echo "not ok $number - $2"
		while IFS= read -r line; do
			echo "#   $line"
		done <<<"$3"
	fi
}

at_start=$(names)
for ((i = 0; i < TIMES; i++)); do
	for c in "${cases[@]}"; do
		read -r prog name flags <<<"$c"
		if complaints=$(case_is_right "$prog" "$name" "$flags"); then
			report ok "${prog##*/sock_}/$name" "" "$( ((flags & 32)) && echo ' # SKIP known difference, see docs/COMPATIBILITY.md' || bytes_note)"
		else
			report bad "${prog##*/sock_}/$name" "$complaints"
		fi
	done
done

if [[ $MODES ]]; then
	# Names that a killed process left are removed by the next shunt process that listens or looks.
	[[ -x $BUILD/tests/sock_basic ]] && run_way both "$BUILD/tests/sock_basic" pingpong 0 "$DIR/last"
	"$SHUNT" ps >/dev/null 2>&1
fi
complaints=$(left "$at_start"; processes)
if [[ $complaints ]]; then
	report bad "nothing is left behind" "$complaints"
else
	report ok "nothing is left behind" ""
fi
echo "1..$number"
echo "$passed passed, $failed failed"
((failed == 0))
