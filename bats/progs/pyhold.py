#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""pyhold.py PORT TURNS: sends ten bytes to an echo server and waits for them, TURNS times. Says "waits" and keeps the connection; ends at SIGTERM."""
import signal
import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    for _ in range(int(sys.argv[2])):
        sock.sendall(b"0123456789")
        left = 10
        while left:
            left -= len(sock.recv(left) or sys.exit("the server hung up"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("waits", flush=True)
    signal.pause()
