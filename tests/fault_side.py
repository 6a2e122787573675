# SPDX-License-Identifier: BSD-2-Clause
"""fault_side.py - one of the two programs of tests/fault_lane.py: what it says, what it is told, its end; and what can be seen of it from outside."""
import fcntl
import os
import re
import select
import signal
import subprocess
import time

LIMIT = 20.0  # s: for anything; who needs longer hangs
SIDES = ("server", "client")
PORT = 7411


class Side:
    """A role's process, which may make others in its group: its lines, its end."""

    def __init__(self, lane, side, letters, env):
        argv = [lane.mortal, side, str(PORT), lane.witness_path, letters]
        self.err = open(f"{lane.dir}/{side}.err", "w+")
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err, env=env, start_new_session=True
        )
        self.side, self.pid, self.letters = side, self.process.pid, set(letters)
        self.fd = self.process.stdout.fileno()
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_NONBLOCK)
        self.lines, self.heard, self.rest, self.ended = [], [], b"", False

    def look(self, seconds):
        """Takes what has been said; waits at most so long for something."""
        if self.ended or not select.select([self.fd], [], [], seconds)[0]:
            return
        data = os.read(self.fd, 65536)
        self.ended = not data
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        self.heard += [line.decode() for line in lines]

    def says(self, what, limit=LIMIT):
        """A line that matches, which is then taken with all before it; None if none comes."""
        end = time.monotonic() + limit
        while True:
            for i, line in enumerate(self.lines):
                if re.search(what, line):
                    del self.lines[: i + 1]
                    return line
            if self.ended or time.monotonic() > end:
                return None
            self.look(0.02)

    def alive(self):
        return self.process.poll() is None

    def group_alive(self):
        self.process.poll()
        try:
            os.killpg(self.pid, 0)
            return True
        except ProcessLookupError:
            return False

    def order(self, text):
        try:
            self.process.stdin.write(text)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def let_end(self):
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass

    def kill(self):
        """-> what it has said on stderr"""
        if self.err.closed:
            return []
        if self.group_alive():
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.let_end()
        self.process.stdout.close()
        self.err.seek(0)
        said = self.err.read().splitlines()
        self.err.close()
        return said


def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def held_back():
    """Has a sender's kernel octets that have not come to a receiver who has none unread? (Nagle: until the last ones are acknowledged. They would come behind the victim's FIN.)"""
    queues = {}
    with open("/proc/self/net/tcp") as f:
        for line in f.readlines()[1:]:
            _, local, peer, _, both = line.split()[:5]
            queues[local, peer] = [int(q, 16) for q in both.split(":")]
    return any(tx and not queues.get((peer, local), [0, 1])[1] for (local, peer), (tx, _) in queues.items())


class Counts:
    """A side's part of the witness (mortal.h) at one moment."""

    def __init__(self, words):
        self.conn, self.begun, self.done, self.asked, self.got = words
