#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""pychurn.py KIND PORT SEED COUNT: COUNT connections to an echo server, some at a time, each of a random life; compares every byte. Says "ok" when all came back.

A life: how many pieces of what sizes, how many of them may be under way, and its end: half-closed and read to the end, closed when all is back, or closed with answers on their way.
"""
import random
import selectors
import socket
import sys

from pythreads import in_threads

KIND, ADDR, SEED, COUNT = sys.argv[1], ("127.0.0.1", int(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
LANES = 4  # threads, each with one connection after the other
AT_A_TIME = 7  # in one thread
UNDER_WAY = 60000  # octets, of which a server that does not read while it writes still finds room for the answer


class Life:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.seed = seed
        self.left = self.random.choice((0, 1, 2, 3, 5, 20, 100, 400))
        self.longest = self.random.choice((10, 10, 1000, 70000))
        self.end = self.random.choice(("half", "half", "close", "close", "rude"))
        self.window = self.random.choice((1, 1, 1, 3))
        self.pieces, self.out, self.want, self.half = 0, b"", b"", False

    def may_go_on(self):
        """Is it time for another piece?"""
        room = len(self.want) < UNDER_WAY and (not self.want or self.pieces % self.window)
        return not self.out and self.left and room

    def go_on(self):
        self.left -= 1
        self.pieces += 1
        self.out = self.random.randbytes(self.random.randint(1, self.longest))
        self.want += self.out

    def take(self, got):
        if not self.want.startswith(got):
            raise AssertionError(f"seed {self.seed}: other bytes came back")
        self.want = self.want[len(got):]
        if not got and (self.want or not self.half):
            raise AssertionError(f"seed {self.seed}: an end, and {len(self.want)} octets are missing")

    def is_over(self):
        return not self.left and not self.out and not self.half and (self.end == "rude" or (self.end == "close" and not self.want))


def blocking(seed):
    life = Life(seed)
    with socket.create_connection(ADDR, timeout=30) as sock:
        while not life.is_over():
            if life.may_go_on():
                life.go_on()
                sock.sendall(life.out)
                life.out = b""
            elif not life.left and life.end == "half" and not life.half:
                sock.shutdown(socket.SHUT_WR)
                life.half = True
            else:
                got = sock.recv(65536)
                life.take(got)
                if not got:
                    return


def serial(seeds):
    for seed in seeds:
        blocking(seed)


class Reactor:
    """Many at a time in one thread; each is asked for what it waits for, and for nothing else."""

    def __init__(self, selector, seeds):
        self.sel, self.seeds = selector, list(seeds)

    def begin(self):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(ADDR)  # in progress
        self.sel.register(sock, selectors.EVENT_WRITE, Life(self.seeds.pop()))

    def end(self, sock):
        self.sel.unregister(sock)
        sock.close()

    def step(self, sock, life, events):
        if events & selectors.EVENT_READ:
            got = sock.recv(65536)
            life.take(got)
            if not got:
                return self.end(sock)
        if life.may_go_on():
            life.go_on()
        if life.out:
            try:
                life.out = life.out[sock.send(life.out):]
            except BlockingIOError:
                pass
        if life.is_over():
            return self.end(sock)
        if not life.left and not life.out and life.end == "half" and not life.half:
            sock.shutdown(socket.SHUT_WR)
            life.half = True
        write = selectors.EVENT_WRITE if life.out or life.may_go_on() else 0
        self.sel.modify(sock, write | (selectors.EVENT_READ if life.want or life.half else 0), life)

    def run(self):
        while self.seeds or self.sel.get_map():
            while self.seeds and len(self.sel.get_map()) < AT_A_TIME:
                self.begin()
            ready = self.sel.select(30)
            if not ready:
                sys.exit("nothing came for 30 s")
            for key, events in ready:
                self.step(key.fileobj, key.data, events)


SEEDS = range(SEED, SEED + COUNT)
if KIND == "serial":
    serial(SEEDS)
elif KIND == "threads":
    in_threads(serial, [SEEDS[k::LANES] for k in range(LANES)])
else:
    Reactor({"epoll": selectors.EpollSelector, "poll": selectors.PollSelector, "select": selectors.SelectSelector}[KIND](), SEEDS).run()
print("ok")
