#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# `shunt tower`: string bindings to protocol towers and back; and what the parsers of Samba and of Wireshark make of ours.

load lib
bats_require_minimum_version 1.5.0

setup() {
	about_shunt
}

DRSUAPI=e3514235-4b06-11d1-ab04-00c04fc2dcd2
NDR=8a885d04-1ceb-11c9-9fe8-08002b104860
OURS=46213de2-d93b-4b84-95ee-f5a802112a83
# What a client of an Active Directory asks an endpoint mapper for.
KNOWN=050013000d354251e3064bd111ab0400c04fc2dcd204000200000013000d045d888aeb1cc9119fe808002b10486002000200000001000b0200000001000702000087010009040000000000

# octets BINDING [OPTION...]: its tower, in hexadecimal digits
octets() {
	local binding=$1
	shift
	"$SHUNT" tower "$@" "$binding" | head -n 1
}

@test "a known binding has the known octets, and they lead back to it" {
	[ "$(octets 'ncacn_ip_tcp:[135]' --interface $DRSUAPI:4.0)" = $KNOWN ]
	run "$SHUNT" tower --decode $KNOWN
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = 'ncacn_ip_tcp:[135]' ]
	[ "${#lines[@]}" -eq 6 ]
	[[ ${lines[1]} =~ ^'floor 1  octets   2-26 '.*"UUID $DRSUAPI, version 4 | minor version 0"$ ]]
	[[ ${lines[2]} =~ ^'floor 2  octets  27-51 '.*"UUID $NDR, version 2 | minor version 0"$ ]]
	[[ ${lines[3]} =~ ^'floor 3  octets  52-58 '.*'0b RPC, connection-oriented | minor version 0'$ ]]
	[[ ${lines[4]} =~ ^'floor 4  octets  59-65 '.*'07 TCP | port 135'$ ]]
	[[ ${lines[5]} =~ ^'floor 5  octets  66-74 '.*'09 IP | address 0.0.0.0'$ ]]
}

@test "every form of binding comes back from its tower, whatever a PATH holds" {
	local binding
	for binding in 'ncadg_ip_udp:10.1.2.3[135]' 'ncacn_ip_tcp:192.0.2.255[65535]' 'ncacn_ip_tcp:' 'ncalrpc:[EPMAPPER]' 'ncalrpc:[a\,\]\=\[\\]' \
		'ncacn_np:\\PC[\pipe\lsass]' 'ncadg_sm[id=0,ftok=/run/shunt/0/tcp-1-127.0.0.1-6379]' 'ncadg_sm[id=4294967294,ftok=/a\,b\]c\=d\\e f]'; do
		[ "$("$SHUNT" tower --decode "$(octets "$binding")" | head -n 1)" = "$binding" ]
	done
	[ "$(octets 'ncadg_sm:[ftok=/x,id=7]')" = "$(octets 'ncadg_sm[id=7,ftok=/x]')" ]
	[ "$(octets 'ncacn_ip_tcp:localhost[1]')" = "$(octets 'ncacn_ip_tcp:127.0.0.1[1]')" ]
	# digits in groups, in capitals, in several arguments
	# shellcheck disable=SC2046 # words
	[ "$("$SHUNT" tower --decode $(sed 's/../& /g' <<<${KNOWN^^}) | head -n 1)" = 'ncacn_ip_tcp:[135]' ]
	[ "$("$SHUNT" tower --decode "$(sed 's/../&:/g' <<<$KNOWN)" | head -n 1)" = 'ncacn_ip_tcp:[135]' ]
}

@test "what is wrong with a binding, or with a tower and where, is said in one line, status 125" {
	local args want i
	while IFS="|" read -r args want; do
		# shellcheck disable=SC2086 # words
		run "$SHUNT" tower $args
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
		[[ $output == *"$want"* ]] || fail "$args: $output" || return
	done <<-'EOT'
		|give one string binding
		ncalrpc:[a] ncalrpc:[b]|give one string binding
		--decode|give the octets
		--none|no such option
		--interface|needs a value
		--interface 12345 ncalrpc:|give UUID
		--interface e3514235-4b06-11d1-ab04-00c04fc2dcd2 --decode 05|the tower tells
		ncacn_http:[80]|no protocol sequence that is known
		e3514235-4b06-11d1-ab04-00c04fc2dcd2@ncalrpc:[a]|an object UUID: a tower has no place
		ncacn_ip_tcp:[135,security=none]|an option: a tower has no place
		ncacn_ip_tcp:::1[135]|no floor is registered for IPv6
		ncadg_sm[id=1,ftok=relative]|not of the form ncadg_sm[id=UID,ftok=PATH]
		--decode 0|half an octet
		--decode 05zz|digit 3
		--decode 05|octet 1: the count of floors is cut off
		--decode 0500130007|octet 4, floor 1: the left side has 19 octets, but only 1 follow
		--decode 050013000d354251e3064bd111ab0400c04fc2dcd2040003|octet 23, floor 1: the tower ends
	EOT
	for ((i = 0; i < ${#KNOWN}; i += 2)); do
		run "$SHUNT" tower --decode "${KNOWN:0:i}"
		[ "$status" -eq 125 ]
		[ "${#lines[@]}" -eq 1 ]
	done
	run "$SHUNT" tower --decode ${KNOWN}00
	[[ $output == *"octet 75, floor 5: 1 octets follow the last floor" ]]
}

@test "what a tower says does not reach a terminal as a command" {
	local hex
	hex=$(octets $'ncadg_sm[id=1,ftok=/\e[2Jx]')
	"$SHUNT" tower --decode "$hex" >"$D/plain"
	head -n 1 "$D/plain" | grep -q $'\e' # a script wants it as it is
	tail -n +2 "$D/plain" >"$D/floors"
	absent $'\e' "$D/floors"
	script -qec "$SHUNT tower --decode $hex" /dev/null </dev/null >"$D/tty"
	grep -q 'ftok=/?' "$D/tty"
	absent $'\e\\[2J' "$D/tty"
}

@test "the help fits on a screen and its examples work" {
	run "$SHUNT" tower --help
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -le 24 ]
	"$SHUNT" tower --help | sed -n '/^  shunt/,$p' | sed "s|shunt tower|$SHUNT tower|g" >"$D/examples"
	[ "$(bash "$D/examples" | wc -l)" -eq 11 ]
}

@test "the endpoint of a running server tells its tower" {
	echo_server echod
	local file
	file=$(ls "$SHUNT_MAP"/*/tcp-*-"$PORT")
	[ "$("$SHUNT" tower --decode "$(sed -n 's/^tower=//p' "$file")" | head -n 1)" = "$(tail -n 1 "$file")" ]
	stop echod INT
}

@test "Samba's parser finds in our towers what we put there, and packs them to the same octets" {
	"$PYTHON" -c 'import samba.dcerpc.epmapper' 2>/dev/null || skip "python3-samba is not installed"
	samba() {
		"$PYTHON" "$PROGS/twr_samba.py" "$(octets "$@")" | tail -n +3 | paste -sd,
	}
	[ "$(samba 'ncacn_ip_tcp:192.0.2.7[49664]')" = 'NCACN 0,TCP 49664,IP 192.0.2.7,same' ]
	[ "$(samba 'ncacn_ip_tcp:')" = 'NCACN 0,TCP 0,IP 0.0.0.0,same' ]
	[ "$(samba 'ncadg_ip_udp:10.1.2.3[135]')" = 'NCADG 0,UDP 135,IP 10.1.2.3,same' ]
	[ "$(samba 'ncalrpc:[EPMAPPER]')" = 'NCALRPC 0,NAMED_PIPE EPMAPPER,same' ]
	[ "$(samba 'ncacn_np:\\PC[\pipe\lsass]')" = 'NCACN 0,SMB \pipe\lsass,NETBIOS \\PC,same' ]
	[ "$(samba 'ncadg_sm[id=66051,ftok=/t\,m]')" = 'NCADG 0,UUID 0000000102032f742c6d,same' ]
	"$PYTHON" "$PROGS/twr_samba.py" "$(octets ncalrpc: --interface $DRSUAPI:4.258)" | head -n 1 | grep -x 'UUID 0201'
}

# wireshark BINDING FIELD...: what it shows of them in a request to map the binding's tower
wireshark() {
	local binding=$1 f fields=()
	shift
	for f; do
		fields+=(-e "$f")
	done
	"$PYTHON" "$PROGS/epm_pdu.py" "$(octets "$binding" --interface $DRSUAPI:4)" | od -Ax -tx1 -v | text2pcap -q -u 30000,135 - "$D/pcap" 2>"$D/text2pcap.log"
	tshark -r "$D/pcap" -T fields -E separator=' ' -E occurrence=a "${fields[@]}" -e _ws.malformed 2>"$D/tshark.log" | sed 's/ *$//'
}

@test "Wireshark's dissector sees the floors of our towers, and nothing malformed" {
	need tshark text2pcap
	local nil=00000000-0000-0000-0000-000000000000
	local ip=(epm.tower.num_floors epm.tower.proto_id epm.tower.lhs.len epm.tower.rhs.len epm.proto.ip)
	[ "$(wireshark 'ncacn_ip_tcp:192.0.2.7[49664]' "${ip[@]}" epm.proto.tcp_port)" = '5 0x0d,0x0d,0x0b,0x07,0x09 19,19,1,1,1 2,2,2,2,4 192.0.2.7 49664' ]
	[ "$(wireshark 'ncadg_ip_udp:10.1.2.3[135]' "${ip[@]}" epm.proto.udp_port)" = '5 0x0d,0x0d,0x0a,0x08,0x09 19,19,1,1,1 2,2,2,2,4 10.1.2.3 135' ]
	[ "$(wireshark 'ncalrpc:[EPMAPPER]' epm.tower.num_floors epm.tower.proto_id epm.tower.rhs.len)" = '4 0x0d,0x0d,0x0c,0x10 2,2,2,9' ]
	[ "$(wireshark 'ncacn_np:\\PC[\pipe\lsass]' epm.tower.num_floors epm.proto.named_pipe epm.proto.netbios_name)" = '5 \pipe\lsass \\PC' ]
	# ours: a floor of a UUID, which it cannot name, with the right length and versions
	[ "$(wireshark 'ncadg_sm[id=66051,ftok=/t\,m]' epm.tower.num_floors epm.tower.proto_id epm.tower.lhs.len epm.tower.rhs.len epm.uuid epm.uuid_version)" = \
		"4 0x0d,0x0d,0x0a,0x0d 19,19,1,19 2,2,2,10 $nil,$DRSUAPI,$NDR,$OURS 1024,512,256" ]
}
