# SPDX-License-Identifier: BSD-2-Clause
"""grpc_peer.py server | client PORT N - gRPC from Python, without generated code: messages are octets. Unary calls, streams, eight threads at once."""
import sys
import threading
from concurrent import futures

import grpc


def many(data, _):
    for i in range(50):
        yield data + bytes([i])


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(10))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(lambda data, _: data),
        "Down": grpc.unary_stream_rpc_method_handler(many),
        "Up": grpc.stream_unary_rpc_method_handler(lambda parts, _: b"".join(parts)),
        "Both": grpc.stream_stream_rpc_method_handler(lambda parts, _: parts),
    }),))
    print("port", server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def octets(n, call):
    return bytes((i * 7 + call) & 255 for i in range(n))


def calls(unary, n):
    for i in range(n):
        assert unary(octets(500, i), timeout=20) == octets(500, i)


def ask(port, n):
    with grpc.insecure_channel("127.0.0.1:" + port) as channel:
        unary = channel.unary_unary("/Echo/Unary")
        for size in 0, 1, 1024, 65536, 1000000:
            data = octets(size, size)
            for i in range(n if size < 100000 else 3):
                assert unary(data, timeout=20) == data, size
        assert list(channel.unary_stream("/Echo/Down")(b"x", timeout=20)) == [b"x" + bytes([i]) for i in range(50)]
        parts = [octets(1000, i) for i in range(n)]
        assert channel.stream_unary("/Echo/Up")(iter(parts), timeout=20) == b"".join(parts)
        assert list(channel.stream_stream("/Echo/Both")(iter(parts), timeout=20)) == parts
        failed = []
        threads = [threading.Thread(target=lambda: failed.append(calls(unary, n))) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert failed == [None] * 8
    print("ok")


serve() if sys.argv[1] == "server" else ask(sys.argv[2], int(sys.argv[3]))
