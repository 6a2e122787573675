#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# nginx: the master opens the listening socket as root, two workers accept from it as www-data; sendfile; reload.

load lib

setup_file() {
	file_begin
	local size
	mkdir -m 755 "$T/www"
	for size in 0 1 1000 4096 65536 262144 1048577 20000000; do
		head -c "$size" /dev/urandom >"$T/www/$size"
	done
	(
		set -e
		cd "$T/www"
		sha256sum -- * >"$T/sums"
	)
}

# nginx_with NAME LISTEN_OPTION LOCATION: in the background, on PORT
nginx_with() {
	local user=
	need nginx curl
	PORT=$(free_port)
	mkdir -p "$D/$1.d"
	[ "$(id -u)" -ne 0 ] || user="user www-data;"
	cat >"$D/$1.conf" <<-CONF
		$user
		worker_processes 2;
		daemon ${DAEMON:-off};
		pid $D/$1.d/pid;
		error_log $D/$1.err.log info;
		events { worker_connections 512; }
		http {
			access_log off;
			sendfile on;
			keepalive_requests 100000;
			client_body_temp_path $D/$1.d/body;
			proxy_temp_path $D/$1.d/proxy;
			fastcgi_temp_path $D/$1.d/fastcgi;
			uwsgi_temp_path $D/$1.d/uwsgi;
			scgi_temp_path $D/$1.d/scgi;
			$4
			server {
				listen 127.0.0.1:$PORT $2;
				location / { $3 }
			}
		}
	CONF
	server "$1" "$(command -v nginx)" -c "$D/$1.conf" -e "$D/$1.err.log"
	up "$1"
}

# is_master FILE: a running process has written it
is_master() {
	[ -s "$D/nginx.d/$1" ] && running "$(cat "$D/nginx.d/$1")"
}

# has_no_worker MASTER CHILD: none but that one
has_no_worker() {
	[ "$(pgrep -P "$1")" = "$2" ]
}

# end NAME: SIGQUIT lets the workers finish what they have
end() {
	stop "$1" QUIT
	[ "$CODE" -eq 0 ]
	absent '\[(alert|crit|emerg)\]' "$D/$1.err.log"
}

# get_all: every file by one curl, over one connection, compared
get_all() {
	local args=() f
	mkdir -p "$D/got"
	for f in "$T"/www/*; do
		args+=(-o "$D/got/${f##*/}" "http://127.0.0.1:$PORT/${f##*/}")
	done
	client curl curl -sS -f -w '%{num_connects}' "${args[@]}" >"$D/connects"
	[ "$(cat "$D/connects")" = 10000000 ] # the first needed a connection, the other seven none
	(cd "$D/got" && sha256sum --quiet -c "$T/sums")
}

files() {
	sides "$1"
	nginx_with nginx "" "root $T/www;"
	get_all
	# Nearly all of a large file goes by the kernel. Small answers do not, and these are so many that the upgrade comes long before the last.
	client curl curl -sS -f "http://127.0.0.1:$PORT/1000?[1-3000]" >"$D/many"
	yes "$T/www/1000" | head -n 3000 | xargs cat | cmp - "$D/many"
	for size in 0 1 1000 65536; do # a connection each
		client curl curl -sS -f -o "$D/one" "http://127.0.0.1:$PORT/$size"
		cmp "$D/one" "$T/www/$size"
	done
	[ "$(client curl curl -sS -o "$D/none" -w '%{http_code}' "http://127.0.0.1:$PORT/none")" = 404 ]
	client curl curl -sS -f -r 1000-1999 -o "$D/part" "http://127.0.0.1:$PORT/20000000"
	cmp "$D/part" <(tail -c +1001 "$T/www/20000000" | head -c 1000)
	end nginx
	paths nginx
}

@test "files from 0 bytes to 20 MB, kept alive and not: both sides under shunt" { files both; }
@test "files from 0 bytes to 20 MB, kept alive and not: server only" { files server; }
@test "files from 0 bytes to 20 MB, kept alive and not: client only" { files client; }

# wrk_on FILE: one second with 16 connections, and no error
wrk_on() {
	client wrk wrk -t 2 -c 16 -d 1s --timeout 30s "http://127.0.0.1:$PORT/$1" >"$D/wrk.txt"
	absent 'Socket errors|Non-2xx' "$D/wrk.txt"
	[ "$(awk '/requests in/ { print $1 }' "$D/wrk.txt")" -gt 100 ]
}

load_it() {
	need wrk
	sides "$1"
	nginx_with nginx "$2" "root $T/www;"
	wrk_on 1000
	[ -n "$2" ] || wrk_on 262144
	end nginx
	paths nginx wrk
	mostly wrk
}

@test "wrk with 16 connections, small and large files: both sides under shunt" { load_it both ""; }
@test "wrk with 16 connections, small and large files: server only" { load_it server ""; }
@test "wrk with 16 connections, small and large files: client only" { load_it client ""; }

@test "each worker with a listening socket of its own (reuseport)" {
	sides both
	nginx_with nginx reuseport "root $T/www;"
	get_all
	wrk_on 1000
	end nginx
}

# A reload: new workers take over the listening socket while the old ones end. New connections meet no refusal.
reload() {
	need wrk
	sides "$1"
	nginx_with nginx "" "root $T/www;"
	spawn client wrk wrk -t 1 -c 8 -d 2s --timeout 30s "http://127.0.0.1:$PORT/1000"
	for i in $(seq 30); do
		[ $((i % 10)) -ne 5 ] || kill -HUP "${PIDS[nginx]}"
		client curl curl -sS -f -o "$D/one" "http://127.0.0.1:$PORT/65536"
		cmp "$D/one" "$T/www/65536"
	done
	done_by 60 wrk
	[ "$(awk '/requests in/ { print $1 }' "$D/wrk.out")" -gt 100 ]
	absent Non-2xx "$D/wrk.out"
	[ "$(grep -c 'signal 1 (SIGHUP) received' "$D/nginx.err.log")" -ge 3 ]
	end nginx
	paths nginx wrk
}

@test "three reloads under load lose no connection: both sides under shunt" { reload both; }
@test "three reloads under load lose no connection: server only" { reload server; }

# The listening socket is inherited over fork and exec by another master, whose workers accept from it once they have given up root; then the first master ends.
@test "another binary takes over: the connections that its workers accept are upgraded too" {
	need wrk
	sides both
	DAEMON=on nginx_with nginx "" "root $T/www;"
	done_by 60 nginx
	local old new
	old=$(cat "$D/nginx.d/pid")
	wrk_on 1000
	kill -USR2 "$old"
	wait_for 60 is_master pid.oldbin
	wait_for 60 is_master pid
	new=$(cat "$D/nginx.d/pid")
	kill -WINCH "$old" # its workers end; it keeps the socket, and could start others
	wait_for 60 has_no_worker "$old" "$new"
	wrk_on 4096
	kill -QUIT "$old"
	wait_for 60 not_running "$old"
	wrk_on 65536
	kill -QUIT "$new"
	wait_for 60 not_running "$new"
	absent '\[(alert|crit|emerg)\]' "$D/nginx.err.log"
	[ "$(wc -l <"$D/wrk.stats")" -eq 3 ]
	[ "$(jq -s 'map(select(.tx.shm_bytes + .rx.shm_bytes > .tx.kernel_bytes + .rx.kernel_bytes)) | length' "$D/wrk.stats")" -eq 3 ]
	paths nginx wrk
}

@test "a proxy: nginx is the client of another nginx, and keeps those connections" {
	sides both
	nginx_with origin "" "root $T/www;"
	nginx_with proxy "" "proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection '';" \
		"upstream origin { server 127.0.0.1:$PORT; keepalive 8; }"
	get_all
	need wrk
	wrk_on 1000
	end proxy
	end origin
	paths origin proxy wrk
}
