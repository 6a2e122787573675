# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# What bash completes for shunt(1). Commands and options are asked of the command itself: its --help is the list (what is in backquotes there is
# another command's).

_shunt_commands() {
	"$1" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p' | grep -vx shunt
}

_shunt_options() {
	"$1" "$2" --help 2>/dev/null | sed 's/`[^`]*`//g' | grep -oE -e '(^|[[ |])--[a-z][a-z-]+' | tr -d ' [|' | sort -u
}

# Words that begin as `cur` does
_shunt_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_shunt_value() {
	case $prev in
	--share) _shunt_words "user group all" ;;
	--spin) _shunt_words "auto off" ;;
	--stats | --log | --check | --root | --html) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--only | --not) _shunt_words "tcp udp listen connect port by user any" ;;
	--metric) _shunt_words "time" ;;
	--explain | --spin-budget | --interface | --transfer | --server | --client | --ready | --precision | --max-time | --run-limit | --rounds | --warmup | --live | --seed) ;;
	*) return 1 ;;
	esac
}

# Of `shunt run` and `shunt ab` the place of the program: after the options and their values, or after `--`.
_shunt_program() {
	local i
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--) echo $((i + 1)) && return ;;
		--stats | --log | --share | --spin | --spin-budget | --only | --not) i=$((i + 1)) ;;
		--metric | --html | --server | --client | --ready | --precision | --max-time | --run-limit | --rounds | --warmup | --live | --seed) i=$((i + 1)) ;;
		-*) ;;
		*) echo "$i" && return ;;
		esac
	done
	echo "$COMP_CWORD"
}

_shunt() {
	local command=$1 cur=$2 prev=$3 sub=${COMP_WORDS[1]} at
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		_shunt_words "$(_shunt_commands "$command") --help --version"
		return
	fi
	if [ "$sub" = run ] || [ "$sub" = ab ]; then
		at=$(_shunt_program)
		if [ "$at" -lt "$COMP_CWORD" ]; then # the program's own words
			if declare -F _command_offset >/dev/null; then
				_command_offset "$at"
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			fi
			return
		fi
	fi
	_shunt_value && return
	case $cur in
	-*) _shunt_words "$(_shunt_options "$command" "$sub")" ;;
	*)
		case $sub in
		run | ab) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
		doctor) mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -W "$(ps -o pid= -U "$UID" 2>/dev/null)" -- "$cur") ;;
		off | on) _shunt_words "$("$command" ps 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p' | sort -un)" ;;
		unit) _shunt_words "$(systemctl list-unit-files --type=service --no-legend --plain 2>/dev/null | cut -d ' ' -f 1)" ;;
		esac
		;;
	esac
}

complete -F _shunt shunt
