#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Static probes: the library has those that the manual lists, and they are met where the manual says.

load lib

setup() {
	about_shunt
	LIB=$(dirname "$SHUNT")/libshunt.so
	need readelf
	readelf -n "$LIB" | grep -q stapsdt || skip "this build has no sys/sdt.h"
}

@test "the library's probes are those of the manual, where each has a line for bpftrace" {
	readelf -n "$LIB" | awk '/Provider:/ { p = $2 } /Name:/ { print p ":" $2 }' | sort -u >"$D/has"
	sed -n 's/^\.It Li \([a-z]*\).*/shunt:\1/p' <(sed -n '/^\.Sh PROBES/,/^\.Sh SECURITY/p' "$ROOT/docs/libshunt.7") | sort -u >"$D/manual"
	[ "$(wc -l <"$D/has")" -eq 5 ]
	diff "$D/has" "$D/manual"
	sed -n 's/^usdt:libshunt.so:\([a-z:]*\) {.*}$/\1/p' "$ROOT/docs/libshunt.7" | sort -u | diff "$D/has" -
}

@test "each probe has as many arguments as the manual names, everywhere in the library" {
	readelf -n "$LIB" | awk '/Provider: shunt/ { on = 1 } on && /Name:/ { name = $2 } on && /Arguments:/ { print name, NF - 1; on = 0 }' | sort -u >"$D/has"
	sed -n '/^\.Sh PROBES/,/^\.Sh SECURITY/p' "$ROOT/docs/libshunt.7" | awk '/^\.It Li / { n = 0; for (i = 6; i <= NF; i++) n += $i != ","; print $3, n }' | sort -u >"$D/manual"
	[ "$(wc -l <"$D/has")" -eq 5 ]
	diff "$D/has" "$D/manual"
}

# Whether the kernel would let it run is another matter: it compiles the line, and looks the probe and its arguments up in the library.
@test "bpftrace takes each line of the manual" {
	need bpftrace
	[ "$(id -u)" -eq 0 ] || skip "bpftrace needs root"
	local line n=0
	while read -r line; do
		bpftrace -d -e "${line/libshunt.so/$LIB}" >"$D/compiled" 2>&1 </dev/null || { cat "$D/compiled"; fail "$line" || return; }
		grep -q '^AST after: Semantic' "$D/compiled"
		n=$((n + 1))
	done < <(sed -n '/^usdt:/{s/\\e/\\/g;p}' "$ROOT/docs/libshunt.7")
	[ $n -eq 5 ]
	! bpftrace -d -e "usdt:$LIB:shunt:upgrade { printf(\"%d\", arg1); }" >/dev/null 2>&1 || fail "it takes anything" || return
}

@test "no probe stands in the usual way of a byte" {
	! grep -n 'PROBE[0-9]\|stats_' "$ROOT/preload/fast.h" || fail "fast.h has one" || return
}

@test "a debugger meets each of them in a pair that talks, with what the manual says it tells" {
	need gdb
	gdb -batch -ex "info probes stap shunt" "$LIB" >"$D/list" 2>&1 || skip "gdb knows no probes"
	grep -q rendezvous "$D/list" || skip "gdb knows no probes"
	echo_server echod
	cat >"$D/script" <<-'GDB'
		set pagination off
		set breakpoint pending on
		set print thread-events off
		handle all nostop noprint pass
		tbreak -probe-stap shunt:rendezvous
		tbreak -probe-stap shunt:upgrade
		tbreak -probe-stap shunt:sleep
		tbreak -probe-stap shunt:wake
		tbreak -probe-stap shunt:downgrade
		python
		import gdb
		names = dict((b.number, b.location.split(":")[-1]) for b in gdb.breakpoints())
		def stop(e):
		    for b in getattr(e, "breakpoints", []):
		        name = names[b.number]
		        args = [str(gdb.parse_and_eval("$_probe_arg%d" % i)) for i in range(int(gdb.parse_and_eval("$_probe_argc")))]
		        if name == "downgrade":
		            args[1] = gdb.parse_and_eval("(char *)$_probe_arg1").string()
		        print("met", name, *args, flush=True)
		gdb.events.stop.connect(stop)
		gdb.execute("run")
		while gdb.selected_inferior().pid:
		    gdb.execute("continue")
		end
	GDB
	cat >"$D/talk.py" <<-'PY'
		import os, socket, sys, time
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		while not os.path.exists("go"):
		    s.sendall(b"0123456789")
		    n = 0
		    while n < 10:
		        n += len(s.recv(10))
		    time.sleep(0.002)
		s.shutdown(socket.SHUT_WR)
		s.recv(1)
	PY
	(cd "$D" && SHUNT_SPIN=off exec timeout 60 gdb -batch -x "$D/script" --args env LD_PRELOAD="$LIB" "$PYTHON" "$D/talk.py" "$PORT") >"$D/gdb.out" 2>&1 </dev/null 3>&- &
	PIDS[gdb]=$!
	local met
	for met in "rendezvous 0 $(id -u) [0-9]+" 'upgrade [0-9]+' sleep wake; do
		wait_for 50 says gdb "^met $met\$" || fail "has not met $met" || return
	done
	touch "$D/go"
	done_by 60 gdb
	says gdb '^met downgrade [0-9]+ [a-z-]+$'
	stop echod INT
}
