#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""soak.py KIND PORT SEED LOG GENERATION: a client for bats/60-soak.bats, until a signal ends it.

KIND: echo, redis, memcached, http. Everything that comes back is compared. LOG gets a line "ok KIND" for SOME exchanges
and "WRONG KIND ..." for what may not be: other octets, no answer for 30 s, or an end of the connection although nobody has
done anything to the server: its file GENERATION gets a line before that, and one when it is up again.
"""
import hashlib, os, random, socket, sys, time

kind, port, seed, log, generation = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
rnd = random.Random(seed)
STUCK = 30
SOME = 10 if kind == "http" else 200


class Wrong(Exception):
    pass


def note(text):
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


def value(key, n):
    """What is stored under `key` tells by itself whether it is that."""
    body = rnd.randbytes(n)
    return hashlib.sha1(key + body).hexdigest().encode() + body


def right(key, v):
    return v[:40] == hashlib.sha1(key + v[40:]).hexdigest().encode()


def check(c, k, n, end=b"\r\n"):
    v, e = c.take(n), c.take(len(end))
    if not right(k, v) or e != end:
        raise Wrong("%s: %d octets, end %r, value %s, %d in front of us: %r ... %r" % (k, n, e, right(k, v), len(c.buf), v[:48], v[-16:]))


def length():
    return rnd.choice((1, 20, 300, 300, 4000, 70000)) + rnd.randrange(100)


class Conn:
    def __init__(self):
        self.s = socket.create_connection(("127.0.0.1", port), STUCK)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()

    def more(self):
        b = self.s.recv(rnd.choice((1000, 100000)))
        if not b:
            raise EOFError
        self.buf += b

    def line(self):
        while b"\r\n" not in self.buf:
            self.more()
        return self.take(self.buf.index(b"\r\n") + 2)[:-2]

    def take(self, n):
        while len(self.buf) < n:
            self.more()
        b = bytes(self.buf[:n])
        del self.buf[:n]
        return b


def key():
    return b"k%d" % rnd.randrange(50)


def echo(c):
    b = rnd.randbytes(min(length(), 16000))
    c.s.sendall(b)
    if c.take(len(b)) != b:
        raise Wrong("not what was sent")


def redis(c):
    k = key()
    if rnd.random() < 0.5:
        v = value(k, length())
        c.s.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(k), k, len(v), v))
        if (l := c.line()) != b"+OK":
            raise Wrong(repr(l))
        return
    c.s.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(k), k))
    l = c.line()
    if l[:1] != b"$":
        raise Wrong(repr(l))
    if l != b"$-1":
        check(c, k, int(l[1:]))


def memcached(c):
    k = key()
    if rnd.random() < 0.5:
        v = value(k, length())
        c.s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(v), v))
        if (l := c.line()) != b"STORED":
            raise Wrong(repr(l))
        return
    c.s.sendall(b"get %s\r\n" % k)
    l = c.line()
    if l == b"END":
        return
    if not l.startswith(b"VALUE %s " % k):
        raise Wrong("asked for %s, got %r" % (k, l))
    check(c, k, int(l.split()[3]))
    if (l := c.line()) != b"END":
        raise Wrong("%r after the value of %s" % (l, k))


def http(c):
    k = rnd.choice((b"small", b"large"))
    c.s.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % k)
    if (l := c.line()) != b"HTTP/1.1 200 OK":
        raise Wrong(repr(l))
    n = 0
    while l := c.line():
        if l.lower().startswith(b"content-length:"):
            n = int(l.split(b":")[1])
    check(c, k, n, b"")


def touched():
    try:
        with open(generation, "rb") as f:
            return f.read().count(b"\n")
    except FileNotFoundError:
        return 0


exchange = {"echo": echo, "redis": redis, "memcached": memcached, "http": http}[kind]
while True:
    begin = touched()
    connected = False
    try:
        c = Conn()
        connected = True
        for i in range(rnd.choice((2, 5, 300, 3000))):
            exchange(c)
            if i % SOME == SOME - 1:
                note("ok " + kind)
        c.s.close()
    except TimeoutError:
        note("WRONG %s: nothing for %d s" % (kind, STUCK))
    except Wrong as e:
        note("WRONG %s: %s" % (kind, e))
    except (EOFError, OSError) as e:
        if touched() == begin and begin % 2 == 0: # neither down nor just been
            note("WRONG %s: %s: %r" % (kind, "ended" if connected else "refused", e))
        time.sleep(0.05)
