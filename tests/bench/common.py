# SPDX-License-Identifier: BSD-2-Clause
"""common.py - what the parts of the bench share: starting programs with and without shunt, stopping them, the share of shared memory, figures."""
import json
import os
import re
import signal
import statistics
import subprocess
import time

BUILD = os.path.abspath(os.environ.get("B", "build"))
BENCH = BUILD + "/tests/bench/"
SHUNT = BUILD + "/shunt"
LIB = BUILD + "/libshunt.so"
LIMIT_S = 20  # no single run may take longer
CORES = sorted(os.sched_getaffinity(0))


class Failed(Exception):
    pass


def start(argv, shunt, one_core, stats, stdin=subprocess.DEVNULL, **kw):
    """argv as a child of ours; with shunt; on the first core only."""
    if shunt:
        argv = [SHUNT, "run", "--stats", stats, "--"] + argv
    pin = (lambda: os.sched_setaffinity(0, CORES[:1])) if one_core else None
    return subprocess.Popen(argv, preexec_fn=pin, stdin=stdin, text=True, **kw)


def finish(p, what):
    try:
        out, err = p.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        raise Failed(f"{what}: not done after {LIMIT_S} s") from None
    if p.returncode:
        raise Failed(f"{what}: status {p.returncode}: {(err or out or '').strip()[-200:]}")
    return out


def stop(p):
    if p.poll() is None:
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
    for f in (p.stdin, p.stdout):
        if f:
            f.close()


def shm_share(stats):
    """Of the bytes that the processes of one run received, how many came through shared memory. None: no stats."""
    shm = kernel = 0
    with open(stats) as f:
        for line in f:
            rx = json.loads(line)["rx"]
            shm += rx["shm_bytes"]
            kernel += rx["kernel_bytes"]
    return shm / (shm + kernel) if shm + kernel else None


def port_of(server, name):
    """The port that a server of ours says that it listens on."""
    m = re.match(r"port (\d+)", server.stdout.readline())
    if not m:
        raise Failed(f"{name}: the server did not start")
    return m[1]


def ratio(rates, a, b):
    return statistics.median(x / y for x, y in zip(rates[a], rates[b])) if rates.get(a) and rates.get(b) else None


def in_turn(things, round_no):
    """The order in which they have their turn in this round: each is first once."""
    things = list(things)
    k = round_no % len(things)
    return things[k:] + things[:k]


def human(x):
    if x is None:
        return "-"
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if x >= size:
            return f"{x / size:.3g}{unit}" if x < 1000 * size else f"{x / size:.0f}{unit}"
    return f"{x:.3g}"


def cpu_s(pid):
    """Seconds of CPU that all threads of a process have had."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of another process: see clock_getcpuclockid()
