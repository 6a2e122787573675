#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# SOAK=1: ten minutes (SOAK_S seconds) of redis, memcached, nginx and two manners of our own echo server, several clients each, all under
# shunt, while somebody stops and continues, terminates and kills clients and servers at random, and others compute. Every octet is
# compared, nobody may be stuck, no connection may end without a reason, and afterwards nothing is left. SEED=n repeats the choices.

load lib

setup_file() {
	file_begin
	[ "${SOAK:-0}" != 0 ] || return 0
	cc -std=gnu11 -D_GNU_SOURCE -O2 -o "$T/echo_many" "$ROOT/tests/progs/echo_many.c" -pthread
	cc -std=gnu11 -D_GNU_SOURCE -O2 -I"$ROOT/tests/bench" -o "$T/hog" "$ROOT/tests/bench/hog.c" -pthread
	SOAK_S=${SOAK_S:-600}
	SEED=${SEED:-$RANDOM}
	export SOAK_S SEED BATS_TEST_TIMEOUT=$((SOAK_S + 300))
}

# What nginx gives out, in the form that soak.py can check.
make_files() {
	local n
	mkdir "$D/www"
	for n in small:300 large:300000; do
		head -c "${n#*:}" /dev/urandom >"$D/body"
		{ printf %s "$({ printf %s "${n%:*}"; cat "$D/body"; } | sha1sum | cut -c 1-40)"; cat "$D/body"; } >"$D/www/${n%:*}"
	done
	chmod -R a+rX "$D/www"
	cat >"$D/nginx.conf" <<-EOF2
		daemon off;
		master_process off;
		pid $D/nginx.pid;
		error_log stderr;
		events { worker_connections 200; }
		http {
			access_log off;
			keepalive_requests 100000000;
			client_body_temp_path $D/tmp1; proxy_temp_path $D/tmp2; fastcgi_temp_path $D/tmp3; uwsgi_temp_path $D/tmp4; scgi_temp_path $D/tmp5;
			server { listen 127.0.0.1:${PORTS[nginx]}; root $D/www; }
		}
	EOF2
}

declare -gA PORTS KIND=([redis]=redis [memcached]=memcached [nginx]=http [poll]=echo [threads]=echo)

start_server() {
	local port=${PORTS[$1]}
	case $1 in
	redis) server redis redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$D" ;;
	memcached) server memcached memcached -u "$(id -un)" -t 4 -l 127.0.0.1 -p "$port" -U 0 ;;
	nginx) server nginx nginx -p "$D" -c "$D/nginx.conf" ;;
	# echo_many takes a port of its own choice: a new one each time, for new clients
	*) server "$1" "$T/echo_many" serve "$1" && up "$1" '^[0-9]+$' && PORTS[$1]=$(head -n 1 "$D/$1.out") && return ;;
	esac
	wait_for 20 listening "$port" || fail "$1 does not listen"
}

# start_client NAME: of server NAME without its number
start_client() {
	local of=${1%-*}
	spawn client "$1" "$PYTHON" "$PROGS/soak.py" "${KIND[$of]}" "${PORTS[$of]}" $((RANDOM + SEED)) "$D/lines" "$D/generation.$of"
}

# end_of NAME SIGNAL: and take it from the list
end_of() {
	kill -"$2" "${PIDS[$1]}"
	done_by 20 "$1"
}

# again NAME SIGNAL: a server; its clients connect again, or are replaced if the port is another
again() {
	local i port=${PORTS[$1]}
	echo "$2" >>"$D/generation.$1"
	end_of "$1" "$2"
	start_server "$1"
	for i in 1 2; do
		[ "$port" = "${PORTS[$1]}" ] || { end_of "$1-$i" KILL && start_client "$1-$i"; }
	done
	echo up >>"$D/generation.$1"
}

# One thing that somebody does to a client or a server.
strike() {
	local s=${SERVERS[RANDOM % ${#SERVERS[@]}]}
	local c=$s-$((RANDOM % 2 + 1)) victim
	case $((RANDOM % 10)) in
	0) again "$s" KILL ;;
	1) again "$s" TERM ;;
	2 | 3) end_of "$c" KILL && start_client "$c" ;;
	4 | 5) end_of "$c" TERM && start_client "$c" ;;
	*)
		victim=$c
		[ $((RANDOM % 2)) -eq 0 ] || victim=$s
		kill -STOP "${PIDS[$victim]}"
		sleep 0.$((RANDOM % 8))
		kill -CONT "${PIDS[$victim]}"
		;;
	esac
}

# Some, or none if there are some: their standard input must not end.
hogs() {
	if [ -n "${PIDS[hog]:-}" ]; then
		end_of hog TERM
		return
	fi
	(cd "$D" && exec "$T/hog" $((RANDOM % 4 + 1)) <>"$D/fifo" >/dev/null 3>&- 4>&-) &
	PIDS[hog]=$!
}

@test "servers and clients of several kinds, stopped and killed at random, beside others who compute" {
	[ "${SOAK:-0}" != 0 ] || skip "SOAK=1 runs it"
	need redis-server memcached nginx sha1sum
	local SERVERS=(redis memcached nginx poll threads) s end strikes=0
	sides both
	echo "SEED=$SEED"
	RANDOM=$SEED
	for s in redis memcached nginx; do
		PORTS[$s]=$(free_port)
	done
	make_files
	mkfifo "$D/fifo"
	touch "$D/lines"
	for s in "${SERVERS[@]}"; do
		start_server "$s"
		start_client "$s-1"
		start_client "$s-2"
	done
	end=$((SECONDS + SOAK_S))
	while [ "$SECONDS" -lt "$end" ]; do
		strike
		strikes=$((strikes + 1))
		[ $((RANDOM % 10)) -ne 0 ] || hogs
		absent WRONG "$D/lines"
		sleep 0.$((RANDOM % 10))
	done
	[ -z "${PIDS[hog]:-}" ] || end_of hog TERM
	for s in "${SERVERS[@]}"; do
		end_of "$s-1" TERM
		end_of "$s-2" TERM
	done
	for s in "${SERVERS[@]}"; do
		end_of "$s" TERM
		[ "$(shm_bytes "$s")" -gt 0 ]
	done
	absent WRONG "$D/lines"
	for s in echo redis memcached http; do
		echo "$s: $(grep -c "^ok $s" "$D/lines") lines of so many exchanges"
		[ "$(grep -c "^ok $s" "$D/lines")" -gt $((SOAK_S / 10)) ]
	done
	echo "$strikes strikes"
	look
}
