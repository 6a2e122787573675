#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""pyclient.py KIND PORT: an echo client of one of Python's kinds; compares every byte. Says "ok" when all came back.

Each conversation: requests and answers of many sizes, a burst that is written while it is read, then end of file each way. Where UNTIL_UP is set
(lib.bash) some more requests before the burst, until the kernel carries none of them: that it can see.
"""
import asyncio
import os
import random
import selectors
import socket
import struct
import sys
import threading
import time

from pythreads import in_threads

KIND, ADDR = sys.argv[1], ("127.0.0.1", int(sys.argv[2]))
SIZES = [1, 2, 7, 64, 1000, 4096, 65535, 65536, 65537, 300000]
BURST = random.Random(1).randbytes(3_000_000)
N = 6


def receive(sock, n):
    data = bytearray()
    while len(data) < n:
        got = sock.recv(min(n - len(data), 65536))
        if not got:
            raise EOFError(f"after {len(data)} of {n} bytes")
        data += got
    return data


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: other bytes came back")


def by_kernel(sock):
    """How many octets it has carried: acknowledged, and received."""
    return struct.unpack_from("QQ", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 120)


def pauses(sock):
    """Between requests that go on until the connection is upgraded each way, or has not been for a long time."""
    end, still, seen = time.monotonic() + 20, 0, None
    while os.environ.get("UNTIL_UP") and still < 3 and time.monotonic() < end:
        now = by_kernel(sock)
        still = still + 1 if now == seen else 0
        seen = now
        yield 0 if still else 0.002


def converse(seed):
    rng = random.Random(seed)
    with socket.create_connection(ADDR, timeout=30) as sock:
        for size in SIZES * 3 + [8] * 300:
            data = rng.randbytes(size)
            sock.sendall(data)
            check(receive(sock, size), data, size)
        for pause in pauses(sock):
            time.sleep(pause)
            sock.sendall(b"go on")
            check(receive(sock, 5), b"go on", "more")
        writer = threading.Thread(target=lambda: (sock.sendall(BURST), sock.shutdown(socket.SHUT_WR)))
        writer.start()
        check(receive(sock, len(BURST)), BURST, "burst")
        writer.join()
        check(sock.recv(1), b"", "end of file")


def serial(n):
    for seed in range(n):
        converse(seed)


async def converse_async(seed):
    rng = random.Random(seed)
    reader, writer = await asyncio.open_connection(*ADDR)
    for size in SIZES * 3 + [8] * 300:
        data = rng.randbytes(size)
        writer.write(data)
        await writer.drain()
        check(await reader.readexactly(size), data, size)
    for pause in pauses(writer.get_extra_info("socket")):
        await asyncio.sleep(pause)
        writer.write(b"go on")
        check(await reader.readexactly(5), b"go on", "more")
    writer.write(BURST)
    writer.write_eof()
    check(await reader.readexactly(len(BURST)), BURST, "burst")
    check(await reader.read(), b"", "end of file")
    writer.close()
    await writer.wait_closed()


async def all_async():
    await asyncio.wait_for(asyncio.gather(*(converse_async(seed) for seed in range(N))), 60)


def talk_on(sel, sock):
    """sock alone is in the set."""

    def wait(event):
        sel.modify(sock, event)
        if not sel.select(30):
            sys.exit("nothing happened for 30 s")

    for pause in pauses(sock):
        time.sleep(pause)
        wait(selectors.EVENT_WRITE)
        sock.sendall(b"go on")
        wait(selectors.EVENT_READ)
        check(sock.recv(5), b"go on", "more")
    sel.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)


def selector_client(sel):
    """N connections, one thread: each sends BURST as the server takes it, and reads what comes."""
    state = {}
    for i in range(N):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(ADDR)  # in progress
        state[sock] = [0, bytearray()]
        sel.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        if i == 0:
            talk_on(sel, sock)
    while state:
        ready = sel.select(30)
        if not ready:
            sys.exit("nothing came for 30 s")
        for key, events in ready:
            sock, st = key.fileobj, state[key.fileobj]
            if events & selectors.EVENT_WRITE:
                st[0] += sock.send(BURST[st[0]:st[0] + 50000])
                if st[0] == len(BURST):
                    sock.shutdown(socket.SHUT_WR)
                    sel.modify(sock, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                got = sock.recv(65536)
                st[1] += got
                if not got:
                    check(st[1], BURST, "burst")
                    sel.unregister(sock)
                    sock.close()
                    del state[sock]


KINDS = {
    "blocking": lambda: converse(0),
    "serial": lambda: serial(N),
    "threads": lambda: in_threads(converse, range(N)),
    "asyncio": lambda: asyncio.run(all_async()),
    "epoll": lambda: selector_client(selectors.EpollSelector()),
    "poll": lambda: selector_client(selectors.PollSelector()),
    "select": lambda: selector_client(selectors.SelectSelector()),
}

KINDS[KIND]()
print("ok")
