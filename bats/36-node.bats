#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Node: net and http over libuv, whose loop is an edge- and level-triggered epoll set beside worker threads.

load lib

talk() {
	need node
	sides "$1"
	PORT=$(free_port)
	local http=$PORT
	while [ "$http" = "$PORT" ]; do
		http=$(free_port)
	done
	server noded node "$PROGS/node_server.js" "$PORT" "$http"
	up noded ready
	run client node node "$PROGS/node_client.js" "$PORT" "$http"
	echo "$output"
	[ "$output" = ok ]
	[ "$status" -eq 0 ]
	stop noded INT
	[ "$CODE" -eq 0 ]
	paths noded node
}

@test "an echo over net and a server over http: both sides under shunt" { talk both; }
@test "an echo over net and a server over http: server only" { talk server; }
@test "an echo over net and a server over http: client only" { talk client; }

# cluster SIDES POLICY
cluster() {
	need node
	sides "$1"
	PORT=$(free_port)
	local http=$PORT
	while [ "$http" = "$PORT" ]; do
		http=$(free_port)
	done
	server noded node "$PROGS/node_cluster.js" "$PORT" "$http" "$2"
	up noded ready
	run client node node "$PROGS/node_client.js" "$PORT" "$http"
	echo "$output"
	[ "$output" = ok ]
	[ "$status" -eq 0 ]
	stop noded INT
	[ "$CODE" -eq 0 ]
	paths noded node
}

@test "a cluster whose primary accepts and passes connections to its workers: both sides under shunt" { cluster both rr; }
@test "a cluster whose primary accepts and passes connections to its workers: server only" { cluster server rr; }
@test "a cluster whose primary accepts and passes connections to its workers: client only" { cluster client rr; }
@test "a cluster whose primary passes its listeners to its workers: both sides under shunt" { cluster both none; }
