#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""pyhttp.py PORT FOLDER: gets every file of FOLDER from an http.server, by urllib and by one kept connection. Says "ok"."""
import http.client
import pathlib
import sys
import urllib.error
import urllib.request

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
files = sorted(folder.iterdir())
for f in files:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{f.name}", timeout=20) as answer:
        assert answer.read() == f.read_bytes(), f
try:
    urllib.request.urlopen(f"http://127.0.0.1:{port}/none", timeout=20)
    sys.exit("a file that is not there was found")
except urllib.error.HTTPError as e:
    assert e.code == 404
kept = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
for f in files * 5:
    kept.request("GET", f"/{f.name}")
    answer = kept.getresponse()
    assert answer.status == 200 and answer.read() == f.read_bytes(), f
kept.close()
print("ok")
