#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# `shunt unit`: the drop-in for a service; and what shells complete.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
	no_settings
}

@test "the drop-in is one that systemd takes, and starts the service's own command under shunt with the rules" {
	"$SHUNT" unit --not 'port 22 by "a%b"' --share user my@1.service >"$D/drop-in"
	grep -qE '^Environment="LD_PRELOAD=/.*/libshunt.so"$' "$D/drop-in"
	grep -qF 'Environment="SHUNT_RULES=share user; not *:22 by \"a%%b\""' "$D/drop-in"
	grep -qF "Environment=\"SHUNT_MAP=$SHUNT_MAP\"" "$D/drop-in"
	need systemd-analyze
	"$SHUNT" unit --enable --root "$D/root" --share user --not 'port 22 by "a%b"' my@1.service
	[ "$(cat "$D/root/etc/systemd/system/my@1.service.d/shunt.conf")" = "$(cat "$D/drop-in")" ]
	mkdir "$D/units"
	printf '[Service]\nExecStart=/bin/true\n' >"$D/units/my.service"
	mkdir "$D/units/my.service.d"
	cp "$D/drop-in" "$D/units/my.service.d/shunt.conf"
	run systemd-analyze verify "$D/units/my.service"
	[ "$status" -eq 0 ] || fail "$output" || return
	[[ $output != *shunt* ]] || fail "$output" || return
	# and it would be seen
	echo "Environmnt=x" >>"$D/units/my.service.d/shunt.conf"
	run systemd-analyze verify "$D/units/my.service"
	[[ $output == *Environmnt* ]]
}

@test "--enable writes it, --disable removes it and leaves what others put there" {
	local at=$D/root/etc/systemd/system/x.service.d
	"$SHUNT" unit --enable --root "$D/root" x.service
	[ "$(stat -c %a "$at/shunt.conf")" = 644 ]
	[ "$(ls -A "$at")" = shunt.conf ]
	"$SHUNT" unit --enable --root "$D/root" --only tcp x.service # again
	grep -q "only tcp" "$at/shunt.conf"
	"$SHUNT" unit --disable --root "$D/root" x.service
	[ ! -e "$at" ]
	"$SHUNT" unit --enable --root "$D/root" x.service
	touch "$at/other.conf"
	"$SHUNT" unit --disable --root "$D/root" x.service
	[ "$(ls -A "$at")" = other.conf ]
	run "$SHUNT" unit --disable --root "$D/root" x.service
	[ "$status" -eq 125 ]
	[[ $output == *"it was not enabled" ]]
	"$SHUNT" unit --enable --user x.service
	[ -e "$D/.config/systemd/user/x.service.d/shunt.conf" ]
	absent PrivateIPC "$D/.config/systemd/user/x.service.d/shunt.conf"
	"$SHUNT" unit --disable --user x.service
	[ ! -e "$D/.config/systemd/user/x.service.d" ]
}

@test "an ordinary user is told what to do instead; a wrong use is one line" {
	local args
	if [ "$(id -u)" -eq 0 ]; then
		mkdir "$D/ro"
		run setpriv --reuid daemon --regid daemon --clear-groups "$SHUNT" unit --enable --root "$D/ro" x.service
		[ "$status" -eq 125 ]
		[[ $output == *"as root, or --user"* ]]
	fi
	for args in "unit" "unit x" "unit ../x.service" "unit .service" "unit --enable --disable x.service" "unit a.service b.service" "unit --none x.service"; do
		# shellcheck disable=SC2086 # words
		run "$SHUNT" $args
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
	done
	run "$SHUNT" unit --help
	[ "${#lines[@]}" -le 24 ]
	run "$SHUNT" unit --only nothing x.service
	[ "$status" -eq 125 ]
}

# completes WORD...: what bash offers for the last one
completes() {
	PATH=${SHUNT%/*}:$PATH bash -c '
		. "$1"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_shunt shunt "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
		[ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\n" "${COMPREPLY[@]}"' completes "$ROOT/preload/cmd/dist/shunt.bash" "$@"
}

# sleeper: a process under shunt, by name sleeps
sleeper() {
	spawn server sleeps sleep 600
	listed() { "$SHUNT" ps | grep -qE "^ *${PIDS[sleeps]} sleep"; }
	wait_for 60 listed
}

@test "bash completes the commands, their options, and what options take" {
	local cmd
	completes shunt "" >"$D/cmds"
	for cmd in run ps off on ab ep gc rules doctor unit tower --help --version; do
		grep -qxF -e "$cmd" "$D/cmds" || fail "not offered: $cmd in $(cat "$D/cmds")" || return
	done
	absent ' ' "$D/cmds"
	[ "$(completes shunt "do")" = doctor ]
	[ "$(completes shunt ps --)" = $'--help\n--json\n--reasons\n--why' ]
	for cmd in --stats --log --spin --spin-budget --only --not --share --help; do
		completes shunt run -- | grep -qxF -e "$cmd" || fail "run: $cmd" || return
	done
	for cmd in --server --client --ready --metric --higher-better --lower-better --precision --max-time --run-limit --rounds --warmup --live --json --html --seed --help; do
		completes shunt ab -- | grep -qxF -e "$cmd" || fail "ab: $cmd" || return
	done
	[ "$(completes shunt off --)" = $'--all\n--help' ]
	[ "$(completes shunt on --)" = $'--all\n--help' ] # and none of shunt run, which its help speaks of
	[ "$(completes shunt run --share u)" = user ]
	[ "$(completes shunt ab --metric t)" = time ]
	[ -z "$(completes shunt ab --rounds 1)" ]
	completes shunt ab --rounds 9 -- ls | grep -qx ls
	completes shunt run ls | grep -qx ls
	touch "$D/afile"
	[ "$(cd "$D" && completes shunt rules --check af)" = afile ]
	[ "$(cd "$D" && completes shunt ab --html af)" = afile ]
	[ "$(cd "$D" && completes shunt run --share all cat af)" = afile ] # the program's own words
	[ "$(cd "$D" && completes shunt ab --max-time 9 cat af)" = afile ]
	completes shunt doctor "${$:0:1}" | grep -qx "$$"
}

@test "bash completes the processes that can be switched, those under shunt alone" {
	sleeper
	completes shunt off "" | grep -qx "${PIDS[sleeps]}"
	completes shunt on 1 "" | grep -qx "${PIDS[sleeps]}"
	completes shunt on "" >"$D/pids"
	absent "^$$\$" "$D/pids"
	absent '[^0-9]' "$D/pids"
	stop sleeps
}

@test "zsh completes the same" {
	need zsh
	zsh -n "$ROOT/preload/cmd/dist/_shunt"
	mkdir "$D/fpath"
	cp "$ROOT/preload/cmd/dist/_shunt" "$D/fpath/"
	# zpty: a shell in a terminal, asked by the tabulator: $2 is what is typed, $3 what it shall offer
	cat >"$D/ask.zsh" <<-'ZSH'
		zmodload zsh/zpty zsh/datetime
		zpty z zsh -f -i
		zpty -w z "PS1='> '; fpath=($1 \$fpath); autoload -U compinit; compinit -u -d $1/dump; LISTMAX=1000; setopt no_beep"
		zpty -w z "stty cols 200; bindkey '^I' list-choices; print it is re''ady"
		zpty -r z out '*it is ready*'
		zpty -w -n z "$2"$'\t'
		until=$((EPOCHSECONDS + 20)) all=
		while (( EPOCHSECONDS < until )); do
			zpty -r -t z out && all+=$out
			[[ $all == *$3* ]] && zpty -d z && exit 0
		done
		print -r -- "$all"
		exit 1
	ZSH
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt " "doctor"
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt ps --" "--reasons"
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt run --share " "group"
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt ab --" "--run-limit"
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt ab --rounds 9 -- setpri" "setpriv"
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt on --" "--all"
	sleeper
	PATH=${SHUNT%/*}:$PATH timeout 60 zsh -f "$D/ask.zsh" "$D/fpath" "shunt off " "${PIDS[sleeps]}"
	stop sleeps
}
