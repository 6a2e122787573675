#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# MariaDB: a thread for each connection, and an io_uring for the database's files.

load lib

setup_file() {
	file_begin
	command -v mariadbd mariadb-install-db mariadb >/dev/null || return 0
	mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db --datadir="$T/data" --innodb-log-file-size=8M >"$T/install" 2>&1
}

# A server on PORT, on a copy of what has been set up.
database() {
	need mariadbd mariadb-install-db mariadb
	PORT=$(free_port)
	cp -a "$T/data" "$D/data"
	local user=()
	[ "$(id -u)" -ne 0 ] || user=(--user=www-data)
	[ "$(id -u)" -ne 0 ] || chown -R www-data: "$D/data"
	server mariadbd mariadbd --no-defaults "${user[@]}" --datadir="$D/data" --bind-address=127.0.0.1 --port="$PORT" --socket="$D/data/sock" --pid-file="$D/data/pid" \
		--innodb-log-file-size=8M --innodb-buffer-pool-size=16M
	up mariadbd
}

# by_client NAME: what is asked on stdin, one statement after the other
by_client() {
	client "$1" mariadb --no-defaults --protocol=TCP --host=127.0.0.1 --port="$PORT" --user=root --batch --skip-column-names
}

# Rows of 1 to 900 octets: written, some by the ring at once, and read back.
rows() {
	awk 'BEGIN {
		print "CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(1000)) ENGINE=InnoDB;"
		for (i = 1; i <= 300; i++) print "INSERT INTO t VALUES (" i ", REPEAT(CHAR(" 65 + i % 26 "), " 3 * i "));"
		print "FLUSH TABLES t FOR EXPORT; UNLOCK TABLES;"
		for (i = 1; i <= 300; i++) print "SELECT id, v FROM t WHERE id = " i ";"
	}'
}

answers() {
	awk 'BEGIN {
		for (i = 1; i <= 300; i++) {
			v = sprintf("%*s", 3 * i, "")
			gsub(" ", sprintf("%c", 65 + i % 26), v)
			print i "\t" v
		}
	}'
}

asks() {
	sides "$1"
	database
	rows | by_client mariadb >"$D/rows"
	answers | cmp - "$D/rows"
	stop mariadbd
	[ "$CODE" -eq 0 ]
	paths mariadbd mariadb
}

@test "rows written and read by one client: both sides under shunt, though it has an io_uring" {
	asks both
	mostly mariadb
	[ -n "${SHUNT_NONE:-}" ] || absent "stays in the kernel" "$D/mariadbd.log"
}
@test "rows written and read by one client: server only" { asks server; }
@test "rows written and read by one client: client only" { asks client; }
