#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# ONC RPC: a server and a client that rpcgen made over libtirpc, which ask no rpcbind; and rpcbind itself, in a network and with a /run of its own.

load lib

setup_file() {
	file_begin
	need rpcgen
	cp "$PROGS"/rpc_* "$T"
	(
		set -e
		cd "$T"
		rpcgen -h -o rpc_echo.h rpc_echo.x
		rpcgen -c -o rpc_xdr.c rpc_echo.x
		rpcgen -l -o rpc_clnt.c rpc_echo.x
		rpcgen -m -o rpc_svc.c rpc_echo.x
		cc -O2 -w -I/usr/include/tirpc -o server rpc_server.c rpc_svc.c rpc_xdr.c -ltirpc
		cc -O2 -w -I/usr/include/tirpc -o client rpc_client.c rpc_clnt.c rpc_xdr.c -ltirpc
		cc -O2 -w -I/usr/include/tirpc -o pmap rpc_pmap.c -ltirpc
	)
}

# calls SIDES TRANSPORT SIZE...
calls() {
	local size
	sides "$1"
	PORT=$(free_port)
	server rpcd "$T/server" "$PORT" "$2"
	up rpcd ready
	run client rpc "$T/client" "$PORT" 100 "$2"
	{
		echo "null: 100"
		for size in "${@:3}"; do
			echo "echo $size: $((size > 100000 ? 3 : 100))"
		done
		[ "$2" = udp ] || echo "batch: 100"
	} >"$D/want"
	echo "$output" | diff "$D/want" -
	stop rpcd
	[ "$CODE" -eq 0 ]
	paths rpcd rpc
	mostly rpc
}

TCP="tcp 0 1 1024 32768 65536 1048577"

# shellcheck disable=SC2086 # words
@test "null calls, echoes from 0 to 64 KiB and 1 MiB, batched calls: both sides under shunt" { calls both $TCP; }
# shellcheck disable=SC2086
@test "null calls, echoes from 0 to 64 KiB and 1 MiB, batched calls: server only" { calls server $TCP; }
# shellcheck disable=SC2086
@test "null calls, echoes from 0 to 64 KiB and 1 MiB, batched calls: client only" { calls client $TCP; }

UDP="udp 0 1 1024 32768"

# shellcheck disable=SC2086
@test "over UDP, null calls and echoes from 0 to 32 KiB: both sides under shunt" { calls both $UDP; }
# shellcheck disable=SC2086
@test "over UDP, null calls and echoes from 0 to 32 KiB: server only" { calls server $UDP; }
# shellcheck disable=SC2086
@test "over UDP, null calls and echoes from 0 to 32 KiB: client only" { calls client $UDP; }

@test "four clients at once call one server" {
	sides both
	PORT=$(free_port)
	server rpcd "$T/server" "$PORT" tcp
	up rpcd ready
	for i in 1 2 3 4; do
		spawn client "rpc$i" "$T/client" "$PORT" 100 tcp
	done
	for i in 1 2 3 4; do
		done_by 40 "rpc$i"
		[ "$CODE" -eq 0 ]
		says "rpc$i" 'batch: 100'
	done
	stop rpcd
	paths rpcd rpc1 rpc2 rpc3 rpc4
}

# Its port is fixed, and so are its files in /run: the port is free in the tests' own network.
port_mapper() {
	need rpcbind rpcinfo
	[ -n "${SHUNT_BATS_NS:-}" ] || skip "needs a network of its own (root)"
	sides "$1"
	PORT=111
	server rpcbind unshare -m sh -c 'mount -t tmpfs tmpfs /run && exec rpcbind -f'
	up rpcbind
	client rpcinfo rpcinfo -p 127.0.0.1 >"$D/table"
	grep -qE '^ *100000 +2 +tcp +111 +portmapper' "$D/table"
	client rpcping rpcinfo -n 111 -t 127.0.0.1 100000 2 >"$D/ping"
	grep -q 'program 100000 version 2 ready and waiting' "$D/ping"
	spawn client pmap "$T/pmap" 200
	warm pmap
	done_by 60 pmap
	[ "$(cat "$D/pmap.out")" = "null: 200, port of rpcbind: 200, entries: $(grep -c portmapper "$D/table")" ]
	stop rpcbind
	[ "$CODE" -eq 0 ] || [ "$CODE" -eq 2 ] || [ "$CODE" -eq 143 ]
	paths rpcbind pmap
	mostly pmap
	look # it has given up root, and cannot remove what root has made
}

@test "rpcbind, rpcinfo, and many questions on one connection: both sides under shunt" { port_mapper both; }
@test "rpcbind, rpcinfo, and many questions on one connection: server only" { port_mapper server; }
@test "rpcbind, rpcinfo, and many questions on one connection: client only" { port_mapper client; }
