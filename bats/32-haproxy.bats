#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# HAProxy in front of nginx: a master that executes itself anew at each reload, workers in a chroot and without root, listening sockets that
# the new worker gets from the old one by SCM_RIGHTS; connections to nginx that are kept and shared.

load lib

setup_file() {
	file_begin
	mkdir -m 755 "$T/www"
	local size
	for size in 1000 65536 300000; do
		head -c "$size" /dev/urandom >"$T/www/$size"
	done
}

origin() {
	local user=
	[ "$(id -u)" -ne 0 ] || user="user www-data;"
	PORT=$(free_port)
	mkdir "$D/nginx.d"
	cat >"$D/nginx.conf" <<-CONF
		$user
		daemon off;
		pid $D/nginx.d/pid;
		error_log $D/nginx.err.log;
		events { worker_connections 512; }
		http {
			access_log off;
			sendfile on;
			keepalive_requests 100000;
			client_body_temp_path $D/nginx.d/body;
			proxy_temp_path $D/nginx.d/proxy;
			fastcgi_temp_path $D/nginx.d/fastcgi;
			uwsgi_temp_path $D/nginx.d/uwsgi;
			scgi_temp_path $D/nginx.d/scgi;
			server { listen 127.0.0.1:$PORT; root $T/www; }
		}
	CONF
	server nginx nginx -c "$D/nginx.conf" -e "$D/nginx.err.log"
	up nginx
	ORIGIN=$PORT
}

# proxy [OPTION...]: haproxy in front of it, on PORT. JAIL: in a chroot. ALONE: a new process opens listening sockets of its own beside the old one's (SO_REUSEPORT).
proxy() {
	local user='' handed=' expose-fd listeners'
	[ "$(id -u)" -ne 0 ] || user="
			user www-data${JAIL:+
			chroot $D/jail}"
	[ -z "${ALONE:-}" ] || handed=
	PORT=$(free_port)
	mkdir "$D/jail"
	cat >"$D/haproxy.conf" <<-CONF
		global
			stats socket $D/haproxy.sock mode 600 level admin$handed$user
			hard-stop-after 20s
		defaults
			mode http
			timeout connect 10s
			timeout client 20s
			timeout server 20s
		frontend front
			bind 127.0.0.1:$PORT
			default_backend back
		backend back
			server nginx 127.0.0.1:$ORIGIN
	CONF
	server haproxy haproxy "$@" -f "$D/haproxy.conf"
	up haproxy
}

# has_ended NAME: as it should; or by a crash of its own at the very end, behind its last words, that 2.6.12 has also without shunt
# (https://github.com/haproxy/haproxy/issues/2114). Then it does not tell what it moved.
TOLD=() # those that did
has_ended() {
	[ "$CODE" -ne 139 ] || grep -q 'Proxy <HTTPCLIENT> stopped' "$D/$1.out" || return
	[ "$CODE" -ne 139 ] || absent 'haproxy.*segfault.* in libshunt' <(dmesg 2>/dev/null | tail -n 50) || return
	[ "$CODE" -eq 139 ] || [ "$CODE" -eq 0 ] || return
	[ "$CODE" -ne 0 ] || TOLD+=("$1")
}

# asks NAME ... asked NAME
asks() {
	spawn client "$1" "$PYTHON" "$PROGS/http_until.py" "$PORT" "$T/www"
	up "$1" asks
}

asked() {
	up "$1" '^21 answers'
	stop "$1"
	cat "$D/$1.out"
	[ "$CODE" -eq 0 ]
}

get() {
	client curl curl -sS -f -o "$D/one" "http://127.0.0.1:$PORT/$1"
	cmp "$D/one" "$T/www/$1"
}

workers() {
	pgrep -P "${PIDS[haproxy]}" | sort
}

# The one there is another.
other_worker() {
	local now
	now=$(workers)
	[ -n "$now" ] && [ "$now" != "$1" ]
}

reload() {
	need haproxy nginx curl
	sides "$1"
	origin
	proxy -W
	asks asker
	local before
	for _ in 1 2; do
		before=$(workers)
		kill -USR2 "${PIDS[haproxy]}"
		wait_for 60 other_worker "$before"
		get 300000
	done
	asked asker
	# Who publishes is the master, before it leaves its listening socket to a worker and executes itself anew; and the next master, once more.
	asks late
	for _ in 1 2 3 4 5 6 7 8; do get 300000; done
	asked late
	stop haproxy # its status is that of a worker it has ended
	stop nginx QUIT
	[ "$CODE" -eq 0 ]
	paths late asker
	[ "$SIDES" != both ] || paths haproxy nginx
	[ -n "${SHUNT_NONE:-}" ] || [ "$SIDES" != both ] || [ "$(sum late '.kernel["no-endpoint"] // 0')" -eq 0 ]
	look # workers have given up root
}

@test "two reloads of the master under load fail no request: both sides under shunt" { reload both; }
@test "two reloads of the master under load fail no request: client only" { reload client; }
@test "two reloads of the master under load fail no request: listening sockets are not handed over" { ALONE=1 reload both; }

# By hand, as before there was a master: the new process asks the old one for its listening sockets, then tells it to finish.
hand_over() {
	need haproxy nginx
	sides both
	origin
	proxy -db
	asks asker
	local old=${PIDS[haproxy]}
	server second haproxy -db -f "$D/haproxy.conf" -x "$D/haproxy.sock" -sf "$old"
	done_by 30 haproxy
	has_ended haproxy
	for _ in 1 2 3 4 5 6 7 8; do get 300000; done # and meanwhile the second one gets channels
	asked asker
	stop second USR1
	has_ended second
	stop nginx QUIT
	[ "$CODE" -eq 0 ]
	paths asker nginx "${TOLD[@]}"
	look
}

@test "a second process takes over from the first under load and fails no request" { hand_over; }

wrk_through() {
	need haproxy nginx wrk
	sides both
	origin
	proxy -db
	client wrk wrk -t 2 -c 16 -d 1s --timeout 30s "http://127.0.0.1:$PORT/1000" >"$D/wrk.txt"
	absent 'Socket errors|Non-2xx' "$D/wrk.txt"
	[ "$(awk '/requests in/ { print $1 }' "$D/wrk.txt")" -gt 100 ]
	stop haproxy USR1
	has_ended haproxy
	stop nginx QUIT
	paths wrk "${TOLD[@]}"
	mostly wrk
	look # it has given up root, and cannot remove the names that it had made as root
}

@test "wrk with 16 connections through it" {
	wrk_through
	paths nginx
}
@test "wrk with 16 connections through it: in a chroot, from where it cannot find nginx in the map" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	JAIL=1 wrk_through
	[ -z "${SHUNT_NONE:-}" ] && [ ${#TOLD[@]} -gt 0 ] || return 0
	[ "$(sum haproxy '.kernel.chroot // 0')" -gt 0 ]
	[ "$(shm_bytes nginx)" -eq 0 ]
}
