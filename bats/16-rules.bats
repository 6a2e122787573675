#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Rules: which sockets are upgraded, said by --only and --not, files and SHUNT_RULES; --share: with whom.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
	no_settings
	mkdir "$D/.config"
}

# WANTED=1 before a pair that is to be upgraded: it talks until it is.
# pair SERVER_OPTION... -- CLIENT_OPTION...: a server and a client that talk, each under its rules; `echod` and `echo`
pair() {
	local s=()
	while [ "$1" != -- ]; do
		s+=("$1")
		shift
	done
	shift
	PORT=$(free_port)
	s=("${s[@]//PORT/$PORT}")
	local c=("${@//PORT/$PORT}")
	sides none
	touch "$D"/echo{,d}.{stats,log}
	chmod 666 "$D"/echo{,d}.{stats,log}
	server echod "$SHUNT" run --stats "$D/echod.stats" --log "$D/echod.log" "${s[@]}" -- "$PYTHON" "$PROGS/pyserver.py" threading "$PORT"
	up echod ready
	[ "$(client echo env UNTIL_UP="${WANTED:-}" "$SHUNT" run --stats "$D/echo.stats" --log "$D/echo.log" "${c[@]}" -- "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop echod INT
}

upgraded() {
	[ "$(shm_bytes echo)" -gt 0 ] && [ "$(shm_bytes echod)" -gt 0 ] || fail "not upgraded: $(cat "$D"/echo*.log)" || return
	rm "$D"/echo*.stats "$D"/echo*.log
}

# kept WHO: in the kernel, and WHO (echo, echod) says that it was a rule
kept() {
	[ "$(shm_bytes echo)" -eq 0 ] && [ "$(shm_bytes echod)" -eq 0 ] || fail "upgraded all the same" || return
	jq -es 'any(.[]; .kernel.rule > 0)' "$D/$1.stats" || fail "$1 does not say why: $(cat "$D/$1.stats")" || return
	grep -q "kernel (rule: " "$D/$1.log" || fail "$1 does not log why: $(cat "$D/$1.log")" || return
	rm "$D"/echo*.stats "$D"/echo*.log
}

@test "--not and --only decide on either side, by protocol, side, address, port, program and user" {
	WANTED=1 pair --
	upgraded
	pair --not 'port PORT' --
	kept echod
	pair -- --not 'tcp connect 127.0.0.0/8'
	kept echo
	WANTED=1 pair --only 'listen *:PORT' -- --only 'connect 127.0.0.1:PORT by python3*'
	upgraded
	pair --only udp --
	kept echod
	pair -- --only 'port 1-100'
	kept echo
	pair -- --not "user $(id -un)"
	kept echo
	WANTED=1 pair --not 'by nginx' --not connect -- --not listen
	upgraded
}

@test "the first rule that is true decides" {
	pair --not 'port PORT' --only tcp --
	kept echod
	WANTED=1 pair --only tcp --not 'port PORT' --
	upgraded
}

@test "a wildcard listener: each connection is decided by the address that it came to" {
	PORT=$(free_port)
	sides none
	touch "$D"/echo{,d}.{stats,log}
	local server='
import socket, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
for i in range(2):
    c, _ = s.accept()
    while d := c.recv(1000):
        c.sendall(d)
    c.close()'
	server echod "$SHUNT" run --stats "$D/echod.stats" --log "$D/echod.log" --not 127.0.0.2 -- "$PYTHON" -c "$server" "$PORT"
	up echod ready
	local name to=127.0.0.1
	for name in one two; do
		spawn client $name "$SHUNT" run --stats "$D/$name.stats" -- "$PYTHON" "$PROGS/pyhold.py" "$PORT" 1000 $to
		up $name waits
		[ $name = two ] || wait_for 60 upgraded_or_talks $name
		stop $name
		to=127.0.0.2
	done
	done_by 60 echod
	[ "$(shm_bytes two)" -eq 0 ]
	[ "$(shm_bytes echod)" -eq "$(shm_bytes one)" ]
	jq -es 'any(.[]; .kernel.rule == 1)' "$D/echod.stats"
	grep -q "listen 127.0.0.2:$PORT: kernel (rule: not 127.0.0.2)" "$D/echod.log"
}

@test "datagrams obey rules too" {
	local prog='
import os, socket, sys, time
port = int(sys.argv[1])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", port))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(n):
    for i in range(n):
        c.sendto(b"x" * 100, ("127.0.0.1", port))
        b, a = u.recvfrom(1000)
        u.sendto(b, a)
        c.recv(1000)
ask(500)
while not os.path.exists("go"):
    ask(1)
    time.sleep(0.005)
ask(500)'
	local opt n
	sides none
	touch "$D/go"
	for opt in "--only tcp" "--not 'udp connect'" "--not 'udp listen'" "--only udp"; do
		PORT=$(free_port)
		[ "$opt" != "--only udp" ] || rm "$D/go"
		eval "spawn client u \"$SHUNT\" run --stats $D/u.stats --log $D/u.log $opt \"$PYTHON\" -c \"\$prog\" $PORT"
		[ -e "$D/go" ] || wait_for 60 grep -q '^shunt.*: udp .* shm (channel' "$D/u.log"
		touch "$D/go"
		done_by 60 u
		[ "$CODE" -eq 0 ]
		n=$(shm_bytes u)
		if [ "$opt" = "--only udp" ]; then
			[ "$n" -gt 0 ]
		else
			[ "$n" -eq 0 ] || fail "$opt: $n bytes" || return
			jq -es 'any(.[]; .kernel.rule > 0)' "$D/u.stats"
		fi
		rm "$D/u.stats"
	done
}

@test "shunt ps says rule of a listener's connection and of a client's" {
	PORT=$(free_port)
	sides none
	server echod "$SHUNT" run --not "port $PORT" -- "$PYTHON" "$PROGS/pyserver.py" threading "$PORT"
	up echod ready
	spawn client waiter "$SHUNT" run --not "port $PORT" -- "$PYTHON" "$PROGS/pyhold.py" "$PORT" 9
	up waiter waits
	"$SHUNT" ps --json >"$D/json"
	local who
	for who in "${PIDS[waiter]}" "${PIDS[echod]}"; do
		jq -e --argjson p "$who" '[.[] | select(.pid == $p).sockets[] | select(.listens | not)] |
			length > 0 and all(.[]; .tx.why == "rule" and .rx.why == "rule")' "$D/json"
	done
	[ "$("$SHUNT" ep --json | jq length)" -eq 0 ]
	end_held_pair
}

@test "files, SHUNT_RULES and options are lists that must all let a socket pass; an inner run only adds" {
	echo "not port 7001 # comment" >"$D/.config/shunt.conf"
	export SHUNT_RULES='not port 7002; --; only port 7000-7010'
	local p
	for p in 7001 7002 7003 8000; do
		run "$SHUNT" rules --not 'port 7003' --explain "tcp connect 127.0.0.1:$p"
		[ "$status" -eq 1 ]
	done
	[[ $output == "kernel: SHUNT_RULES: no \`only\` is true of it" ]]
	run "$SHUNT" rules --explain "tcp connect 127.0.0.1:7001"
	[ "$output" = "kernel: $D/.config/shunt.conf:1:1: not *:7001" ]
	run "$SHUNT" rules --not 'port 7003' --explain "tcp connect 127.0.0.1:7003"
	[ "$output" = "kernel: the command line: not *:7003" ]
	run "$SHUNT" rules --not 'port 7003' --explain "tcp connect 127.0.0.1:7004"
	[ "$status" -eq 0 ]
	# what the program is told, and once more by a run in it: the same
	p=$("$SHUNT" run --not 'port 7003' -- sh -c 'echo "$SHUNT_RULES"')
	[ "$p" = "not *:7001; --; not *:7002; --; only *:7000-7010; --; not *:7003" ]
	[ "$("$SHUNT" run --not 'port 7003' -- "$SHUNT" run --not 'port 7003' -- sh -c 'echo "$SHUNT_RULES"')" = "$p" ]
	# one's own file elsewhere
	mkdir "$D/xdg"
	echo "not any" >"$D/xdg/shunt.conf"
	XDG_CONFIG_HOME=$D/xdg run "$SHUNT" rules
	[ "${lines[0]}" = "$D/xdg/shunt.conf:1:1: not any" ]
}

@test "/etc/shunt.conf is the administrator's list" {
	[ -n "${SHUNT_BATS_NS:-}" ] || skip "needs a mount namespace of its own"
	mkdir "$D/etc"
	cp -a /etc/passwd /etc/group /etc/nsswitch.conf "$D/etc/" 2>/dev/null || :
	cp -a /etc/ld.so* "$D/etc/"
	echo "only udp" >"$D/etc/shunt.conf"
	run unshare -m sh -c "mount --bind '$D/etc' /etc && '$SHUNT' rules --only tcp --explain 'tcp connect 127.0.0.1:1'"
	[ "$status" -eq 1 ]
	[ "$output" = 'kernel: /etc/shunt.conf: no `only` is true of it' ]
	echo "only tcp please" >"$D/etc/shunt.conf"
	run unshare -m sh -c "mount --bind '$D/etc' /etc && '$SHUNT' run echo started"
	[ "$status" -eq 125 ]
	[[ $output == "shunt run: /etc/shunt.conf:1:10: \`please\`: a condition is "* ]]
}

@test "a wrong rule points at its place, and the program does not start" {
	printf 'only tcp\n\tnot port 99999\n' >"$D/file"
	run "$SHUNT" rules --check "$D/file"
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ $output == "shunt rules: $D/file:2:11: \`99999\` is no port"* ]]
	cp "$D/file" "$D/.config/shunt.conf"
	run "$SHUNT" run echo started
	[ "$status" -eq 125 ]
	[[ $output == "shunt run: $D/.config/shunt.conf:2:11: "* ]]
	rm "$D/.config/shunt.conf"
	SHUNT_RULES='only tcp; nope' run "$SHUNT" run echo started
	[ "$status" -eq 125 ]
	[[ $output == "shunt run: SHUNT_RULES:1:11: \`nope\`: a rule begins with"* ]]
	run "$SHUNT" run --only tcp --not 'port 22 by' -- echo started
	[ "$status" -eq 125 ]
	[[ $output == "shunt run: --not 'port 22 by': column 11: "* ]]
	run "$SHUNT" run --only 'user no-such-user-here' -- echo started
	[ "$status" -eq 125 ]
	[[ $output == *"column 6: there is no user \`no-such-user-here\`" ]]
	run "$SHUNT" run --only 'tcp; not udp' -- echo started
	[ "$status" -eq 125 ]
	run "$SHUNT" run --share everybody -- echo started
	[ "$status" -eq 125 ]
	run "$SHUNT" rules --check "$D/none"
	[ "$status" -eq 125 ]
	[ "${#lines[@]}" -eq 1 ]
}

@test "a HOME that is another user's has no rules for us; one's own file that cannot be read is a mistake" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	local as=(setpriv --reuid daemon --regid daemon --clear-groups)
	echo "not any" >"$D/.config/shunt.conf"
	chmod 700 "$D/.config"
	run "${as[@]}" "$SHUNT" run echo started
	[ "$output" = started ]
	chmod 755 "$D/.config"
	chmod 600 "$D/.config/shunt.conf"
	run "${as[@]}" "$SHUNT" run echo started
	[ "$status" -eq 125 ]
	[[ $output == "shunt run: $D/.config/shunt.conf: Permission denied; "* ]]
	rm "$D/.config/shunt.conf"
	run "${as[@]}" env HOME=/dev/null/x "$SHUNT" run echo started
	[ "$output" = started ]
}

@test "rules that an interposer finds unreadable keep everything in the kernel" {
	PORT=$(free_port)
	server echod env "SHUNT_RULES=only nonsense" "$PYTHON" "$PROGS/pyserver.py" threading "$PORT"
	up echod ready
	[ "$(UNTIL_UP='' client echo "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop echod INT
	[ "$(shm_bytes echo)" -eq 0 ]
	grep -q "SHUNT_RULES:1:6: .*nothing is upgraded" "$D/echod.log"
}

@test "--check prints the rules as they were understood; --explain of a file" {
	cat >"$D/file" <<-'RULES'
		# web
		only   tcp   listen port 80 - # wrong on purpose? no: removed below
	RULES
	run "$SHUNT" rules --check "$D/file"
	[ "$status" -eq 1 ]
	[[ $output == *":2:29: \`-\`: a condition is"* ]]
	printf 'share user\nonly tcp port 80\n\nnot [fe80::/10]:22-23 by ssh*\n' >"$D/file"
	run "$SHUNT" rules --check "$D/file"
	[ "$status" -eq 0 ]
	[ "$output" = "share user"$'\n'"$D/file:2:1: only tcp *:80"$'\n'"$D/file:4:1: not [fe80::/10]:22-23 by ssh*" ]
	run "$SHUNT" rules --check "$D/file" --explain 'tcp connect [::1]:80 by curl'
	[ "$status" -eq 0 ]
	[ "$output" = "shared memory: no rule forbids it" ]
	run "$SHUNT" rules --check "$D/file" --explain 'tcp connect 1.2.3.4'
	[ "$status" -eq 125 ]
	[ "${#lines[@]}" -eq 1 ]
	run "$SHUNT" rules --help
	[ "${#lines[@]}" -le 24 ]
}

# shared SERVER_SHARE SERVER_USER CLIENT_SHARE CLIENT_USER [GROUP]: how many octets went through memory
shared() {
	local c=(setpriv --reuid "$4" --regid "${5:-$4}" --clear-groups) s=(setpriv --reuid "$2" --regid "$2" --clear-groups)
	PORT=$(free_port)
	sides none
	touch "$D"/echo{,d}.{stats,log}
	chmod 666 "$D"/echo{,d}.{stats,log}
	server echod "${s[@]}" "$SHUNT" run --stats "$D/echod.stats" --log "$D/echod.log" --share "$1" -- "$PYTHON" "$PROGS/pyserver.py" threading "$PORT"
	up echod ready
	[ "$(client echo env UNTIL_UP="${WANTED:-}" "${c[@]}" "$SHUNT" run --stats "$D/echo.stats" --log "$D/echo.log" --share "$3" -- "$PYTHON" "$PROGS/pyclient.py" blocking "$PORT")" = ok ]
	stop echod INT
	shm_bytes echo
	cat "$D/echo.stats" >"$D/last.stats"
	rm "$D"/echo*.stats "$D"/echo*.log
}

@test "--share: other users' peers are accepted, or only one's group's, or only one's own" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	chmod 777 "$D"
	[ "$(WANTED=1 shared all daemon all bin)" -gt 0 ]
	[ "$(WANTED=1 shared user daemon user daemon)" -gt 0 ]
	[ "$(shared user daemon all bin)" -eq 0 ]
	[ "$(shared all daemon user bin)" -eq 0 ]
	jq -es 'any(.[]; .kernel.share > 0)' "$D/last.stats"
	[ "$(WANTED=1 shared group daemon group bin daemon)" -gt 0 ]
	[ "$(shared group daemon all bin bin)" -eq 0 ]
	[ "$(shared all daemon group bin bin)" -eq 0 ]
	[ "$(shared user daemon group bin daemon)" -eq 0 ]
}
