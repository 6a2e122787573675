#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# Samba's DCE RPC over ncacn_ip_tcp: samba-dcerpcd listens, accepts, and passes each connection over a local socket to a worker of the service (rpcd_*), which it
# starts when one is needed. What the worker answers goes through memory if it has adopted the connection.

load lib

DCERPCD=/usr/libexec/samba/samba-dcerpcd
CALLS=$ROOT/tests/bench/samba_calls.py

# Port 135 is fixed; it is free in the tests' own network.
samba_up() {
	[ -x "$DCERPCD" ] || skip "samba is not installed"
	/usr/bin/python3 -c 'import samba.dcerpc.mgmt' 2>/dev/null || skip "python3-samba is not installed"
	[ -n "${SHUNT_BATS_NS:-}" ] || skip "needs a network of its own (root)"
	"$CALLS" conf "$D" 34500-34599
	PORT=135
	server samba "$DCERPCD" -F --configfile="$D/smb.conf" --libexec-rpcds -d 0 --debug-stdout --no-process-group
	up samba
	wait_for 60 listening 34501 # the services' own ports come after
}

samba_down() {
	stop samba
	[ "$CODE" -eq 143 ] # it dies by the signal
}

calls() {
	sides "$1"
	samba_up
	spawn client calls "$CALLS" calls "$D/smb.conf" 135 -n 500 go
	warm calls
	done_by 60 calls
	printf '%s\n' "answers: 2 each, all the same" "afa8bd80-7d8a-11c9-bef4-08002b102989 1" \
		"e1af8308-5d1f-11c9-91a4-08002b14a0fa 3" | diff - "$D/calls.out"
	rm "$D/go"
	spawn client map "$CALLS" map "$D/smb.conf" -n 30 go
	warm map
	done_by 60 map
	head -n 1 "$D/map.out" | grep -qE '^answers: [0-9]+ each, all the same$'
	says map ' epmapper$'
	says map ' winreg$'
	samba_down
	paths samba calls map
	mostly calls
	mostly map
}

@test "500 questions about interfaces, and long answers of the endpoint mapper: both sides under shunt" { calls both; }
@test "500 questions about interfaces, and long answers of the endpoint mapper: server only" { calls server; }
@test "500 questions about interfaces, and long answers of the endpoint mapper: client only" { calls client; }

# rpcclient asks port 135 for the service's, and goes there; four of them at once, so that there are several workers.
services() {
	local i
	sides "$1"
	samba_up
	for i in 1 2 3 4; do
		spawn client "rpcclient$i" rpcclient --configfile="$D/smb.conf" -U% \
			-c "epmlookup;epmlookup;epmlookup;epmlookup;epmlookup" 'ncacn_ip_tcp:127.0.0.1[135]'
	done
	for i in 1 2 3 4; do
		done_by 40 "rpcclient$i"
		[ "$CODE" -eq 0 ]
		[ "$(grep -c 'ncacn_ip_tcp:127.0.0.1\[.*: winreg$' "$D/rpcclient$i.out")" -ge 5 ]
	done
	client dsr rpcclient --configfile="$D/smb.conf" -U% -c "dsroledominfo;dsroledominfo;dsroledominfo" ncacn_ip_tcp:127.0.0.1 >"$D/said"
	[ "$(grep -c 'Machine Role = \[2\]' "$D/said")" -eq 3 ]
	samba_down
	paths samba
	together rpcclient1 rpcclient2 rpcclient3 rpcclient4
}

@test "four clients of the endpoint mapper at once, and one that is told another port: both sides under shunt" { services both; }
@test "four clients of the endpoint mapper at once, and one that is told another port: server only" { services server; }
@test "four clients of the endpoint mapper at once, and one that is told another port: client only" { services client; }
