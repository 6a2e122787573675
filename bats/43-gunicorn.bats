#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# gunicorn: Python processes forked beforehand that accept from one listening socket, with one request at a time (sync) or threads and kept
# connections (gthread); a reload, which starts new ones and ends the old ones.

load lib

setup_file() {
	file_begin
	local size
	mkdir -m 755 "$T/www"
	for size in 1000 65536 300000; do
		head -c "$size" /dev/urandom >"$T/www/$size"
	done
	cat >"$T/app.py" <<-'PY'
		import os
		def app(environ, start_response):
		    with open(os.path.join(os.environ["WWW"], os.path.basename(environ["PATH_INFO"])), "rb") as file:
		        body = file.read()
		    start_response("200 OK", [("Content-Length", str(len(body)))])
		    return [body]
	PY
	export WWW=$T/www PYTHONPATH=$T PYTHONDONTWRITEBYTECODE=1
}

serves() {
	need gunicorn
	sides "$1"
	PORT=$(free_port)
	server gunicorn gunicorn --worker-class "$2" --workers 2 --threads 4 --bind "127.0.0.1:$PORT" --worker-tmp-dir "$D" app:app
	up gunicorn 'Booting worker with pid'
	spawn client asker "$PYTHON" "$PROGS/http_until.py" "$PORT" "$T/www"
	up asker asks
	local i
	for i in 1 2; do
		kill -HUP "${PIDS[gunicorn]}"
		wait_for 60 booted $((2 + 2 * i))
	done
	up asker '^21 answers'
	stop asker
	cat "$D/asker.out"
	[ "$CODE" -eq 0 ]
	stop gunicorn
	[ "$CODE" -eq 0 ]
	paths gunicorn asker
}

booted() {
	[ "$(grep -c 'Booting worker with pid' "$D/gunicorn.out")" -ge "$1" ]
}

@test "sync workers, and two reloads under load that fail no request: both sides under shunt" { serves both sync; }
@test "threads, and two reloads under load that fail no request: both sides under shunt" { serves both gthread; }
@test "threads, and two reloads under load that fail no request: server only" { serves server gthread; }
