#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Apache: processes forked beforehand that take turns at the listening socket, each with one connection (prefork) or with threads around an
# epoll set (event), as www-data; a graceful restart, which ends them one by one while others take over.

load lib

MODULES=/usr/lib/apache2/modules

setup_file() {
	file_begin
	local size
	mkdir -m 755 "$T/www"
	for size in 0 1 1000 65536 5000000; do # the last by sendfile
		head -c "$size" /dev/urandom >"$T/www/$size"
	done
	mkdir -m 755 "$T/small"
	cp "$T/www/1000" "$T/www/65536" "$T/small"
}

# apache MPM: in the background, on PORT
apache() {
	local user=
	need apache2 curl
	[ -e "$MODULES/mod_mpm_$1.so" ] || skip "no mpm_$1 here"
	PORT=$(free_port)
	mkdir "$D/apache.d"
	[ "$(id -u)" -ne 0 ] || user='
		User www-data
		Group www-data'
	cat >"$D/apache.conf" <<-CONF
		LoadModule mpm_$1_module $MODULES/mod_mpm_$1.so
		LoadModule authz_core_module $MODULES/mod_authz_core.so
		ServerRoot $D/apache.d
		ServerName localhost
		DefaultRuntimeDir $D/apache.d
		PidFile $D/apache.d/pid
		ErrorLog $D/apache.err.log
		LogLevel info
		Listen 127.0.0.1:$PORT
		DocumentRoot $T/www
		EnableSendfile On
		MaxKeepAliveRequests 0
		StartServers 2$user
	CONF
	server apache setsid apache2 -f "$D/apache.conf" -DFOREGROUND # its end is a signal to its process group, which is Bats' own here
	up apache
}

end() {
	stop apache
	[ "$CODE" -eq 0 ]
	absent ':(crit|alert|emerg|error)\]' "$D/apache.err.log"
}

serves() {
	sides "$1"
	apache "$2"
	local f args=()
	mkdir "$D/got"
	for f in "$T"/www/*; do
		args+=(-o "$D/got/${f##*/}" "http://127.0.0.1:$PORT/${f##*/}")
	done
	client curl curl -sS -f -w '%{num_connects}' "${args[@]}" >"$D/connects"
	[ "$(cat "$D/connects")" = 10000 ] # one connection for all
	diff -r "$T/www" "$D/got"
	# Nearly all of a large file goes by the kernel, faster than curl reads. Small answers do not, and these are so many that the upgrade comes long before the last.
	client curl curl -sS -f "http://127.0.0.1:$PORT/1000?[1-3000]" >"$D/many"
	yes "$T/www/1000" | head -n 3000 | xargs cat | cmp - "$D/many"
	spawn client asker "$PYTHON" "$PROGS/http_until.py" "$PORT" "$T/small"
	up asker asks
	for f in 1 2; do
		kill -USR1 "${PIDS[apache]}"
		wait_for 60 restarted "$f"
		client curl curl -sS -f -o "$D/one" "http://127.0.0.1:$PORT/5000000"
		cmp "$D/one" "$T/www/5000000"
	done
	up asker '^21 answers'
	stop asker
	cat "$D/asker.out"
	[ "$CODE" -eq 0 ]
	end
	paths apache curl asker
}

restarted() {
	[ "$(grep -c 'resuming normal operations' "$D/apache.err.log")" -gt "$1" ]
}

@test "prefork: files, and two graceful restarts under load that fail no request: both sides under shunt" { serves both prefork; }
@test "prefork: files, and two graceful restarts under load that fail no request: server only" { serves server prefork; }
@test "event: files, and two graceful restarts under load that fail no request: both sides under shunt" { serves both event; }
@test "event: files, and two graceful restarts under load that fail no request: client only" { serves client event; }

load_it() {
	need wrk
	sides both
	apache "$1"
	client wrk wrk -t 2 -c 16 -d 1s --timeout 30s "http://127.0.0.1:$PORT/1000" >"$D/wrk.txt"
	absent 'Socket errors|Non-2xx' "$D/wrk.txt"
	[ "$(awk '/requests in/ { print $1 }' "$D/wrk.txt")" -gt 100 ]
	end
	paths apache wrk
	mostly wrk
}

@test "prefork: wrk with 16 connections" { load_it prefork; }
@test "event: wrk with 16 connections" { load_it event; }
