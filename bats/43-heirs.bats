#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# What a process that got a connection from another has of it afterwards; and whose word it is that an operator writes, where the interposer's file is mapped twice.

load lib

setup_file() {
	file_begin
	cat >"$T/heir.py" <<-'PY'
		import mmap, os, signal, socket, struct, sys, time
		role, port = sys.argv[1], int(sys.argv[2])
		def ask(s, n):
		    for i in range(n):
		        s.sendall(b"x")
		        assert s.recv(1) == b"x"
		def by_kernel(s): # octets acknowledged, and received
		    return struct.unpack_from("QQ", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 120)
		if role == "serve":
		    l = socket.create_server(("127.0.0.1", port))
		    print("ready", flush=True)
		    s = l.accept()[0]
		    while d := s.recv(1):
		        s.sendall(d)
		    signal.pause()
		elif role == "give":
		    # The heir is there before there is a connection.
		    a, b = socket.socketpair()
		    if (pid := os.fork()) == 0:
		        fd = socket.recv_fds(b, 1, 1)[1][0]
		        s = socket.socket(fileno=fd)
		        for i in range(500): # until the giver has closed its copy, and this one has noticed
		            ask(s, 100)
		            if "SYSV" in open("/proc/self/maps").read():
		                break
		            time.sleep(0.02)
		        print("heir", os.getpid(), flush=True)
		        sys.stdin.readline()
		        s.close()
		        print("closed", flush=True)
		        sys.stdin.read()
		        os._exit(0)
		    s = socket.create_connection(("127.0.0.1", port))
		    for i in range(500): # until it goes through memory, by this process's association
		        ask(s, 100)
		        before = by_kernel(s)
		        ask(s, 10)
		        if by_kernel(s) == before:
		            break
		        time.sleep(0.02)
		    socket.send_fds(a, [b"x"], [s.fileno()])
		    s.close()
		    assert os.waitpid(pid, 0)[1] == 0
		else:
		    with open(sys.argv[3], "rb") as f: # as a debugger, or a linker, may do
		        kept = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
		    s = socket.create_connection(("127.0.0.1", port))
		    for line in sys.stdin:
		        ask(s, int(line))
		        print("done", flush=True)
	PY
}

setup() {
	about_shunt
	PORT=$(free_port)
	server serve "$PYTHON" "$T/heir.py" serve "$PORT"
	up serve ready
	mkfifo "$D/in"
	exec 7<>"$D/in" # a FIFO that is opened for one direction waits for the other; after the server, which is not to hold it
}

# begin NAME ARG...: a client that reads what is told to it by descriptor 7
begin() {
	local name=$1
	shift
	(cd "$D" && exec "$SHUNT" run --log "$D/$name.log" "$PYTHON" "$T/heir.py" "$@") >"$D/$name.out" 2>&1 <"$D/in" 3>&- 7>&- &
	PIDS[$name]=$!
}

segments() { grep -c SYSV "/proc/$HEIR/maps"; }
thread_rests() { grep -qE '^[0-9]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0xffffffff(ffffffff)? ' "/proc/$HEIR"/task/*/syscall; }
no_segment() { [ "$(segments)" = 0 ]; }
done_times() { [ "$(grep -c "done" "$D/ask.out")" -eq "$1" ]; }

@test "an association that came with a connection is let go when that has been closed for some seconds" {
	begin give give "$PORT"
	wait_for 60 says give '^heir '
	HEIR=$(sed -n 's/^heir //p' "$D/give.out")
	[ "$(segments)" -gt 0 ] # it has gone on through memory
	! cat "/proc/$HEIR/syscall" >/dev/null 2>&1 || wait_for 30 thread_rests # nothing has moved for so long that no time is set to look
	echo >&7
	wait_for 60 says give '^closed'
	wait_for 30 no_segment
	exec 7>&-
	done_by 60 give
	[ "$CODE" -eq 0 ]
	stop serve
}

@test "shunt off finds the interposer of a process that has its file mapped once more" {
	begin ask ask "$PORT" "$ROOT/build/libshunt.so"
	echo 1000 >&7
	wait_for 60 done_times 1
	"$SHUNT" off "${PIDS[ask]}"
	echo 100 >&7
	wait_for 60 done_times 2
	"$SHUNT" ps --json >"$D/ps"
	jq -r --argjson pid "${PIDS[ask]}" '.[] | select(.pid == $pid) | .sockets[] | "\(.tx.path) \(.tx.why)"' "$D/ps" | grep -x "kernel off"
	exec 7>&-
	done_by 60 ask
	[ "$CODE" -eq 0 ]
	stop serve
}
