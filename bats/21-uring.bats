#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# io_uring and libaio: the kernel works on sockets by itself. A process whose ring may do so is the kernel's from then on; one that was refused a ring, or has it for files, is not.

load lib

setup_file() {
	file_begin
	cc -Wall -Wextra -Werror -O2 -o "$T/uring" "$PROGS/uring.c" -luring
}

# Messages until the file "go" is there, and 3000 more; the first 1500 of these without a ring. Says how many the others were.
asks='
import os, socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def ask(m):
    s.sendall(m)
    if s.recv(64, socket.MSG_WAITALL) != m:
        sys.exit("an answer is wrong")
warm = 1
while not os.path.exists("go"):
    ask(b"warm" * 16)
    warm += 1
    time.sleep(0.005)
ask(b"over" * 16)
for i in range(3000):
    ask((b"%d " % i * 64)[:64])
print("ok", warm)
'

# Their answers, and what went which way in the server. On a busy machine 1500 messages may be over before an upgrade is: it comes before them.
echoes() {
	sides both
	PORT=$(free_port)
	server uringd "$T/uring" "$1" "$PORT" 1500
	up uringd
	spawn client asks "$PYTHON" -c "$asks" "$PORT"
	warm asks
	done_by 60 asks
	[ "$CODE" -eq 0 ]
	WARM=$(sed -n 's/^ok //p' "$D/asks.out")
	[ "$WARM" -gt 0 ]
	done_by 60 uringd
	[ "$CODE" -eq 0 ]
	says uringd '^done$'
	paths uringd
}

# rest_by_ring MODE: the first half by calls, the second by the ring
rest_by_ring() {
	"$T/uring" probe || skip "no io_uring here"
	echoes "$1"
	[ -z "${SHUNT_NONE:-}" ] || return 0
	grep -q "stays in the kernel" "$D/uringd.log"
	# in and out: all that came before the ring, and little more; what a ring moves we do not see, and do not count
	[ "$(sum uringd .rx.kernel_bytes+.tx.kernel_bytes)" -lt $((64000 + 128 * WARM)) ]
	[ "$(shm_bytes uringd)" -gt 128000 ]
	[ "$(shm_bytes uringd)" -le $((192000 + 128 * WARM)) ]
}

@test "a server makes a ring with liburing in the middle of a connection: the rest of it is the kernel's" { rest_by_ring ring; }
@test "a ring that has worked on files gets the connection: the rest of it is the kernel's" { rest_by_ring mixed; }
@test "a ring that has worked on files is to keep the connection: the rest of it is the kernel's" { rest_by_ring kept; }

@test "an entry whose number becomes the connection's while it waits for another: the rest is the kernel's" { rest_by_ring chained; }

@test "a ring that works on files alone changes nothing" {
	"$T/uring" probe || skip "no io_uring here"
	echoes files
	[ -z "${SHUNT_NONE:-}" ] || return 0
	absent "stays in the kernel" "$D/uringd.log"
	mostly uringd
	[ "$(shm_bytes uringd)" -gt 300000 ]
}

@test "a ring that is refused changes nothing" {
	echoes refused
	[ -z "${SHUNT_NONE:-}" ] || return 0
	absent "stays in the kernel" "$D/uringd.log"
	mostly uringd
	[ "$(shm_bytes uringd)" -gt 300000 ]
}

@test "node with its epoll_ctl in a ring: every socket is the kernel's, and the answers are right" {
	need node
	"$T/uring" probe || skip "no io_uring here"
	sides both
	PORT=$(free_port)
	local http=$PORT
	while [ "$http" = "$PORT" ]; do
		http=$(free_port)
	done
	server noded env UV_USE_IO_URING=1 node "$PROGS/node_server.js" "$PORT" "$http"
	up noded ready
	run client node env UV_USE_IO_URING=1 node "$PROGS/node_client.js" "$PORT" "$http"
	echo "$output"
	[ "$output" = ok ]
	stop noded INT
	[ "$CODE" -eq 0 ]
	[ -z "${SHUNT_NONE:-}" ] || return 0
	grep -q "stays in the kernel" "$D/noded.log"
	[ "$(shm_bytes noded)" -eq 0 ]
}
