#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# iperf3: bulk data by select(), each way, several streams, both ways at once, sendfile.

load lib

# transfer OPTION...: one test of a fresh server, which ends after it
transfer() {
	need iperf3
	PORT=$(free_port)
	server iperf3d iperf3 -s -1 -B 127.0.0.1 -p "$PORT" --forceflush
	up iperf3d 'Server listening'
	client iperf3 iperf3 -c 127.0.0.1 -p "$PORT" -J "$@" >"$D/report"
	jq -e '(has("error") | not) and .end.sum_sent.bytes > 0 and .end.sum_received.bytes > 0' "$D/report" >/dev/null ||
		fail "$(cat "$D/report")"
	done_by 60 iperf3d
	[ "$CODE" -eq 0 ]
}

# at_least BYTES: were sent; and arrived, but for what was under way when iperf3 stopped to read
at_least() {
	jq -e --argjson n "$1" '.end.sum_sent.bytes >= $n and .end.sum_received.bytes > .end.sum_sent.bytes - 16000000' "$D/report" >/dev/null ||
		fail "$(jq '.end | {sum_sent, sum_received}' "$D/report")"
}

bulk() {
	sides "$1"
	transfer -n 256M
	at_least 268435456
	transfer -n 256M -R
	at_least 268435456
	transfer -n 64M -l 1000
	at_least 67108864
	paths iperf3d iperf3
}

@test "256 MB each way, and in writes of 1000 bytes: both sides under shunt" { bulk both; }
@test "256 MB each way, and in writes of 1000 bytes: server only" { bulk server; }
@test "256 MB each way, and in writes of 1000 bytes: client only" { bulk client; }

streams() {
	sides "$1"
	transfer -t 1 -P 4
	transfer -t 1 -P 4 -R
	transfer -t 1 --bidir
	paths iperf3d iperf3
}

@test "four streams each way, and both ways at once: both sides under shunt" { streams both; }
@test "four streams each way, and both ways at once: server only" { streams server; }
@test "four streams each way, and both ways at once: client only" { streams client; }

@test "sendfile() as the source" {
	sides both
	transfer -n 64M -Z
	at_least 67108864
}
