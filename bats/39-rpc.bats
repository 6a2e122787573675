#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# RPC systems as the distribution has them: Thrift, Cap'n Proto, gRPC from C++ and Python, ZeroMQ, Java RMI. Each has an event loop, or threads,
# or both, of its own; what is called is the same everywhere, and every octet of an answer is compared. (ONC RPC: 35.)

load lib

setup_file() {
	file_begin
	export JAVA_OPTS="-XX:-UsePerfData -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx256m"
}

port_said() {
	PORT=$(sed -n 's/^port //p' "$D/$1.out")
}

# Most is to go through memory. On a busy machine hundreds of calls may be over before the upgrade is, and what is larger than a ring goes by the kernel now and then.
N=250

# talk SIDES SYSTEM "KIND OF CALL..." [SERVER OPTION...]: the client makes N calls of each kind
talk() {
	local peer=$ROOT/build/tests/rpc/$2/peer kinds=$3 kind
	sides "$1"
	[ -x "$peer" ] || skip "$2 is not installed"
	server "$2-server" "$peer" server "${@:4}"
	up "$2-server" '^port '
	port_said "$2-server"
	client "$2-client" "$peer" client -p "$PORT" -n $N >"$D/said"
	for kind in $kinds; do
		case $kind in
		*1048577) echo "${kind/-/ }: 3" ;;
		published) echo "$kind: 1000" ;;
		*) echo "${kind//-/ }: $N" ;;
		esac
	done | diff - "$D/said"
	stop "$2-server"
	paths "$2-server" "$2-client"
	mostly "$2-server"
	mostly "$2-client"
}

echoes() {
	printf '%s ' "$1"-{0,1,1024,65536,1048577}
}

THRIFT="ping $(echoes echo) oneway"
CAPNP="ping $(echoes echo) at-once pipelined"
GRPC="$(echoes unary) down up both four-threads"
ZMQ="$(echoes echo) published"

@test "Thrift, a thread for each connection: both sides under shunt" { talk both thrift "$THRIFT"; }
@test "Thrift, a thread for each connection: server only" { talk server thrift "$THRIFT"; }
@test "Thrift, a thread for each connection: client only" { talk client thrift "$THRIFT"; }
@test "Thrift, libevent and worker threads: both sides under shunt" { talk both thrift "$THRIFT" -m event; }
@test "Cap'n Proto: both sides under shunt" { talk both capnp "$CAPNP"; }
@test "Cap'n Proto: server only" { talk server capnp "$CAPNP"; }
@test "Cap'n Proto: client only" { talk client capnp "$CAPNP"; }
@test "gRPC, unary and streams: both sides under shunt" { talk both grpc "$GRPC"; }
@test "gRPC, unary and streams: server only" { talk server grpc "$GRPC"; }
@test "gRPC, unary and streams: client only" { talk client grpc "$GRPC"; }
@test "ZeroMQ, requests and what is pushed and published: both sides under shunt" { talk both zmq "$ZMQ"; }
@test "ZeroMQ, requests and what is pushed and published: server only" { talk server zmq "$ZMQ"; }
@test "ZeroMQ, requests and what is pushed and published: client only" { talk client zmq "$ZMQ"; }

grpc_from_python() {
	sides "$1"
	"$PYTHON" -c 'import grpc' 2>/dev/null || skip "python3-grpcio is not installed"
	server pygrpcd "$PYTHON" "$PROGS/grpc_peer.py" server
	up pygrpcd '^port '
	port_said pygrpcd
	[ "$(client pygrpc "$PYTHON" "$PROGS/grpc_peer.py" client "$PORT" $N)" = ok ]
	stop pygrpcd
	paths pygrpcd pygrpc
	mostly pygrpc
}

@test "gRPC from Python: both sides under shunt" { grpc_from_python both; }
@test "gRPC from Python: server only" { grpc_from_python server; }
@test "gRPC from Python: client only" { grpc_from_python client; }

remote_objects() {
	need java javac
	sides "$1"
	javac -J-XX:-UsePerfData -d "$T/classes" "$PROGS/Rmi.java"
	PORT=$(free_port)
	# shellcheck disable=SC2086 # words
	server rmid java $JAVA_OPTS -cp "$T/classes" Rmi server "$PORT"
	up rmid ready
	# shellcheck disable=SC2086
	[ "$(client rmi java $JAVA_OPTS -cp "$T/classes" Rmi client "$PORT" $N)" = ok ]
	stop rmid
	[ "$CODE" -eq 143 ]
	paths rmid rmi
	mostly rmi
}

@test "Java RMI, with calls back: both sides under shunt" { remote_objects both; }
