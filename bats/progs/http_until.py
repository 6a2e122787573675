# SPDX-License-Identifier: BSD-2-Clause
#
# http_until.py PORT DIR [CONNECTIONS]: asks for the files in DIR, again and again and each answer compared, until SIGTERM; then says how many
# answers there were, and at the 21st that there are so many. Half of the connections are kept as long as the server likes, the others carry one request each.
#
# A server may close a connection that it kept just when the next request is under way; a client asks again then, once, as all do (RFC 9112,
# 9.3.1). Everything else is a failed request, and the end: a refusal, a reset, half an answer, a wrong one, a status other than 200.

import http.client
import os
import signal
import sys
import threading

port, folder = int(sys.argv[1]), sys.argv[2]
connections = int(sys.argv[3]) if len(sys.argv) > 3 else 4
over = threading.Event()
files = {}
failures = []
answers = again = 0
lock = threading.Lock()


def ask(http_connection, name, headers):
    http_connection.request("GET", "/" + name, headers=headers)
    answer = http_connection.getresponse()
    body = answer.read()
    if answer.status != 200 or body != files[name]:
        raise ValueError(f"{name}: status {answer.status}, {len(body)} octets of {len(files[name])}")


def kept(connection):
    global again
    while not over.is_set():
        for name in files:
            fresh = connection.sock is None
            try:
                ask(connection, name, {})
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if fresh:
                    raise
                connection.close()
                with lock:
                    again += 1
                ask(connection, name, {})
            yield


def single(connection):
    while not over.is_set():
        for name in files:
            ask(connection, name, {"Connection": "close"})
            connection.close()
            yield


def run(way):
    global answers
    try:
        for _ in way(http.client.HTTPConnection("127.0.0.1", port, timeout=20)):
            with lock:
                answers += 1
                if answers == 21:
                    print("21 answers", flush=True)
            if over.is_set():
                break
    except Exception as error:  # all threads end, and the status says so
        failures.append(f"{way.__name__}: {error!r}")
        over.set()


for name in sorted(os.listdir(folder)):
    with open(os.path.join(folder, name), "rb") as file:
        files[name] = file.read()
signal.signal(signal.SIGTERM, lambda *_: over.set())
threads = [threading.Thread(target=run, args=((kept, single)[i % 2],)) for i in range(connections)]
for thread in threads:
    thread.start()
print("asks", flush=True)
while not over.wait(0.1):  # SIGTERM is this thread's
    pass
for thread in threads:
    thread.join()
for failure in failures:
    print(failure)
print(f"{answers} answers in all, asked again {again} times")
sys.exit(1 if failures else 0)
