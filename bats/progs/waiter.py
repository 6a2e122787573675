# SPDX-License-Identifier: BSD-2-Clause
"""waiter.py server PORT US | client PORT SECONDS - a server that thinks for US microseconds before each answer, and a client that waits for it.
The client prints which share of its time it was on a CPU, in percent."""
import resource
import socket
import sys
import time


def cpu():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_utime + r.ru_stime


def serve(port, us):
    with socket.create_server(("127.0.0.1", port)) as l:
        print("ready", flush=True)
        c, _ = l.accept()
        with c:
            while c.recv(64):
                end = time.perf_counter_ns() + us * 1000
                while time.perf_counter_ns() < end:  # awake: it does not have to be woken
                    pass
                c.sendall(b"a" * 64)


def ask(port, seconds):
    with socket.create_connection(("127.0.0.1", port)) as c:
        def turns(s):
            end = time.monotonic() + s
            while time.monotonic() < end:
                c.sendall(b"q" * 64)
                assert c.recv(64) == b"a" * 64
        turns(0.3)  # the upgrade, and the credit that the budget has at first
        begin, had = time.monotonic(), cpu()
        turns(seconds)
        print(round((cpu() - had) / (time.monotonic() - begin) * 100))


if sys.argv[1] == "server":
    serve(int(sys.argv[2]), int(sys.argv[3]))
else:
    ask(int(sys.argv[2]), float(sys.argv[3]))
