#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""pyserver.py KIND PORT: an echo server of one of Python's kinds. Says "ready"; ends at SIGINT.

A client's end of file is answered after all that was sent has gone back.
"""
import asyncio
import os
import selectors
import signal
import socket
import socketserver
import sys
import threading

KIND, ADDR = sys.argv[1], ("127.0.0.1", int(sys.argv[2]))


def ready():
    print("ready", flush=True)


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class LineHandler(socketserver.StreamRequestHandler):
    """By buffered files over the socket."""

    wbufsize = -1

    def handle(self):
        while data := self.rfile.read1(65536):
            self.wfile.write(data)
            self.wfile.flush()


def socket_server(base, handler):
    class Server(base, socketserver.TCPServer):
        allow_reuse_address = True
        daemon_threads = False
        request_queue_size = 64

    with Server(ADDR, handler) as s:
        ready()
        s.serve_forever()


class Loop:
    """A single thread and a selector; each connection keeps what the client did not take yet."""

    def __init__(self, selector):
        self.sel = selector
        self.listener = socket.create_server(ADDR, backlog=64)
        self.listener.setblocking(False)
        self.sel.register(self.listener, selectors.EVENT_READ)
        self.left = {}

    def accept(self):
        conn, _ = self.listener.accept()
        conn.setblocking(False)
        self.left[conn] = bytearray()
        self.sel.register(conn, selectors.EVENT_READ, False)

    def serve(self, conn, events, ended):
        left = self.left[conn]
        if events & selectors.EVENT_READ:
            data = conn.recv(65536)
            left += data
            ended = not data
        if left:
            try:
                del left[: conn.send(left)]
            except BlockingIOError:
                pass
        want = (selectors.EVENT_WRITE if left else 0) | (selectors.EVENT_READ if not ended and len(left) < 1 << 20 else 0)
        if want:
            self.sel.modify(conn, want, ended)
        else:
            self.drop(conn)

    def drop(self, conn):
        self.sel.unregister(conn)
        del self.left[conn]
        conn.close()

    def run(self):
        ready()
        while True:
            for key, events in self.sel.select():
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    try:
                        self.serve(key.fileobj, events, key.data)
                    except (ConnectionResetError, BrokenPipeError):
                        self.drop(key.fileobj)


async def asyncio_echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def asyncio_server():
    server = await asyncio.start_server(asyncio_echo, *ADDR, backlog=64)
    ready()
    async with server:
        await server.serve_forever()


def threads_server():
    """One thread reads, another writes, on one socket."""
    listener = socket.create_server(ADDR, backlog=64)
    ready()

    def serve(conn):
        pipe_r, pipe_w = os.pipe()

        def back():
            while data := os.read(pipe_r, 65536):
                conn.sendall(data)
            os.close(pipe_r)
            conn.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=back)
        writer.start()
        while data := conn.recv(65536):
            while data:
                data = data[os.write(pipe_w, data):]
        os.close(pipe_w)
        writer.join()
        conn.close()

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def prefork_server():
    """Three children accept from one listening socket."""
    listener = socket.create_server(ADDR, backlog=64)
    children = []
    for _ in range(3):
        if not (pid := os.fork()):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            while True:
                conn, _ = listener.accept()
                with conn:
                    while data := conn.recv(65536):
                        conn.sendall(data)
        children.append(pid)
    ready()
    try:
        signal.pause()
    finally:
        for pid in children:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


KINDS = {
    "threading": lambda: socket_server(socketserver.ThreadingMixIn, Handler),
    "forking": lambda: socket_server(socketserver.ForkingMixIn, Handler),
    "files": lambda: socket_server(socketserver.ThreadingMixIn, LineHandler),
    "epoll": lambda: Loop(selectors.EpollSelector()).run(),
    "poll": lambda: Loop(selectors.PollSelector()).run(),
    "select": lambda: Loop(selectors.SelectSelector()).run(),
    "asyncio": lambda: asyncio.run(asyncio_server()),
    "threads": threads_server,
    "prefork": prefork_server,
}

try:
    KINDS[KIND]()
except KeyboardInterrupt:
    pass
