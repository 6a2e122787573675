# SPDX-License-Identifier: BSD-2-Clause
"""oracle_lane.py - one lane of tests/run_oracle.sh: a process that runs the cases it is told of, one after the other, each four ways.

It is told by lines of JSON on its stdin and answers by lines of JSON on its stdout. In namespaces of its own, what is left in there is
its own. It starts nothing but the parts themselves: a shell that starts sed, grep and diff for each takes longer than most cases do.
"""
import difflib
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from lanes import names, own_network, processes, wait_for

KERNEL, KILLED, SELF, SLOW, NOWARM, DIFFERS = 1, 2, 4, 8, 16, 32  # oracle.h
HEIR = {"server": 0x80, "client": 0x100}
SIDES = ("server", "client")
ORACLE_RD, ORACLE_WR = 100, 101
ALL_SIGNALS = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]


# ---- one part ----


class Part:
    """A running process, with a limit, its transcript and what it said on stderr."""

    def __init__(self, argv, rd, wr, out, limit):
        self.out, self.pid = out, 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o666),
            (os.POSIX_SPAWN_OPEN, 2, out + ".err", flags, 0o666),
            (os.POSIX_SPAWN_DUP2, rd, ORACLE_RD),
            (os.POSIX_SPAWN_DUP2, wr, ORACLE_WR),
        ]
        # A group of its own: what it forks ends with it when its time is over.
        self.pid = os.posix_spawn(
            argv[0], argv, os.environ, file_actions=actions, setpgroup=0, setsigmask=[], setsigdef=ALL_SIGNALS
        )
        self.ends = os.pidfd_open(self.pid)
        self.limit = time.monotonic() + limit
        self.code = None

    def signal(self, sig):
        os.killpg(self.pid, sig)

    def reap(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self.ends)
        code = os.waitstatus_to_exitcode(status)
        self.code = code if code >= 0 else 128 - code

    def transcript(self):
        with open(self.out, errors="backslashreplace") as f, open(self.out + ".err", errors="backslashreplace") as err:
            return f.read().splitlines() + [f"exit {self.code}"] + ["stderr: " + line for line in err.read().splitlines()]


def wait_both(parts):
    """When one part has failed, the other one may wait for it in vain: a second is enough to say so."""
    running = {p.ends: p for p in parts}
    poller = select.poll()
    for fd in running:
        poller.register(fd, select.POLLIN)
    while running:
        first = min(running.values(), key=lambda p: p.limit)
        ended = poller.poll(max(0, (first.limit - time.monotonic()) * 1000))
        if not ended:
            first.signal(signal.SIGTERM if first.last_second else signal.SIGKILL)
            first.last_second, first.limit = False, time.monotonic() + 1
        for fd, _ in ended:
            poller.unregister(fd)
            part = running.pop(fd)
            part.reap()
            for other in running.values():
                if part.code and not other.last_second:
                    other.last_second, other.limit = True, min(other.limit, time.monotonic() + 1)


Part.last_second = False


# ---- counters ----


def count(stats, direction, path):
    """Bytes, summed over the processes that wrote a line."""
    return sum(map(int, re.findall(rf'"{direction}": *\{{[^}}]*"{path}_bytes": *([0-9]+)', stats)))


def through_memory(stats):
    """How many processes have both sent and received through memory."""
    lines = stats.splitlines()
    return sum(all(count(line, direction, "shm") for direction in ("tx", "rx")) for line in lines)


def counters_are_wrong(way, flags, stats):
    """Says what is wrong; stats: what each side under shunt wrote."""
    wrong, any_bytes = [], False
    for side in stats:
        for direction in "tx", "rx":
            n = count(stats[side], direction, "shm")
            any_bytes |= n > 0
            if way != "both":
                if n and not flags & SELF:
                    wrong.append(f"the {side} alone: {direction}.shm_bytes = {n}")
            elif not n and not flags & (KERNEL | KILLED | SELF | NOWARM):
                kernel = re.search(r'"kernel": *\{[^}]*\}', stats[side])
                why = kernel.group() if kernel else "no counters were written"
                wrong.append(f"the {side}'s {direction}.shm_bytes is 0 ({why})")
        if way == "both" and flags & HEIR[side] and through_memory(stats[side]) < 2:
            wrong.append(f"the {side}'s heir moved nothing through memory")
    if way == "both" and not any_bytes and flags & (KILLED | SELF) and not flags & (KERNEL | NOWARM):
        wrong.append("neither side counted bytes in shared memory")
    return wrong


# ---- a lane ----


class Lane:
    def __init__(self, shunt, modes):
        self.shunt, self.modes = shunt, modes
        self.dir = tempfile.mkdtemp(prefix="oracle.")
        os.chmod(self.dir, 0o711)  # a part that becomes another user finds the map
        self.map = self.dir + "/map"
        self.parts, self.runs = [], 0
        os.mkdir(self.map)
        self.mark = f"ORACLE_RUN=oracle.{os.getpid()}.{time.monotonic_ns()}"
        os.environ["SHUNT_MAP"] = self.map
        self.at_start = names(self.map)

    def run_way(self, way, prog, name, flags):
        """-> transcripts, counters (of the sides under shunt), seconds"""
        begin = time.monotonic()
        os.environ["ORACLE_RUN"] = self.mark.partition("=")[2]
        if way == "both":
            os.environ["ORACLE_PATIENT"] = "1"  # octets will leave the kernel: see oracle_warm.c
        else:
            os.environ.pop("ORACLE_PATIENT", None)
        srd, cwr = os.pipe()
        crd, swr = os.pipe()
        files = {}
        self.parts = []
        # Names that were never used: a process that ends late writes into a file that nobody reads any more.
        self.runs += 1
        for old in glob.glob(f"{self.dir}/{self.runs - 2}.*"):
            os.unlink(old)
        for side, rd, wr in ("server", srd, swr), ("client", crd, cwr):
            out = f"{self.dir}/{self.runs}.{side}"
            argv = [prog, name, side]
            if way in (side, "both"):
                files[side] = out + ".stats"
                argv = [self.shunt, "run", "--stats", files[side], "--"] + argv
            self.parts.append(Part(argv, rd, wr, out, 45 if flags & SLOW else 15))
            os.close(rd)
            os.close(wr)
        wait_both(self.parts)
        texts = {side: part.transcript() for side, part in zip(SIDES, self.parts)}
        self.parts = []
        return texts, files, time.monotonic() - begin

    def case(self, prog, name, flags):
        """-> what was wrong, a line each; seconds by way; the counters of the last way"""
        wrong, seconds, stats, differs = [], {}, {}, False
        before = names(self.map)
        kernel = {}
        for way in ["none"] + self.modes:
            texts, files, seconds[way] = self.run_way(way, prog, name, flags)
            for side, text in texts.items():
                if way == "none":
                    kernel[side] = text
                    bad = [f"{i}:{t}" for i, t in enumerate(text, 1) if "FALSE" in t or re.match("exit [^0]", t)]
                else:
                    labels = f"{side}, no shunt", f"{side}, shunt: {way}"
                    bad = list(difflib.unified_diff(kernel[side], text, *labels, lineterm=""))
                    if bad and flags & DIFFERS and way == "both":
                        bad, differs = [], True
                if bad:
                    wrong += [f"{way}: the {side}'s transcript:"] + bad[:60]
            if way == "none":
                continue
            stats = read_stats(files)
            if not flags & DIFFERS:
                wait_for(lambda: not counters_are_wrong(way, flags, read_stats(files)))
                stats = read_stats(files)
                wrong += [f"{way}: {what}" for what in counters_are_wrong(way, flags, stats)]
            wrong += [f"{way}: left: {what}" for what in self.left(before, flags)]
            before |= names(self.map)  # complain once
        if flags & DIFFERS and "both" in self.modes and not differs:
            wrong.append(
                "both: does not differ from the kernel any more: take CASE_DIFFERS away, and the lines in docs/COMPATIBILITY.md"
            )
        return wrong, seconds, stats

    def left(self, before, flags=0):
        if flags & KILLED:
            return []
        wait_for(lambda: not names(self.map) - before)
        return sorted(names(self.map) - before)

    def end(self, prog):
        """What is left at the very end. Names of killed processes are removed by the next shunt process that listens or looks."""
        if self.modes:
            if os.access(prog, os.X_OK):
                self.run_way("both", prog, "pingpong", 0)
            subprocess.run([self.shunt, "ps"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        left = [f"left: {what}" for what in self.left(self.at_start)]
        wait_for(lambda: not processes(self.mark))
        return left + processes(self.mark)

    def stop(self):
        for part in self.parts:
            if part.code is None:
                part.signal(signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


def read_stats(files):
    stats = {}
    for side, path in files.items():
        try:
            with open(path, errors="replace") as f:
                stats[side] = f.read()
        except OSError:
            stats[side] = ""
    return stats


def main():
    shunt, modes, core, has_net, has_mount = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.pop("ORACLE_OWN_ADDR", None)
    if has_net:
        own_network()
    if has_mount:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"], check=True)
    if core is not None:
        os.sched_setaffinity(0, {core})
    lane = Lane(shunt, modes)
    try:
        for line in sys.stdin:
            what = json.loads(line)
            if "end" in what:
                answer = {"wrong": lane.end(what["end"])}
            else:
                wrong, seconds, stats = lane.case(what["prog"], what["name"], what["flags"])
                bytes_of = {f"{p} {d}": count(stats.get("client", ""), d, p) for p in ("shm", "kernel") for d in ("tx", "rx")}
                answer = {"wrong": wrong, "seconds": seconds, "bytes": bytes_of}
            print(json.dumps(answer), flush=True)
    finally:
        lane.stop()


main()
