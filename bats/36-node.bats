#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Node: net and http over libuv, whose loop is an edge- and level-triggered epoll set beside worker threads.

load lib

# talk SIDES SERVER [POLICY]: an echo over net and requests over http, to one of our servers
talk() {
	need node
	sides "$1"
	PORT=$(free_port)
	local http=$PORT
	while [ "$http" = "$PORT" ]; do
		http=$(free_port)
	done
	server noded node "$PROGS/$2" "$PORT" "$http" "${@:3}"
	up noded ready
	run client node node "$PROGS/node_client.js" "$PORT" "$http"
	echo "$output"
	[ "$output" = ok ]
	[ "$status" -eq 0 ]
	stop noded INT
	[ "$CODE" -eq 0 ]
	paths noded node
}

@test "an echo over net and a server over http: both sides under shunt" { talk both node_server.js; }
@test "an echo over net and a server over http: server only" { talk server node_server.js; }
@test "an echo over net and a server over http: client only" { talk client node_server.js; }

@test "a cluster whose primary accepts and passes connections to its workers: both sides under shunt" { talk both node_cluster.js rr; }
@test "a cluster whose primary accepts and passes connections to its workers: server only" { talk server node_cluster.js rr; }
@test "a cluster whose primary accepts and passes connections to its workers: client only" { talk client node_cluster.js rr; }
@test "a cluster whose primary passes its listeners to its workers: both sides under shunt" { talk both node_cluster.js none; }
