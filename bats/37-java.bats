#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Java: java.net sockets (which wait in poll) with a thread each, and a Selector (epoll); in a process full of other threads.

load lib

setup_file() {
	file_begin
	need java javac
	javac -J-XX:-UsePerfData -d "$T/classes" "$PROGS/Echo.java"
}

talk() {
	local nio java
	sides "$1"
	java=(java -XX:-UsePerfData -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx256m -cp "$T/classes" Echo)
	PORT=$(free_port)
	nio=$PORT
	while [ "$nio" = "$PORT" ]; do
		nio=$(free_port)
	done
	server javad "${java[@]}" server "$PORT" "$nio"
	up javad ready
	[ "$(client threads "${java[@]}" client "$PORT")" = ok ]
	[ "$(client selector "${java[@]}" client "$nio")" = ok ]
	stop javad
	[ "$CODE" -eq 143 ]
	[ "$(cat "$D/javad.out")" = ready ]
	paths javad threads selector
}

@test "a thread for each connection, and a Selector: both sides under shunt" { talk both; }
@test "a thread for each connection, and a Selector: server only" { talk server; }
@test "a thread for each connection, and a Selector: client only" { talk client; }
