#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# ONC RPC over TCP: a server and a client that rpcgen made over libtirpc. No rpcbind is asked.

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
	)
}

calls() {
	sides "$1"
	PORT=$(free_port)
	server rpcd "$T/server" "$PORT"
	up rpcd ready
	run client rpc "$T/client" "$PORT" 100
	printf 'null: 100\necho 0: 100\necho 1: 100\necho 1024: 100\necho 32768: 100\necho 65536: 100\necho 1048577: 3\n' >"$D/want"
	echo "$output" | diff "$D/want" -
	stop rpcd
	[ "$CODE" -eq 0 ]
	paths rpcd rpc
	mostly rpc
}

@test "null calls and echoes from 0 to 64 KiB and 1 MiB: both sides under shunt" { calls both; }
@test "null calls and echoes from 0 to 64 KiB and 1 MiB: server only" { calls server; }
@test "null calls and echoes from 0 to 64 KiB and 1 MiB: client only" { calls client; }

@test "four clients at once call one server" {
	sides both
	PORT=$(free_port)
	server rpcd "$T/server" "$PORT"
	up rpcd ready
	for i in 1 2 3 4; do
		spawn client "rpc$i" "$T/client" "$PORT" 100
	done
	for i in 1 2 3 4; do
		done_by 40 "rpc$i"
		[ "$CODE" -eq 0 ]
		says "rpc$i" 'echo 1048577: 3'
	done
	stop rpcd
	paths rpcd rpc1 rpc2 rpc3 rpc4
}
