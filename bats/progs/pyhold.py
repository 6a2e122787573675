#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""pyhold.py PORT TURNS [HOST]: sends ten bytes to an echo server and waits for them, TURNS times. Says "waits" and keeps the connection; at SIGUSR1 once more, ends at SIGTERM."""
import signal
import socket
import sys

WORDS = {signal.SIGUSR1, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, WORDS)
HOST = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
with socket.create_connection((HOST, int(sys.argv[1]))) as sock:
    while True:
        for _ in range(int(sys.argv[2])):
            sock.sendall(b"0123456789")
            left = 10
            while left:
                left -= len(sock.recv(left) or sys.exit("the server hung up"))
        print("waits", flush=True)
        if signal.sigwait(WORDS) == signal.SIGTERM:
            break
