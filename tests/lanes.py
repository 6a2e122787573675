# SPDX-License-Identifier: BSD-2-Clause
"""lanes.py - tests side by side in processes that cannot meet: how they are started and told what to do, what comes of it as TAP, and what must not be left in one."""
import glob
import json
import os
import select
import shutil
import subprocess
import sys
import time

SOON = 1.0  # s: so long may what a process writes or removes at its very end take


def namespaces(here):
    """The words before a lane that put it into namespaces of its own, as far as that is possible, and which it then has."""
    if here or not shutil.which("unshare"):
        return [], False, False

    def can(*words):
        return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    words = ["unshare"] + (["-r"] if os.geteuid() else [])
    net = shutil.which("ip") is not None and can(*words, "-n", "ip", "link", "set", "lo", "up")
    if not can(*words, "-i", "true"):
        return [], False, False
    mount = can(*words, "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    return words + ["-i"] + ["-n"] * net + ["-m"] * mount, net, mount


class Lane:
    """A process that runs `script`, whose first argument is `told`."""

    def __init__(self, words, script, told):
        argv = words + [sys.executable, "-B", script, json.dumps(told)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.case = None

    def give(self, case):
        self.case = case
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()

    def answer(self):
        """Of what it was given last; or None when it has died."""
        case, self.case = self.case, None
        line = self.process.stdout.readline()
        return case, json.loads(line) if line else None

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


def in_lanes(lanes, cases):
    """Gives each lane the next case when it has done one; yields case and answer as they come."""
    waiting = list(reversed(cases))
    while waiting or any(lane.case for lane in lanes):
        for lane in lanes:
            if waiting and not lane.case:
                lane.give(waiting.pop())
        busy = {lane.process.stdout: lane for lane in lanes if lane.case}
        for ready in select.select(busy, [], [])[0]:
            case, answer = busy[ready].answer()
            yield case, answer
            if not answer:
                return


class Report:
    def __init__(self):
        self.number = self.passed = self.failed = 0

    def __call__(self, name, wrong, note=""):
        self.number += 1
        if wrong:
            self.failed += 1
            print("\n".join([f"not ok {self.number} - {name}"] + [f"#   {line}" for line in wrong]), flush=True)
        else:
            self.passed += "SKIP" not in note
            print(f"ok {self.number} - {name}{' # ' + note if note else ''}", flush=True)


# ---- in a lane ----


def own_network():
    """Loopback, and one address more; octets in the SYN for those who ask."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "addr", "add", "10.77.0.1/32", "dev", "lo"], check=True)
    os.environ["ORACLE_OWN_ADDR"] = "10.77.0.1"
    try:
        with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as f:
            f.write("3")
    except OSError:
        pass


def wait_for(is_true, limit=SOON):
    """What is_true() says in the end; asked again for so long while that is nothing."""
    end = time.monotonic() + limit
    while not (said := is_true()) and time.monotonic() < end:
        time.sleep(0.005)
    return said


def names(where):
    """Every System V object, file in /dev/shm and file in the endpoint map."""
    found = set()
    for kind in "shm", "sem", "msg":
        with open(f"/proc/sysvipc/{kind}") as f:
            found |= {f"{kind} {line.split()[1]}" for line in f.readlines()[1:]}
    for root in "/dev/shm", where:
        for folder, _, files in os.walk(root):
            found |= {f"{folder}/{f}" for f in files}
    return found


def processes(mark):
    """Those that carry this lane's mark in their environment."""
    found = []
    for p in glob.glob("/proc/[0-9]*"):
        try:
            with open(p + "/environ", "rb") as f:
                if mark.encode() not in f.read().split(b"\0"):
                    continue
            with open(p + "/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace")
            if line:
                found.append(f"process {p[6:]} {line}")
        except OSError:
            pass
    return found
