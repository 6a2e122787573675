#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# `shunt doctor`: what keeps a machine, a program or a process from being upgraded, each with what to do, and a status for scripts.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
	no_settings
}

# found CHECK STATE [REGEX]: the report in $D/json has that
found() {
	jq -e --arg c "$1" --arg s "$2" --arg r "${3:-}" 'any(.checks[]; .check == $c and .state == $s and (.text | test($r)))' "$D/json" >/dev/null ||
		fail "no $1 $2 $3 in $(jq -c . "$D/json")" || return
	# what is not well has an advice
	jq -e 'all(.checks[]; .state == "ok" or (.advice | length > 10))' "$D/json" >/dev/null
}

# doctor STATUS ARGUMENT...
doctor() {
	run "$SHUNT" doctor --json "${@:2}"
	[ "$status" -eq "$1" ] || fail "status $status: $output" || return
	echo "$output" >"$D/json"
}

@test "this machine is well, and nothing of the trial stays" {
	local before
	before=$(names)
	doctor 0
	jq -e '.verdict == "ok"' "$D/json"
	found library ok
	found shm ok
	found sem ok
	found map ok
	found diag ok
	found rules ok
	[ "$(names)" = "$before" ]
	run "$SHUNT" doctor
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = "All is well." ]
}

@test "limits of System V: of a namespace that has none" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	unshare -i sh -c "echo 0 >/proc/sys/kernel/shmmni; '$SHUNT' doctor --json" >"$D/json" && return 1
	found shm no 'cannot be made: No space'
	unshare -i sh -c "echo 32000 1024000000 500 0 >/proc/sys/kernel/sem; '$SHUNT' doctor --json" >"$D/json" && return 1
	found sem no
	unshare -i sh -c "echo 60 >/proc/sys/kernel/shmmni; '$SHUNT' doctor" >"$D/text" || [ $? -eq 1 ]
	grep -q '^limit  System V: 0 of 60 segments are used' "$D/text"
	grep -q '^         As root: sysctl -w' "$D/text"
	[ "$(tail -n 1 "$D/text")" = "It can be upgraded, within the limits above." ]
}

@test "a map that cannot be written, a kernel without loopback, a mistake in a rule" {
	SHUNT_MAP=/proc/nowhere doctor 2
	found map no
	[ "$(id -u)" -ne 0 ] || { unshare -n "$SHUNT" doctor --json >"$D/json" || [ $? -eq 2 ]; found loopback no; }
	export SHUNT_RULES='only some'
	run --separate-stderr "$SHUNT" doctor --json
	[ "$status" -eq 2 ]
	echo "$output" >"$D/json"
	found rules no
	SHUNT_RULES='not port 22' doctor 1
	found rules limit '1, in 1 lists'
}

@test "programs: a dynamic one is well; a static one, a setuid one and one of Go cannot be" {
	doctor 0 /bin/true
	found program ok
	cc -static -O2 -o "$D/static" "$PROGS/hello.c"
	doctor 2 "$D/static"
	found program no static
	# what the Go compiler leaves in its programs
	printf 'int main(void){return 0;}\n__asm__(".section .go.buildinfo,\\"aw\\"\\n.byte 1\\n.previous");\n' | cc -x c -o "$D/go" -
	doctor 2 "$D/go"
	found go no
	if [ "$(id -u)" -eq 0 ]; then
		cc -O2 -o "$D/setuid" "$PROGS/hello.c"
		chown nobody "$D/setuid"
		chmod 4755 "$D/setuid"
		doctor 2 "$D/setuid"
		found program no setuid
	fi
	printf '#!%s\n' "$D/static" >"$D/script"
	chmod 755 "$D/script"
	doctor 2 "$D/script"
	run "$SHUNT" doctor no-such-program-here
	[ "$status" -eq 125 ]
	[ "${#lines[@]}" -eq 1 ]
}

# script FILE LINE: what follows its "#!"
script() {
	printf '#!%s\n' "$2" >"$D/$1"
	chmod 755 "$D/$1"
}

@test "scripts: their interpreters are followed as far as the kernel does, and what env starts" {
	local i
	cc -static -O2 -o "$D/static" "$PROGS/hello.c"
	export PATH=$D:$PATH
	script s1 "$D/static"
	for i in 2 3 4 5; do
		script s$i "$D/s$((i - 1)) -x"
		doctor 2 "$D/s$i"
		found program no '/s'$i': it is statically linked'
	done
	"$D/s5" >/dev/null || [ $? -eq 3 ] # so far it goes
	script py /usr/bin/python3
	doctor 0 "$D/py"
	script onpy "$D/py -u"
	doctor 0 "$D/onpy"
	for i in static '-S static -x' '-S -i A=1 -u HOME static' '--split-string=static -x' '-vS static'; do
		script e "/usr/bin/env $i"
		doctor 2 "$D/e"
		found program ok '/e: can be interposed'
		found program no '/static: it is statically linked'
	done
	script ee '/usr/bin/env e' # to the script, to the program
	doctor 2 "$D/ee"
	found program no '/static: it is statically linked'
	script e '/usr/bin/env no-such-program-here'
	doctor 2 "$D/e"
	found program no 'no-such-program-here: is not found'
	script e '/usr/bin/env e' # for ever
	run timeout 10 "$SHUNT" doctor "$D/e"
	[ "$status" -le 2 ]
	script e '/usr/bin/env python3'
	doctor 0 "$D/e"
	found program ok '/python3: can be interposed'
}

@test "imports that shunt does not replace are told, those of its libraries too; others are not" {
	printf '#include <sys/pidfd.h>\nint use(void){return pidfd_getfd(-1,0,0);}' | cc -shared -fPIC -x c -o "$D/libaside.so" -
	printf '#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <sys/socket.h>\nint use(void);\nint main(void){return use()+(dlmopen(0,0,0)!=0)+(int)recv(0,0,0,0);}' |
		cc -x c -o "$D/prog" - -L"$D" -laside -Wl,-rpath,"$D"
	doctor 1 "$D/prog"
	found import limit '/prog: imports dlmopen\(\)'
	found import limit '^libaside.so: imports pidfd_getfd\(\)'
	jq -e 'all(.checks[]; .text | test("recv") | not)' "$D/json"
}

@test "processes: under shunt or not, with a filter, a small limit, sockets as stdin, io_uring, other namespaces" {
	server sleeper "$PYTHON" -c '
import ctypes, os, resource, socket
s = socket.create_server(("127.0.0.1", 0))
os.dup2(s.fileno(), 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
libc = ctypes.CDLL(None)
params = (ctypes.c_char * 120)()
ring = libc.syscall(425, 4, params)
print("ring" if ring >= 0 else "none", flush=True)
import signal
signal.pause()'
	up sleeper .
	doctor 1 "${PIDS[sleeper]}"
	found runs ok
	found stdio limit
	found nofile limit '100 descriptors'
	! grep -q ring "$D/sleeper.out" || found io_uring limit
	stop sleeper
	sides none
	server plain "$PYTHON" -c '
import ctypes, struct, signal
libc = ctypes.CDLL(None)
allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))
prog = struct.pack("H6xQ", 1, ctypes.addressof(allow))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, prog, 0, 0) == 0
print("up", flush=True)
signal.pause()'
	up plain up
	doctor 1 "${PIDS[plain]}"
	found runs limit
	found seccomp limit
	stop plain
	server clean sleep 60
	doctor 1 "${PIDS[clean]}"
	jq -e 'all(.checks[]; .check != "seccomp")' "$D/json"
	stop clean
	[ "$(id -u)" -eq 0 ] || return 0
	server elsewhere unshare -i sh -c 'echo up; exec sleep 60'
	up elsewhere up
	doctor 1 "${PIDS[elsewhere]}"
	found ipc limit 'another IPC namespace'
	stop elsewhere
	local other=(setpriv --reuid daemon --regid daemon --clear-groups)
	server roots sleep 60
	run "${other[@]}" "$SHUNT" doctor --json "${PIDS[roots]}"
	[ "$status" -eq 1 ]
	echo "$output" >"$D/json"
	found access limit
	stop roots
}

@test "a file that is no program, or broken, does no harm" {
	head -c 300 /bin/true >"$D/short"
	cp /bin/true "$D/noise"
	printf '\377\377\377\377\377\377\377\377' | dd of="$D/noise" bs=1 seek=40 conv=notrunc status=none # e_shoff
	chmod 755 "$D/short" "$D/noise"
	local f
	for f in short noise; do
		run timeout 10 "$SHUNT" doctor "$D/$f"
		[ "$status" -le 2 ]
	done
	run "$SHUNT" doctor 999999999
	[ "$status" -eq 125 ]
	run "$SHUNT" doctor a b
	[ "$status" -eq 125 ]
	[ "${#lines[@]}" -eq 1 ]
	run "$SHUNT" doctor --help
	[ "${#lines[@]}" -le 24 ]
	[[ $output == *$'\n  shunt doctor '* ]]
}
