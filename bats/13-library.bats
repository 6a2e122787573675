#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# The library (include/ncadg_sm.h) by way of its examples: a server and its clients, other users, deaths; and what `make install` gives to its users.

load lib
bats_require_minimum_version 1.5.0

setup() {
	test_begin
	[ -z "${SHUNT_NONE:-}" ] || skip "is about the library"
	EXAMPLES=$ROOT/build/docs/examples
	BINDING="ncadg_sm[id=$(id -u),ftok=$D/endpoint]"
}

# objects: how many segments and semaphores there are that are not marked for removal
objects() {
	awk 'FNR > 1 { n++ } END { print n + 0 }' /proc/sysvipc/shm /proc/sysvipc/sem
}

@test "the example server answers the example client, by a binding and by a name in the map" {
	server echod "$EXAMPLES/server" "$BINDING"
	up echod 'listening at'
	[ "$("$EXAMPLES/client" "$BINDING" hello '' 'two words')" = $'HELLO\n\nTWO WORDS' ]
	run "$EXAMPLES/client" "$BINDING" -n 5000
	[ "$status" -eq 0 ]
	[[ $output =~ ^5000\ calls ]]
	wait_for 60 says echod 'client gone: closed'
	says echod "client of user $(id -u), process [0-9]+"
	stop echod INT
	[ "$CODE" -eq 0 ]
	[ ! -e "$D/endpoint" ]
	server named "$EXAMPLES/server"
	up named 'listening at ncadg_sm\[id=[0-9]+,ftok=.*/sm-example\]'
	[ "$("$EXAMPLES/client" hello)" = HELLO ]
	stop named
	[ "$CODE" -eq 0 ]
}

@test "many clients at once, some of them killed, do not disturb each other" {
	local i pids=()
	server echod "$EXAMPLES/server" "$BINDING"
	up echod 'listening at'
	for ((i = 0; i < 6; i++)); do
		"$EXAMPLES/client" "$BINDING" -n 2000 >"$D/client.$i" 2>&1 3>&- &
		pids+=($!)
	done
	"$EXAMPLES/client" "$BINDING" -n 100000000 3>&- &
	wait_for 60 eval '[ "$(grep -c "client of user" "$D/echod.out")" -eq 7 ]'
	kill -9 $!
	wait_for 60 says echod 'client gone: Connection reset by peer'
	for i in "${pids[@]}"; do
		wait "$i"
	done
	[ "$(cat "$D"/client.* | grep -c '^2000 calls')" -eq 6 ]
	[ "$("$EXAMPLES/client" "$BINDING" still)" = STILL ]
	stop echod INT
}

@test "a server that is killed is noticed, and the next one takes its place and its leavings" {
	local before
	before=$(objects)
	server echod "$EXAMPLES/server" "$BINDING"
	up echod 'listening at'
	"$EXAMPLES/client" "$BINDING" -n 100000000 >"$D/client" 2>&1 3>&- &
	wait_for 60 says echod 'client of user'
	kill -9 "${PIDS[echod]}"
	wait_for 60 not_running "${PIDS[echod]}"
	run -1 wait $!
	grep -q 'Connection reset by peer' "$D/client"
	run -1 "$EXAMPLES/client" "$BINDING" hello
	[[ $output == *"Connection refused" ]]
	server next "$EXAMPLES/server" "$BINDING"
	up next 'listening at'
	run -1 "$EXAMPLES/server" "$BINDING"
	[[ $output == *"Address already in use" ]]
	[ "$("$EXAMPLES/client" "$BINDING" hello)" = HELLO ]
	stop next INT
	[ "$(objects)" -eq "$before" ]
}

@test "another user's client is served, and told which user it is" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	server echod "$EXAMPLES/server" "$BINDING"
	up echod 'listening at'
	[ "$(setpriv --reuid nobody --regid nogroup --clear-groups "$EXAMPLES/client" "$BINDING" hello 2>&1)" != HELLO ] # 65534 may be anybody
	[ "$(setpriv --reuid daemon --regid nogroup --clear-groups "$EXAMPLES/client" "$BINDING" hello)" = HELLO ]
	wait_for 60 says echod "client of user $(id -u daemon), "
	stop echod INT
}

@test "the library works under shunt run too" {
	sides both
	server echod "$EXAMPLES/server" "$BINDING"
	up echod 'listening at'
	[ "$(client hi "$EXAMPLES/client" "$BINDING" hello)" = HELLO ]
	stop echod INT
	[ "$CODE" -eq 0 ]
}

@test "what make install puts down builds the examples, in C and as C++" {
	make --no-print-directory -s -C "$ROOT" install PREFIX=/usr DESTDIR="$D/root" >"$D/make" 2>&1
	cc -Wall -Wextra -Werror -I "$D/root/usr/include" -o "$D/server" "$ROOT/docs/examples/server.c" -L "$D/root/usr/lib" -lncadg_sm -pthread
	echo 'int main() { return ncadg_sm_connect(nullptr ? nullptr : new ncadg_sm *, "no binding", 0) == -22 ? 0 : 1; }' >"$D/plus.cc"
	if command -v c++; then
		c++ -Wall -Werror -include "$D/root/usr/include/ncadg_sm.h" -o "$D/plus" "$D/plus.cc" -L "$D/root/usr/lib" -lncadg_sm -pthread
		"$D/plus"
	fi
	[ -s "$D/root/usr/share/man/man3/ncadg_sm.3" ]
	# the archive exports the library's names, and core's, and no name that a program could have
	nm -g --defined-only "$D/root/usr/lib/libncadg_sm.a" | awk 'NF == 3 { print $3 }' | sort -u >"$D/names"
	grep -qx ncadg_sm_listen "$D/names"
}
