#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""memcached.py PORT: the text protocol of memcached, by eight threads; every answer is compared."""
import os
import socket
import sys
import threading

PORT = int(sys.argv[1])
failed = []


class Client:
    def __init__(self):
        self.sock = socket.create_connection(("127.0.0.1", PORT), timeout=20)
        self.file = self.sock.makefile("rb")

    def line(self, request):
        self.sock.sendall(request + b"\r\n")
        return self.file.readline()

    def expect(self, request, answer):
        got = self.line(request)
        if got != answer + b"\r\n":
            raise AssertionError(f"{request[:60]}: {got[:60]}, not {answer}")

    def values(self, request):
        """{key: value} of a get."""
        self.sock.sendall(request + b"\r\n")
        found = {}
        while (head := self.file.readline().split())[0] != b"END":
            found[head[1]] = self.file.read(int(head[3]))
            assert self.file.read(2) == b"\r\n"
        return found


def talk(n):
    c = Client()
    k = b"k%d" % n
    c.expect(b"set %s 0 0 5\r\nhello" % k, b"STORED")
    c.expect(b"append %s 0 0 2\r\n, " % k, b"STORED")
    assert c.values(b"get " + k) == {k: b"hello, "}
    c.expect(b"set n%d 0 0 2\r\n41" % n, b"STORED")
    c.expect(b"incr n%d 1" % n, b"42")
    c.expect(b"delete %s" % k, b"DELETED")
    c.expect(b"delete %s" % k, b"NOT_FOUND")
    for size in (0, 1, 1000, 65536, 1000000):
        value = os.urandom(size)
        c.expect(b"set %s 0 0 %d\r\n%s" % (k, size, value), b"STORED")
        assert c.values(b"get " + k) == {k: value}, size
    for i in range(300):  # request and answer
        assert c.values(b"get n%d" % n) == {b"n%d" % n: b"42"}
    c.sock.sendall(b"".join(b"set m%d-%d 0 0 4 noreply\r\n%04d\r\n" % (n, i, i) for i in range(2000)))  # a pipeline
    found = c.values(b"get " + b" ".join(b"m%d-%d" % (n, i) for i in range(0, 2000, 10)))
    assert found == {b"m%d-%d" % (n, i): b"%04d" % i for i in range(0, 2000, 10)}
    c.sock.sendall(b"quit\r\n")
    assert c.file.read() == b""


def guarded(n):
    try:
        talk(n)
    except BaseException as e:
        failed.append(f"{n}: {e!r}")


threads = [threading.Thread(target=guarded, args=(n,)) for n in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("\n".join(failed) or "ok")
sys.exit(bool(failed))
