#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
#
# What shunt ps reads was written by other programs: a family memory may be short, of another build, or nonsense.

load lib

# liar SIZE HEADER FILL: a process under shunt with a family memory of its own making, and one socket that its records could mean.
liar() {
	sides server
	server liar "$PYTHON" -c '
import os, random, signal, socket, struct, sys
size, header, fill = (int(sys.argv[1]), eval(sys.argv[2]), sys.argv[3])
keep = socket.socket()
fd = os.memfd_create("shunt-fam")
os.ftruncate(fd, size)
os.pwrite(fd, header, 0)
if fill == "random":
    os.pwrite(fd, random.Random(1).randbytes(4 << 20), 4096)
elif fill == "inode":
    os.pwrite(fd, struct.pack("<I", os.fstat(keep.fileno()).st_ino) * (1 << 20), 4096)
signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
print("ready", flush=True)
signal.pause()' "$@"
	up liar ready
	timeout 10 "$SHUNT" ps >"$D/table"
	grep -q "^ *${PIDS[liar]} " "$D/table"
	timeout 10 "$SHUNT" ps --json | jq -e --argjson p "${PIDS[liar]}" 'any(.[]; .pid == $p)'
	stop liar
}

# As preload/fam.h has it: magic, version, length of a record, records, pid, processes, records in use.
record_len() {
	printf '#include "fam.h"\n#include <stdio.h>\nint main(void) { printf("%%zu", sizeof(struct fam_sock)); return 0; }\n' |
		cc -std=gnu11 -iquote "$ROOT/preload" -iquote "$ROOT/core" -x c -o "$T/record_len" - && "$T/record_len"
}

header() {
	echo "struct.pack('<QIIIIII', 0x6d61665f746e6873, 1, $(record_len), 65536, 1, 1, ${1:-0xffffffff})"
}

@test "an empty family memory" { liar 0 'b""' none; }
@test "a family memory of another build" { liar 8192 "struct.pack('<QIIIIII', 0x6d61665f746e6873, 99, 64, 65536, 1, 1, 9)" none; }
@test "a family memory that is shorter than it says" { liar 5000 "$(header)" none; }
@test "records that are noise" { liar $((4096 + 65536 * $(record_len))) "$(header)" random; }
@test "records that all claim one socket, in every field" { liar $((4096 + 65536 * $(record_len))) "$(header)" inode; }
