#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# PostgreSQL: a server that forks for each connection after accept(); pgbench; psql that copies 10 MB each way. The server runs as
# postgres, its clients as the user of the tests.

load lib

setup_file() {
	file_begin
	local bin
	bin=$(pg_bin) || skip "postgresql is not installed"
	export PGBIN=$bin PGUSER=postgres PGHOST=127.0.0.1 PGDATABASE=postgres PGSSLMODE=disable PGCONNECT_TIMEOUT=20
	mkdir -m 700 "$T/pristine"
	[ "$(id -u)" -ne 0 ] || chown postgres "$T/pristine"
	as_postgres "$PGBIN/initdb" -D "$T/pristine" -U postgres -A trust -N --locale=C -E UTF8 >"$T/initdb.out" 2>&1
	cat >>"$T/pristine/postgresql.conf" <<-CONF
		listen_addresses = '127.0.0.1'
		unix_socket_directories = ''
		fsync = off
		shared_buffers = 16MB
		max_wal_size = 64MB
		autovacuum = off
	CONF
}

pg_bin() {
	local dir
	for dir in /usr/lib/postgresql/*/bin; do
		[ -x "$dir/postgres" ] && echo "$dir" && return
	done
	return 1
}

as_postgres() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd / && exec setpriv --reuid postgres --regid postgres --init-groups "$@")
	else
		"$@"
	fi
}

# postgres: in the background, on PORT
postgres() {
	PORT=$(free_port)
	export PGPORT=$PORT
	cp -a "$T/pristine" "$D/data"
	RUN_AS=postgres server postgres "$PGBIN/postgres" -D "$D/data" -p "$PORT"
	up postgres 'ready to accept connections'
}

# SIGINT: the fast shutdown
end() {
	stop postgres INT
	[ "$CODE" -eq 0 ]
	absent 'terminated by signal|PANIC|FATAL' "$D/postgres.out"
}

psql() {
	client psql "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

pgbench() {
	client pgbench "$PGBIN/pgbench" -n "$@" >"$D/bench" 2>"$D/bench.err" || fail "$(cat "$D/bench.err")"
	grep -qE '^number of failed transactions: 0 ' "$D/bench"
}

copies() {
	sides "$1"
	postgres
	head -c 7500000 /dev/urandom | base64 -w 60 >"$D/in" # 10 MB in lines
	psql >"$D/answers" <<-SQL
		CREATE TABLE t (n serial, line text);
		\copy t (line) FROM '$D/in'
		SELECT count(*) FROM t;
		\copy (SELECT line FROM t ORDER BY n) TO '$D/out'
		CREATE TABLE whole AS SELECT string_agg(line, E'\n' ORDER BY n) || E'\n' AS v FROM t;
		SELECT md5(v), length(v) FROM whole;
	SQL
	printf '%s\n%s|%s\n' "$(wc -l <"$D/in")" "$(md5sum <"$D/in" | cut -d' ' -f1)" "$(wc -c <"$D/in")" | diff - "$D/answers"
	cmp "$D/in" "$D/out"
	psql -c 'SELECT v FROM whole' >"$D/value" # one value of 10 MB, in one message
	head -c -1 "$D/value" | cmp - "$D/in"
	end
	paths psql postgres
}

@test "psql copies 10 MB each way: both sides under shunt" { copies both; }
@test "psql copies 10 MB each way: server only" { copies server; }
@test "psql copies 10 MB each way: client only" { copies client; }

load_it() {
	sides "$1"
	postgres
	# Filling the tables sends faster than the server reads: a full ring goes down, so these bytes are counted apart.
	client pgfill "$PGBIN/pgbench" -i -q -s 1 2>"$D/init.err"
	pgbench -c 4 -j 2 -t 100
	pgbench -S -c 4 -j 2 -t 1000 -M prepared
	pgbench -S -c 1 -t 50 -C # a connection for each
	[ "$(psql -c 'SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts')" = t ]
	[ "$(psql -c 'SELECT count(*) FROM pgbench_history')" = 400 ]
	end
	paths pgbench postgres
	mostly pgbench
}

@test "pgbench, and its books balance: both sides under shunt" { load_it both; }
@test "pgbench, and its books balance: server only" { load_it server; }
@test "pgbench, and its books balance: client only" { load_it client; }

session() {
	sides "$1"
	postgres
	psql >"$D/answers" 2>&1 <<-'SQL'
		LISTEN news;
		NOTIFY news, 'hello';
		BEGIN;
		DECLARE c CURSOR FOR SELECT generate_series(1, 100000);
		MOVE 99998 IN c;
		FETCH 2 IN c;
		COMMIT;
		SELECT repeat('x', 3);
	SQL
	grep -q 'Asynchronous notification "news" with payload "hello"' "$D/answers"
	grep -v Asynchronous "$D/answers" | diff <(printf '99999\n100000\nxxx\n') -
	# a query that is cancelled at its limit, and a backend that is ended under its client
	run psql -c "SET statement_timeout = 300; SELECT pg_sleep(30)"
	[ "$status" -ne 0 ]
	[[ $output == *"canceling statement due to statement timeout"* ]]
	spawn client sleeper "$PGBIN/psql" -X -c 'SELECT 41 + 1; SELECT pg_sleep(30)'
	wait_for 60 sleeping
	[ "$(psql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND pid <> pg_backend_pid()")" = t ]
	done_by 60 sleeper
	[ "$CODE" -ne 0 ]
	says sleeper 'terminating connection due to administrator command'
	# a query that psql itself cancels, over a second connection
	spawn client sleeper "$PGBIN/psql" -X -c 'SELECT pg_sleep(30)'
	wait_for 60 sleeping
	stop sleeper INT
	says sleeper 'canceling statement due to user request'
	stop postgres INT
	paths
}

sleeping() {
	[ "$(psql -c "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(30)' AND pid <> pg_backend_pid()")" = 1 ]
}

@test "notifications, cursors, cancelled and terminated queries: both sides under shunt" { session both; }
@test "notifications, cursors, cancelled and terminated queries: server only" { session server; }
@test "notifications, cursors, cancelled and terminated queries: client only" { session client; }

# Workers that the server forks for a query, and that give the backend their rows by its own shared memory: what it sends is the same.
parallel() {
	sides "$1"
	postgres
	cat >"$D/query" <<-'SQL'
		SELECT n, md5(n::text) FROM t WHERE n % 3 = 0 ORDER BY n;
		SELECT count(*), sum(n), max(md5(n::text)) FROM t;
	SQL
	psql <<-'SQL'
		CREATE TABLE t AS SELECT generate_series(1, 200000) AS n;
		ALTER TABLE t SET (parallel_workers = 3);
		ANALYZE t;
	SQL
	local w
	for w in 0 3; do
		{
			echo "SET max_parallel_workers_per_gather = $w; SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
			cat "$D/query"
			[ "$w" = 0 ] || echo 'EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM t;'
		} | psql >"$D/rows.$w"
	done
	grep -qE 'Workers Launched: [1-9]' "$D/rows.3"
	head -n "$(wc -l <"$D/rows.0")" "$D/rows.3" | cmp - "$D/rows.0"
	end
	paths psql postgres
}

@test "a query by parallel workers: both sides under shunt" { parallel both; }
@test "a query by parallel workers: server only" { parallel server; }

@test "server and client of one user who is not root" {
	[ "$(id -u)" -eq 0 ] || skip "the others are it"
	sides both
	postgres
	RUN_AS=postgres client pgfill "$PGBIN/pgbench" -i -q -s 1 2>"$D/init.err"
	RUN_AS=postgres pgbench -S -c 4 -j 2 -t 1000
	end
	paths pgbench postgres
	mostly pgbench
}
