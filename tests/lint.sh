#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lint.sh FILE...: what tools can say about the sources: clang-format, clang-tidy, cppcheck, shellcheck, mandoc, and three rules of our own. TAP.
# A tool that is not installed is a failure that says so: the check cannot pass by being absent.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
CC=${CC:-cc}
all=("$@")
defs=(-std=gnu11 -D_GNU_SOURCE '-DSHUNT_VERSION="lint"' -Iinclude -iquote core -iquote preload)
n=0
bad=0

# result NAME STATUS OUTPUT
result() {
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$3" | head -60 | sed 's/^/# /'
		bad=1
	fi
}

# try NAME TOOL ARGUMENT...
try() {
	local name=$1 out
	shift
	if ! command -v "$1" >/dev/null; then
		result "$name" 1 "$1 is not installed"
		return
	fi
	out=$("$@" 2>&1)
	result "$name" $? "$out"
}

sources=()
for f in "${all[@]}"; do
	case $f in
	core/*.c | preload/*.c) sources+=("$f") ;;
	esac
done
mapfile -t scripts < <(grep -lE '^#!/bin/(ba)?sh' tests/* tests/*/* .ci/run 2>/dev/null)

format() {
	local out
	out=$(printf '%s\0' "${all[@]}" | xargs -0 clang-format --dry-run 2>&1 | grep -oE '^[^: ]+:[0-9]+:.*warning: ' | cut -d: -f1 | uniq -c)
	printf '%s' "${out:+differs, times and file (make format puts it right):
$out}"
	[ -z "$out" ]
}

# Each source with the flags that it is built with; in parallel.
tidy() {
	export LINT_DEFS="${defs[*]}"
	# shellcheck disable=SC2016
	printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'clang-tidy --quiet "$1" -- $LINT_DEFS 2>/dev/null' tidy
}

# Other manuals need not be installed here.
manuals() {
	local out
	command -v mandoc >/dev/null || { echo "mandoc is not installed"; return 1; }
	out=$(mandoc -Tlint docs/*.[1-9] 2>&1 | grep -vE 'referenced manual not found|outdated mandoc.db')
	printf '%s' "$out"
	[ -z "$out" ]
}

# core/ stands below preload/: gcc says what each file includes.
layers() {
	local f up=
	for f in core/*.c; do
		up+=$("$CC" -MM "${defs[@]}" "$f" | grep -o 'preload/[^ ]*' | sed "s|^|$f includes |")
	done
	printf '%s' "$up"
	[ -z "$up" ]
}

# core calls no name that the interposer replaces: such a call would come back to us.
names() {
	local out
	out=$(nm -u "$B/libncadg_sm.a" | awk '$1 == "U" { print $2 }' | sort -u | grep -xF -f <(tr -d ';' <"$B/syscalls.map.names"))
	printf '%s' "$out"
	[ -z "$out" ] && [ -s "$B/syscalls.map.names" ]
}

# Only the names in the list are exported, and all of them.
exports() {
	diff <(nm -D --defined-only "$B/libshunt.so" | awk '$2 != "A" { print $3 }' | LC_ALL=C sort) <(tr -d ';' <"$B/syscalls.map.names" | LC_ALL=C sort)
}

try "clang-format: every file is as .clang-format has it" format
try "clang-tidy" tidy
try "cppcheck" cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingIncludeSystem --suppressions-list=tests/cppcheck.txt -D_GNU_SOURCE '-DSHUNT_VERSION="lint"' -D__x86_64__ -Iinclude -Icore \
	-Ipreload -j "$(nproc)" "${sources[@]}"
try "shellcheck" shellcheck -S warning -e SC1007,SC2317 "${scripts[@]}"
try "mandoc: the manual pages" manuals
try "core includes nothing of preload" layers
try "core calls no name that is interposed" names
try "the interposer exports its list of names and nothing else" exports
echo "1..$n"
exit $bad
